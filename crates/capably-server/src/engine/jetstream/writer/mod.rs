//! Appending entries: pipelined, in order, each at most once.
//!
//! Entries are published one after the other on one connection, up to a window, and brokers acknowledge each. As long as
//! nothing goes wrong, the leader of the stream takes them in this order. When an entry is refused for the moment, not
//! acknowledged in time, or the connection is lost, an entry published later may have been committed while an earlier one
//! was not. So publishing stops, and [`recovery`] finds out what was committed before it goes on.

mod recovery;
mod window;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{HeaderMap, HeaderValue, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use self::window::{Resolution, Window};
use super::{
    super::{Append, Appended, Completion, EngineError},
    api::{self, Acknowledged, MESSAGE_ID, TTL},
    failure::{CHECK, Failure, setup},
    log::Log,
    names::ChannelKey,
    record,
    retention::Retention,
};

/// The most entries that are published and not acknowledged.
const WINDOW: usize = 2048;
/// While the oldest entry is unacknowledged for longer, no more are published: the less there is under way when a leader
/// fails, the less has to be found out.
const STALL: Duration = Duration::from_millis(300);
/// After this time without an acknowledgement, it is taken as lost.
const LOST: Duration = Duration::from_secs(2);
/// The most bytes of payloads that wait for their commit. More are refused at once.
const WAITING_BYTES: usize = 256 * 1024 * 1024;
/// The most bytes of an entry's headers.
const HEAD: usize = 256;
/// How often deadlines are checked.
const TICK: Duration = Duration::from_millis(50);

/// Appends entries to the stream.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<Log>,
    timeout: Duration,
    /// The ids of entries that have none: a random text, and a counter.
    ids: (String, AtomicU64),
    /// The bytes of payloads that wait for their commit.
    waiting_bytes: Arc<AtomicUsize>,
    calls: mpsc::UnboundedSender<Input>,
    task: JoinHandle<()>,
}

enum Input {
    Append(Call),
    /// Replies when all earlier calls are done.
    Drain(oneshot::Sender<()>),
}

/// The entries of one call.
struct Call {
    items: Vec<Result<Item, EngineError>>,
    deadline: Instant,
    done: Completion,
}

/// An entry, ready to be published.
struct Item {
    subject: Subject,
    /// The part of the subject that stands for the channel ends here.
    channel_end: usize,
    id: String,
    /// Whether the id is one by which others may append the same entry.
    is_shared_id: bool,
    keep: Duration,
    payload: Bytes,
}

impl Item {
    fn channel(&self) -> &str {
        &self.subject.as_str()[..self.channel_end]
    }
}

impl Writer {
    pub(super) async fn open(
        log: Arc<Log>,
        retention: Retention,
        disconnects: watch::Receiver<u64>,
        timeout: Duration,
        node: String,
    ) -> Result<Self, Failure> {
        let inbox = log.api.client.new_inbox();
        let acknowledgements = log.api.client.subscribe(format!("{inbox}.*")).await;
        let (calls, inputs) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let state = State {
            log: Arc::clone(&log),
            retention,
            acknowledgements: acknowledgements.map_err(|error| Failure::odd(&error))?,
            inbox,
            inputs,
            disconnects,
            calls: VecDeque::new(),
            first_call: 0,
            queue: VecDeque::new(),
            window: Window::default(),
            waiting_bytes: Arc::clone(&waiting_bytes),
            newest: 0,
            fence: 0,
        };
        let task = tokio::spawn(state.run());
        Ok(Self { log, timeout, ids: (node, 0.into()), waiting_bytes, calls, task })
    }

    pub(super) fn append(&self, entries: Vec<Append>, done: Completion) {
        let items = entries.into_iter().map(|entry| self.item(entry)).collect();
        let call = Call { items, deadline: Instant::now() + self.timeout, done };
        if let Err(mpsc::error::SendError(Input::Append(call))) =
            self.calls.send(Input::Append(call))
        {
            (call.done)(call.items.iter().map(|_| Err(EngineError::Closed)).collect());
        }
    }

    fn item(&self, entry: Append) -> Result<Item, EngineError> {
        let Append { channel, id, kind, threads, time, keep, payload } = entry;
        let key = ChannelKey::new(&channel);
        let subject = self.log.names.entry(&key, kind, !threads.is_empty());
        let payload = record::encode(time, &threads, &payload)?;
        if self.waiting_bytes.fetch_add(payload.len(), Ordering::Relaxed) > WAITING_BYTES {
            self.waiting_bytes.fetch_sub(payload.len(), Ordering::Relaxed);
            return Err(EngineError::Full(
                "JetStream commits slower than entries arrive; too many wait already".into(),
            ));
        }
        let is_shared_id = id.is_some();
        let id = id.map_or_else(
            || {
                let number = self.ids.1.fetch_add(1, Ordering::Relaxed);
                format!("{}-{number:x}", self.ids.0)
            },
            |id| key.message_id(&id),
        );
        // Two tokens of one character follow the channel, with a dot before each.
        let channel_end = subject.len() - 4;
        Ok(Item { subject: subject.into(), channel_end, id, is_shared_id, keep, payload })
    }

