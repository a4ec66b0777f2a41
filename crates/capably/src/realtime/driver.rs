//! The task that gives the core its socket and its clock.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{
    AuthId, ChannelId, ChannelState, Client, ConnectRequest, ConnectionEvent, ConnectionState,
    ConnectionStateChange, Event, Instant, Now, OpId, Outcome, Output, TokenNeed, TransportId,
};
use capably_protocol::{ErrorCode, ErrorInfo, Limits, Message};
use slab::Slab;
use tokio::{
    sync::mpsc,
    time::{Instant as TokioInstant, Sleep, sleep_until},
};

use self::presence::PresenceSubscribers;
use super::{
    awake::Awake,
    channel::ChannelShared,
    command::{Command, ConnectionSnapshot, Publish, Shared, Subscriber},
    errands::{Errands, Finished},
    link::{Link, dial_request, max_frame_size},
    operation::{Authorizing, Operation},
    queue::Pushed,
};
use crate::{Error, Result, options::Config, rest::Pipeline, transport::Connector};

mod presence;

/// Commands taken before anything else is looked at.
const COMMAND_BATCH: usize = 256;

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
    /// Waits for room at a subscriber: nothing is read from the socket meanwhile.
    blocked: Option<Blocked>,
    start: TokioInstant,
    sleep: Pin<Box<Sleep>>,
    awake: Awake,
    /// What ended publishes took of the window; given back in one go.
    permits: usize,
}

struct Entry {
    shared: Arc<ChannelShared>,
    subscribers: Vec<Subscriber>,
    presence: PresenceSubscribers,
}

