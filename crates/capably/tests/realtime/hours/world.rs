//! The state of the service: messages of the channel and states of connections; and its invariants.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capably::Message;
use capably_protocol::{Millis, PublishResult, frame::Publish};
use fastrand::Rng;
use tokio::{sync::watch, time::Instant};

/// How long the state of a connection is kept without a transport.
const STATE_TTL: Duration = Duration::from_secs(120);

/// Counts of events over all runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) submitted: usize,
    pub(super) acknowledged: usize,
    pub(super) not_published: usize,
    pub(super) delivered: usize,
    pub(super) gaps: usize,
    pub(super) drops: usize,
    pub(super) silences: usize,
    pub(super) disconnected: usize,
    pub(super) expiries: usize,
    pub(super) refusals: usize,
    pub(super) black_holes: usize,
    pub(super) slow_dials: usize,
    pub(super) rejected_tokens: usize,
    pub(super) resumed: usize,
    pub(super) not_resumed: usize,
    pub(super) sent_again: usize,
    pub(super) repeated_by_id: usize,
    pub(super) suspended: usize,
}

impl Tally {
    fn fields(&mut self) -> [(&'static str, &mut usize); 18] {
        [
            ("submitted", &mut self.submitted),
            ("acknowledged", &mut self.acknowledged),
            ("not published", &mut self.not_published),
            ("delivered", &mut self.delivered),
            ("gaps", &mut self.gaps),
            ("drops", &mut self.drops),
            ("silences", &mut self.silences),
            ("disconnected", &mut self.disconnected),
            ("expiries", &mut self.expiries),
            ("refusals", &mut self.refusals),
            ("black holes", &mut self.black_holes),
            ("slow dials", &mut self.slow_dials),
            ("rejected tokens", &mut self.rejected_tokens),
            ("resumed", &mut self.resumed),
            ("not resumed", &mut self.not_resumed),
            ("sent again", &mut self.sent_again),
            ("repeated by id", &mut self.repeated_by_id),
            ("suspended", &mut self.suspended),
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for ((_, own), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *own += *more;
        }
    }

    /// Every count with its name.
    pub(super) fn counts(mut self) -> [(&'static str, usize); 18] {
        self.fields().map(|(name, count)| (name, *count))
    }
}

/// The service behind all sockets of a run.
pub(super) struct World {
    state: Mutex<State>,
    /// The number of messages.
    pub(super) grown: watch::Sender<usize>,
    healed: AtomicBool,
    start: Instant,
}

pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) tally: Tally,
    /// The messages of the channel, in order.
    log: Vec<Message>,
    positions: BTreeMap<String, usize>,
    /// The messages whose publish was acknowledged, with their positions.
    acknowledged: BTreeMap<String, usize>,
    /// The positions of attachments without continuity.
    starts: Vec<usize>,
    connections: BTreeMap<String, Connection>,
    keys: u64,
}

/// The state of a connection.
struct Connection {
    id: String,
    /// The accepted publishes, by their serials from 0: ids and results.
    accepted: Vec<(Vec<String>, PublishResult)>,
    /// How many publishes had failed when it accepted the last one.
    failed: usize,
    lost: Option<Instant>,
}

/// The answer to a client that connects.
pub(super) struct Welcome {
    pub(super) id: String,
    pub(super) key: String,
    /// The client requested a connection that no longer exists.
    pub(super) lost: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            rng: Rng::with_seed(seed),
            tally: Tally::default(),
            log: Vec::new(),
            positions: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            starts: Vec::new(),
            connections: BTreeMap::new(),
            keys: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            grown: watch::Sender::new(0),
            healed: AtomicBool::new(false),
            start: Instant::now(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Turns faults off.
    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::SeqCst)
    }

    /// True in this percentage of calls, while faults are on.
    pub(super) fn chance(&self, percent: u8) -> bool {
        !self.is_healed() && self.state().rng.u8(..100) < percent
    }

    /// A random time, in milliseconds.
    pub(super) fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.state().rng.u64(range))
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.state().tally);
    }

    /// The wall clock, in ms since the epoch.
    pub(super) fn wall(&self) -> Millis {
        1_700_000_000_000 + self.start.elapsed().as_millis() as Millis
    }

    /// The instant at which the wall clock has this value.
    pub(super) fn at(&self, wall: Millis) -> Instant {
        let left = (wall - self.wall()).max(0);
        Instant::now() + Duration::from_millis(left as u64)
    }

    /// Publishes the messages of a frame, and ignores repeated ones.
    pub(super) fn accept(&self, key: &str, publish: &Publish<Message>) -> PublishResult {
        let result = self.state().accept(key, publish);
        self.grown.send_replace(self.state().log.len());
        result
    }
}

