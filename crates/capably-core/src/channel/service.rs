//! Frames of the service about a channel, and the deadlines for them (RTL12, RTL13, RTL14).

use capably_protocol::{ErrorInfo, Flags, frame::Attached};

use super::{Channel, State};
use crate::{
    ChannelEvent, ChannelState, ChannelStateChange, Event, Timer, backoff, context::Cx, errors,
    outbox::Outbox,
};

impl Channel {
    /// ATTACHED arrived.
    pub(crate) fn handle_attached(
        &mut self,
        attached: Attached,
        outbox: &mut Outbox,
        cx: &mut Cx<'_>,
    ) {
        let has_presence = attached.flags.contains(Flags::HAS_PRESENCE);
        let has_objects = attached.flags.contains(Flags::HAS_OBJECTS);
        let resumed = attached.flags.contains(Flags::RESUMED);
        let has_backlog = attached.flags.contains(Flags::HAS_BACKLOG);
        if self.replay_answered(&attached, outbox, cx) || self.is_late_answer(&attached) {
            return;
        }
        self.abandoned_replay = None;
        let event = match self.state {
            State::Attaching { .. } | State::Suspended => {
                ChannelEvent::State(ChannelState::Attached)
            }
            State::Attached => ChannelEvent::Update,
            // The service attached a channel that is to be detached (RTL5k).
            State::Detaching { .. } => return self.send_detach(cx),
            State::Detached => return self.begin_detach(false, cx),
            State::Initialized | State::Failed => return,
        };
        let gap = self.take_gap(&attached, resumed, cx.now.wall);
        if !resumed {
            self.attach_serial.clone_from(&attached.channel_serial);
        }
        if attached.channel_serial.is_some() {
            self.channel_serial = attached.channel_serial;
        }
        self.modes = attached.flags.modes();
        self.missed_modes.clear();
        self.params = attached.params;
        self.retries = 0;
        self.deltas.attached();
        let previous = self.state();
        self.state = State::Attached;
        if let Some(error) = &attached.error {
            self.error_reason = Some(error.clone());
        } else if event != ChannelEvent::Update {
            self.error_reason = None;
        }
        cx.timers.clear(Timer::Attach(self.id));
        cx.timers.clear(Timer::Reattach(self.id));
        if let Some(gap) = gap {
            cx.emit(Event::Gap(self.id, Box::new(gap)));
        }
        if event == ChannelEvent::Update && resumed {
            // Without loss of continuity the application gets no update (RTL12).
            cx.emit(Event::Granted(self.id));
        } else {
            let change = ChannelStateChange {
                previous,
                current: ChannelState::Attached,
                event,
                reason: attached.error,
                resumed,
                has_backlog,
            };
            cx.emit(Event::Channel(self.id, change));
        }
        let reenter = event != ChannelEvent::Update || !resumed;
        self.presence.channel_attached(&self.name, has_presence, reenter, outbox, cx);
        self.objects_attached(has_objects, cx);
        self.settle(Ok(()), cx);
    }

    /// DETACHED arrived: the answer to a DETACH (RTL5d), or the service's decision (RTL13).
    pub(crate) fn handle_detached(&mut self, error: Option<ErrorInfo>, cx: &mut Cx<'_>) {
        match self.state {
            State::Detaching { .. } => {
                self.enter(State::Detached, error, cx);
                self.settle(Ok(()), cx);
            }
            State::Attached | State::Suspended => self.begin_attach(error, cx),
            State::Attaching { .. } => {
                self.suspend(errors::from_service(error, errors::detached), cx)
            }
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// ERROR arrived: the service failed the channel (RTL14).
    pub(crate) fn handle_error(&mut self, error: Option<ErrorInfo>, cx: &mut Cx<'_>) {
        self.fail(errors::from_service(error, errors::channel_failed), cx);
    }

    /// The service did not confirm an attach in time (RTL4f).
    pub(crate) fn attach_timed_out(&mut self, cx: &mut Cx<'_>) {
        self.suspend(errors::attach_timed_out(), cx);
    }

    /// The service did not confirm a detach in time: the channel is what it was before (RTL5f).
    pub(crate) fn detach_timed_out(&mut self, cx: &mut Cx<'_>) {
        let State::Detaching { from_attached, .. } = self.state else { return };
        let error = errors::detach_timed_out();
        let state = if from_attached { State::Attached } else { State::Detached };
        if from_attached && let Some(gap) = self.take_detaching_gap(&error, cx.now.wall) {
            cx.emit(Event::Gap(self.id, Box::new(gap)));
        }
        if from_attached {
            self.presence.detach_timed_out();
        }
        self.enter(state, Some(error.clone()), cx);
        self.settle(Err(error), cx);
    }

    /// A suspended channel attaches again (RTL13b).
    pub(crate) fn reattach(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::Suspended && cx.is_connected() {
            self.begin_attach(None, cx);
        }
    }

    /// Enters SUSPENDED, to attach again after a while if the connection stays (RTL4f, RTL13b).
    pub(super) fn suspend(&mut self, error: ErrorInfo, cx: &mut Cx<'_>) {
        self.retries = self.retries.saturating_add(1);
        self.enter(State::Suspended, Some(error.clone()), cx);
        if cx.is_connected() {
            let wait = backoff::delay(cx.config.channel_retry_timeout, self.retries, cx.rng);
            cx.timers.set(Timer::Reattach(self.id), cx.now.instant + wait);
        }
        self.settle(Err(error), cx);
    }

    pub(super) fn fail(&mut self, error: ErrorInfo, cx: &mut Cx<'_>) {
        self.clear_timers(cx);
        self.enter(State::Failed, Some(error.clone()), cx);
        self.settle(Err(error), cx);
    }
}
