//! The task that sends stored publishes, in their order, until each is acknowledged or refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use capably_core::{ConnectionState, ConnectionStateChange};
use capably_protocol::{ErrorCode, ErrorInfo, Message, Millis, PublishResult, Str, frame::Publish};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    OutboxEntry, OutboxHandle, OutboxPolicy, RefusedPublish, WhenUnsure,
    handle::{Counters, kept},
    once::{Doubt, RECOGNISED, Verdict, look_up},
    payload,
    worker::{Job, ReceiptSender, StoreEvent},
};
use crate::{
    Error, Recourse, Rest,
    realtime::{Changes, Command, StoredPublish, WeakDriverHandle},
    sync::lock,
};

/// The most bytes of publishes that the task has in memory.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The wait before a publish is sent again after an error, from the first to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The task. It ends with the client, or with the store.
pub(crate) struct OutboxSender {
    outbox: OutboxHandle,
    policy: OutboxPolicy,
    events: UnboundedReceiver<StoreEvent>,
    /// It does not keep the client alive.
    driver: WeakDriverHandle,
    rest: Rest,
    connection: Changes<ConnectionStateChange>,
    state: ConnectionState,
    /// Publishes that were read from the store, by sequence number.
    slots: BTreeMap<u64, Slot>,
    /// Those that are not sent, or must be sent again.
    unsent: BTreeSet<u64>,
    channels: BTreeMap<Str, ChannelPace>,
    receipts: BTreeMap<u64, ReceiptSender>,
    /// The last sequence number that was read from the store.
    read_through: u64,
    demanded: bool,
    /// The time before which the store is not asked again, after an error.
    demand_at: Option<Instant>,
    bytes: usize,
    in_flight: FuturesUnordered<InFlight>,
    lookups: FuturesUnordered<BoxFuture<'static, LookedUp>>,
    timer: Pin<Box<Sleep>>,
}

/// A publish in memory.
struct Slot {
    accepted_at: Millis,
    first_sent: Option<Millis>,
    size: usize,
    publish: Publish<Message>,
}

/// What holds back the publishes of a channel.
#[derive(Default)]
struct ChannelPace {
    in_flight: usize,
    /// The session in which those in flight were sent. In another one, publishes wait for them: one that has failed in
    /// between, and whose result was not read yet, would be overtaken.
    session: u64,
    /// Since the last error, publishes wait until those in flight have ended, and until this time.
    retry_at: Option<Instant>,
    failures: u32,
    /// Whether history is being read for it.
    is_looking_up: bool,
}

type Outcome = Result<PublishResult, ErrorInfo>;

/// A publish that was handed to the driver.
struct InFlight {
    seq: u64,
    result: oneshot::Receiver<Outcome>,
}

impl Future for InFlight {
    type Output = (u64, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.result.poll_unpin(cx));
        Poll::Ready((self.seq, result.unwrap_or_else(|_| Err(kept("the client has ended")))))
    }
}

/// The answer of history.
struct LookedUp {
    channel: Str,
    seqs: Vec<u64>,
    answer: crate::Result<Vec<(u64, Verdict)>>,
}

