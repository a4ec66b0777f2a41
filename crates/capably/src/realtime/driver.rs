//! The task that gives the core its socket and its clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{
    AuthId, ChannelId, Client, ConnectRequest, ConnectionState, Instant, Now, Output, TokenNeed,
    TransportId,
};
use capably_protocol::Limits;
use slab::Slab;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as TokioInstant, Sleep, sleep_until},
};

use self::{
    command::{Command, Shared},
    entry::Entry,
    full_queues::Crowd,
    link::{Link, dial_request, max_frame_size},
    network::{NetworkChange, NetworkWatch},
    operation::Operation,
    sleep::Awake,
    tasks::{Errands, Finished},
};
use crate::{options::Config, rest::Pipeline, transport::Connector};

mod annotations;
pub(crate) mod command;
mod dispatch;
mod entry;
mod events;
mod full_queues;
mod link;
pub(crate) mod network;
pub(crate) mod operation;
mod presence;
mod sleep;
mod tasks;

/// Rounds of work before other tasks get their turn.
const ROUNDS: usize = 16;

/// The driver: one task that owns the core, the socket, the table of pending operations and one sleep.
///
/// It holds no sender of commands: when the last handle goes, it closes the connection and ends.
pub(crate) struct Driver {
    core: Client,
    errands: Errands,
    connector: Arc<dyn Connector>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    inbox: Vec<Command>,
    /// No handle is left.
    abandoned: bool,
    link: Link,
    operations: Slab<Operation>,
    channels: BTreeMap<ChannelId, Entry>,
    /// Listeners that the driver is patient with before they are behind.
    crowd: Crowd,
    /// The channels with listeners that are behind.
    lagging: BTreeSet<ChannelId>,
    start: TokioInstant,
    sleep: Pin<Box<Sleep>>,
    awake: Awake,
    network: Option<NetworkWatch>,
    /// What ended publishes took of the window; given back in one go.
    permits: usize,
    /// Told when the connection is not closing any more.
    closing: Vec<oneshot::Sender<()>>,
    /// Told when what was asked for before has had its effects.
    settling: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(
        core: Client,
        pipeline: Arc<Pipeline>,
        connector: Arc<dyn Connector>,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
        start: TokioInstant,
    ) -> Self {
        let awake = Awake::new(pipeline.config().options.clock.clone(), start);
        Self {
            core,
            errands: Errands::new(pipeline),
            connector,
            shared,
            commands,
            inbox: Vec::new(),
            abandoned: false,
            link: Link::None,
            operations: Slab::new(),
            channels: BTreeMap::new(),
            crowd: Crowd::default(),
            lagging: BTreeSet::new(),
            start,
            sleep: Box::pin(sleep_until(start)),
            awake,
            network: None,
            permits: 0,
            closing: Vec::new(),
            settling: Vec::new(),
        }
    }

    /// Follows the network that this tells of, if there is such a thing.
    pub(crate) fn follow(&mut self, network: Option<NetworkWatch>) {
        self.network = network;
    }

    fn config(&self) -> &Config {
        self.errands.pipeline.config()
    }

    fn now(&self) -> Now {
        let wall = self.config().options.clock.now();
        Now::at(Instant::from_start(self.start.elapsed()), wall)
    }

