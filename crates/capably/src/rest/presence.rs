//! Presence over REST (RSP): reading only.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! # use capably::http::{BoxFuture, HttpClient, HttpError, HttpRequest, HttpResponse};
//! # struct Fixed;
//! # impl HttpClient for Fixed {
//! #     fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
//! #         let body = HttpResponse::new(200, r#"[{"action":1,"clientId":"ada"}]"#);
//! #         Box::pin(async { Ok(body.with_header("Content-Type", "application/json")) })
//! #     }
//! # }
//! # let options = capably::ClientOptions::new("app.key:secret").http_client(Arc::new(Fixed));
//! # let rest = capably::Rest::new(options)?;
//! let presence = rest.channels().get("lobby").presence();
//! let members = presence.get().limit(50).await?;
//! assert_eq!(members.items()[0].client_id.as_deref(), Some("ada"));
//! let events = presence.history().start(1_704_067_200_000).await?;
//! assert_eq!(events.items().len(), 1);
//! # Ok(())
//! # }
//! ```

use capably_protocol::PresenceMessage;

use super::{channel::RestChannel, query::Query};

/// The presence of a channel (RSP1). Members cannot enter over REST (RSP2).
#[derive(Clone, Debug)]
pub struct RestPresence {
    channel: RestChannel,
}

impl RestPresence {
    pub(crate) fn new(channel: RestChannel) -> Self {
        Self { channel }
    }

    /// Reads who is present when it is awaited (RSP3).
    pub fn get(&self) -> Query<PresenceMessage> {
        self.query("presence")
    }

    /// Reads what members did, the newest first unless said otherwise, when it is awaited (RSP4).
    pub fn history(&self) -> Query<PresenceMessage> {
        self.query("presence/history")
    }

    fn query(&self, part: &str) -> Query<PresenceMessage> {
        Query::new(self.channel.pipeline(), self.channel.path(part))
            .with_cipher(self.channel.cipher())
    }
}