impl OutboxSender {
    pub(super) fn new(
        outbox: OutboxHandle,
        policy: OutboxPolicy,
        events: UnboundedReceiver<StoreEvent>,
        driver: WeakDriverHandle,
        rest: Rest,
        connection: Changes<ConnectionStateChange>,
    ) -> Self {
        Self {
            outbox,
            policy,
            events,
            driver,
            rest,
            connection,
            state: ConnectionState::Initialized,
            slots: BTreeMap::new(),
            unsent: BTreeSet::new(),
            channels: BTreeMap::new(),
            receipts: BTreeMap::new(),
            read_through: 0,
            demanded: false,
            demand_at: None,
            bytes: 0,
            in_flight: FuturesUnordered::new(),
            lookups: FuturesUnordered::new(),
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Sends publishes until the client or the store ends.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll_work(cx)).await;
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut busy = false;
            while let Poll::Ready(change) = self.connection.poll_next_unpin(cx) {
                let Some(change) = change else { return Poll::Ready(()) };
                self.connection_changed(change.current);
                busy = true;
            }
            while let Poll::Ready(Some((seq, outcome))) = self.in_flight.poll_next_unpin(cx) {
                self.settled(seq, outcome);
                busy = true;
            }
            while let Poll::Ready(Some(looked_up)) = self.lookups.poll_next_unpin(cx) {
                self.looked_up(looked_up);
                busy = true;
            }
            // Results first: they make room for what the store supplies.
            while let Poll::Ready(event) = self.events.poll_recv(cx) {
                let Some(event) = event else { return Poll::Ready(()) };
                self.supplied(event);
                busy = true;
            }
            self.demand();
            if self.state == ConnectionState::Connected {
                busy |= self.dispatch();
                busy |= self.poll_timer(cx);
            }
            if !busy {
                return Poll::Pending;
            }
        }
    }

    fn connection_changed(&mut self, state: ConnectionState) {
        if state == ConnectionState::Connected && self.state != state {
            // The reason of an earlier error may be gone with the connection.
            for pace in self.channels.values_mut() {
                pace.retry_at = None;
            }
        }
        self.state = state;
        if self.is_ended() {
            for (_, receipt) in std::mem::take(&mut self.receipts) {
                let _ = receipt.send(Err(kept("the connection has ended")));
            }
        }
    }

    /// Whether the connection stays as it is until the application connects.
    fn is_ended(&self) -> bool {
        matches!(self.state, ConnectionState::Closed | ConnectionState::Failed)
    }

    fn supplied(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Receipt(_, receipt) if self.is_ended() => {
                let _ = receipt.send(Err(kept("the connection has ended")));
            }
            StoreEvent::Receipt(seq, receipt) => {
                self.receipts.insert(seq, receipt);
            }
            StoreEvent::Entries(entries) => {
                self.demanded = false;
                for entry in entries {
                    self.add(entry);
                }
            }
            StoreEvent::Failed => {
                self.demanded = false;
                self.demand_at = Some(Instant::now() + FIRST_RETRY);
            }
        }
    }

    fn add(&mut self, entry: OutboxEntry) {
        let OutboxEntry { seq, accepted_at, sent_at, payload } = entry;
        self.read_through = self.read_through.max(seq);
        let Some(publish) = payload::decode(&payload) else {
            let error = ErrorInfo::new(
                ErrorCode::INVALID_DATA_OR_ENCODING,
                400,
                "the stored publish is not readable by this version of the library",
            );
            return self.refuse(seq, None, error);
        };
        let size = payload.len();
        self.bytes += size;
        self.slots.insert(seq, Slot { accepted_at, first_sent: sent_at, size, publish });
        self.unsent.insert(seq);
    }

    /// Asks the store for more, if there is room.
    fn demand(&mut self) {
        let room = self.policy.max_in_flight.saturating_sub(self.slots.len());
        let may_ask = !self.demanded && self.demand_at.is_none();
        let can_send = self.state == ConnectionState::Connected;
        if !may_ask || !can_send || room == 0 || self.bytes >= MAX_BYTES {
            return;
        }
        let bytes = MAX_BYTES - self.bytes;
        let demand = Job::Demand { above: self.read_through, entries: room, bytes };
        self.demanded = self.outbox.shared().jobs.send(demand).is_ok();
    }

    /// Sends what may be sent, in order. Publishes of a channel that waits do not hold back other channels. Returns
    /// whether it has started something, which must then be polled.
    fn dispatch(&mut self) -> bool {
        let Some(driver) = self.driver.upgrade() else { return false };
        let session = driver.shared.session();
        let now = self.now();
        let mut doubts: BTreeMap<Str, Vec<Doubt>> = BTreeMap::new();
        let mut sent = Vec::new();
        for seq in &self.unsent {
            let Some(slot) = self.slots.get_mut(seq) else { continue };
            let channel = &slot.publish.channel;
            if !self.channels.contains_key(channel) {
                self.channels.insert(channel.clone(), ChannelPace::default());
            }
            let Some(pace) = self.channels.get_mut(channel) else { continue };
            if pace.must_wait(session) {
                continue;
            }
            let first_sent = *slot.first_sent.get_or_insert(now);
            let left = RECOGNISED - (now - first_sent);
            if !(1..=RECOGNISED).contains(&left) || doubts.contains_key(channel) {
                // Later publishes of the channel wait for the answer, too: they must not overtake.
                if !(1..=RECOGNISED).contains(&left) {
                    let ids = slot.publish.items.iter().filter_map(|message| message.id.clone());
                    let doubt = Doubt { seq: *seq, ids: ids.collect(), first_sent };
                    doubts.entry(channel.clone()).or_default().push(doubt);
                } else if slot.first_sent == Some(now) {
                    slot.first_sent = None;
                }
                continue;
            }
            let (reply, result) = oneshot::channel();
            driver.send(Command::PublishStored(Box::new(StoredPublish {
                channel: channel.clone(),
                messages: Arc::clone(&slot.publish.items),
                params: slot.publish.params.clone(),
                session,
                // At most `RECOGNISED`.
                resend_for: Duration::from_millis(left as u64),
                reply,
            })));
            pace.in_flight += 1;
            pace.session = session;
            self.in_flight.push(InFlight { seq: *seq, result });
            sent.push(*seq);
        }
        for seq in &sent {
            self.unsent.remove(seq);
        }
        if !sent.is_empty() {
            self.count(|counters| counters.sent += sent.len() as u64);
        }
        let started = !sent.is_empty() || !doubts.is_empty();
        for (channel, doubts) in doubts {
            self.look_up(channel, doubts);
        }
        started
    }

    fn look_up(&mut self, channel: Str, doubts: Vec<Doubt>) {
        tracing::debug!(%channel, publishes = doubts.len(), "history is searched for publishes that may be there");
        if let Some(pace) = self.channels.get_mut(&channel) {
            pace.is_looking_up = true;
        }
        let (rest, clock) = (self.rest.clone(), self.outbox.shared().clock.clone());
        self.lookups.push(Box::pin(async move {
            let answer = look_up(&rest, &clock, &channel, &doubts).await;
            let seqs = doubts.iter().map(|doubt| doubt.seq).collect();
            LookedUp { channel, seqs, answer }
        }));
    }

    fn looked_up(&mut self, LookedUp { channel, seqs, answer }: LookedUp) {
        let Some(pace) = self.channels.get_mut(&channel) else { return };
        pace.is_looking_up = false;
        let verdicts = match answer {
            Ok(verdicts) => {
                pace.failures = 0;
                verdicts
            }
            Err(error) if error.recourse() != Recourse::Change => {
                pace.failed(Instant::now());
                return;
            }
            Err(error) => {
                tracing::warn!(%channel, error = %error.logged(), "history of the channel cannot be read");
                seqs.into_iter().map(|seq| (seq, Verdict::Unsure)).collect()
            }
        };
        for (seq, verdict) in verdicts {
            match verdict {
                Verdict::Published(serials) => {
                    self.unsent.remove(&seq);
                    self.acknowledged(seq, PublishResult::new(serials));
                }
                Verdict::Absent => self.send_as_new(seq),
                Verdict::Unsure => {
                    self.count(|counters| counters.unsure += 1);
                    match self.policy.when_unsure {
                        WhenUnsure::Send => self.send_as_new(seq),
                        WhenUnsure::Refuse => {
                            self.unsent.remove(&seq);
                            let slot = self.slots.remove(&seq);
                            self.refuse(seq, slot, unsure());
                        }
                    }
                }
            }
        }
    }

    /// The next time is the first for this publish.
    fn send_as_new(&mut self, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&seq) {
            slot.first_sent = None;
        }
    }

    fn settled(&mut self, seq: u64, outcome: Outcome) {
        let Some(slot) = self.slots.get(&seq) else { return };
        let pace = self.channels.entry(slot.publish.channel.clone()).or_default();
        pace.in_flight = pace.in_flight.saturating_sub(1);
        match outcome {
            Ok(result) => {
                if pace.retry_at.is_none() {
                    pace.failures = 0;
                }
                self.forget_if_idle(seq);
                self.acknowledged(seq, result);
            }
            Err(error) if is_final(&error) => {
                self.forget_if_idle(seq);
                let slot = self.slots.remove(&seq);
                self.refuse(seq, slot, error);
            }
            Err(error) => {
                tracing::debug!(seq, %error, "a stored publish will be sent again");
                pace.failed(Instant::now());
                self.unsent.insert(seq);
            }
        }
    }

    /// Nothing is remembered of a channel without publishes.
    fn forget_if_idle(&mut self, seq: u64) {
        let Some(slot) = self.slots.get(&seq) else { return };
        if self.channels.get(&slot.publish.channel).is_some_and(ChannelPace::is_idle) {
            self.channels.remove(&slot.publish.channel);
        }
    }

    fn acknowledged(&mut self, seq: u64, result: PublishResult) {
        if let Some(slot) = self.slots.remove(&seq) {
            self.bytes -= slot.size;
        }
        self.count(|counters| counters.acknowledged += 1);
        let _ = self.outbox.shared().jobs.send(Job::Acknowledged(seq));
        if let Some(receipt) = self.receipts.remove(&seq) {
            let _ = receipt.send(Ok(result));
        }
    }

    fn refuse(&mut self, seq: u64, slot: Option<Slot>, error: ErrorInfo) {
        tracing::warn!(seq, %error, "a stored publish is refused");
        self.count(|counters| counters.refused += 1);
        let shared = self.outbox.shared();
        let _ = shared.jobs.send(Job::Refuse { seq, reason: payload::encode_reason(&error) });
        if let Some(Slot { accepted_at, size, publish, .. }) = slot {
            self.bytes -= size;
            let messages = publish.items.to_vec();
            let error = Error::from(error.clone());
            let channel = publish.channel;
            shared.refusals.send(&RefusedPublish { seq, channel, messages, accepted_at, error });
        }
        if let Some(receipt) = self.receipts.remove(&seq) {
            let _ = receipt.send(Err(error));
        }
    }

    /// Sets the timer to the next time at which something can be tried again. Returns whether it has passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let mut busy = false;
        let mut next: Option<Instant> = None;
        // A channel that has publishes in flight waits for them first.
        let waiting = self.channels.values_mut().filter(|pace| pace.in_flight == 0);
        let times = waiting.map(|pace| &mut pace.retry_at).chain([&mut self.demand_at]);
        for time in times {
            let Some(at) = *time else { continue };
            if at <= now {
                *time = None;
                busy = true;
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        let Some(at) = next else { return busy };
        self.timer.as_mut().reset(at);
        busy | self.timer.as_mut().poll(cx).is_ready()
    }

    fn now(&self) -> Millis {
        self.outbox.shared().clock.now()
    }

    fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut lock(&self.outbox.shared().counters));
    }
}

