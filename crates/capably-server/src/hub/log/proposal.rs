//! Proposals: entries that are checked, and not committed yet.

use capably_protocol::{Annotation, Message, MessageVersion, Millis, PresenceMessage, Str};

use super::position::Position;
use crate::hub::ids::ConnectionId;

/// The place of a message: the position of the entry that created it, and its index there.
pub(crate) type Place = (Position, usize);

/// An entry that is checked, and not committed yet. It has everything that needs a clock, randomness or rights, so that
/// applying it is deterministic.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) channel: Str,
    /// The time of the proposal, in ms since the epoch.
    pub(crate) time: Millis,
    pub(crate) body: Body,
}

/// The content of a proposal. All items are in canonical form.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Messages(Items<Message>),
    Change(Box<Change>),
    Annotations(Items<Annotation>),
    Summary(Summary),
    Presence(Events),
    Departure(Departure),
}

/// Items that are published as one frame.
#[derive(Clone, Debug)]
pub(crate) struct Items<T> {
    /// The id of the frame. Without one, the id is made from the entry's position.
    pub(crate) id: Option<Str>,
    /// `None` for a REST request.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) items: Vec<T>,
}

/// A change of a message.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The message that is changed.
    pub(crate) at: Place,
    /// The id of the frame. Without one, the id is made from the entry's position.
    pub(crate) id: Option<Str>,
    /// `None` for a REST request.
    pub(crate) connection: Option<ConnectionId>,
    /// The fields that change. For an append, the data to add.
    pub(crate) message: Message,
    /// The version, without its serial.
    pub(crate) version: MessageVersion,
    /// The claim of the publisher.
    pub(crate) claim: Option<Str>,
    /// The largest size of the whole message, in bytes.
    pub(crate) max_size: usize,
}

/// New summaries of the annotations of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) at: Place,
    /// The largest size of the summaries, in bytes.
    pub(crate) max_size: usize,
}

/// Presence events of a client.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) connection: ConnectionId,
    pub(crate) msg_serial: u64,
    /// Whether an earlier copy of the frame was accepted. The events are then applied only to members that have left
    /// since, because their client was disconnected for too long.
    pub(crate) repeated: bool,
    pub(crate) items: Vec<PresenceMessage>,
    /// The most members of the channel.
    pub(crate) max_members: usize,
}

/// Members that leave without an event of their client.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    pub(crate) connection: ConnectionId,
    pub(crate) clients: Vec<Str>,
    /// Whether the client may come back and repeat its events, which then enter the members again.
    pub(crate) lapsed: bool,
}
