//! Presence over REST (RSP): reading only.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use capably::{ClientOptions, Rest, http::HttpMethod};
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = |key: &str| {
//! #     ClientOptions::new(key).endpoint(server.endpoint()).port(server.port()).tls(false)
//! # };
//! # let app = serde_json::json!({
//! #     "keys": [{}], "channels": [{ "name": "lobby", "presence": [
//! #         { "clientId": "ada", "data": "at her desk" }, { "clientId": "bo" },
//! #     ] }],
//! # });
//! # let owner = Rest::new(options(server.key()))?;
//! # let app = owner.request(HttpMethod::Post, "/apps").body(app).await?;
//! # let key = app.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?;
//! # let rest = Rest::new(options(key))?;
//! use capably::PresenceAction;
//!
//! let presence = rest.channels().get("lobby").presence();
//!
//! // The present members: all of them, or those of one client.
//! let members = presence.get().limit(50).await?;
//! assert_eq!(members.items().len(), 2);
//! let ada = presence.get().client_id("ada").await?;
//! assert_eq!(ada.items()[0].data.as_str(), Some("at her desk"));
//!
//! // Past events: members that entered, left or changed their data.
//! let events = presence.history().start(1_704_067_200_000).await?;
//! assert_eq!(events.items()[0].action, Some(PresenceAction::Enter));
//!
//! // Several channels in one request.
//! let result = rest.batch_presence(["lobby", "kitchen"]).await?;
//! for outcome in &result.results {
//!     match outcome {
//!         Ok(found) => println!("{}: {} present", found.channel, found.presence.len()),
//!         Err(failure) => println!("{}: {}", failure.channel, failure.error),
//!     }
//! }
//! assert_eq!(result.success_count, 2);
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

    /// Reads the present members when awaited (RSP3).
    pub fn get(&self) -> Query<PresenceMessage> {
        self.query("presence")
    }

    /// Reads past presence events when awaited, by default the newest first (RSP4).
    pub fn history(&self) -> Query<PresenceMessage> {
        self.query("presence/history")
    }

    fn query(&self, part: &str) -> Query<PresenceMessage> {
        Query::new(self.channel.pipeline(), self.channel.path(part))
            .with_cipher(self.channel.cipher())
    }
}
