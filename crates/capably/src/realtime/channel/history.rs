//! A channel's history, over REST (RTL10).

use capably_protocol::{ErrorCode, Message};

use crate::realtime::Channel;
use crate::{
    Error,
    rest::{History, Query},
};

impl Channel {
    /// Reads published messages over REST when awaited, by default the newest first (RTL10a, RTL10c).
    pub fn history(&self) -> History {
        self.rest_channel().history()
    }

    /// Reads the messages that were published before the channel was attached, or before it last lost continuity.
    /// Together with the messages of a subscription since then, none is missing and none appears twice (RTL10b).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use capably::{ClientOptions, Realtime};
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
    /// # let client = Realtime::connect(options.tls(false)).await?;
    /// let channel = client.channels().get("greetings");
    /// channel.publish("hello", "before").await?;
    /// let mut messages = channel.subscribe().await?;
    /// channel.publish("hello", "after").await?;
    ///
    /// let before = channel.history_until_attach().await?;
    /// assert_eq!(before.items().len(), 1);
    /// assert_eq!(before.items()[0].data.as_str(), Some("before"));
    /// let after = messages.next().await.ok_or("the subscription ended")?;
    /// assert_eq!(after.data.as_str(), Some("after"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// 90001 when the channel was not attached at the call; and the errors of any history.
    pub fn history_until_attach(&self) -> Query<Message> {
        match self.shared.attachment() {
            Some(serial) => self.history().param("fromSerial", serial),
            None => self.history().failing(Error::new(
                ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE,
                400,
                "history until the attach needs an attached channel",
            )),
        }
    }
}
