//! Channels: their states and the ways between them (RTL).

use std::{collections::VecDeque, mem};

use capably_protocol::{ChannelMode, CipherParams, ErrorInfo, Str, frame::Params};

use crate::{
    ChannelEvent, ChannelId, ChannelState, ChannelStateChange, Client, Event, OpId, Output, Timer,
    context::Cx, presence::Presence,
};

mod annotations;
mod connection;
mod continuity;
mod deliver;
mod delta;
mod modes;
mod options;
mod replay;
mod request;
mod service;

use self::{continuity::Continuity, delta::Deltas, replay::Replay};
pub use self::{
    continuity::Gap,
    delta::{DeltaError, VcdiffDecoder},
    replay::{Place, ReplayEnd, ReplayOutcome},
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
    /// The product that made the channel, to be named when it attaches (WP7).
    pub agent: Option<String>,
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
    /// Attach with other options (RTL16a).
    Reattach(OpId),
}

impl Request {
    fn op(self) -> OpId {
        match self {
            Self::Attach(op) | Self::Detach(op) | Self::Reattach(op) => op,
        }
    }
}

/// A channel of a client.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    pub(crate) name: Str,
    options: ChannelOptions,
    state: State,
    pub(crate) error_reason: Option<ErrorInfo>,
    pub(crate) channel_serial: Option<Str>,
    attach_serial: Option<Str>,
    continuity: Continuity,
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
    deltas: Deltas,
    replay: Option<Replay>,
    /// From where the channel was replayed when it last left ATTACHED, until it is attached again.
    abandoned_replay: Option<Str>,
    pub(crate) presence: Presence,
}

impl Channel {
    pub(crate) fn new(
        id: ChannelId,
        name: Str,
        options: ChannelOptions,
        channel_serial: Option<Str>,
    ) -> Self {
        Self {
            id,
            name,
            options,
            state: State::Initialized,
            error_reason: None,
            continuity: Continuity::at(channel_serial.clone()),
            channel_serial,
            attach_serial: None,
            modes: Vec::new(),
            params: Params::new(),
            ops: Vec::new(),
            waiting: VecDeque::new(),
            missed_modes: Vec::new(),
            retries: 0,
            deltas: Deltas::default(),
            replay: None,
            abandoned_replay: None,
            presence: Presence::default(),
        }
    }

    /// A frame arrived that moves the channel's position (RTL15b). A channel without an attachment has none
    /// (RTL15b2), and that of one that recovers from a delta stays (RTL18c).
    pub(crate) fn moved(&mut self, serial: Option<Str>) {
        if self.deltas.is_recovering() {
            return;
        }
        match self.state {
            State::Attaching | State::Attached | State::Detaching { .. } | State::Suspended => {
                if serial.is_some() {
                    self.channel_serial = serial;
                }
            }
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
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

    /// Clears the deadlines of the state that the channel leaves.
    pub(crate) fn clear_timers(&self, cx: &mut Cx<'_>) {
        let id = self.id;
        for timer in [Timer::Attach(id), Timer::Detach(id), Timer::Reattach(id), Timer::Replay(id)]
        {
            cx.timers.clear(timer);
        }
    }

    /// Takes every operation, under way or waiting.
    pub(crate) fn take_ops(&mut self) -> Vec<OpId> {
        let mut ops = mem::take(&mut self.ops);
        ops.extend(self.presence.take_ops());
        ops.extend(self.waiting.drain(..).map(Request::op));
        ops
    }
}

impl Client {
    /// Enters a state and says so.
    fn enter_channel(&mut self, id: ChannelId, state: State, reason: Option<ErrorInfo>) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let previous = channel.state();
        channel.state = state;
        let current = channel.state();
        if previous == current {
            return;
        }
        if previous == ChannelState::Attached {
            channel.left(reason.as_ref());
        }
        if let Some(reason) = &reason {
            channel.error_reason = Some(reason.clone());
        }
        if matches!(state, State::Detached | State::Failed) {
            channel.channel_serial = None;
            channel.retries = 0;
            channel.deltas.detached();
        }
        self.leave_replay(id);
        // Whoever enters a state sets its deadline then.
        self.clear_channel_timers(id);
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
        self.update(id, reason, true);
    }

    /// Says that the channel, which stays in its state, has lost something.
    pub(crate) fn channel_lost(&mut self, id: ChannelId, reason: ErrorInfo) {
        self.update(id, reason, false);
    }

    fn update(&mut self, id: ChannelId, reason: ErrorInfo, resumed: bool) {
        let Some(channel) = self.channels.get(id) else { return };
        let state = channel.state();
        self.emit(
            id,
            ChannelStateChange {
                previous: state,
                current: state,
                event: ChannelEvent::Update,
                reason: Some(reason),
                resumed,
                has_backlog: false,
            },
        );
    }

    fn emit(&mut self, id: ChannelId, change: ChannelStateChange) {
        self.push(Output::Event(Event::Channel(id, change)));
    }

    fn clear_channel_timers(&mut self, id: ChannelId) {
        for timer in [Timer::Attach(id), Timer::Detach(id), Timer::Reattach(id), Timer::Replay(id)]
        {
            self.shared.timers.clear(timer);
        }
    }

    fn channel_ids(&self) -> Vec<ChannelId> {
        self.channels.iter().map(Channel::id).collect()
    }
}
