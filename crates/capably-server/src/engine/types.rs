//! The terms in which engines and the server speak.

use std::{fmt, time::Duration};

use bytes::Bytes;

/// A place in the log. Positions of a channel grow, across restarts and nodes too.
///
/// It is a time in ms since the epoch, times 1000, plus a counter. The time is that of the commit in an engine of one
/// machine; an engine of several machines counts up from the time of its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A channel of an app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The id of the app: letters, digits, `_` and `-`.
    pub app: Box<str>,
    /// The name of the channel: any text.
    pub name: Box<str>,
}

/// The message that an entry changes or annotates: the position of the entry that created it, and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread {
    /// The position of the entry that created the message.
    pub position: Position,
    /// The index of the message in that entry.
    pub index: u16,
}

/// The content of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// New messages.
    Messages = 0,
    /// A change of a message.
    Change = 1,
    /// Annotations of messages.
    Annotations = 2,
    /// Presence events.
    Presence = 3,
    /// Operations on objects.
    Objects = 4,
}

/// An entry to append.
#[derive(Clone)]
pub struct Append {
    /// The channel.
    pub channel: ChannelId,
    /// The id by which the engine recognises an entry that was appended before.
    pub id: Option<Box<str>>,
    /// The content of the entry.
    pub kind: Kind,
    /// The messages that the entry changes or annotates, if any.
    pub threads: Vec<Thread>,
    /// The time of the proposal, in ms since the epoch.
    pub time: i64,
    /// How long the entry is to be stored, at least.
    pub keep: Duration,
    /// The content, opaque to the engine.
    pub payload: Bytes,
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the entry, or of the earlier one with its id.
    pub position: Position,
    /// Whether an earlier entry has the same id. Then this one is not in the log.
    pub repeated: bool,
}

/// A committed entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub position: Position,
    /// The content of the entry.
    pub kind: Kind,
    /// The message that it belongs to, when it was found through [`threads`](super::Engine::threads).
    pub thread: Option<Thread>,
    /// The time of its proposal, in ms since the epoch.
    pub time: i64,
    /// The content.
    pub payload: Bytes,
}

/// The order of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

/// Selects entries of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Only entries after this position.
    pub after: Position,
    /// Only entries up to this position, included.
    pub until: Position,
    /// Only entries of this content; of any content if `None`.
    pub kind: Option<Kind>,
    /// The order.
    pub direction: Direction,
    /// The most entries.
    pub limit: usize,
    /// About the most bytes of payloads.
    pub max_bytes: usize,
}

/// A group of facts with the same purpose and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bucket {
    /// Apps with their keys and namespaces, and what the server is told at its start.
    Apps = 0,
    /// Revocations of tokens.
    Revocations = 1,
    /// The state of channels at a position.
    Snapshots = 2,
    /// Push registrations and subscriptions.
    Push = 3,
    /// Statistics.
    Stats = 4,
    /// Nonces of token requests.
    Nonces = 5,
    /// The nodes that are alive.
    Nodes = 6,
}

impl Bucket {
    /// How long a fact stays without being set again. `None` if it stays until it is removed.
    pub fn ttl(self) -> Option<Duration> {
        match self {
            Self::Apps | Self::Revocations | Self::Snapshots | Self::Push | Self::Stats => None,
            // A token request is accepted for at most two minutes before and after its timestamp.
            Self::Nonces => Some(Duration::from_secs(5 * 60)),
            Self::Nodes => Some(Duration::from_secs(10)),
        }
    }

    /// All buckets.
    pub const ALL: [Self; 7] = [
        Self::Apps,
        Self::Revocations,
        Self::Snapshots,
        Self::Push,
        Self::Stats,
        Self::Nonces,
        Self::Nodes,
    ];
}

/// A fact.
#[derive(Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its key. Any text.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

/// A message from one node to all others.
#[derive(Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The node that sent it.
    pub node: String,
    /// The content.
    pub payload: Bytes,
}

/// A change that an engine with several nodes reports.
#[derive(Clone)]
pub enum Event {
    /// An entry of a channel that this node follows.
    Committed(ChannelId, Entry),
    /// A fact has changed; it has no value any more if `None`. Facts of [`Bucket::Apps`], [`Bucket::Revocations`],
    /// [`Bucket::Push`] and [`Bucket::Nodes`] are reported, those that this node has set among them.
    FactChanged(Bucket, String, Option<Bytes>),
    /// An announcement of another node.
    Announced(Announcement),
    /// The engine cannot be reached. Appends wait or fail.
    Lost,
    /// The engine can be reached again. Announcements may have been missed meanwhile; entries, and facts that were set,
    /// removed or ended, follow.
    Regained,
}

// Payloads and facts can hold secrets, so their bytes are not shown.

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("channel", &self.channel)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("size", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("position", &self.position)
            .field("kind", &self.kind)
            .field("thread", &self.thread)
            .field("time", &self.time)
            .field("size", &self.payload.len())
            .finish()
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fact").field("key", &self.key).field("size", &self.value.len()).finish()
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement")
            .field("node", &self.node)
            .field("size", &self.payload.len())
            .finish()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(channel, entry) => {
                f.debug_tuple("Committed").field(channel).field(entry).finish()
            }
            Self::FactChanged(bucket, key, _) => {
                f.debug_tuple("FactChanged").field(bucket).field(key).finish_non_exhaustive()
            }
            Self::Announced(announcement) => {
                f.debug_tuple("Announced").field(announcement).finish()
            }
            Self::Lost => f.write_str("Lost"),
            Self::Regained => f.write_str("Regained"),
        }
    }
}