impl Drop for OutboxSender {
    fn drop(&mut self) {
        // The client has ended, or its runtime.
        let shared = self.outbox.shared();
        let _ = shared.jobs.send(Job::Close(None));
        shared.refusals.end();
        for (_, receipt) in std::mem::take(&mut self.receipts) {
            let _ = receipt.send(Err(kept("the client has ended")));
        }
    }
}

impl ChannelPace {
    fn must_wait(&self, session: u64) -> bool {
        let is_between_sessions = self.in_flight > 0 && self.session != session;
        self.is_looking_up || self.retry_at.is_some() || is_between_sessions
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.retry_at.is_none() && !self.is_looking_up && self.failures == 0
    }

    fn failed(&mut self, now: Instant) {
        // Publishes that were in flight together fail together: they count once.
        if self.retry_at.is_none() {
            let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
            self.retry_at = Some(now + wait.min(LONGEST_RETRY));
            self.failures += 1;
        }
    }
}

/// Whether another attempt would fail, too: the error is about the message or the right to publish it. Errors of the
/// connection, the account or the service pass.
fn is_final(error: &ErrorInfo) -> bool {
    let code = error.code.0;
    matches!(code, 40000..=40099 | 40160..=40169 | 40300 | 40400 | 41300 | 42200..=42299 | 93000..=93999)
}

fn unsure() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::TIMEOUT_ERROR,
        408,
        "the service may have accepted the publish before, and history does not say so",
    )
}
