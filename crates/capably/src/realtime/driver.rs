//! The driver: the task that gives the core its socket, its clock and its tasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use capably_core::{
    AuthId, ChannelId, Client, ConnectRequest, ConnectionState, Event, Instant, Now, Output,
    TokenNeed, TransportId,
};
use capably_protocol::Limits;
use slab::Slab;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as TokioInstant, Sleep, sleep_until},
};

use self::{
    channel_entry::ChannelEntry,
    full_queues::FullQueues,
    link::{Link, dial_request, max_frame_size},
    network::NetworkChange,
    operation::Operation,
    sleep::SleepDetector,
    tasks::{TaskOutput, Tasks},
};
use crate::{
    options::Config, realtime::publishing::Settlement, rest::Pipeline, transport::Connector,
};

mod channel_entry;
mod command;
mod dispatch;
mod events;
mod full_queues;
mod handle;
mod link;
mod network;
mod operation;
mod shared;
mod sleep;
mod tasks;

pub(crate) use command::{Command, PublishCommand, Reply, StoredPublish};
pub(crate) use handle::{DriverHandle, WeakDriverHandle, gone, received};
pub(super) use network::NetworkWatch;
pub(crate) use shared::{ConnectionSnapshot, SharedState};

/// Rounds of work before the driver yields: a busy connection must not starve the other tasks of its thread.
const ROUNDS: usize = 16;

