//! Channels: their states and the ways between them (RTL).

use std::{collections::VecDeque, mem};

use capably_protocol::{
    ChannelMode, CipherParams, ClientFrame, ErrorInfo, Flags, Message, Str, encoding,
    frame::{Attach, Attached, Delivery, Params},
};

use crate::{
    ChannelEvent, ChannelId, ChannelState, ChannelStateChange, Client, ConnectionState, Event,
    Instant, Now, OpId, Output, Timer, backoff, errors, presence::Presence,
};

/// What a channel is asked to be (TB).
#[derive(Clone, Debug, Default)]
pub struct ChannelOptions {
    /// Channel parameters, such as `rewind` (TB2c).
    pub params: Params,
    /// The modes to ask for; none means the service's default (TB2d).
    pub modes: Vec<ChannelMode>,
    /// With what payloads are decrypted (TB2b).
    pub cipher: Option<CipherParams>,
}

/// A state with what belongs to it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Initialized,
    Attaching,
    Attached,
    /// `from_attached`: to be attached again if the service does not confirm (RTL5f).
    Detaching {
        from_attached: bool,
    },
    Detached,
    Suspended,
    Failed,
}

/// What a user asked for while something else was under way (RTL4h, RTL5i).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Attach(OpId),
    Detach(OpId),
}

/// A channel of a client.
#[derive(Debug)]
pub struct Channel {
    pub(crate) name: Str,
    options: ChannelOptions,
    state: State,
    pub(crate) error_reason: Option<ErrorInfo>,
    pub(crate) channel_serial: Option<Str>,
    attach_serial: Option<Str>,
    modes: Vec<ChannelMode>,
    params: Params,
    /// The operations that end with the attach or detach under way.
    ops: Vec<OpId>,
    /// What was asked for meanwhile, in order.
    waiting: VecDeque<Request>,
    /// The modes whose absence was logged since the channel was attached (TO3r2).
    pub(crate) missed_modes: Vec<ChannelMode>,
    /// Attempts to attach again that failed since the channel was last attached.
    retries: u32,
    pub(crate) presence: Presence,
}

impl Channel {
    pub(crate) fn new(name: Str, options: ChannelOptions, channel_serial: Option<Str>) -> Self {
        Self {
            name,
            options,
            state: State::Initialized,
            error_reason: None,
            channel_serial,
            attach_serial: None,
            modes: Vec::new(),
            params: Params::new(),
            ops: Vec::new(),
            waiting: VecDeque::new(),
            missed_modes: Vec::new(),
            retries: 0,
            presence: Presence::default(),
        }
    }

    /// A frame arrived that moves the channel's position (RTL15b). A channel without an attachment has none
    /// (RTL15b2).
    pub(crate) fn moved(&mut self, serial: Option<Str>) {
        match self.state {
            State::Attaching | State::Attached | State::Detaching { .. } | State::Suspended => {
                if serial.is_some() {
                    self.channel_serial = serial;
                }
            }
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// The channel's name (RTL23).
    pub fn name(&self) -> &Str {
        &self.name
    }

    /// The channel's state (RTL2b).
    pub fn state(&self) -> ChannelState {
        match self.state {
            State::Initialized => ChannelState::Initialized,
            State::Attaching => ChannelState::Attaching,
            State::Attached => ChannelState::Attached,
            State::Detaching { .. } => ChannelState::Detaching,
            State::Detached => ChannelState::Detached,
            State::Suspended => ChannelState::Suspended,
            State::Failed => ChannelState::Failed,
        }
    }

    /// The last error of the channel (RTL24).
    pub fn error_reason(&self) -> Option<&ErrorInfo> {
        self.error_reason.as_ref()
    }

    pub(crate) fn options(&self) -> &ChannelOptions {
        &self.options
    }

    /// The modes the service granted (RTL4m).
    pub fn modes(&self) -> &[ChannelMode] {
        &self.modes
    }

    /// The parameters the service recognised (RTL4k1).
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Where the attachment started (RTL15c).
    pub fn attach_serial(&self) -> Option<&Str> {
        self.attach_serial.as_ref()
    }

    /// The position after what was received last (RTL15b).
    pub fn channel_serial(&self) -> Option<&Str> {
        self.channel_serial.as_ref()
    }

    /// Takes every operation, under way or waiting.
    pub(crate) fn take_ops(&mut self) -> Vec<OpId> {
        let mut ops = mem::take(&mut self.ops);
        ops.extend(self.presence.take_ops());
        ops.extend(self.waiting.drain(..).map(|request| match request {
            Request::Attach(op) | Request::Detach(op) => op,
        }));
        ops
    }
}

impl Client {
    /// Attaches a channel (RTL4). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn attach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.request(id, Request::Attach(op), now.instant);
    }

    /// Detaches a channel (RTL5). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn detach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.request(id, Request::Detach(op), now.instant);
    }

