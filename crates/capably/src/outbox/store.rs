//! The store of an outbox: what a database or another medium must implement.

use std::fmt;

use bytes::Bytes;
use capably_protocol::Millis;

use crate::Result;

/// A store of accepted publishes. [`FileOutbox`](super::FileOutbox) keeps them in a directory,
/// [`MemoryOutbox`](super::MemoryOutbox) in memory, for tests.
///
/// The client calls all methods on one thread that does nothing else, so they may block. A group of changes arrives in
/// one call: the cost of a commit is shared by the publishes that waited for it. The store decides nothing about order,
/// limits or retries.
///
/// # Errors
/// A store returns errors of its own, for example `Error::new(ErrorCode::INTERNAL_ERROR, 0, "…").with_source(error)`.
/// The publishes of a failed call are refused with that error. An implementation must leave nothing behind of a call
/// that fails: a program that has got the error may publish the message once more.
pub trait Outbox: fmt::Debug + Send + 'static {
    /// The number of entries and bytes that the store has. It must be cheap: it is called after every change.
    fn usage(&self) -> OutboxUsage;

    /// A number above the sequence numbers of all entries that the store has ever had.
    fn next_seq(&self) -> u64;

    /// Applies changes, in their order. When it returns, accepted and refused entries and marks of sent ones survive a
    /// crash. Removals may be lost in a crash until the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// When the changes cannot be stored. None of them has an effect then.
    fn write(&mut self, changes: &[OutboxChange]) -> Result<()>;

    /// The entries above a sequence number that are neither removed nor refused, in their order: at least one if there
    /// is any, and no more than that many entries and bytes.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&mut self, above: u64, entries: usize, bytes: usize) -> Result<Vec<OutboxEntry>>;

    /// The refused entries, each with its reason, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn refused(&mut self) -> Result<Vec<(OutboxEntry, Bytes)>>;

    /// Makes all changes survive a crash.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn sync(&mut self) -> Result<()>;
}

/// A publish in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The sequence number. It gives the order of publishes, and is never used again.
    pub seq: u64,
    /// When the publish was accepted, in ms since the epoch.
    pub accepted_at: Millis,
    /// When the publish may have been sent for the first time, in ms since the epoch; `None` if it certainly was not.
    pub sent_at: Option<Millis>,
    /// The publish, in a form that only the client reads. Payloads of a channel with a cipher are encrypted in it.
    pub payload: Bytes,
}

/// A change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxChange {
    /// Adds an entry. Its sequence number is above all earlier ones.
    Accept(OutboxEntry),
    /// From now on, entries up to `through` may have been sent. It sets `sent_at` where there is none.
    Sent {
        /// The last sequence number that may have been sent.
        through: u64,
        /// The time, in ms since the epoch.
        at: Millis,
    },
    /// Removes an entry, refused or not.
    Remove(u64),
    /// Moves an entry to the refused ones.
    Refuse {
        /// The entry.
        seq: u64,
        /// The reason, in a form that only the client reads.
        reason: Bytes,
    },
}

/// The contents of a store in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxUsage {
    /// The number of entries that wait for their acknowledgement.
    pub entries: u64,
    /// The bytes of their payloads.
    pub bytes: u64,
    /// When the oldest of them was accepted, in ms since the epoch.
    pub oldest: Option<Millis>,
    /// The number of refused entries.
    pub refused_entries: u64,
    /// The bytes of the payloads of refused entries.
    pub refused_bytes: u64,
}
