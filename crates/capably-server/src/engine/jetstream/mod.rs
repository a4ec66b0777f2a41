//! An engine on NATS JetStream, for several servers that are one service.
//!
//! ```text
//! append ─► writer ─► stream <prefix>_log ─► replicas ─► acknowledgement ─► writer
//!                                └─► live subject ─► tap ─► feed ─► listener
//! read, threads, seek, bounds ─► log ─► scan ─► stream
//! facts ─► streams <prefix>_<bucket> ─► live subject ─► tap ─► listener
//! ```

mod announcements;
mod api;
mod clock;
mod events;
mod facts;
mod failure;
mod feed;
mod log;
mod names;
mod options;
mod record;
mod retention;
mod scan;
mod streams;
mod tap;
mod watch;
mod writer;

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::Client;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

pub use self::options::JetStreamBuilder;
use self::{
    announcements::{Announcements, Sender},
    api::Api,
    events::Events,
    facts::Facts,
    failure::{CHECK, setup},
    feed::Feed,
    log::Log,
    names::{ChannelKey, Names},
    options::Changes,
    retention::Retention,
    streams::Wanted,
    writer::Writer,
};
use super::{
    Announcement, Append, Bucket, ChannelId, Completion, Engine, EngineError, Entry, Fact,
    Listener, Pending, Position, Range, Thread,
};

/// How long to wait before another attempt to open the streams.
const RETRY: Duration = Duration::from_millis(250);

/// An engine on NATS JetStream.
///
/// All engines with the same brokers and the same prefix share their channels and facts. Brokers need version 2.9. From
/// 2.11 on, they remove each entry when its own time is over; older ones store all entries for as long as the longest.
///
/// ```no_run
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use capably_server::engine::JetStream;
///
/// let brokers = ["nats://one:4222", "nats://two:4222", "nats://three:4222"];
/// let engine = JetStream::builder(brokers).replicas(3).open().await?;
/// # drop(engine);
/// # Ok::<_, capably_server::engine::EngineError>(())
/// # }).unwrap();
/// ```
pub struct JetStream {
    log: Arc<Log>,
    writer: Writer,
    feed: Feed,
    facts: Arc<Facts>,
    announcements: Announcements,
    events: Arc<Events>,
    watches: Mutex<Vec<JoinHandle<()>>>,
    is_closed: AtomicBool,
}

/// The connected parts of an engine.
struct Parts {
    client: Client,
    /// The addresses, without credentials.
    hosts: String,
    changes: Changes,
    events: Arc<Events>,
    prefix: String,
    wanted: Wanted,
    timeout: Duration,
}

impl JetStream {
    /// Configures an engine. An address is one such as `nats://host:4222`, or `tls://user:password@host:4222`.
    pub fn builder<T: Into<String>>(addresses: impl IntoIterator<Item = T>) -> JetStreamBuilder {
        JetStreamBuilder::new(addresses.into_iter().map(Into::into).collect())
    }

    /// Opens the streams, until `deadline` if brokers are not ready.
    async fn start(parts: Parts, deadline: Instant) -> Result<Self, EngineError> {
        let mut reason = format!("the start takes too long; {CHECK}");
        // An attempt takes many requests, each of which a slow broker may answer in time.
        while let Ok(result) = timeout_at(deadline, Self::try_start(&parts)).await {
            match result {
                Err(EngineError::Unavailable(why)) => reason = why,
                result => return result,
            }
            if Instant::now() + RETRY >= deadline {
                break;
            }
            sleep(RETRY).await;
        }
        if parts.client.server_info().jetstream {
            Err(EngineError::Unavailable(format!("brokers at {}: {reason}", parts.hosts)))
        } else {
            Err(setup(format!("JetStream is off at {}; start nats-server with -js", parts.hosts)))
        }
    }

    async fn try_start(parts: &Parts) -> Result<Self, EngineError> {
        let Parts { client, changes, events, prefix, wanted, timeout, .. } = parts;
        let Changes { connects, disconnects } = changes;
        let api = Api { client: client.clone(), patience: *timeout };
        let names = Names::new(prefix);
        let (info, base) = streams::open_log(&api, &names, *wanted).await?;
        let buckets = Bucket::ALL.map(|bucket| streams::open_bucket(&api, &names, bucket, *wanted));
        try_join_all(buckets).await?;
        streams::check_clock(&api, &names).await?;

        let sender = random()?;
        let node = URL_SAFE_NO_PAD.encode(sender);
        let log = Arc::new(Log { stream: names.log_stream(), api, names, base });
        let retention = Retention::new(log.api.clone(), log.stream.clone(), &info);
        let writer =
            Writer::open(Arc::clone(&log), retention, disconnects.clone(), *timeout, node.clone());
        let writer = writer.await?;
        let feed = Feed::open(Arc::clone(&log), Arc::clone(events), connects.clone()).await?;
        let facts = Arc::new(Facts::new(Arc::clone(&log), *timeout, node));
        let watched = Bucket::ALL.into_iter().filter(|bucket| facts::is_watched(*bucket));
        let watches = try_join_all(
            watched.map(|bucket| watch::watch(&log, bucket, Arc::clone(events), connects.clone())),
        );
        let watches = Mutex::new(watches.await?);
        let announcements = Announcements::open(&log, Arc::clone(events), sender).await?;
        let events = Arc::clone(events);
        let is_closed = AtomicBool::new(false);
        Ok(Self { log, writer, feed, facts, announcements, events, watches, is_closed })
    }

    fn check_open(&self) -> Result<(), EngineError> {
        if self.is_closed.load(Ordering::Acquire) { Err(EngineError::Closed) } else { Ok(()) }
    }

    /// An operation that fails when the engine is closed.
    fn open<'a, T>(
        &'a self,
        operation: impl Future<Output = Result<T, EngineError>> + Send + 'a,
    ) -> Pending<'a, T> {
        Box::pin(async {
            self.check_open()?;
            operation.await
        })
    }

    fn stop(&self) {
        self.writer.stop();
        self.feed.stop();
        self.announcements.stop();
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.iter().for_each(JoinHandle::abort);
    }
}

impl Engine for JetStream {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        match self.check_open() {
            Ok(()) => self.writer.append(entries, done),
            Err(error) => done(entries.iter().map(|_| Err(error.clone())).collect()),
        }
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.open(self.log.read(channel, range))
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.open(self.log.threads(channel, messages, after, limit))
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.open(self.log.seek(channel, time))
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        self.open(self.log.bounds(channel))
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.open(self.facts.get(bucket, key))
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.open(self.facts.list(bucket, prefix, after, limit))
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        self.open(self.facts.set(bucket, facts))
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.open(self.facts.create(bucket, key, value))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            if self.is_closed.swap(true, Ordering::AcqRel) {
                return Err(EngineError::Closed);
            }
            self.writer.drain().await;
            self.stop();
            Ok(())
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn listen(&self, listener: Listener) {
        self.events.listen(listener);
    }

    fn follow<'a>(&'a self, channel: &'a ChannelId, after: Position) -> Pending<'a, ()> {
        self.open(self.feed.follow(channel, after))
    }

    fn unfollow(&self, channel: &ChannelId) {
        self.feed.unfollow(&ChannelKey::new(channel));
    }

    fn announce(&self, announcement: Announcement) {
        self.announcements.send(announcement);
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("stream", &self.log.stream)
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

/// Random bytes that tell this engine from all others.
fn random() -> Result<Sender, EngineError> {
    let mut random = Sender::default();
    getrandom::fill(&mut random).map_err(|error| setup(format!("no random numbers: {error}")))?;
    Ok(random)
}