    /// Takes what happened on the transport. Returns whether there was anything.
    fn take_events(&mut self, cx: &mut Context<'_>) -> bool {
        let channels = &self.channels;
        let is_full = |id, cx: &mut Context<'_>| {
            channels.get(&id).is_some_and(|entry| entry.poll_ready(cx).is_pending())
        };
        if self.crowd.is_waited_for(cx, is_full) {
            return false;
        }
        let limits = Limits { max_size: max_frame_size(self.config()), ..Limits::default() };
        let now = self.now();
        let core = &mut self.core;
        let events = self.link.poll_events(cx, &limits, |id, event| {
            core.handle_transport(id, event, now);
        });
        events.is_ready()
    }

    /// Has channels replayed for listeners that fell behind and have room again. Returns whether a replay began.
    ///
    /// The core's outputs must be drained: what they still held of an earlier replay would count for this one.
    fn replay(&mut self, cx: &mut Context<'_>) -> bool {
        let mut begun = false;
        let now = self.now().instant;
        let Self { core, channels, lagging, .. } = self;
        lagging.retain(|id| {
            let Some(entry) = channels.get_mut(id).filter(|entry| entry.is_behind()) else {
                return false;
            };
            if let Some(after) = entry.poll_room(cx)
                && core.replay(*id, after.clone(), now)
            {
                entry.replay_begins(&after);
                begun = true;
            }
            true
        });
        begun
    }

    /// Does what the core asks for. Returns its next deadline, and notes whether something was begun that
    /// has to be polled.
    fn drain_outputs(&mut self, begun: &mut bool) -> Option<Instant> {
        loop {
            match self.core.poll_output() {
                Output::Send { transport, frame } => self.link.send(transport, frame),
                Output::Event(event) => self.handle_event(event),
                Output::Open { transport, request } => {
                    self.dial(transport, &request);
                    *begun = true;
                }
                Output::Shut { transport } => self.link.shut(transport),
                Output::RequestToken { auth, need } => {
                    self.request_token(auth, need);
                    *begun = true;
                }
                Output::AbandonToken { auth } => self.errands.abandon(auth),
                Output::CheckConnectivity { check } => {
                    self.errands.check(check);
                    *begun = true;
                }
                Output::Timeout(deadline) => {
                    self.shared.give_back(std::mem::take(&mut self.permits));
                    self.tell_settled();
                    return deadline.map(|(at, _)| at);
                }
            }
        }
    }

    /// Answers those who wait for the effects of what was asked for.
    fn tell_settled(&mut self) {
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
            match self.errands.get(auth, need) {
                Some(grant) => self.core.handle_token(auth, Ok(grant), self.now()),
                None => self.shared.count(|metrics| metrics.tokens += 1),
            }
            return;
        };
        self.shared.count(|metrics| metrics.tokens += 1);
        if let Some(Operation::Authorize(own)) = self.operations.get_mut(op.0 as usize) {
            let (params, options) = (own.request.params.take(), own.request.options.take());
            self.errands.authorize(auth, op, params, options);
        }
    }

    /// Takes what was got or found out meanwhile. Returns whether there was anything.
    fn take_errands(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(finished) = self.errands.poll_finished(cx) else { return false };
        let now = self.now();
        match finished {
            Finished::Token(auth, outcome) => self.core.handle_token(auth, outcome, now),
            Finished::Authorized(auth, op, token, outcome) => {
                if let Some(Operation::Authorize(own)) = self.operations.get_mut(op.0 as usize) {
                    own.token = Some(token);
                }
                self.core.handle_token(auth, outcome, now);
            }
            Finished::Checked(check, online) => self.core.handle_connectivity(check, online, now),
        }
        true
    }

    /// Tells the core that the machine slept, if it did and it matters.
    fn take_sleep(&mut self, cx: &mut Context<'_>) -> bool {
        let state = self.core.connection_state();
        if matches!(
            state,
            ConnectionState::Initialized | ConnectionState::Closed | ConnectionState::Failed
        ) {
            self.awake.look_away();
            return false;
        }
        let Some(slept) = self.awake.poll_slept(cx) else { return false };
        tracing::debug!(?slept, "the machine slept");
        self.core.woke(slept, self.now());
        true
    }

    /// Tells the core what the operating system says of the network.
    fn take_network(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(network) = &mut self.network else { return false };
        let Poll::Ready(change) = network.poll_change(cx) else { return false };
        tracing::debug!(?change, "the network");
        let now = self.now();
        match change {
            NetworkChange::Available => self.core.network_available(now),
            NetworkChange::Lost => self.core.network_lost(now),
        }
        true
    }

    /// Sets the sleep to the next deadline. Returns whether it has passed already.
    fn wait_until(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let timer = deadline.map(|at| self.start + at.since_start());
        let Some(at) = timer.into_iter().chain(self.crowd.until()).min() else { return false };
        if self.sleep.deadline() != at {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// Everything is done, and nobody is left to ask for more.
    fn is_over(&self) -> bool {
        let state = self.core.connection_state();
        self.abandoned && matches!(state, ConnectionState::Closed | ConnectionState::Failed)
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.crowd.turn_begins();
        for _ in 0..ROUNDS {
            let mut busy = self.take_commands(cx);
            busy |= self.take_events(cx);
            busy |= self.take_errands(cx);
            busy |= self.take_sleep(cx);
            busy |= self.take_network(cx);
            let mut deadline = self.drain_outputs(&mut busy);
            if !self.lagging.is_empty() && self.replay(cx) {
                deadline = self.drain_outputs(&mut busy);
                busy = true;
            }
            if self.wait_until(cx, deadline) {
                let now = self.now();
                self.core.handle_timeout(now);
                self.drain_outputs(&mut busy);
                busy = true;
            }
            // What was handed over leaves in one flush.
            let _ = self.link.poll_send(cx);
            if self.is_over() {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The task may also end with its runtime: whoever waits hears of it.
        self.shared.end();
        let clock = &self.errands.pipeline.config().options.clock;
        for entry in self.channels.values_mut() {
            entry.end(&command::gone(), clock);
            entry.shared.end();
        }
    }
}