    /// Waits until everything that was appended so far is committed or refused.
    pub(super) async fn drain(&self) {
        let (sender, drained) = oneshot::channel();
        if self.calls.send(Input::Drain(sender)).is_ok() {
            drop(drained.await);
        }
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct State {
    log: Arc<Log>,
    retention: Retention,
    acknowledgements: Subscriber,
    inbox: String,
    inputs: mpsc::UnboundedReceiver<Input>,
    disconnects: watch::Receiver<u64>,
    /// Calls that are not done, in their order.
    calls: VecDeque<Pending>,
    /// The number of the first of `calls`.
    first_call: u64,
    /// Entries that wait to be published.
    queue: VecDeque<Waiting>,
    window: Window,
    waiting_bytes: Arc<AtomicUsize>,
    /// The newest sequence that was acknowledged.
    newest: u64,
    /// The number of the last fence.
    fence: u64,
}

/// A call that waits for results.
enum Pending {
    Append { results: Vec<Option<Result<Appended, EngineError>>>, missing: usize, done: Completion },
    Drain(oneshot::Sender<()>),
}

/// An entry that waits for its result.
struct Waiting {
    item: Item,
    /// The number of its call, and its index there.
    call: u64,
    index: usize,
    deadline: Instant,
    /// How often it was published.
    attempts: u32,
}

/// An input of the writer.
enum Step {
    Continue,
    /// Something went wrong.
    Trouble,
    /// The fence with the current number was committed at a sequence, or refused.
    Fenced(Result<u64, Failure>),
    /// The engine is gone.
    End,
}

impl State {
    async fn run(mut self) {
        loop {
            if self.publish_queued().await.is_err() && self.recover().await.is_err() {
                return;
            }
            match self.step(Instant::now() + TICK).await {
                Step::Continue | Step::Fenced(_) => {}
                Step::Trouble => {
                    if self.recover().await.is_err() {
                        return;
                    }
                }
                Step::End => return,
            }
        }
    }

    /// Handles the next input, or waits until `until`.
    async fn step(&mut self, until: Instant) -> Step {
        let step = tokio::select! {
            biased;
            message = self.acknowledgements.next() => match message {
                Some(message) => self.acknowledge(&message),
                None => Step::End,
            },
            changed = self.disconnects.changed() => match changed {
                Ok(()) if self.window.is_empty() => Step::Continue,
                Ok(()) => Step::Trouble,
                Err(_) => Step::End,
            },
            input = self.inputs.recv() => match input {
                Some(input) => {
                    self.take(input);
                    // What else is there needs no further wake-up.
                    while self.queue.len() < WINDOW && let Ok(input) = self.inputs.try_recv() {
                        self.take(input);
                    }
                    Step::Continue
                }
                None => Step::End,
            },
            () = sleep_until(until) => Step::Continue,
        };
        let now = Instant::now();
        self.expire(now);
        let is_late = self.window.oldest().is_some_and(|sent| now.duration_since(sent) > LOST);
        if is_late && matches!(step, Step::Continue) { Step::Trouble } else { step }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Append(Call { items, deadline, done }) => {
                let call = self.first_call + self.calls.len() as u64;
                let (mut results, mut missing) = (Vec::with_capacity(items.len()), 0);
                for (index, item) in items.into_iter().enumerate() {
                    results.push(match item {
                        Ok(item) => {
                            missing += 1;
                            self.queue.push_back(Waiting {
                                item,
                                call,
                                index,
                                deadline,
                                attempts: 0,
                            });
                            None
                        }
                        Err(error) => Some(Err(error)),
                    });
                }
                self.calls.push_back(Pending::Append { results, missing, done });
            }
            Input::Drain(sender) => self.calls.push_back(Pending::Drain(sender)),
        }
        self.complete();
    }

    /// Publishes what waits, as far as the window allows.
    async fn publish_queued(&mut self) -> Result<(), Failure> {
        while !self.queue.is_empty() && self.window.len() < WINDOW && !self.is_stalled() {
            let Some(waiting) = self.queue.pop_front() else { break };
            if waiting.item.payload.len() + HEAD > self.log.api.client.max_payload() {
                self.resolve(&waiting, Err(too_large(waiting.item.payload.len())));
                continue;
            }
            match self.retention.allow(waiting.item.keep).await {
                Ok(()) => self.publish(waiting).await?,
                Err(failure) if failure.is_temporary() => {
                    self.queue.push_front(waiting);
                    return Err(failure);
                }
                Err(failure) => self.resolve(&waiting, Err(failure.error())),
            }
        }
        Ok(())
    }

    fn is_stalled(&self) -> bool {
        self.window.oldest().is_some_and(|sent| sent.elapsed() > STALL)
    }

    async fn publish(&mut self, mut waiting: Waiting) -> Result<(), Failure> {
        waiting.attempts += 1;
        let item = &waiting.item;
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, header(&item.id)?);
        if let Some(seconds) = self.retention.ttl(item.keep) {
            headers.insert(TTL, HeaderValue::from(seconds));
        }
        let (subject, payload) = (item.subject.clone(), item.payload.clone());
        let number = self.window.push(waiting, self.newest);
        let reply = format!("{}.{number}", self.inbox);
        let client = &self.log.api.client;
        let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
        sent.map_err(|error| Failure::odd(&error))
    }