impl State {
    /// The connection with this key if it still exists, otherwise a new one.
    pub(super) fn connect(&mut self, resume: Option<&str>, forget: bool) -> Welcome {
        let found = resume.and_then(|key| self.connections.remove(key));
        let kept =
            found.filter(|own| !forget && own.lost.is_none_or(|lost| lost.elapsed() < STATE_TTL));
        let lost = resume.is_some() && kept.is_none();
        self.tally.resumed += usize::from(kept.is_some());
        self.tally.not_resumed += usize::from(lost);
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let connection = kept.unwrap_or_else(|| Connection {
            id: format!("connection-{}", self.keys),
            accepted: Vec::new(),
            failed: self.tally.not_published,
            lost: None,
        });
        let id = connection.id.clone();
        self.connections.insert(key.clone(), Connection { lost: None, ..connection });
        Welcome { id, key, lost }
    }

    /// Whether the connection still has this key: the transport that got it is its latest.
    pub(super) fn is_current(&self, key: &str) -> bool {
        self.connections.contains_key(key)
    }

    /// The transport of a connection has ended.
    pub(super) fn lose(&mut self, key: &str) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.lost = Some(Instant::now());
        }
    }

    /// The connection is closed.
    pub(super) fn close(&mut self, key: &str) {
        self.connections.remove(key);
    }

    fn accept(&mut self, key: &str, publish: &Publish<Message>) -> PublishResult {
        let ids: Vec<_> =
            publish.items.iter().map(|item| item.id.as_deref().unwrap().to_owned()).collect();
        for id in &ids {
            assert!(!self.acknowledged.contains_key(id), "{id} is sent again though acknowledged");
        }
        let connection = self.connections.get_mut(key).unwrap();
        let serial = publish.msg_serial as usize;
        // A publish without an acknowledgement fails after the connectionStateTtl. The service may never have got its frame.
        let failed = std::mem::replace(&mut connection.failed, self.tally.not_published);
        let left_out = serial.saturating_sub(connection.accepted.len());
        assert!(left_out <= connection.failed - failed, "serial {serial} leaves some out");
        let never = || (Vec::new(), PublishResult::new(Vec::new()));
        connection.accepted.extend(std::iter::repeat_with(never).take(left_out));
        if let Some((before, result)) = connection.accepted.get(serial) {
            assert_eq!(*before, ids, "what is sent again with serial {serial} is the same");
            self.tally.sent_again += 1;
            return result.clone();
        }
        let mut serials = Vec::new();
        for (id, item) in ids.iter().zip(&*publish.items) {
            // Without its connection, a client does not know the accepted publishes. Ids identify repetitions (TM2a).
            let position = self.positions.get(id).copied().unwrap_or(self.log.len());
            self.tally.repeated_by_id += usize::from(position < self.log.len());
            if position == self.log.len() {
                self.log.push(item.clone());
                self.positions.insert(id.clone(), position);
            }
            serials.push(Some(serial_of(position).into()));
        }
        let result = PublishResult::new(serials);
        connection.accepted.push((ids, result.clone()));
        result
    }

    /// The message at this position, as it is delivered.
    pub(super) fn message(&self, position: usize) -> Message {
        let mut message = self.log[position].clone();
        message.serial = Some(serial_of(position).into());
        message
    }

    /// The number of messages.
    pub(super) fn end(&self) -> usize {
        self.log.len()
    }

    /// Records an attachment without continuity at this position.
    pub(super) fn begin(&mut self) -> usize {
        self.starts.push(self.log.len());
        self.log.len()
    }

    /// Whether an attachment without continuity began at this position.
    pub(super) fn began_at(&self, position: usize) -> bool {
        self.starts.contains(&position)
    }

    /// Records an acknowledged publish.
    pub(super) fn acknowledge(&mut self, id: &str, serial: &str) {
        let position = position_of(serial);
        assert_eq!(self.log[position].id.as_deref(), Some(id), "the receipt is of its message");
        let before = self.acknowledged.insert(id.to_owned(), position);
        assert_eq!(before, None, "{id} is acknowledged twice");
        self.tally.acknowledged += 1;
    }
}

/// The serial of a message, or of the channel before it.
pub(super) fn serial_of(position: usize) -> String {
    format!("{position:08}")
}

/// The position of a serial.
pub(super) fn position_of(serial: &str) -> usize {
    serial.parse().unwrap()
}
