//! Presence: the members of a channel and their data (RTP).
//!
//! A member is a client on a connection: a client with two connections is two members. A member stays until it
//! leaves or its connection ends. If the service loses a member of this client, the client enters it again
//! automatically (RTP17).
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
mod subscription;

pub use change::PresenceChange;
pub use members::Members;
pub use subscription::{PresenceEvent, PresenceSubscription, SubscribePresence};

/// The presence of a channel (RTL9), from [`Channel::presence`].
///
/// See the [module](crate::realtime::presence) for an example.
#[derive(Clone, Debug)]
pub struct Presence {
    channel: Channel,
}

impl Presence {
    /// Enters this client when awaited (RTP8). Attaches the channel if it was never attached.
    pub fn enter(&self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Enter, None)
    }

    /// Changes the data of this client when awaited; enters the client if it is not present (RTP9).
    pub fn update(&self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Update, None)
    }

    /// Leaves when awaited (RTP10). Without new data, the leave event has the last data.
    pub fn leave(&self) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Leave, None)
    }

    /// Enters another client when awaited. This client must not have a client id of its own (RTP14).
    pub fn enter_client(&self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Enter, Some(client_id.into()))
    }

    /// Changes the data of another client when awaited (RTP15).
    pub fn update_client(&self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Update, Some(client_id.into()))
    }

    /// Leaves on behalf of another client when awaited (RTP15).
    pub fn leave_client(&self, client_id: impl Into<Str>) -> PresenceChange {
        PresenceChange::new(self.channel.clone(), PresenceAction::Leave, Some(client_id.into()))
    }

    /// Gets the present members when awaited (RTP11).
    pub fn get(&self) -> Members {
        Members::new(self.channel.clone())
    }

    /// Subscribes, when awaited, to members that enter, leave, or change their data (RTP6). Members that were present
    /// before arrive with the action [`PresenceAction::Present`].
    pub fn subscribe(&self) -> SubscribePresence {
        SubscribePresence::new(&self.channel)
    }

    /// Reads past presence events over REST when awaited, by default the newest first (RTP12).
    pub fn history(&self) -> Query<PresenceMessage> {
        RestPresence::new(self.channel.rest_channel()).history()
    }

    /// Whether the members are known: the sync after the last attach is complete (RTP13).
    pub fn sync_complete(&self) -> bool {
        self.channel.shared.is_presence_synced()
    }
}

impl Channel {
    /// The channel's presence (RTL9).
    pub fn presence(&self) -> Presence {
        Presence { channel: self.clone() }
    }
}
