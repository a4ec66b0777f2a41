//! Proposals: entries that are checked, and not committed yet.

use std::time::Duration;

use capably_protocol::{
    Annotation, Message, MessageVersion, Millis, ObjectMessage, PresenceMessage, Str,
};

use super::{OVERHEAD, position::Position};
use crate::hub::ids::{ConnectionId, NodeId};

/// The place of a message: the position of the entry that created it, and its index there.
pub(crate) type Place = (Position, usize);

/// The number of a proposal that waits for the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// The node of a cluster that has proposed an entry, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proposer {
    pub(crate) node: NodeId,
    pub(crate) ticket: Ticket,
}

/// An entry that is checked, and not committed yet. It has everything that needs a clock, randomness or rights, so that
/// applying it is deterministic.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) channel: Str,
    /// The time of the proposal, in ms since the epoch.
    pub(crate) time: Millis,
    /// `None` if one server alone uses the engine.
    pub(crate) proposer: Option<Proposer>,
    pub(crate) body: Body,
}

/// The type of a proposal's content, for those who count it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Messages, and what belongs to messages.
    Messages,
    /// Presence events of a connection on a channel.
    Presence(ConnectionId, Str),
    /// Operations on objects.
    Objects,
}

impl Proposal {
    /// The type of the content.
    pub(crate) fn about(&self) -> About {
        match (self.presence(), &self.body) {
            (Some((connection, channel)), _) => About::Presence(connection, channel),
            (None, Body::Objects(_)) => About::Objects,
            (None, _) => About::Messages,
        }
    }

    /// The connection and the channel of presence events.
    pub(crate) fn presence(&self) -> Option<(ConnectionId, Str)> {
        match &self.body {
            Body::Presence(events) => Some((events.connection.clone(), self.channel.clone())),
            _ => None,
        }
    }
}

impl Body {
    /// Whether the members of the channel change.
    pub(crate) fn is_about_members(&self) -> bool {
        matches!(self, Self::Presence(_) | Self::Departure(_) | Self::Adoption(_))
    }

    /// Whether it changes what the hub has of a channel beside its log: members or objects.
    pub(crate) fn is_about_state(&self) -> bool {
        self.is_about_members() || matches!(self, Self::Objects(_))
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        fn of<T>(items: &[T], size: impl Fn(&T) -> usize) -> usize {
            items.iter().map(|item| OVERHEAD + size(item)).sum()
        }
        let items = match self {
            Self::Messages(frame) => of(&frame.items, Message::size),
            Self::Change(change) => OVERHEAD + change.message.size(),
            Self::Annotations(frame) => of(&frame.items, Annotation::size),
            Self::Presence(events) => of(&events.items, PresenceMessage::size),
            Self::Departure(departure) => of(&departure.members, PresenceMessage::size),
            Self::Objects(operations) => of(&operations.frame.items, ObjectMessage::size),
            Self::Summary(_) | Self::Adoption(_) => 0,
        };
        OVERHEAD + items
    }

    /// Whether the publisher has to wait until the committed entry is applied: it can turn out to have no effect, because
    /// another node was faster, or there can be more members than those that leave.
    pub(crate) fn has_verdict(&self) -> bool {
        matches!(self, Self::Change(_) | Self::Presence(_) | Self::Departure(_))
    }
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
    Adoption(Adoption),
    Objects(Operations),
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

/// Operations on the objects of a channel; without any, a collection of what was deleted a grace period ago.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    pub(crate) frame: Items<ObjectMessage>,
    /// How long deleted objects and entries stay. The nodes collect them by this time and that of the entry, so they agree.
    pub(crate) grace: Duration,
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
    /// The time for which the members stay while their client is disconnected.
    pub(crate) remain: Duration,
    /// Set when the engine has an earlier copy of the frame, whose members have left since because their client was
    /// disconnected for too long: the position of that copy.
    pub(crate) again: Option<Position>,
}

/// Members that leave without an event of their client.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    pub(crate) connection: ConnectionId,
    /// The members as they were when the departure was proposed, with the ids of their last events. The LEAVE events have their
    /// data, on a node that does not know the members too. See [`leaving`](crate::hub::presence::leaving).
    pub(crate) members: Vec<PresenceMessage>,
    /// Whether an earlier copy was refused. The client may have entered members since, so only those leave whose last
    /// event is still the same.
    pub(crate) repeated: bool,
    /// Whether the client may come back and repeat its events, which then enter the members again.
    pub(crate) lapsed: bool,
    /// In a cluster: only members leave that this owner has. Without an owner, it is the wish of the client, and all
    /// leave.
    pub(crate) owner: Option<Owner>,
}

/// The node that serves the connection of members on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) node: NodeId,
    /// The entry with which the node became the owner.
    pub(crate) since: Position,
}

/// The connection of members is served by another node of the cluster, the proposer. It becomes their owner.
#[derive(Clone, Debug)]
pub(crate) struct Adoption {
    pub(crate) connection: ConnectionId,
    /// The time for which the members stay while their client is disconnected.
    pub(crate) remain: Duration,
}