    /// Handles an answer of the brokers.
    fn acknowledge(&mut self, message: &Message) -> Step {
        let token = message.subject.as_str().rsplit('.').next().unwrap_or_default();
        let answer: Result<Acknowledged, Failure> = api::parse(message);
        if let Some(fence) = token.strip_prefix('f') {
            return match answer {
                _ if fence.parse() != Ok(self.fence) => Step::Continue,
                answer => Step::Fenced(answer.map(|acknowledged| acknowledged.seq)),
            };
        }
        let Ok(number) = token.parse() else { return Step::Continue };
        match answer {
            Ok(acknowledged) => {
                self.newest = self.newest.max(acknowledged.seq);
                if let Some(waiting) = self.window.resolve(number, Resolution::Committed) {
                    let position = self.log.position(acknowledged.seq);
                    // A duplicate of an id that nobody else has is the entry's own first attempt.
                    let repeated = acknowledged.duplicate && waiting.item.is_shared_id;
                    self.resolve(&waiting, Ok(Appended { position, repeated }));
                }
                Step::Continue
            }
            // Of the many refusals of one failure, all but the first are about entries that are published again already.
            Err(failure) if failure.is_temporary() && self.window.has(number) => Step::Trouble,
            Err(failure) if failure.is_temporary() => Step::Continue,
            Err(failure) => {
                if let Some(waiting) = self.window.resolve(number, Resolution::Refused) {
                    let error = refused(failure, waiting.attempts);
                    self.resolve(&waiting, Err(error));
                }
                Step::Continue
            }
        }
    }

    /// Gives up what has waited for too long.
    fn expire(&mut self, now: Instant) {
        let late =
            || EngineError::Unavailable(format!("JetStream did not commit in time; {CHECK}"));
        while let Some(waiting) = self.window.pop_expired(now) {
            self.resolve(&waiting, Err(late()));
        }
        while self.queue.front().is_some_and(|waiting| waiting.deadline <= now) {
            let Some(waiting) = self.queue.pop_front() else { break };
            self.resolve(&waiting, Err(late()));
        }
    }

    fn resolve(&mut self, waiting: &Waiting, result: Result<Appended, EngineError>) {
        self.waiting_bytes.fetch_sub(waiting.item.payload.len(), Ordering::Relaxed);
        let index =
            waiting.call.checked_sub(self.first_call).and_then(|index| usize::try_from(index).ok());
        if let Some(Pending::Append { results, missing, .. }) =
            index.and_then(|index| self.calls.get_mut(index))
            && let Some(slot @ None) = results.get_mut(waiting.index)
        {
            *slot = Some(result);
            *missing -= 1;
            self.complete();
        }
    }

    /// Reports calls that have all results, in their order.
    fn complete(&mut self) {
        while matches!(
            self.calls.front(),
            Some(Pending::Append { missing: 0, .. } | Pending::Drain(_))
        ) {
            match self.calls.pop_front() {
                Some(Pending::Append { results, done, .. }) => {
                    done(results.into_iter().flatten().collect())
                }
                Some(Pending::Drain(sender)) => drop(sender.send(())),
                None => {}
            }
            self.first_call += 1;
        }
    }
}

impl Drop for State {
    /// Reports calls that are not done: the engine was dropped.
    fn drop(&mut self) {
        self.inputs.close();
        while let Ok(input) = self.inputs.try_recv() {
            self.take(input);
        }
        for call in self.calls.drain(..) {
            if let Pending::Append { results, done, .. } = call {
                let results = results.into_iter();
                done(results.map(|result| result.unwrap_or(Err(EngineError::Closed))).collect());
            }
        }
    }
}

/// The error of a refused entry. After a retry, an earlier attempt may have been committed.
fn refused(failure: Failure, attempts: u32) -> EngineError {
    match failure.error() {
        EngineError::Full(reason) if attempts > 1 => EngineError::Unavailable(reason),
        error => error,
    }
}

fn too_large(size: usize) -> EngineError {
    setup(format!(
        "an entry of {size} bytes is larger than the brokers allow; raise max_payload of nats-server"
    ))
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    text.parse().map_err(|_| Failure::Odd("an id with a line break".into()))
}
