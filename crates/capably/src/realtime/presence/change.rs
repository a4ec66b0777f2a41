//! Entering, updating and leaving (RTP8, RTP9, RTP10, RTP14, RTP15).

use capably_protocol::{Data, PresenceAction, PresenceMessage, Str};
use serde_json::Value;

use crate::{
    Error, Result,
    http::BoxFuture,
    outgoing, payload,
    realtime::{Channel, driver::Command},
};

/// A change of a member's presence, before it is sent. Awaiting it sends the change, and returns once the service has
/// accepted or refused it.
///
/// While the channel is attaching, or the client is connecting or disconnected, the change is queued, unless
/// [`queue_messages`](crate::ClientOptions::queue_messages) is off (RTP16b).
///
/// # Errors
/// The service's reason, such as 40160 without the right to be present; 40003 for extras that are not a JSON object;
/// 40012 for a client id that differs from this client's; 91000 for a client without a client id; 40009 for data that
/// is too large; 40013 for data that cannot be encoded; 91001 on a channel that is detaching, detached, suspended or
/// failed, or becomes so before the change was sent (RTP8g, RTP16c, RTL11); 80000, 80002, 80003 or 80017 in a
/// connection state that cannot wait for a connection; 50003 when the service acknowledges nothing for the
/// connectionStateTtl (two minutes), or for the [time limit](crate::Realtime#time-limits) of a connection that is lost
/// again and again.
#[derive(Debug)]
#[must_use = "nothing is sent until this is awaited"]
pub struct PresenceChange {
    channel: Channel,
    message: PresenceMessage,
    problem: Option<Error>,
}

impl PresenceChange {
    pub(super) fn new(channel: Channel, action: PresenceAction, client_id: Option<Str>) -> Self {
        let message =
            PresenceMessage { action: Some(action), client_id, ..PresenceMessage::default() };
        Self { channel, message, problem: None }
    }

    /// Sets the member's data (RTP8e).
    pub fn data(mut self, data: impl Into<Data>) -> Self {
        self.message.data = data.into();
        self
    }

    /// Makes the change fail with this error.
    pub(crate) fn failing(mut self, error: Error) -> Self {
        self.problem = Some(error);
        self
    }

    /// Adds metadata: a JSON object, such as `json!({"headers": {"seat": 12}})` (TP3i).
    pub fn extras(mut self, extras: impl Into<Value>) -> Self {
        match outgoing::object(extras.into()) {
            Ok(extras) => self.message.extras = Some(extras),
            Err(error) => self.problem = Some(error),
        }
        self
    }

    async fn send(self) -> Result<()> {
        let Self { channel, mut message, problem } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        let options = channel.shared.options();
        let cipher = options.cipher.as_ref();
        payload::encode_data(&mut message.data, &mut message.encoding, cipher)?;
        let id = channel.shared.id;
        channel.handle.check_may_wait()?;
        channel
            .handle
            .ask(|reply| Command::Presence { channel: id, message: Box::new(message), reply })
            .await
    }
}

impl IntoFuture for PresenceChange {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
