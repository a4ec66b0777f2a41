//! The client: its inputs, and what it does with each.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use capably_protocol::{
    ClientFrame, ConnectionDetails, DecodeError, ErrorInfo, Message, MessageAction, RecoveryKey,
    ServerFrame, Str,
    codec::Damaged,
    frame::{Delivery, Params, Publish},
};

use crate::{
    ChannelId, ChannelState, Config, ConnectionState, Event, Instant, Now, OpId, Outcome, Output,
    Timer, TransportId,
    channel::{Channel, ChannelOptions},
    connection::{Connection, Goodbye, State, auth::Authorization},
    errors,
    frame_size::check_depth,
    outbox::{Entry, Outbox, Settled},
    ping::Pings,
    timers::Timers,
};

/// What a transport reports.
#[derive(Debug)]
pub enum TransportEvent<'a> {
    /// The WebSocket is open.
    Opened,
    /// A frame arrived. What it holds is taken out of it; it stays where it was read, because moving it
    /// costs nearly as much as reading it.
    Frame(&'a mut ServerFrame),
    /// A frame arrived that cannot be read as a whole.
    Damaged {
        /// The part of the frame that can be read.
        damaged: Box<Damaged<ServerFrame>>,
        /// Why the rest cannot.
        error: DecodeError,
    },
    /// The bytes are no frame: the ends of its parts cannot be found. The transport may go on, unless the
    /// client asks to [shut](Output::Shut) it.
    Broken(DecodeError),
    /// Something else arrived, such as a WebSocket ping: the service is alive (RTN23b).
    Activity,
    /// The transport ended: dialling failed, the socket closed, or what arrived was no frame. Nothing
    /// follows.
    Closed(ErrorInfo),
}

/// A realtime client without sockets, tasks or a clock.
///
/// Methods come in three classes:
/// - **inputs** take [`Now`] and change the client: the user's calls (`connect`, `attach`, `publish`, …)
///   and what happened (`handle_transport`, `handle_timeout`);
/// - **output**: [`poll_output`](Self::poll_output), to be drained after each input, or after several;
/// - **questions**, which change nothing (`connection_state`, `channel_state`, …).
#[derive(Debug)]
pub struct Client {
    pub(crate) config: Arc<Config>,
    pub(crate) connection: Connection,
    pub(crate) authorization: Authorization,
    pub(crate) channels: BTreeMap<ChannelId, Channel>,
    names: BTreeMap<Str, ChannelId>,
    /// How many DETACHs of released channels the service has not answered, by name.
    pub(crate) released: BTreeMap<Str, u32>,
    pub(crate) outbox: Outbox,
    pub(crate) pings: Pings,
    pub(crate) timers: Timers,
    pub(crate) rng: fastrand::Rng,
    outputs: VecDeque<Output>,
}

