//! The client: its inputs, and what it does with each.

use std::{collections::VecDeque, mem, sync::Arc};

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
    channels::Channels,
    connection::{Connection, auth::Authorization},
    context::Shared,
    errors,
    outbox::{Outbox, Unaccepted},
    ping::Pings,
    timers::Timers,
};

mod unreadable;

pub(crate) use self::unreadable::is_delta;

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
    pub(crate) shared: Shared,
    pub(crate) authorization: Authorization,
    pub(crate) channels: Channels,
    pub(crate) outbox: Outbox,
    pub(crate) pings: Pings,
}

impl Client {
    /// A client that has not connected yet. The same seed and inputs give the same outputs.
    pub fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        let first_serial = config.recover.as_ref().map_or(0, |key| key.msg_serial);
        Self {
            shared: Shared {
                connection: Connection::new(&config, now.instant),
                config,
                timers: Timers::default(),
                rng: fastrand::Rng::with_seed(seed),
                outputs: VecDeque::new(),
            },
            authorization: Authorization::default(),
            channels: Channels::default(),
            outbox: Outbox::starting_at(first_serial),
            pings: Pings::default(),
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is no other.
    pub fn poll_output(&mut self) -> Output {
        self.shared
            .outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.shared.timers.next()))
    }

    /// Makes a channel (RTS3a). Frames for this name go to the channel made last. One that a recovery key
    /// names continues where the key says (RTN16j).
    pub fn open_channel(&mut self, id: ChannelId, name: Str, options: ChannelOptions) {
        let recovered = self.shared.connection.recover.as_mut();
        let channel_serial = recovered.and_then(|key| key.channel_serials.remove(&name));
        self.channels.insert(Channel::new(id, name, options, channel_serial));
    }

    /// Forgets a channel; its operations end with an error, and the service is told to detach it (RTS4a).
    pub fn release_channel(&mut self, id: ChannelId, now: Now) {
        self.channels.release(id, &mut self.shared.cx(now));
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
        self.outbox.submit(op, ready, &mut self.shared.cx(now));
    }

    /// The channel's name, if something may be published on it, or queued, now (RTL6c).
    pub(crate) fn ready_to_publish(&self, id: ChannelId) -> Result<Str, ErrorInfo> {
        let channel = self.channels.get(id).ok_or_else(errors::released)?;
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
            | ConnectionState::Disconnected => self.shared.config.queue_messages,
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
        let Some(own) = self.shared.connection.identity(&self.shared.config) else { return Ok(()) };
        let is_another = |message: &Message| {
            matches!(message.action, None | Some(MessageAction::Create))
                && message.client_id.as_ref().is_some_and(|id| id != own)
        };
        if messages.iter().any(is_another) { Err(errors::wrong_client_id()) } else { Ok(()) }
    }

    /// What is published has a limit (RSL1i, RSAN1a4).
    pub(crate) fn check_size(&self, size: usize) -> Result<(), ErrorInfo> {
        let (size, limit) = (size as u64, self.shared.connection.max_message_size);
        if size > limit { Err(errors::too_large(size, limit)) } else { Ok(()) }
    }

    /// Measures the round trip to the service (RTN13). Ends with [`Outcome::Pong`].
    pub fn ping(&mut self, op: OpId, now: Now) {
        self.pings.ping(op, &mut self.shared.cx(now));
    }

    /// What a transport reports. From any but the current one it counts for nothing.
    pub fn handle_transport(&mut self, id: TransportId, event: TransportEvent<'_>, now: Now) {
        if self.shared.connection.transport() != Some(id) {
            return;
        }
        self.shared.connection.last_activity = now.instant;
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
                let unaccepted = self.outbox.acknowledge(ack, &mut self.shared.cx(at));
                self.unaccepted(unaccepted);
            }
            ServerFrame::Nack(nack) => {
                let unaccepted = self.outbox.refuse(nack, &mut self.shared.cx(at));
                self.unaccepted(unaccepted);
            }
            ServerFrame::Heartbeat { id: Some(id) } => {
                self.pings.answered(&id, &mut self.shared.cx(at));
            }
            ServerFrame::Heartbeat { id: None } => {}
            ServerFrame::Attached(attached) => {
                if let Some(id) = self.channel_id(&attached.channel) {
                    self.channel_attached(id, *attached, at);
                }
            }
            ServerFrame::Detached { channel, error } => {
                if !self.channels.answers_release(&channel)
                    && let Some(id) = self.channel_id(&channel)
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
                    if let Some(id) = self.channel_id(&channel) {
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
        self.outbox.await_ack(&mut self.shared.cx(at));
    }

    /// The channel that frames with this name are for.
    pub(crate) fn channel_named(&mut self, name: &Str) -> Option<(ChannelId, &mut Channel)> {
        self.channels.named(name).map(|channel| (channel.id(), channel))
    }

    /// Frames that the client sent on its own were not accepted.
    pub(crate) fn unaccepted(&mut self, unaccepted: Vec<Unaccepted>) {
        for Unaccepted { frame, error } in unaccepted {
            self.reentry_failed(&frame, error);
        }
    }

    fn moved_by<T>(&mut self, delivery: Delivery<T>, now: Instant) {
        let Some(id) = self.channel_id(&delivery.channel) else { return };
        let Some(place) = self.admit(id, delivery.channel_serial.as_ref(), now) else { return };
        if place.repeated {
            self.repeated(id, &place, now);
        } else if let Some(channel) = self.channels.get_mut(id) {
            channel.moved(delivery.channel_serial);
        }
    }

    /// The channel that frames with this name are for.
    pub(crate) fn channel_id(&mut self, name: &Str) -> Option<ChannelId> {
        self.channels.named(name).map(|channel| channel.id())
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.shared.timers.expire(now.instant) {
            match timer {
                Timer::Connect => self.connect_timed_out(now.instant),
                Timer::Token(id) => self.token_timed_out(id, now.instant),
                Timer::Auth => self.auth_timed_out(),
                Timer::Retry => self.retry(now.instant),
                Timer::Suspend => self.state_ttl_passed(now.instant),
                Timer::Idle => self.check_idle(now.instant),
                Timer::Close => self.close_timed_out(now.instant),
                Timer::Ping(op) => self.pings.timed_out(op, &mut self.shared.cx(now)),
                Timer::Attach(id) => self.attach_timed_out(id, now.instant),
                Timer::Detach(id) => self.detach_timed_out(id, now),
                Timer::Reattach(id) => self.reattach(id, now.instant),
                Timer::Sync(id) => self.sync_timed_out(id, now.instant),
                Timer::Ack => self.fail_publishes(&errors::ack_timed_out(), now.instant),
                Timer::Replay(id) => self.replay_timed_out(id, now.instant),
            }
        }
    }

    /// The connection's state (RTN4d).
    pub fn connection_state(&self) -> ConnectionState {
        self.shared.connection.state()
    }

    /// The connection's id, while there is one (RTN8).
    pub fn connection_id(&self) -> Option<&Str> {
        self.shared.connection.id.as_ref()
    }

    /// The connection's secret, while there is one (RTN9).
    pub fn connection_key(&self) -> Option<&Str> {
        self.shared.connection.key.as_ref()
    }

    /// The last error of the connection (RTN25).
    pub fn error_reason(&self) -> Option<&ErrorInfo> {
        self.shared.connection.error_reason.as_ref()
    }

    /// The domain that the connection is to, or that was tried last (RTN17).
    pub fn host(&self) -> &Str {
        &self.shared.connection.host
    }

    /// The most that a frame or the body of a request may hold, in bytes: the service's limit, or the
    /// configured one while it has not said (CD2d).
    pub fn max_frame_size(&self) -> u64 {
        self.shared.connection.max_frame_size
    }

    /// What the service said of the connection with its last CONNECTED, but for the connection's key (CD2).
    pub fn connection_details(&self) -> &ConnectionDetails {
        &self.shared.connection.details
    }

    /// The identity that the service confirmed with its last CONNECTED (RSA7b3); `*` is any (RSA7b4).
    pub fn confirmed_client_id(&self) -> Option<&Str> {
        self.shared.connection.client_id.as_ref()
    }

    /// The identity the service confirmed, or the configured one (RSA7); `*` is none in particular.
    pub fn client_id(&self) -> Option<&Str> {
        self.shared.connection.identity(&self.shared.config)
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
        let serials = self.channels.iter().filter(|channel| {
            channel.state() == ChannelState::Attached && channel.channel_serial.is_some()
        });
        Some(RecoveryKey {
            connection_key: self.shared.connection.key.clone()?,
            msg_serial: self.outbox.next_serial(),
            channel_serials: serials
                .filter_map(|channel| Some((channel.name.clone(), channel.channel_serial.clone()?)))
                .collect(),
        })
    }

    /// A channel of this client; `None` once it was released.
    pub fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id)
    }

    /// What was asked for last and is not yet taken.
    pub(crate) fn last_output(&mut self) -> Option<&mut Output> {
        self.shared.outputs.back_mut()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.shared.outputs.push_back(output);
    }

    pub(crate) fn done(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        self.push(Output::Event(Event::Done(op, outcome)));
    }

    /// Sends a frame on the current transport; without an open one it goes nowhere.
    pub(crate) fn send(&mut self, frame: ClientFrame) {
        if let Some(transport) = self.shared.connection.open_transport() {
            self.push(Output::Send { transport, frame });
        }
    }
}
