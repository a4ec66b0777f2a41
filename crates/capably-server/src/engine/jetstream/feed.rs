//! The entries of followed channels.
//!
//! A node receives every entry of the cluster once, and picks those of its channels. One raft group orders all entries, and
//! any node can read as fast as such a group writes. So one subscription and one sequence serve any number of channels, and
//! a gap of any of them shows at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    super::{ChannelId, EngineError, Entry, Event, Position},
    api::Stored,
    events::Events,
    failure::CHECK,
    log::Log,
    names::{ChannelKey, Filter},
    scan::Scan,
    tap::{Incoming, Sink, Source, Tap},
};

/// How long a step of following a channel may wait for the brokers.
const REPLY: Duration = Duration::from_secs(10);
/// The number of entries that are reported together while a channel catches up.
const BACKLOG: usize = 500;
/// The most entries that a channel collects while it catches up, and their most bytes. Beyond these it drops them all, and
/// reads them from the stream later.
const MAX_COLLECTED: (usize, usize) = (1000, 1024 * 1024);

/// Follows channels.
#[derive(Debug)]
pub(super) struct Feed {
    log: Arc<Log>,
    commands: mpsc::UnboundedSender<Command>,
    /// Says of each followed channel whether its following has ended.
    ended: Mutex<HashMap<ChannelKey, Arc<AtomicBool>>>,
    task: JoinHandle<()>,
}

enum Command {
    /// Collects the entries of a channel from here on. The reply is the sequence of the newest entry before.
    Collect { key: ChannelKey, followed: Followed, started: oneshot::Sender<u64> },
    /// Reports older entries of a channel that collects; after the last of them the collected ones, and each later one
    /// at once. If so many were collected that they were dropped, the reply is the sequence of the newest entry by then, and
    /// the channel collects again.
    Report {
        key: ChannelKey,
        ended: Arc<AtomicBool>,
        entries: Vec<Entry>,
        is_last: bool,
        done: oneshot::Sender<Option<u64>>,
    },
    /// Forgets a channel whose following has ended.
    Forget { key: ChannelKey, ended: Arc<AtomicBool> },
}

/// The newest entries of a channel that catches up, in bounded memory.
#[derive(Default)]
struct Collected {
    entries: Vec<Entry>,
    bytes: usize,
    /// Whether there were too many. Then there are none.
    has_dropped: bool,
}

impl Collected {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.payload.len();
        let (most, most_bytes) = MAX_COLLECTED;
        if self.has_dropped || self.entries.len() == most || self.bytes > most_bytes {
            *self = Self { has_dropped: true, ..Self::default() };
        } else {
            self.entries.push(entry);
        }
    }
}

struct Followed {
    channel: ChannelId,
    /// The newest position that was reported.
    after: Position,
    /// The entries that wait for older ones; `None` when each is reported at once.
    collected: Option<Collected>,
    ended: Arc<AtomicBool>,
}

impl Feed {
    pub(super) async fn open(
        log: Arc<Log>,
        events: Arc<Events>,
        connects: watch::Receiver<u64>,
    ) -> Result<Self, EngineError> {
        let source = Source {
            stream: log.stream.clone(),
            subjects: log.names.log(),
            live: log.names.live(),
            is_listed: false,
        };
        let health = Some(Arc::clone(&events));
        let tap = Tap::open(&log.api, source, connects, health).await?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let channels = Channels { log: Arc::clone(&log), events, followed: HashMap::new() };
        let task = tokio::spawn(run(tap, channels, receiver));
        Ok(Self { log, commands, ended: Mutex::default(), task })
    }

    pub(super) async fn follow(
        &self,
        channel: &ChannelId,
        after: Position,
    ) -> Result<(), EngineError> {
        let mut following = self.begin(ChannelKey::new(channel));
        following.catch_up(channel, after).await?;
        following.is_live = true;
        Ok(())
    }

    /// Ends an earlier following of the channel, and prepares another.
    fn begin(&self, key: ChannelKey) -> Following<'_> {
        self.unfollow(&key);
        let ended = Arc::new(AtomicBool::new(false));
        self.ended().insert(key.clone(), Arc::clone(&ended));
        Following { feed: self, key, ended, is_live: false }
    }

    pub(super) fn unfollow(&self, key: &ChannelKey) {
        let ended = self.ended().remove(key);
        if let Some(ended) = ended {
            ended.store(true, Ordering::Release);
            // The task has ended only if the engine is closed.
            drop(self.send(Command::Forget { key: key.clone(), ended }));
        }
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelKey, Arc<AtomicBool>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| EngineError::Closed)
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A following that ends unless it gets as far as live entries: also when its future is dropped.
struct Following<'a> {
    feed: &'a Feed,
    key: ChannelKey,
    ended: Arc<AtomicBool>,
    is_live: bool,
}