/// One task that owns the core, the socket, the table of pending operations and one timer.
///
/// It has no sender of commands itself. When the last handle is dropped, it closes the connection and ends.
pub(crate) struct Driver {
    core: Client,
    tasks: Tasks,
    connector: Arc<dyn Connector>,
    shared: Arc<SharedState>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Empty between rounds; it saves an allocation in each.
    inbox: Vec<Command>,
    /// Whether the last handle was dropped.
    abandoned: bool,
    link: Link,
    operations: Slab<Operation>,
    channels: BTreeMap<ChannelId, ChannelEntry>,
    full_queues: FullQueues,
    /// The channels with listeners that are behind.
    lagging: BTreeSet<ChannelId>,
    /// Whether items were delivered to a channel in this round.
    delivered: bool,
    start: TokioInstant,
    sleep: Pin<Box<Sleep>>,
    sleep_detector: SleepDetector,
    network: Option<NetworkWatch>,
    /// Units of the publish window to release after the current round: one wake-up for many publishes.
    permits: usize,
    /// Results of publishes that their receipts do not have yet. Empty between rounds.
    settled: Vec<Settlement>,
    /// Empty between rounds; it saves an allocation in each.
    wakers: Vec<Waker>,
    /// Replies to send once the connection is not closing any more.
    closing: Vec<oneshot::Sender<()>>,
    /// Replies to send once the effects of all earlier commands are visible.
    settling: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(
        core: Client,
        pipeline: Arc<Pipeline>,
        connector: Arc<dyn Connector>,
        shared: Arc<SharedState>,
        commands: mpsc::UnboundedReceiver<Command>,
        network: Option<NetworkWatch>,
        start: TokioInstant,
    ) -> Self {
        let sleep_detector = SleepDetector::new(pipeline.config().options.clock.clone(), start);
        Self {
            core,
            tasks: Tasks::new(pipeline),
            connector,
            shared,
            commands,
            inbox: Vec::new(),
            abandoned: false,
            link: Link::None,
            operations: Slab::new(),
            channels: BTreeMap::new(),
            full_queues: FullQueues::default(),
            lagging: BTreeSet::new(),
            delivered: false,
            start,
            sleep: Box::pin(sleep_until(start)),
            sleep_detector,
            network,
            permits: 0,
            settled: Vec::new(),
            wakers: Vec::new(),
            closing: Vec::new(),
            settling: Vec::new(),
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.full_queues.begin_turn();
        for _ in 0..ROUNDS {
            self.delivered = false;
            let mut busy = self.poll_commands(cx);
            busy |= self.poll_transport(cx);
            busy |= self.poll_tasks(cx);
            busy |= self.poll_sleep(cx);
            busy |= self.poll_network(cx);
            let mut deadline = self.drain_outputs(cx, &mut busy);
            if !self.lagging.is_empty() && self.replay(cx) {
                deadline = self.drain_outputs(cx, &mut busy);
                busy = true;
            }
            if self.poll_deadline(cx, deadline) {
                let now = self.now();
                self.core.handle_timeout(now);
                self.drain_outputs(cx, &mut busy);
                busy = true;
            }
            // After all outputs, so that their frames leave in one flush.
            let _ = self.link.poll_send(cx);
            if self.is_over() {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
            // Listeners run before further rounds, which would push the delivered items out of the processor's caches.
            if self.delivered {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Driver {
    fn config(&self) -> &Config {
        self.tasks.pipeline.config()
    }

    fn now(&self) -> Now {
        let wall = self.config().options.clock.now();
        Now::at(Instant::from_start(self.start.elapsed()), wall)
    }

    /// Passes events of the transport to the core. Returns whether there was any.
    fn poll_transport(&mut self, cx: &mut Context<'_>) -> bool {
        let channels = &self.channels;
        let is_full = |id, cx: &mut Context<'_>| {
            channels.get(&id).is_some_and(|entry| entry.poll_ready(cx).is_pending())
        };
        if self.full_queues.must_wait(cx, is_full) {
            return false;
        }
        let limits = Limits { max_size: max_frame_size(self.config()), ..Limits::default() };
        let now = self.now();
        let core = &mut self.core;
        // One reading of the clocks serves the whole batch of frames.
        let events = self.link.poll_events(cx, &limits, |id, event| {
            core.handle_transport(id, event, now);
        });
        events.is_ready()
    }

    /// Starts a replay of channels whose listeners are behind and have room again. Returns whether one started.
    ///
    /// The core's outputs must be drained first: batches of an earlier replay would be taken for batches of this
    /// one.
    fn replay(&mut self, cx: &mut Context<'_>) -> bool {
        let mut started = false;
        let now = self.now();
        let Self { core, channels, lagging, .. } = self;
        lagging.retain(|id| {
            let Some(entry) = channels.get_mut(id).filter(|entry| entry.is_behind()) else {
                return false;
            };
            if let Some(after) = entry.poll_room(cx)
                && core.replay(*id, after.clone(), now)
            {
                entry.replay_started(&after);
                started = true;
            }
            true
        });
        started
    }

    /// Carries out the core's outputs. Returns the core's next deadline. Sets `started` when it has started work
    /// that must be polled in another round.
    fn drain_outputs(&mut self, cx: &mut Context<'_>, started: &mut bool) -> Option<Instant> {
        loop {
            match self.core.poll_output() {
                Output::Send { transport, frame } => self.link.send(transport, frame, cx),
                Output::Event(Event::Done(op, outcome)) => self.finish(op, outcome),
                Output::Event(event) => {
                    self.settle();
                    self.handle_event(event);
                }
                Output::Open { transport, request } => {
                    self.dial(transport, &request);
                    *started = true;
                }
                Output::Shut { transport } => self.link.shut(transport),
                Output::RequestToken { auth, need } => {
                    self.request_token(auth, need);
                    *started = true;
                }
                Output::AbandonToken { auth } => self.tasks.abort_token(auth),
                Output::CheckConnectivity { check } => {
                    self.tasks.check_connectivity(check);
                    *started = true;
                }
                Output::Timeout(deadline) => {
                    self.settle();
                    self.shared.window.release(std::mem::take(&mut self.permits));
                    self.reply_settled();
                    self.shared.round_ended();
                    return deadline.map(|(at, _)| at);
                }
            }
        }
    }

    /// Replies to the commands that wait for effects of earlier commands.
    fn reply_settled(&mut self) {
        let closed = self.core.connection_state() != ConnectionState::Closing;
        let closing = if closed { std::mem::take(&mut self.closing) } else { Vec::new() };
        for waiting in self.settling.drain(..).chain(closing) {
            let _ = waiting.send(());
        }
    }

    fn dial(&mut self, transport: TransportId, request: &ConnectRequest) {
        let away = *request.host != *self.config().domains.primary;
        self.shared.count(|metrics| {
            metrics.attempts += 1;
            metrics.fallbacks += u64::from(away);
        });
        let resumes = request.param("resume").is_some();
        let span = tracing::debug_span!("attempt", host = %request.host, away, resumes);
        let dialling = self.connector.connect(dial_request(self.config(), request));
        self.link = Link::dial(transport, request.format(), dialling, span);
    }

    fn request_token(&mut self, auth: AuthId, need: TokenNeed) {
        let TokenNeed::Authorized(op) = need else {
            match self.tasks.get_token(auth, need) {
                Some(grant) => self.core.handle_token(auth, Ok(grant), self.now()),
                None => self.shared.count(|metrics| metrics.tokens += 1),
            }
            return;
        };
        self.shared.count(|metrics| metrics.tokens += 1);
        if let Some(Operation::Authorize(own)) = self.operations.get_mut(op.0 as usize) {
            let (params, options) = (own.command.params.take(), own.command.options.take());
            self.tasks.authorize(auth, op, params, options);
        }
    }

    /// Passes the output of a finished task to the core. Returns whether there was one.
    fn poll_tasks(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(output) = self.tasks.poll_output(cx) else { return false };
        let now = self.now();
        match output {
            TaskOutput::Token(auth, outcome) => self.core.handle_token(auth, outcome, now),
            TaskOutput::Authorized(auth, op, token, outcome) => {
                if let Some(Operation::Authorize(own)) = self.operations.get_mut(op.0 as usize) {
                    own.token = Some(token);
                }
                self.core.handle_token(auth, outcome, now);
            }
            TaskOutput::Connectivity(check, online) => {
                self.core.handle_connectivity(check, online, now)
            }
        }
        true
    }

    /// Informs the core that the machine slept. Returns whether it did.
    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> bool {
        let state = self.core.connection_state();
        if matches!(
            state,
            ConnectionState::Initialized | ConnectionState::Closed | ConnectionState::Failed
        ) {
            self.sleep_detector.reset();
            return false;
        }
        let Some(slept) = self.sleep_detector.poll_slept(cx) else { return false };
        tracing::debug!(?slept, "the machine slept");
        self.core.woke(slept, self.now());
        true
    }

    /// Informs the core of a change of the network. Returns whether there was one.
    fn poll_network(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(network) = &mut self.network else { return false };
        let Poll::Ready(change) = network.poll_change(cx) else { return false };
        tracing::debug!(?change, "the network changed");
        let now = self.now();
        match change {
            NetworkChange::Available => self.core.network_available(now),
            NetworkChange::Lost => self.core.network_lost(now),
        }
        true
    }

    /// Sets the timer to the next deadline. Returns whether the deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let timer = deadline.map(|at| self.start + at.since_start());
        let Some(at) = timer.into_iter().chain(self.full_queues.deadline()).min() else {
            return false;
        };
        if self.sleep.deadline() != at {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// Whether no handle is left, and the connection has ended.
    fn is_over(&self) -> bool {
        let state = self.core.connection_state();
        self.abandoned && matches!(state, ConnectionState::Closed | ConnectionState::Failed)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The task also ends with its runtime. Pending calls and listeners must then end, too.
        self.shared.end();
        let clock = &self.tasks.pipeline.config().options.clock;
        for entry in self.channels.values_mut() {
            entry.end(&gone(), clock);
            entry.shared.end();
        }
    }
}
