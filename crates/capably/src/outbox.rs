//! The durable outbox: a publish is stored before it counts as accepted, and sent until the service has it.
//!
//! [The guide](crate::guide::outbox) explains how to use it and what it guarantees. This page is its design.
//!
//! # Parts
//!
//! ```text
//! publish ─► job ─► thread with the Outbox store ── entries ─► sender task ── commands ─► driver ─► service
//!    ▲                      │      ▲                             │    ▲                     │
//!    └── accepted ──────────┘      └── acknowledged, refused ────┘    └── result ───────────┘
//! ```
//!
//! A thread owns the store, so that the runtime never waits for a disk. It applies all jobs that wait in one write
//! (group commit), and then answers them. The sender demands entries as it has room for, at most
//! [`max_in_flight`](OutboxPolicy::max_in_flight) and 8 MiB. Publishes that were stored while the client was away stay
//! on disk until then. The bytes in the store and in the queue of the thread together have the limit of the outbox, so a
//! slow disk does not fill the memory. Without the option [`outbox`](crate::ClientOptions::outbox) none of this exists,
//! and a publish costs one comparison more.
//!
//! # Order and repetition
//!
//! Entries have sequence numbers, and the sender sends in their order, those of an earlier process first. It sends
//! only while the client is connected. After an error that may pass, the channel of the publish waits until those in
//! flight have ended, and for 0.5 s to 30 s; then it continues with its oldest publish. Other channels go on. An error
//! that is about the message or the right to publish moves the entry to the refused ones.
//!
//! Every message has an id (RSL1k1), and the service recognises an id for two minutes. The store therefore knows when
//! an entry *may* have been sent for the first time: a mark is stored before the entry is handed to the sender, in the
//! same write if it is sent at once. Within 110 s of that time, an entry may be sent again. Later, the sender searches
//! history for the ids first. The core sends a frame again on another connection only within that time, too.
//!
//! # The file
//!
//! [`FileOutbox`] appends to one log. Each record has a checksum over its content, its place in the file and the file's
//! random salt, and states how much of the file was synced when it was written. Entries, marks and refusals are synced
//! before anybody is told; acknowledgements with the next sync, at the latest after a second. Such a sync appends a
//! record which shows that all before it is synced.
//!
//! When the log is opened, the part after the last valid record is cut off, as the incomplete end of the last write. If
//! a later record is valid and states that the unreadable part had been synced, this is damage: opening fails with the
//! numbers of readable publishes, and [`FileOutbox::repair`] keeps them. When more than half of the log (and 8 MiB) is
//! of removed entries, the log is written anew and takes the place of the old one. There is one log and no segments:
//! one publish that is not acknowledged for days would hold a whole segment, and an old segment could not be dropped
//! before all acknowledgements in it were.
//!
//! A failed write is cut off again, and its publishes are refused. If it cannot be cut off, or if a sync has failed, the
//! next write begins with a new file: the system may have dropped what it could not write. An index in memory has the
//! place of each entry.

use std::{
    fmt,
    sync::{Arc, Mutex, mpsc as std_mpsc},
};

use capably_core::ConnectionStateChange;
use capably_protocol::ErrorCode;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

pub(crate) mod file;
mod handle;
mod index;
mod memory;
mod once;
mod payload;
mod policy;
mod room;
mod sender;
mod store;
mod worker;

pub use file::{Durability, FileOutbox, OutboxRepair};
pub use handle::{OutboxHandle, OutboxMetrics, RefusedPublish};
pub use memory::MemoryOutbox;
pub use policy::{OutboxPolicy, WhenFull, WhenUnsure};
pub use store::{Outbox, OutboxChange, OutboxEntry, OutboxUsage};

use self::{
    handle::{Counters, OutboxShared},
    room::Room,
    sender::OutboxSender,
    worker::{StoreEvent, StoreState, Worker},
};
use crate::{
    ClientOptions, Error, Rest, Result,
    options::Config,
    realtime::{ChangeSender, Changes, WeakDriverHandle},
    sync::lock,
};

/// The outbox of a client's options. Clones share the store, which the first client takes.
#[derive(Clone)]
pub(crate) struct OutboxSlot {
    pub(crate) store: Arc<Mutex<Option<Box<dyn Outbox>>>>,
    pub(crate) policy: OutboxPolicy,
}

impl OutboxSlot {
    pub(crate) fn new(store: Option<Box<dyn Outbox>>, policy: OutboxPolicy) -> Self {
        Self { store: Arc::new(Mutex::new(store)), policy }
    }
}

impl fmt::Debug for OutboxSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = lock(&self.store);
        f.debug_struct("Outbox").field("store", &store).field("policy", &self.policy).finish()
    }
}

/// Publishes over REST do not go through an outbox: a program that waits for the response has the result.
///
/// # Errors
/// Code 40000 if the options have an outbox.
pub(crate) fn refuse_for_rest(options: &ClientOptions) -> Result<()> {
    if options.outbox.is_none() {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BAD_REQUEST, 0, "a REST client cannot use an outbox")
        .with_remedy("publish over a `Realtime` client, or remove the option `outbox`"))
}

/// An outbox whose thread runs, before its client exists.
pub(crate) struct PreparedOutbox {
    handle: OutboxHandle,
    policy: OutboxPolicy,
    events: mpsc::UnboundedReceiver<StoreEvent>,
}

impl PreparedOutbox {
    /// Takes the store of the options, and starts its thread.
    ///
    /// # Errors
    /// 40000 if there is no store, or another client has taken it; 50000 if the thread cannot be started.
    pub(crate) fn start(
        store: &Mutex<Option<Box<dyn Outbox>>>,
        policy: OutboxPolicy,
        config: &Config,
        runtime: &Handle,
    ) -> Result<Self> {
        let Some(store) = lock(store).take() else {
            let message = "the options have no outbox that another client has not taken";
            return Err(Error::new(ErrorCode::BAD_REQUEST, 0, message)
                .with_remedy("open the store once more, and set it with `ClientOptions::outbox`"));
        };
        let (jobs, received) = std_mpsc::channel();
        let (sent, events) = mpsc::unbounded_channel();
        // What an earlier process left behind counts from the start: a flush waits for it.
        let state = StoreState { usage: store.usage(), ..StoreState::default() };
        let (state, changes) = watch::channel(state);
        let clock = config.options.clock.clone();
        let next_seq = store.next_seq().max(1);
        let room = Room::new(policy.max_bytes, policy.when_full, store.usage().bytes);
        let room = Arc::new(room);
        worker::start(Worker {
            store,
            policy: policy.clone(),
            clock: clock.clone(),
            jobs: received,
            events: sent,
            state,
            room: Arc::clone(&room),
            demand: None,
            next_seq,
            highest: next_seq - 1,
            unwritten: Vec::new(),
            unsynced: false,
        })?;
        let handle = OutboxHandle::new(OutboxShared {
            jobs,
            room,
            state: changes,
            counters: Mutex::new(Counters::default()),
            refusals: ChangeSender::new(),
            runtime: runtime.clone(),
            clock,
            max_message_size: config.options.max_message_size,
        });
        Ok(Self { handle, policy, events })
    }

    pub(crate) fn handle(&self) -> OutboxHandle {
        self.handle.clone()
    }

    pub(crate) fn sender(
        self,
        driver: WeakDriverHandle,
        rest: Rest,
        connection: Changes<ConnectionStateChange>,
    ) -> OutboxSender {
        let Self { handle, policy, events } = self;
        OutboxSender::new(handle, policy, events, driver, rest, connection)
    }
}