impl Following<'_> {
    /// Reports the entries up to the newest, from where each is reported at once.
    async fn catch_up(&self, channel: &ChannelId, after: Position) -> Result<(), EngineError> {
        let followed = Followed {
            channel: channel.clone(),
            after,
            collected: Some(Collected::default()),
            ended: Arc::clone(&self.ended),
        };
        let (started, newest) = oneshot::channel();
        self.feed.send(Command::Collect { key: self.key.clone(), followed, started })?;
        let mut newest = reply(newest).await?;
        let log = &self.feed.log;
        let mut from = log.sequence(after).saturating_add(1);
        loop {
            let subjects = log.names.entries(&self.key, Filter::All);
            let scan = Scan::new(&log.api, &log.stream, subjects, from, newest);
            let mut scan = scan.up_to_committed();
            let mut entries = Vec::new();
            while let Some(stored) = scan.next().await? {
                entries.extend(log.decode(&stored)?.map(|decoded| decoded.entry));
                if entries.len() == BACKLOG {
                    self.report(std::mem::take(&mut entries), false).await?;
                }
            }
            let Some(later) = self.report(entries, true).await? else { return Ok(()) };
            from = newest.saturating_add(1);
            newest = later;
        }
    }

    async fn report(&self, entries: Vec<Entry>, is_last: bool) -> Result<Option<u64>, EngineError> {
        let (key, ended) = (self.key.clone(), Arc::clone(&self.ended));
        let (done, reported) = oneshot::channel();
        self.feed.send(Command::Report { key, ended, entries, is_last, done })?;
        reply(reported).await
    }
}

/// Waits for the task, which may be reading what it missed.
async fn reply<T>(reply: oneshot::Receiver<T>) -> Result<T, EngineError> {
    match timeout(REPLY, reply).await {
        Ok(reply) => reply.map_err(|_| EngineError::Closed),
        Err(_) => Err(EngineError::Unavailable(format!("JetStream does not deliver; {CHECK}"))),
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        if self.is_live {
            return;
        }
        self.ended.store(true, Ordering::Release);
        let mut all = self.feed.ended();
        if all.get(&self.key).is_some_and(|ended| Arc::ptr_eq(ended, &self.ended)) {
            all.remove(&self.key);
        }
        let (key, ended) = (self.key.clone(), Arc::clone(&self.ended));
        drop(self.feed.send(Command::Forget { key, ended }));
    }
}

async fn run(mut tap: Tap, mut channels: Channels, mut commands: mpsc::UnboundedReceiver<Command>) {
    loop {
        tokio::select! {
            // Commands first: under load there is always a message.
            biased;
            command = commands.recv() => match command {
                Some(command) => channels.command(command, tap.done()),
                None => return,
            },
            incoming = tap.wait() => {
                if matches!(incoming, Incoming::End) {
                    return;
                }
                tap.advance(incoming, &mut channels).await;
            }
        }
    }
}

struct Channels {
    log: Arc<Log>,
    events: Arc<Events>,
    followed: HashMap<Box<str>, Followed>,
}

impl Channels {
    fn command(&mut self, command: Command, done: u64) {
        match command {
            Command::Collect { key, followed, started } => {
                self.followed.insert(key.0, followed);
                let _ = started.send(done);
            }
            Command::Report { key, ended, entries, is_last, done: reported } => {
                if let Some(followed) = self.followed.get_mut(&key.0)
                    && Arc::ptr_eq(&followed.ended, &ended)
                {
                    entries.into_iter().for_each(|entry| followed.report(entry, &self.events));
                    let collected = is_last.then(|| followed.collected.take()).flatten();
                    let is_behind = collected.as_ref().is_some_and(|it| it.has_dropped);
                    for entry in collected.into_iter().flat_map(|it| it.entries) {
                        followed.report(entry, &self.events);
                    }
                    if is_behind {
                        followed.collected = Some(Collected::default());
                    }
                    let _ = reported.send(is_behind.then_some(done));
                }
            }
            Command::Forget { key, ended } => {
                if self
                    .followed
                    .get(&key.0)
                    .is_some_and(|followed| Arc::ptr_eq(&followed.ended, &ended))
                {
                    self.followed.remove(&key.0);
                }
            }
        }
    }
}

impl Sink for Channels {
    fn accept(&mut self, stored: Stored) {
        let Some((key, _)) = self.log.names.split(&stored.subject) else { return };
        let Some(followed) = self.followed.get_mut(key) else { return };
        match self.log.decode(&stored) {
            Ok(Some(decoded)) => match &mut followed.collected {
                Some(collected) => collected.push(decoded.entry),
                None => followed.report(decoded.entry, &self.events),
            },
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "an entry cannot be read"),
        }
    }

    fn wants_missed(&self) -> bool {
        !self.followed.is_empty()
    }
}

impl Followed {
    fn report(&mut self, entry: Entry, events: &Events) {
        if entry.position > self.after && !self.ended.load(Ordering::Acquire) {
            self.after = entry.position;
            events.report(Event::Committed(self.channel.clone(), entry));
        }
    }
}
