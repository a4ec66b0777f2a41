//! Presence: who is on a channel, and what they say of themselves (RTP).
//!
//! A member is a client on a connection: the same client on two connections is two members. Whoever has
//! entered stays until it leaves or its connection is gone; a member of this client that the service lost
//! in a drop is entered again by itself (RTP17).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use capably::{ClientOptions, PresenceAction, Realtime};
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = || {
//! #     ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false)
//! # };
//! let ada = Realtime::connect(options().client_id("ada")).await?;
//! let bob = Realtime::connect(options().client_id("bob")).await?;
//!
//! let room = ada.channels().get("room");
//! let mut events = room.presence().subscribe().await?;
//! bob.channels().get("room").presence().enter().data("writing").await?;
//! let event = events.next().await.ok_or("the subscription ended")?;
//! assert_eq!(event.action, Some(PresenceAction::Enter));
//! assert_eq!(event.client_id.as_deref(), Some("bob"));
//! assert_eq!(event.data.as_str(), Some("writing"));
//!
//! let members = room.presence().get().await?;
//! assert_eq!(members.len(), 1);
//! # Ok(())
//! # }
//! ```

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use super::Channel;
use crate::rest::{Query, RestPresence};

mod change;
mod members;

pub use super::subscribing::presence::{PresenceEvent, PresenceSubscription, SubscribePresence};
pub use change::PresenceChange;
pub use members::Members;

/// The presence of a channel (RTL9), from [`Channel::presence`].
///
/// See the [module](crate::realtime::presence) for an example.
#[derive(Clone, Copy, Debug)]
pub struct Presence<'a> {
    channel: &'a Channel,
}

impl<'a> Presence<'a> {
    pub(crate) fn new(channel: &'a Channel) -> Self {
        Self { channel }
    }

    /// Enters this client (RTP8). The channel is attached if it never was.
    pub fn enter(self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Enter, None)
    }

    /// Changes what this client says of itself; enters it if it has not (RTP9).
    pub fn update(self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Update, None)
    }

    /// Leaves (RTP10). Without data of its own, the last data goes along.
    pub fn leave(self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Leave, None)
    }

    /// Enters a client on its behalf, which a client without an identity of its own may (RTP14).
    pub fn enter_client(self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Enter, Some(client_id.into()))
    }

    /// Changes what a client says of itself, on its behalf (RTP15).
    pub fn update_client(self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Update, Some(client_id.into()))
    }

    /// Leaves on behalf of a client (RTP15).
    pub fn leave_client(self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Leave, Some(client_id.into()))
    }

    /// Asks who is present (RTP11).
    pub fn get(self) -> Members {
        Members::new(self.channel.clone())
    }

    /// Listens to members that enter, leave, or change their data (RTP6). Who was there before comes as
    /// [`PresenceAction::Present`].
    pub fn subscribe(self) -> SubscribePresence {
        SubscribePresence::new(self.channel)
    }

    /// Reads what members did over REST, the newest first unless said otherwise, when it is awaited
    /// (RTP12).
    pub fn history(self) -> Query<PresenceMessage> {
        RestPresence::new(self.channel.rest_channel()).history()
    }

    /// Whether it is known who is present: the sync that followed the last attach is complete (RTP13).
    pub fn sync_complete(self) -> bool {
        self.channel.shared.is_presence_synced()
    }
}

impl Channel {
    /// The channel's presence (RTL9).
    pub fn presence(&self) -> Presence<'_> {
        Presence::new(self)
    }
}