impl Client {
    /// A client that has not connected yet. The same seed and inputs give the same outputs.
    pub fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        let first_serial = config.recover.as_ref().map_or(0, |key| key.msg_serial);
        Self {
            connection: Connection::new(&config, now.instant),
            authorization: Authorization::default(),
            config,
            channels: BTreeMap::new(),
            names: BTreeMap::new(),
            released: BTreeMap::new(),
            outbox: Outbox::starting_at(first_serial),
            pings: Pings::default(),
            timers: Timers::default(),
            rng: fastrand::Rng::with_seed(seed),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is no other.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    /// Makes a channel (RTS3a). Frames for this name go to the channel made last. One that a recovery key
    /// names continues where the key says (RTN16j).
    pub fn open_channel(&mut self, id: ChannelId, name: Str, options: ChannelOptions) {
        let recovered = self.connection.recover.as_mut();
        let channel_serial = recovered.and_then(|key| key.channel_serials.remove(&name));
        self.names.insert(name.clone(), id);
        self.channels.insert(id, Channel::new(name, options, channel_serial));
    }

    /// Forgets a channel; its operations end with an error, and the service is told to detach it (RTS4a).
    pub fn release_channel(&mut self, id: ChannelId) {
        let Some(mut channel) = self.channels.remove(&id) else { return };
        if self.names.get(&channel.name) == Some(&id) {
            self.names.remove(&channel.name);
        }
        for timer in [
            Timer::Attach(id),
            Timer::Detach(id),
            Timer::Reattach(id),
            Timer::Sync(id),
            Timer::Replay(id),
        ] {
            self.timers.clear(timer);
        }
        for op in channel.take_ops() {
            self.done(op, Err(errors::released()));
        }
        if self.connection_state() != ConnectionState::Connected {
            return;
        }
        match channel.state() {
            ChannelState::Attached | ChannelState::Attaching => {
                *self.released.entry(channel.name.clone()).or_default() += 1;
                self.send(ClientFrame::Detach { channel: channel.name });
            }
            ChannelState::Detaching => *self.released.entry(channel.name).or_default() += 1,
            ChannelState::Initialized
            | ChannelState::Detached
            | ChannelState::Suspended
            | ChannelState::Failed => {}
        }
    }

    /// Whether a DETACHED answers the DETACH of a released channel. It then says nothing of a channel that
    /// was made with the same name since.
    fn is_for_released(&mut self, channel: &Str) -> bool {
        let Some(unanswered) = self.released.get_mut(channel) else { return false };
        *unanswered -= 1;
        if *unanswered == 0 {
            self.released.remove(channel);
        }
        true
    }

    /// Publishes messages, ready for the wire, in one frame (RTL6). Ends with
    /// [`Outcome::Published`].
    pub fn publish(
        &mut self,
        id: ChannelId,
        messages: Arc<[Message]>,
        params: Params,
        op: OpId,
        now: Now,
    ) {
        let size = messages.iter().map(Message::size).sum();
        let ready = self.ready_to_publish(id).and_then(|channel| {
            self.check_client_ids(&messages)?;
            self.check_size(size)?;
            Ok(ClientFrame::Message(Publish { channel, msg_serial: 0, items: messages, params }))
        });
        self.send_or_queue(ready, op, now.instant);
    }

    /// Sends a frame that is to be acknowledged, or queues it until there is a connection (RTL6c1, RTL6c2).
    pub(crate) fn send_or_queue(
        &mut self,
        ready: Result<ClientFrame, ErrorInfo>,
        op: OpId,
        now: Instant,
    ) {
        let ready = ready.and_then(|frame| {
            self.check_frame_size(&frame)?;
            check_depth(&frame)?;
            Ok(frame)
        });
        match ready {
            Err(error) => self.done(op, Err(error)),
            Ok(frame) if self.connection_state() == ConnectionState::Connected => {
                let frame = self.outbox.send(op, frame);
                self.send(frame);
                self.await_acks(now);
            }
            Ok(frame) => {
                self.outbox.queue(op, frame);
                self.limit_wait(now);
            }
        }
    }

    /// Sets or clears the deadline of the next acknowledgement, as there is something to acknowledge or not.
    pub(crate) fn await_acks(&mut self, now: Instant) {
        if !self.outbox.awaits_ack() || self.connection_state() != ConnectionState::Connected {
            self.timers.clear(Timer::Ack);
        } else if !self.timers.is_set(Timer::Ack) {
            self.timers.set(Timer::Ack, now + self.connection.state_ttl);
        }
    }

    /// A service that is there, but acknowledges nothing: nobody waits for that for ever.
    fn ack_timed_out(&mut self) {
        self.settle_frames(|outbox, settle| outbox.fail_all(&errors::ack_timed_out(), settle));
    }

    /// Limits how long operations wait for a client that nobody connects: as long as for a lost connection.
    pub(crate) fn limit_wait(&mut self, now: Instant) {
        if self.connection_state() == ConnectionState::Initialized
            && !self.timers.is_set(Timer::Suspend)
        {
            self.timers.set(Timer::Suspend, now + self.connection.state_ttl);
        }
    }

    /// The channel's name, if something may be published on it, or queued, now (RTL6c).
    pub(crate) fn ready_to_publish(&self, id: ChannelId) -> Result<Str, ErrorInfo> {
        let channel = self.channels.get(&id).ok_or_else(errors::released)?;
        let channel_state = channel.state();
        if matches!(channel_state, ChannelState::Suspended | ChannelState::Failed) {
            let reason = channel.error_reason.as_ref();
            return Err(errors::channel_state(channel_state, reason));
        }
        let state = self.connection_state();
        let ready = match state {
            ConnectionState::Connected => true,
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Disconnected => self.config.queue_messages,
            ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => false,
        };
        if !ready {
            return Err(errors::connection_state(state, self.error_reason()));
        }
        Ok(channel.name.clone())
    }

    /// Nobody publishes as another client (RTL6g3). A change names the client that published the message.
    fn check_client_ids(&self, messages: &[Message]) -> Result<(), ErrorInfo> {
        let Some(own) = self.connection.identity(&self.config) else { return Ok(()) };
        let is_another = |message: &Message| {
            matches!(message.action, None | Some(MessageAction::Create))
                && message.client_id.as_ref().is_some_and(|id| id != own)
        };
        if messages.iter().any(is_another) { Err(errors::wrong_client_id()) } else { Ok(()) }
    }

    /// What is published has a limit (RSL1i, RSAN1a4).
    pub(crate) fn check_size(&self, size: usize) -> Result<(), ErrorInfo> {
        let (size, limit) = (size as u64, self.connection.max_message_size);
        if size > limit { Err(errors::too_large(size, limit)) } else { Ok(()) }
    }

    /// Measures the round trip to the service (RTN13). Ends with [`Outcome::Pong`].
    pub fn ping(&mut self, op: OpId, now: Now) {
        let state = self.connection_state();
        match state {
            ConnectionState::Connected => self.send_ping(op, now.instant),
            ConnectionState::Connecting | ConnectionState::Disconnected => self.pings.wait(op),
            ConnectionState::Initialized
            | ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {
                let error = errors::connection_state(state, self.error_reason());
                self.done(op, Err(error));
            }
        }
    }

    pub(crate) fn send_ping(&mut self, op: OpId, now: Instant) {
        let id: Str = format!("{:016x}", self.rng.u64(..)).into();
        self.timers.set(Timer::Ping(op), now + self.config.realtime_request_timeout);
        self.pings.sent(id.clone(), op, now);
        self.send(ClientFrame::Heartbeat { id: Some(id) });
    }

    /// What a transport reports. From any but the current one it counts for nothing.
    pub fn handle_transport(&mut self, id: TransportId, event: TransportEvent<'_>, now: Now) {
        if self.connection.transport() != Some(id) {
            return;
        }
        self.connection.last_activity = now.instant;
        match event {
            TransportEvent::Opened => self.transport_opened(),
            TransportEvent::Activity => {}
            TransportEvent::Closed(error) => {
                self.ended_by_frame(&error);
                self.transport_closed(error, now.instant);
            }
            TransportEvent::Damaged { damaged, error } => self.damaged(*damaged, &error, now),
            TransportEvent::Broken(error) => self.broken(&error, now),
            TransportEvent::Frame(ServerFrame::Message(delivery)) => {
                self.deliver(delivery, now.instant);
            }
            TransportEvent::Frame(frame) => {
                self.handle_frame(mem::replace(frame, ServerFrame::Closed), now);
            }
        }
    }

    pub(crate) fn handle_frame(&mut self, frame: ServerFrame, at: Now) {
        let now = at.instant;
        match frame {
            ServerFrame::Message(mut delivery) => self.deliver(&mut delivery, now),
            ServerFrame::Ack(ack) => {
                self.timers.clear(Timer::Ack);
                self.settle_frames(|outbox, settle| outbox.acknowledge(ack, settle));
            }
            ServerFrame::Nack(nack) => {
                self.timers.clear(Timer::Ack);
                self.settle_frames(|outbox, settle| outbox.refuse(nack, settle));
            }
            ServerFrame::Heartbeat { id } => {
                if let Some((op, sent)) = id.and_then(|id| self.pings.answer(&id)) {
                    self.timers.clear(Timer::Ping(op));
                    self.done(op, Ok(Outcome::Pong(now.since(sent))));
                }
            }
            ServerFrame::Attached(attached) => {
                if let Some(id) = self.names.get(&attached.channel).copied() {
                    self.channel_attached(id, *attached, at);
                }
            }
            ServerFrame::Detached { channel, error } => {
                if !self.is_for_released(&channel)
                    && let Some(id) = self.names.get(&channel).copied()
                {
                    self.channel_detached(id, error, now);
                }
            }
            ServerFrame::Connected(connected) => self.connected(*connected, now),
            ServerFrame::Disconnected { error } => self.disconnected(error, now),
            ServerFrame::Closed => self.closed_by_service(now),
            ServerFrame::Error(error) => match error.channel {
                None => self.connection_error(error.error, now),
                Some(channel) => {
                    if let Some(id) = self.names.get(&channel).copied() {
                        self.channel_error(id, error.error, now);
                    }
                }
            },
            ServerFrame::Presence(delivery) => self.presence_arrived(delivery, Vec::new(), now),
            ServerFrame::Sync(delivery) => self.sync_arrived(delivery, Vec::new(), at),
            ServerFrame::Annotation(delivery) => {
                self.annotations_arrived(delivery, Vec::new(), now)
            }
            // What objects say is not handled yet; where they stand is.
            ServerFrame::Object(delivery) => self.moved_by(delivery, now),
            ServerFrame::Auth => self.auth_requested(now),
            // Answered whatever `heartbeats` was asked for (RTN23c1, RTN23c2).
            ServerFrame::Ping { id } => self.send(ClientFrame::Pong { id }),
            // What is unknown is tolerated (RTF1).
            other => tracing::debug!(target: "capably::frames", frame = ?other, "ignored"),
        }
        self.await_acks(now);
    }

    /// The channel that frames with this name are for.
    pub(crate) fn channel_named(&mut self, name: &Str) -> Option<(ChannelId, &mut Channel)> {
        let id = *self.names.get(name)?;
        Some((id, self.channels.get_mut(&id)?))
    }

    /// Tells whoever waits what became of frames that wanted an acknowledgement.
    pub(crate) fn settle_frames(
        &mut self,
        settle: impl FnOnce(&mut Outbox, &mut dyn FnMut(Settled)),
    ) {
        let outputs = &mut self.outputs;
        let mut failed = Vec::new();
        settle(&mut self.outbox, &mut |(Entry { op, frame }, result)| match (op, result) {
            (Some(op), result) => {
                let outcome = result.map(Outcome::Published);
                outputs.push_back(Output::Event(Event::Done(op, outcome)));
            }
            (None, Ok(_)) => {}
            (None, Err(error)) => failed.push((frame, error)),
        });
        for (frame, error) in failed {
            self.reentry_failed(&frame, error);
        }
    }

    fn moved_by<T>(&mut self, delivery: Delivery<T>, now: Instant) {
        let Some(id) = self.names.get(&delivery.channel).copied() else { return };
        let Some(place) = self.admit(id, delivery.channel_serial.as_ref(), now) else { return };
        if place.repeated {
            self.repeated(id, &place, now);
        } else if let Some(channel) = self.channels.get_mut(&id) {
            channel.moved(delivery.channel_serial);
        }
    }

    /// The channel that frames with this name are for.
    pub(crate) fn channel_id(&self, name: &Str) -> Option<ChannelId> {
        self.names.get(name).copied()
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expire(now.instant) {
            match timer {
                Timer::Connect => self.connect_timed_out(now.instant),
                Timer::Token(id) => self.token_timed_out(id, now.instant),
                Timer::Auth => self.auth_timed_out(),
                Timer::Retry => self.retry(now.instant),
                Timer::Suspend => self.state_ttl_passed(now.instant),
                Timer::Idle => self.check_idle(now.instant),
                Timer::Close => self.close_timed_out(now.instant),
                Timer::Ping(op) => {
                    self.pings.forget(op);
                    self.done(op, Err(errors::ping_timed_out()));
                }
                Timer::Attach(id) => self.attach_timed_out(id, now.instant),
                Timer::Detach(id) => self.detach_timed_out(id, now),
                Timer::Reattach(id) => self.reattach(id, now.instant),
                Timer::Sync(id) => self.sync_timed_out(id, now.instant),
                Timer::Ack => self.ack_timed_out(),
                Timer::Replay(id) => self.replay_timed_out(id, now.instant),
            }
        }
    }

    /// The connection's state (RTN4d).
    pub fn connection_state(&self) -> ConnectionState {
        self.connection.state()
    }

    /// The connection's id, while there is one (RTN8).
    pub fn connection_id(&self) -> Option<&Str> {
        self.connection.id.as_ref()
    }

    /// The connection's secret, while there is one (RTN9).
    pub fn connection_key(&self) -> Option<&Str> {
        self.connection.key.as_ref()
    }

    /// The last error of the connection (RTN25).
    pub fn error_reason(&self) -> Option<&ErrorInfo> {
        self.connection.error_reason.as_ref()
    }

    /// The domain that the connection is to, or that was tried last (RTN17).
    pub fn host(&self) -> &Str {
        &self.connection.host
    }

    /// The most that a frame or the body of a request may hold, in bytes: the service's limit, or the
    /// configured one while it has not said (CD2d).
    pub fn max_frame_size(&self) -> u64 {
        self.connection.max_frame_size
    }

    /// What the service said of the connection with its last CONNECTED, but for the connection's key (CD2).
    pub fn connection_details(&self) -> &ConnectionDetails {
        &self.connection.details
    }

    /// The identity that the service confirmed with its last CONNECTED (RSA7b3); `*` is any (RSA7b4).
    pub fn confirmed_client_id(&self) -> Option<&Str> {
        self.connection.client_id.as_ref()
    }

    /// The identity the service confirmed, or the configured one (RSA7); `*` is none in particular.
    pub fn client_id(&self) -> Option<&Str> {
        self.connection.identity(&self.config)
    }

    /// What another process needs to continue this connection (RTN16g); `None` while there is nothing to
    /// continue (RTN16g2).
    pub fn recovery_key(&self) -> Option<RecoveryKey> {
        if matches!(
            self.connection_state(),
            ConnectionState::Closing
                | ConnectionState::Closed
                | ConnectionState::Failed
                | ConnectionState::Suspended
        ) {
            return None;
        }
        let serials = self.channels.values().filter(|channel| {
            channel.state() == ChannelState::Attached && channel.channel_serial.is_some()
        });
        Some(RecoveryKey {
            connection_key: self.connection.key.clone()?,
            msg_serial: self.outbox.next_serial(),
            channel_serials: serials
                .filter_map(|channel| Some((channel.name.clone(), channel.channel_serial.clone()?)))
                .collect(),
        })
    }

    /// A channel of this client; `None` once it was released.
    pub fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(&id)
    }

    /// What was asked for last and is not yet taken.
    pub(crate) fn last_output(&mut self) -> Option<&mut Output> {
        self.outputs.back_mut()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn done(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        self.push(Output::Event(Event::Done(op, outcome)));
    }

    /// Sends a frame on the current transport; without an open one it goes nowhere.
    pub(crate) fn send(&mut self, frame: ClientFrame) {
        let transport = match self.connection.state {
            State::Connected { transport } | State::Closing(Goodbye::Sent(transport)) => transport,
            State::Initialized
            | State::Connecting(_)
            | State::Closing(Goodbye::Accepting(_) | Goodbye::Needless)
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => return,
        };
        self.push(Output::Send { transport, frame });
    }
}
