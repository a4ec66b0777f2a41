//! Engines: the log under the server, and small facts beside it.
//!
//! An engine orders, deduplicates and stores the entries of channels. Everything above it is the same for all engines.
//! An engine knows nothing of the protocol: payloads, names and keys are opaque to it.
//!
//! | | [`Memory`] | [`Disk`] | `JetStream` |
//! |---|---|---|---|
//! | for | tests | one machine that keeps its data | several machines |
//! | append | at once, in the call | group commit, one sync for everything that waits | publish, acknowledged by a quorum |
//! | follow | not needed | not needed | entries of all nodes, in order |
//!
//! [`Mesh`] is an engine in memory for several nodes of one process: it tests a cluster without a broker.

#[cfg(feature = "disk")]
mod disk;
mod error;
#[cfg(feature = "cluster")]
mod jetstream;
mod log;
mod memory;
mod mesh;
mod types;

use std::{fmt, future::Future, pin::Pin};

#[cfg(feature = "disk")]
pub use self::disk::{Disk, THREAD};
#[cfg(feature = "cluster")]
pub use self::jetstream::{JetStream, JetStreamBuilder};
pub use self::{
    error::EngineError,
    memory::Memory,
    mesh::{Mesh, MeshNode},
    types::{
        Announcement, Append, Appended, Bucket, ChannelId, Direction, Entry, Event, Fact, Kind,
        Position, Range, Thread,
    },
};

/// The result of an operation that may wait for a disk or a network.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// Receives the results of one [`append`](Engine::append), in the order of its entries.
pub type Completion = Box<dyn FnOnce(Vec<Result<Appended, EngineError>>) + Send>;

/// Receives the [`Event`]s of an engine that several nodes share.
pub type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// A log of channels, and facts.
///
/// All methods may be called from any thread, inside a tokio runtime. Dropping the engine closes it.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Appends entries, in this order, after those of earlier calls. Returns without waiting, and calls `done` once: within
    /// the call, or later from another thread.
    ///
    /// A result of `Ok` means that the entry is committed: it survives the end of the process and, as far as the engine
    /// can, of the machine. Results of several calls for the same channel arrive in the order of the calls. After an error
    /// it is unknown whether the entry is committed, unless the error [says so](EngineError::is_certain).
    ///
    /// Of several entries with the same [`id`](Append::id) on a channel, the engine commits the first. The others get the
    /// position of the first, with [`repeated`](Appended::repeated) set. The engine remembers an id for two minutes at
    /// least.
    fn append(&self, entries: Vec<Append>, done: Completion);

    /// Entries of a channel, in the order that the range asks for. No more than its limits allow, and at least one if
    /// there is any in the range.
    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>>;

    /// The entries that belong to these messages: their changes and annotations. Ordered by message, then by position; at
    /// most `limit` entries after `after`, which is the message and the position of the last entry of the page before.
    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: std::ops::RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>>;

    /// The position before the first entry of a channel at `time` or later, in ms since the epoch. All entries after it
    /// are at `time` or later, as far as the clocks of the nodes agree.
    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position>;

    /// The bounds of a channel's entries: the engine is complete after the first position, and the second is that of the
    /// newest entry, or the first if there is none.
    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)>;

    /// The value of a fact.
    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<bytes::Bytes>>;

    /// The facts of a bucket whose keys begin with `prefix`, ordered by key: at most `limit`, with keys after `after`.
    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>>;

    /// Sets facts, or removes those without a value, in this order. When it returns, they are as durable as entries, and
    /// every node reads them.
    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<bytes::Bytes>)>,
    ) -> Pending<'a, ()>;

    /// Sets a fact unless the key has a value. Returns whether it was set.
    fn create_fact<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        value: bytes::Bytes,
    ) -> Pending<'a, bool>;

    /// Waits until everything that was appended so far is committed or refused, and closes the engine. Later calls fail.
    fn close(&self) -> Pending<'_, ()>;

    /// Whether several nodes use this engine at the same time. Only then the methods below are called.
    fn is_shared(&self) -> bool {
        false
    }

    /// Sets the listener for events. It is called in order, for one event at a time.
    fn listen(&self, listener: Listener) {
        drop(listener);
    }

    /// Starts to report the entries of a channel after a position, those of this node among them, as
    /// [`Event::Committed`]: each once, in order, without a gap. When it returns, no later entry is missed.
    fn follow<'a>(&'a self, channel: &'a ChannelId, after: Position) -> Pending<'a, ()> {
        let _ = (channel, after);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Ends [`follow`](Self::follow).
    fn unfollow(&self, channel: &ChannelId) {
        let _ = channel;
    }

    /// Sends an announcement to all other nodes, which receive it as [`Event::Announced`]. It is not stored: a node that
    /// is away misses it.
    fn announce(&self, announcement: Announcement) {
        drop(announcement);
    }
}
