//! Channels: their states and the transitions between them (RTL).

use std::{collections::VecDeque, mem};

use capably_protocol::{ChannelMode, ErrorInfo, Str, frame::Params};

use crate::{
    ChannelEvent, ChannelId, ChannelState, ChannelStateChange, Event, Instant, OpId, Timer,
    context::Cx, objects::ChannelObjects, presence::Presence,
};

mod annotations;
mod connection;
mod continuity;
mod deliver;
mod delta;
mod modes;
mod objects;
mod options;
mod presence;
mod publish;
mod replay;
mod request;
mod service;
mod unreadable;

use self::delta::is_delta;
use self::{continuity::Continuity, delta::Deltas, replay::Replay};
pub use self::{
    continuity::Gap,
    delta::{DeltaError, VcdiffDecoder},
    options::ChannelOptions,
    replay::{Place, ReplayEnd, ReplayOutcome},
};
pub(crate) use self::{presence::check_presence, publish::stored_frame, request::Request};

/// A channel of a client.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    name: Str,
    options: ChannelOptions,
    state: State,
    error_reason: Option<ErrorInfo>,
    channel_serial: Option<Str>,
    attach_serial: Option<Str>,
    continuity: Continuity,
    modes: Vec<ChannelMode>,
    params: Params,
    /// The operations that end with the attach or detach under way.
    ops: Vec<OpId>,
    /// Requests that were made meanwhile, in order (RTL4h, RTL5i).
    waiting: VecDeque<Request>,
    /// The modes whose absence was logged since the channel was attached (TO3r2).
    missed_modes: Vec<ChannelMode>,
    /// Attempts to attach again that failed since the channel was last attached.
    retries: u32,
    deltas: Deltas,
    replay: Option<Replay>,
    /// From where the channel was replayed when it last left ATTACHED, until it is attached again.
    abandoned_replay: Option<Str>,
    presence: Presence,
    /// The channel's objects, once they are used: most channels have none.
    objects: Option<Box<ChannelObjects>>,
}

/// The state of a channel, with data that only exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Initialized,
    Attaching {
        since: Instant,
    },
    Attached,
    Detaching {
        /// If the service does not confirm the detach, the channel is attached again, not detached (RTL5f).
        from_attached: bool,
        since: Instant,
    },
    Detached,
    Suspended,
    Failed,
}

impl Channel {
    /// A channel that continues after `channel_serial`, if an earlier client left one. With `is_recovered`, that client may
    /// have left members, too.
    pub(crate) fn new(
        id: ChannelId,
        name: Str,
        options: ChannelOptions,
        channel_serial: Option<Str>,
        is_recovered: bool,
    ) -> Self {
        Self {
            id,
            name,
            options,
            state: State::Initialized,
            error_reason: None,
            continuity: Continuity::at(channel_serial.clone()),
            presence: Presence::new(id, is_recovered || channel_serial.is_some()),
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
            objects: None,
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
            State::Attaching { .. } => ChannelState::Attaching,
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

    /// The modes that the service granted (RTL4m).
    pub fn modes(&self) -> &[ChannelMode] {
        &self.modes
    }

    /// The parameters that the service recognised (RTL4k1).
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The channel serial at which the attachment started (RTL15c).
    pub fn attach_serial(&self) -> Option<&Str> {
        self.attach_serial.as_ref()
    }

    /// The channel's position: the serial of the frame that was received last (RTL15b).
    pub fn channel_serial(&self) -> Option<&Str> {
        self.channel_serial.as_ref()
    }

    /// A frame arrived that moves the channel's position (RTL15b).
    fn moved(&mut self, serial: Option<Str>) {
        // The service is to send again what follows the position before the delta that failed (RTL18c).
        if self.deltas.is_recovering() {
            return;
        }
        match self.state {
            State::Attaching { .. }
            | State::Attached
            | State::Detaching { .. }
            | State::Suspended => {
                if serial.is_some() {
                    self.channel_serial = serial;
                }
            }
            // A channel without an attachment has no position (RTL15b2).
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// Enters a state, with its effects on position, deadlines, replay and presence, and emits the change.
    fn enter(&mut self, state: State, reason: Option<ErrorInfo>, cx: &mut Cx<'_>) {
        let previous = self.state();
        self.state = state;
        let current = self.state();
        if previous == current {
            return;
        }
        if previous == ChannelState::Attached {
            self.left(reason.as_ref());
        }
        if let Some(reason) = &reason {
            self.error_reason = Some(reason.clone());
        }
        if matches!(state, State::Detached | State::Failed) {
            self.channel_serial = None;
            self.retries = 0;
            self.deltas.detached();
        }
        self.leave_replay(cx);
        // The deadlines of the new state are set after it is entered.
        self.clear_timers(cx);
        let event = ChannelEvent::State(current);
        let change = ChannelStateChange {
            previous,
            current,
            event,
            reason: reason.clone(),
            resumed: false,
            has_backlog: false,
        };
        cx.emit(Event::Channel(self.id, change));
        self.presence.channel_left(current, reason.as_ref(), cx);
        self.objects_left(current, reason.as_ref(), cx);
    }

    /// Emits an update of a channel that stays in its state and may have lost something.
    fn updated(&self, reason: ErrorInfo, resumed: bool, cx: &mut Cx<'_>) {
        let state = self.state();
        let change = ChannelStateChange {
            previous: state,
            current: state,
            event: ChannelEvent::Update,
            reason: Some(reason),
            resumed,
            has_backlog: false,
        };
        cx.emit(Event::Channel(self.id, change));
    }

    /// Clears the deadlines of the state that the channel leaves.
    fn clear_timers(&self, cx: &mut Cx<'_>) {
        let id = self.id;
        for timer in [Timer::Attach(id), Timer::Detach(id), Timer::Reattach(id), Timer::Replay(id)]
        {
            cx.timers.clear(timer);
        }
    }

    /// Ends every operation of the channel, under way or waiting, with this error, and clears every deadline.
    pub(crate) fn end(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        self.clear_timers(cx);
        let mut ops = mem::take(&mut self.ops);
        ops.extend(self.presence.end(cx));
        ops.extend(self.objects.iter_mut().flat_map(|objects| objects.end(cx)));
        ops.extend(self.waiting.drain(..).map(Request::op));
        for op in ops {
            cx.done(op, Err(error.clone()));
        }
    }
}