    fn request(&mut self, id: ChannelId, request: Request, now: Instant) {
        let Some(channel) = self.channels.get_mut(&id) else {
            let (Request::Attach(op) | Request::Detach(op)) = request;
            return self.done(op, Err(errors::released()));
        };
        if channel.waiting.is_empty() {
            self.start(id, request, now);
        } else {
            channel.waiting.push_back(request);
        }
    }

    /// Does what was asked for, joins what is under way, or waits for it.
    fn start(&mut self, id: ChannelId, request: Request, now: Instant) {
        let connection = self.connection_state();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        match (request, channel.state) {
            (Request::Attach(op), State::Attached) => self.request_done(id, op, Ok(())),
            (Request::Attach(op), State::Attaching)
            | (Request::Detach(op), State::Detaching { .. }) => channel.ops.push(op),
            // Without a connection no attach is under way at the service (RTL5l).
            (Request::Detach(op), State::Attaching) if connection != ConnectionState::Connected => {
                let attaching = mem::take(&mut channel.ops);
                self.enter_channel(id, State::Detached, None);
                for attach in attaching {
                    self.request_done(id, attach, Err(errors::detached()));
                }
                self.request_done(id, op, Ok(()));
            }
            (Request::Attach(_), State::Detaching { .. })
            | (Request::Detach(_), State::Attaching) => channel.waiting.push_back(request),
            (
                Request::Attach(op),
                State::Initialized | State::Detached | State::Suspended | State::Failed,
            ) => match self.attach_implicitly(id, now) {
                Ok(()) => {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.ops.push(op);
                    }
                }
                Err(error) => self.request_done(id, op, Err(error)),
            },
            (Request::Detach(op), State::Initialized | State::Detached) => {
                self.request_done(id, op, Ok(()));
            }
            (Request::Detach(op), State::Failed) => {
                let reason = channel.error_reason.as_ref();
                let error = errors::channel_state(ChannelState::Failed, reason);
                self.request_done(id, op, Err(error));
            }
            (Request::Detach(op), State::Suspended) => {
                self.enter_channel(id, State::Detached, None);
                self.request_done(id, op, Ok(()));
            }
            (Request::Detach(op), State::Attached) => {
                if connection == ConnectionState::Connected {
                    channel.ops.push(op);
                    self.begin_detach(id, true, now);
                } else {
                    self.enter_channel(id, State::Detached, None);
                    self.request_done(id, op, Ok(()));
                }
            }
        }
    }

    /// Attaches a channel that is neither attached nor about to be, if the connection's state allows
    /// (RTL4b).
    pub(crate) fn attach_implicitly(
        &mut self,
        id: ChannelId,
        now: Instant,
    ) -> Result<(), ErrorInfo> {
        let connection = self.connection_state();
        match connection {
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Connected
            | ConnectionState::Disconnected => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.error_reason = None;
                }
                self.begin_attach(id, None, now);
                Ok(())
            }
            ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {
                Err(errors::connection_state(connection, self.error_reason()))
            }
        }
    }

    /// Goes on with what waits, once nothing is under way.
    fn start_waiting(&mut self, id: ChannelId, now: Instant) {
        while let Some(channel) = self.channels.get_mut(&id)
            && !matches!(channel.state, State::Attaching | State::Detaching { .. })
            && let Some(request) = channel.waiting.pop_front()
        {
            self.start(id, request, now);
        }
        // What joins the attach or detach just started waits no longer.
        while let Some(channel) = self.channels.get_mut(&id)
            && matches!(
                (channel.waiting.front(), channel.state),
                (Some(Request::Attach(_)), State::Attaching)
                    | (Some(Request::Detach(_)), State::Detaching { .. })
            )
            && let Some(Request::Attach(op) | Request::Detach(op)) = channel.waiting.pop_front()
        {
            channel.ops.push(op);
        }
    }

    /// Ends the operations under way, then goes on with what waits.
    fn settle(&mut self, id: ChannelId, outcome: Result<(), ErrorInfo>, now: Instant) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        for op in mem::take(&mut channel.ops) {
            self.request_done(id, op, outcome.clone());
        }
        self.start_waiting(id, now);
    }

    /// Enters ATTACHING, and sends ATTACH if there is a connection; else it is sent once there is
    /// (RTL4i).
    fn begin_attach(&mut self, id: ChannelId, reason: Option<ErrorInfo>, now: Instant) {
        self.timers.clear(Timer::Reattach(id));
        self.enter_channel(id, State::Attaching, reason);
        self.send_attach(id, now);
    }

    fn send_attach(&mut self, id: ChannelId, now: Instant) {
        if self.connection_state() != ConnectionState::Connected {
            return;
        }
        let Some(channel) = self.channels.get(&id) else { return };
        let frame = ClientFrame::Attach(Attach {
            channel: channel.name.clone(),
            channel_serial: channel.channel_serial.clone(),
            flags: channel.options.modes.iter().copied().collect::<Flags>(),
            params: channel.options.params.clone(),
        });
        self.timers.set(Timer::Attach(id), now + self.config.realtime_request_timeout);
        self.send(frame);
    }

    /// Enters DETACHING, and sends DETACH (RTL5d).
    fn begin_detach(&mut self, id: ChannelId, from_attached: bool, now: Instant) {
        self.enter_channel(id, State::Detaching { from_attached }, None);
        self.await_detached(id, now);
        self.send_detach(id);
    }

    fn await_detached(&mut self, id: ChannelId, now: Instant) {
        self.timers.set(Timer::Detach(id), now + self.config.realtime_request_timeout);
    }

    fn send_detach(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get(&id) {
            let frame = ClientFrame::Detach { channel: channel.name.clone() };
            self.send(frame);
        }
    }

    /// ATTACHED arrived.
    pub(crate) fn channel_attached(&mut self, id: ChannelId, attached: Attached, now: Now) {
        let Now { instant: now, wall } = now;
        let has_presence = attached.flags.contains(Flags::HAS_PRESENCE);
        let resumed = attached.flags.contains(Flags::RESUMED);
        let has_backlog = attached.flags.contains(Flags::HAS_BACKLOG);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let event = match channel.state {
            State::Attaching | State::Suspended => ChannelEvent::State(ChannelState::Attached),
            State::Attached => ChannelEvent::Update,
            // The service attached a channel that is to be detached (RTL5k).
            State::Detaching { .. } => return self.send_detach(id),
            State::Detached => return self.begin_detach(id, false, now),
            State::Initialized | State::Failed => return,
        };
        if !resumed {
            channel.attach_serial.clone_from(&attached.channel_serial);
        }
        if attached.channel_serial.is_some() {
            channel.channel_serial = attached.channel_serial;
        }
        channel.modes = attached.flags.modes();
        channel.missed_modes.clear();
        channel.params = attached.params;
        channel.retries = 0;
        let previous = channel.state();
        channel.state = State::Attached;
        if let Some(error) = &attached.error {
            channel.error_reason = Some(error.clone());
        } else if event != ChannelEvent::Update {
            channel.error_reason = None;
        }
        self.timers.clear(Timer::Attach(id));
        self.timers.clear(Timer::Reattach(id));
        // An update without loss of continuity is no event (RTL12).
        if event == ChannelEvent::Update && resumed {
            self.push(Output::Event(Event::Granted(id)));
        } else {
            self.emit(
                id,
                ChannelStateChange {
                    previous,
                    current: ChannelState::Attached,
                    event,
                    reason: attached.error,
                    resumed,
                    has_backlog,
                },
            );
        }
        let reenter = event != ChannelEvent::Update || !resumed;
        self.presence_attached(id, has_presence, reenter, wall);
        self.settle(id, Ok(()), now);
    }

    /// DETACHED arrived: what was asked for (RTL5d), or the service's decision (RTL13).
    pub(crate) fn channel_detached(
        &mut self,
        id: ChannelId,
        error: Option<ErrorInfo>,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get(&id) else { return };
        match channel.state {
            State::Detaching { .. } => {
                self.timers.clear(Timer::Detach(id));
                self.enter_channel(id, State::Detached, error);
                self.settle(id, Ok(()), now);
            }
            State::Attached | State::Suspended => self.begin_attach(id, error, now),
            State::Attaching => {
                self.suspend_channel(id, error.unwrap_or_else(errors::detached), now);
            }
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// The service failed the channel (RTL14).
    pub(crate) fn channel_error(&mut self, id: ChannelId, error: Option<ErrorInfo>, now: Instant) {
        let error = error.unwrap_or_else(errors::channel_failed);
        self.fail_channel(id, error, now);
    }

    pub(crate) fn attach_timed_out(&mut self, id: ChannelId, now: Instant) {
        self.suspend_channel(id, errors::attach_timed_out(), now);
    }

    /// The service did not confirm a detach: the channel is what it was before (RTL5f).
    pub(crate) fn detach_timed_out(&mut self, id: ChannelId, now: Instant) {
        let Some(channel) = self.channels.get(&id) else { return };
        let State::Detaching { from_attached } = channel.state else { return };
        let error = errors::detach_timed_out();
        let state = if from_attached { State::Attached } else { State::Detached };
        self.enter_channel(id, state, Some(error.clone()));
        self.settle(id, Err(error), now);
    }

    /// A suspended channel tries again (RTL13b).
    pub(crate) fn reattach(&mut self, id: ChannelId, now: Instant) {
        let suspended =
            self.channels.get(&id).is_some_and(|channel| channel.state == State::Suspended);
        if suspended && self.connection_state() == ConnectionState::Connected {
            self.begin_attach(id, None, now);
        }
    }

    /// Enters SUSPENDED, to attach again after a while if the connection stays (RTL4f, RTL13b).
    fn suspend_channel(&mut self, id: ChannelId, error: ErrorInfo, now: Instant) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.retries = channel.retries.saturating_add(1);
        let retries = channel.retries;
        self.timers.clear(Timer::Attach(id));
        self.enter_channel(id, State::Suspended, Some(error.clone()));
        if self.connection_state() == ConnectionState::Connected {
            let wait = backoff::delay(self.config.channel_retry_timeout, retries, &mut self.rng);
            self.timers.set(Timer::Reattach(id), now + wait);
        }
        self.settle(id, Err(error), now);
    }

    fn fail_channel(&mut self, id: ChannelId, error: ErrorInfo, now: Instant) {
        self.clear_channel_timers(id);
        self.enter_channel(id, State::Failed, Some(error.clone()));
        self.settle(id, Err(error), now);
    }

    fn clear_channel_timers(&mut self, id: ChannelId) {
        for timer in [Timer::Attach(id), Timer::Detach(id), Timer::Reattach(id)] {
            self.timers.clear(timer);
        }
    }

    /// Messages arrived (RTL15b, RTL17).
    pub(crate) fn deliver(&mut self, delivery: &mut Delivery<Message>) {
        let Some((id, channel)) = self.channel_named(&delivery.channel) else { return };
        channel.moved(delivery.channel_serial.take());
        if channel.state != State::Attached {
            return;
        }
        for (index, message) in delivery.items.iter_mut().enumerate() {
            message.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            if message.encoding.is_some()
                && let Err(error) = encoding::decode(
                    &mut message.data,
                    &mut message.encoding,
                    channel.options.cipher.as_ref(),
                )
            {
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*channel.name, %error, "a payload could not be decoded");
            }
        }
        // What arrived together is handed on together.
        match self.last_output() {
            Some(Output::Event(Event::Messages(last, messages))) if *last == id => {
                messages.append(&mut delivery.items);
            }
            _ => {
                let messages = mem::take(&mut delivery.items);
                self.push(Output::Event(Event::Messages(id, messages)));
            }
        }
    }

    /// The connection is there: every channel that should be attached asks for it (RTL3d), and a detach
    /// under way is sent again (RTN19b).
    pub(crate) fn channels_on_connected(&mut self, now: Instant) {
        for id in self.channel_ids() {
            let Some(channel) = self.channels.get(&id) else { continue };
            match channel.state {
                State::Attaching => self.send_attach(id, now),
                State::Attached | State::Suspended => self.begin_attach(id, None, now),
                State::Detaching { .. } => {
                    self.await_detached(id, now);
                    self.send_detach(id);
                }
                State::Initialized | State::Detached | State::Failed => {}
            }
        }
    }

    /// Without a connection nothing is answered and nothing retried; once there is one, what is under way
    /// is sent again (RTL13c, RTN19b).
    pub(crate) fn pause_channels(&mut self) {
        for id in self.channel_ids() {
            self.clear_channel_timers(id);
        }
    }

    /// The connection is suspended (RTL3c). A detach needs no answer any more (RTL5l).
    pub(crate) fn suspend_channels(&mut self, error: &ErrorInfo, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Suspended, Some(error), now);
        }
    }

    /// The connection is closed (RTL3b).
    pub(crate) fn detach_all_channels(&mut self, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Detached, None, now);
        }
    }

    /// The connection failed (RTL3a).
    pub(crate) fn fail_channels(&mut self, error: &ErrorInfo, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Failed, Some(error), now);
        }
    }

    fn leave_connection(
        &mut self,
        id: ChannelId,
        state: State,
        error: Option<&ErrorInfo>,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get(&id) else { return };
        let was = channel.state;
        self.clear_channel_timers(id);
        match was {
            State::Attaching | State::Attached => {
                self.enter_channel(id, state, error.cloned());
                let error = error.cloned().unwrap_or_else(errors::closed);
                self.settle(id, Err(error), now);
            }
            State::Detaching { .. } => {
                self.enter_channel(id, State::Detached, error.cloned());
                self.settle(id, Ok(()), now);
            }
            State::Initialized | State::Detached | State::Suspended | State::Failed => {}
        }
    }

    /// The user connects again after the connection ended (RTN11d).
    pub(crate) fn reinitialize_channels(&mut self) {
        for id in self.channel_ids() {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            channel.error_reason = None;
            channel.channel_serial = None;
            channel.retries = 0;
            if channel.state != State::Initialized {
                self.enter_channel(id, State::Initialized, None);
            }
        }
    }

    fn channel_ids(&self) -> Vec<ChannelId> {
        self.channels.keys().copied().collect()
    }

    /// Enters a state and says so.
    fn enter_channel(&mut self, id: ChannelId, state: State, reason: Option<ErrorInfo>) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let previous = channel.state();
        channel.state = state;
        let current = channel.state();
        if previous == current {
            return;
        }
        if let Some(reason) = &reason {
            channel.error_reason = Some(reason.clone());
        }
        if matches!(state, State::Detached | State::Failed) {
            channel.channel_serial = None;
            channel.retries = 0;
        }
        self.emit(
            id,
            ChannelStateChange {
                previous,
                current,
                event: ChannelEvent::State(current),
                reason: reason.clone(),
                resumed: false,
                has_backlog: false,
            },
        );
        self.presence_left(id, current, reason.as_ref());
    }

    /// Says that something happened to the channel, which stays in its state and loses nothing.
    pub(crate) fn channel_updated(&mut self, id: ChannelId, reason: ErrorInfo) {
        let Some(channel) = self.channels.get(&id) else { return };
        let state = channel.state();
        self.emit(
            id,
            ChannelStateChange {
                previous: state,
                current: state,
                event: ChannelEvent::Update,
                reason: Some(reason),
                resumed: true,
                has_backlog: false,
            },
        );
    }

    fn emit(&mut self, id: ChannelId, change: ChannelStateChange) {
        self.push(Output::Event(Event::Channel(id, change)));
    }
}