struct Blocked {
    since: TokioInstant,
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
            blocked: None,
            start,
            sleep: Box::pin(sleep_until(start)),
            awake,
            permits: 0,
        }
    }

    fn config(&self) -> &Config {
        self.errands.pipeline.config()
    }

    fn now(&self) -> Now {
        let wall = self.config().options.clock.now();
        Now::at(Instant::from_start(self.start.elapsed()), wall)
    }

    /// Takes what handles ask for. Returns whether there was anything.
    fn take_commands(&mut self, cx: &mut Context<'_>) -> bool {
        if self.abandoned {
            return false;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let taken = match self.commands.poll_recv_many(cx, &mut inbox, COMMAND_BATCH) {
            Poll::Pending => false,
            Poll::Ready(0) => {
                self.abandoned = true;
                self.core.close(self.now());
                true
            }
            Poll::Ready(_) => {
                let now = self.now();
                for command in inbox.drain(..) {
                    self.handle_command(command, now);
                }
                true
            }
        };
        self.inbox = inbox;
        taken
    }

    fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Connect => self.core.connect(now),
            Command::Close => self.core.close(now),
            Command::Ping(reply) => {
                let op = self.operation(Operation::Ping(reply));
                self.core.ping(op, now);
            }
            Command::Authorize(request) => {
                let authorizing = Authorizing { request: *request, token: None };
                let op = self.operation(Operation::Authorize(Box::new(authorizing)));
                self.core.authorize(op, now);
            }
            Command::Network(true) => self.core.network_available(now),
            Command::Network(false) => self.core.network_lost(now),
            Command::RecoveryKey(reply) => {
                let _ = reply.send(self.core.recovery_key());
            }
            Command::Open { channel, options } => {
                self.core.open_channel(channel.id, channel.name.clone(), options);
                let entry = Entry {
                    shared: Arc::clone(&channel),
                    subscribers: Vec::new(),
                    presence: PresenceSubscribers::default(),
                };
                self.channels.insert(channel.id, entry);
            }
            Command::Release(id) => {
                self.core.release_channel(id);
                if let Some(entry) = self.channels.remove(&id) {
                    entry.end(&Error::from(released()));
                    entry.shared.end();
                }
            }
            Command::Attach(id, reply) => self.attach(id, Operation::Unit(reply), now),
            Command::Detach(id, reply) => {
                let op = self.operation(Operation::Unit(reply));
                self.core.detach(id, op, now);
            }
            Command::Publish(Publish { channel, messages, params, permits, reply }) => {
                let op = self.operation(Operation::Publish(reply, permits));
                self.core.publish(channel, messages, params, op);
            }
            Command::Subscribe { channel, subscriber, attach, reply } => {
                let Some(entry) = self.channels.get_mut(&channel) else {
                    let _ = reply.send(Err(released()));
                    return;
                };
                entry.subscribers.push(subscriber);
                let subscribe = Operation::Subscribe(channel, reply);
                if attach {
                    self.attach_to_subscribe(channel, subscribe, now);
                } else {
                    self.complete(subscribe, Ok(Outcome::Done));
                }
            }
            Command::Presence(id, command) => self.handle_presence(id, command, now),
            Command::Unsubscribe { channel, subscriber } => {
                if let Some(entry) = self.channels.get_mut(&channel) {
                    entry.subscribers.retain(|own| own.id != subscriber);
                }
            }
        }
    }

    fn attach(&mut self, id: ChannelId, operation: Operation, now: Now) {
        let op = self.operation(operation);
        self.core.attach(id, op, now);
    }

    /// A subscriber attaches its channel, unless that is suspended, and attaches by itself, or failed
    /// (RTL7g).
    fn attach_to_subscribe(&mut self, id: ChannelId, subscribe: Operation, now: Now) {
        let Some(channel) = self.core.channel(id) else { return };
        match channel.state() {
            ChannelState::Initialized
            | ChannelState::Attaching
            | ChannelState::Attached
            | ChannelState::Detaching
            | ChannelState::Detached => self.attach(id, subscribe, now),
            ChannelState::Suspended => self.complete(subscribe, Ok(Outcome::Done)),
            ChannelState::Failed => {
                let cause = channel.error_reason().cloned();
                self.complete(subscribe, Err(failed(cause)));
            }
        }
    }

    fn operation(&mut self, operation: Operation) -> OpId {
        OpId(self.operations.insert(operation) as u64)
    }

    /// Takes what happened on the transport. Returns whether there was anything.
    fn take_events(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wait_for_room(cx) {
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

    /// Whether a subscriber has no room. One that takes nothing for too long ends.
    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(blocked) = &self.blocked else { return false };
        let too_slow = blocked.since.elapsed() >= self.config().options.realtime_request_timeout;
        let mut full = false;
        for subscriber in self.channels.values().flat_map(|entry| &entry.subscribers) {
            if subscriber.queue.poll_room(cx).is_pending() {
                if too_slow {
                    subscriber.queue.end_too_slow();
                } else {
                    full = true;
                }
            }
        }
        for entry in self.channels.values() {
            full |= entry.presence.poll_room(cx, too_slow).is_pending();
        }
        if !full {
            self.blocked = None;
        }
        full
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
                    return deadline.map(|(at, _)| at);
                }
            }
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

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Messages(id, messages) => self.deliver(id, messages),
            Event::Presence(id, messages) => {
                if let Some(entry) = self.channels.get(&id) {
                    let pushed = entry.presence.deliver(messages);
                    self.wait_if_full(pushed);
                }
            }
            Event::PresenceSynced(id, synced) => {
                if let Some(entry) = self.channels.get(&id) {
                    entry.shared.presence_synced(synced);
                }
            }
            Event::Done(op, outcome) => self.finish(op, outcome),
            Event::Connection(change) => self.connection_changed(&change),
            Event::ErrorReason => {
                let reason = self.core.error_reason().cloned().map(Error::from);
                self.shared.error_reason_changed(reason);
            }
            Event::Granted(id) => {
                if let (Some(channel), Some(entry)) =
                    (self.core.channel(id), self.channels.get(&id))
                {
                    entry.shared.granted(channel);
                }
            }
            Event::Channel(id, change) => {
                let (Some(channel), Some(entry)) =
                    (self.core.channel(id), self.channels.get_mut(&id))
                else {
                    return;
                };
                tracing::debug!(
                    channel = %channel.name(), previous = %change.previous,
                    current = %change.current, reason = ?change.reason, "channel",
                );
                if change.current == ChannelState::Failed {
                    entry.end(&Error::from(failed(change.reason.clone())));
                }
                entry.shared.changed(channel, &change);
            }
        }
    }

    fn connection_changed(&mut self, change: &ConnectionStateChange) {
        tracing::debug!(
            previous = %change.previous, current = %change.current, reason = ?change.reason,
            retry_in = ?change.retry_in, "connection",
        );
        self.count(change);
        let current = change.current;
        let snapshot = ConnectionSnapshot {
            state: current,
            id: self.core.connection_id().cloned(),
            key: self.core.connection_key().cloned(),
            error_reason: self.core.error_reason().cloned().map(Error::from),
        };
        let pipeline = &self.errands.pipeline;
        let host = &**self.core.host();
        let away =
            current == ConnectionState::Connected && host != pipeline.config().domains.primary;
        pipeline.follow(away.then_some(host));
        if current == ConnectionState::Connected {
            pipeline.session().confirm(self.core.confirmed_client_id().cloned());
            if let Some(bytes) = self.core.max_frame_size() {
                pipeline.limit_bodies(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        }
        if matches!(current, ConnectionState::Closed | ConnectionState::Failed) {
            let reason = Error::from(change.reason.clone().unwrap_or_else(closed));
            for entry in self.channels.values_mut() {
                entry.end(&reason);
            }
        }
        self.shared.connection_changed(snapshot, change);
    }

    fn count(&self, change: &ConnectionStateChange) {
        let ConnectionEvent::State(state) = change.event else { return };
        let resumed = self.core.connection_id() == self.shared.connection().id.as_ref();
        self.shared.count(|metrics| match state {
            ConnectionState::Connected => {
                metrics.connected += 1;
                metrics.resumed += u64::from(resumed);
            }
            ConnectionState::Disconnected => metrics.disconnected += 1,
            ConnectionState::Suspended => metrics.suspended += 1,
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {}
        });
    }

    fn finish(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        if let Some(operation) = self.operations.try_remove(op.0 as usize) {
            self.complete(operation, outcome);
        }
    }

    fn complete(&mut self, operation: Operation, mut outcome: Result<Outcome, ErrorInfo>) {
        match &operation {
            Operation::Publish(_, permits) => self.permits += *permits as usize,
            Operation::Subscribe(channel, _) if outcome.is_ok() => {
                outcome = self.core.check_subscribed(*channel).map(|()| Outcome::Done);
            }
            Operation::Subscribe(..)
            | Operation::Unit(_)
            | Operation::Ping(_)
            | Operation::Members(_)
            | Operation::Authorize(_) => {}
        }
        operation.finish(outcome);
    }

    fn deliver(&mut self, id: ChannelId, messages: Vec<Message>) {
        let Some(entry) = self.channels.get_mut(&id) else { return };
        let pushed = entry.deliver(messages);
        self.wait_if_full(pushed);
    }

    /// Reads no more before there is room.
    fn wait_if_full(&mut self, pushed: Pushed) {
        if pushed == Pushed::Full && self.blocked.is_none() {
            self.blocked = Some(Blocked { since: TokioInstant::now() });
        }
    }

    /// Sets the sleep to the next deadline. Returns whether it has passed already.
    fn wait_until(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let timer = deadline.map(|at| self.start + at.since_start());
        let patience = self
            .blocked
            .as_ref()
            .map(|blocked| blocked.since + self.config().options.realtime_request_timeout);
        let Some(at) = timer.into_iter().chain(patience).min() else { return false };
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
        for _ in 0..ROUNDS {
            let mut busy = self.take_commands(cx);
            busy |= self.take_events(cx);
            busy |= self.take_errands(cx);
            busy |= self.take_sleep(cx);
            let deadline = self.drain_outputs(&mut busy);
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
        for entry in self.channels.values_mut() {
            entry.end(&super::command::gone());
            entry.shared.end();
        }
    }
}

impl Entry {
    /// Hands messages to every subscriber that wants them.
    fn deliver(&mut self, messages: Vec<Message>) -> Pushed {
        let mut full = Pushed::Room;
        if let [subscriber] = &self.subscribers[..]
            && subscriber.names.is_empty()
        {
            full = subscriber.queue.push(messages);
        } else {
            for subscriber in &self.subscribers {
                let wanted = messages.iter().filter(|message| subscriber.wants(message)).cloned();
                let wanted: Vec<_> = wanted.collect();
                if !wanted.is_empty() && subscriber.queue.push(wanted) == Pushed::Full {
                    full = Pushed::Full;
                }
            }
        }
        full
    }

    fn end(&self, reason: &Error) {
        for subscriber in &self.subscribers {
            subscriber.queue.end(reason.clone());
        }
        self.presence.end(reason);
    }
}

impl Subscriber {
    fn wants(&self, message: &Message) -> bool {
        self.names.is_empty() || message.name.as_ref().is_some_and(|name| self.names.contains(name))
    }
}

fn released() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE,
        400,
        "the channel was released",
    )
}

fn closed() -> ErrorInfo {
    ErrorInfo::new(ErrorCode::CONNECTION_CLOSED, 400, "the connection is closed")
}

fn failed(cause: Option<ErrorInfo>) -> ErrorInfo {
    let error = ErrorInfo::new(
        ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE,
        400,
        "the channel has failed",
    );
    match cause {
        Some(cause) => error.with_cause(cause),
        None => error,
    }
}
