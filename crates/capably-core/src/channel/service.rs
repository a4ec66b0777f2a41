//! What the service says about a channel, and what follows when it says nothing (RTL12, RTL13, RTL14).

use capably_protocol::{ErrorInfo, Flags, frame::Attached};

use super::State;
use crate::{
    ChannelEvent, ChannelId, ChannelState, ChannelStateChange, Client, ConnectionState, Event,
    Instant, Now, Output, Timer, backoff, errors,
};

impl Client {
    /// ATTACHED arrived.
    pub(crate) fn channel_attached(&mut self, id: ChannelId, attached: Attached, now: Now) {
        let at = now;
        let Now { instant: now, wall } = now;
        let has_presence = attached.flags.contains(Flags::HAS_PRESENCE);
        let resumed = attached.flags.contains(Flags::RESUMED);
        let has_backlog = attached.flags.contains(Flags::HAS_BACKLOG);
        if self.replay_answered(id, &attached, wall, now) {
            return;
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        if channel.is_late_answer(&attached) {
            return;
        }
        channel.abandoned_replay = None;
        let event = match channel.state {
            State::Attaching | State::Suspended => ChannelEvent::State(ChannelState::Attached),
            State::Attached => ChannelEvent::Update,
            // The service attached a channel that is to be detached (RTL5k).
            State::Detaching { .. } => return self.send_detach(id),
            State::Detached => return self.begin_detach(id, false, now),
            State::Initialized | State::Failed => return,
        };
        let gap = channel.attached(&attached, resumed, wall);
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
        channel.deltas.attached();
        let previous = channel.state();
        channel.state = State::Attached;
        if let Some(error) = &attached.error {
            channel.error_reason = Some(error.clone());
        } else if event != ChannelEvent::Update {
            channel.error_reason = None;
        }
        self.shared.timers.clear(Timer::Attach(id));
        self.shared.timers.clear(Timer::Reattach(id));
        if let Some(gap) = gap {
            self.push(Output::Event(Event::Gap(id, gap)));
        }
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
        self.presence_attached(id, has_presence, reenter, at);
        self.settle(id, Ok(()), now);
    }

    /// DETACHED arrived: what was asked for (RTL5d), or the service's decision (RTL13).
    pub(crate) fn channel_detached(
        &mut self,
        id: ChannelId,
        error: Option<ErrorInfo>,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get(id) else { return };
        match channel.state {
            State::Detaching { .. } => {
                self.enter_channel(id, State::Detached, error);
                self.settle(id, Ok(()), now);
            }
            State::Attached | State::Suspended => self.begin_attach(id, error, now),
            State::Attaching => {
                self.suspend_channel(id, errors::said(error, errors::detached), now);
            }
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// The service failed the channel (RTL14).
    pub(crate) fn channel_error(&mut self, id: ChannelId, error: Option<ErrorInfo>, now: Instant) {
        let error = errors::said(error, errors::channel_failed);
        self.fail_channel(id, error, now);
    }

    pub(crate) fn attach_timed_out(&mut self, id: ChannelId, now: Instant) {
        self.suspend_channel(id, errors::attach_timed_out(), now);
    }

    /// The service did not confirm a detach: the channel is what it was before (RTL5f).
    pub(crate) fn detach_timed_out(&mut self, id: ChannelId, now: Now) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let State::Detaching { from_attached } = channel.state else { return };
        let error = errors::detach_timed_out();
        let state = if from_attached { State::Attached } else { State::Detached };
        if from_attached && let Some(gap) = channel.returned(&error, now.wall) {
            self.push(Output::Event(Event::Gap(id, gap)));
        }
        self.enter_channel(id, state, Some(error.clone()));
        self.settle(id, Err(error), now.instant);
    }

    /// A suspended channel tries again (RTL13b).
    pub(crate) fn reattach(&mut self, id: ChannelId, now: Instant) {
        let suspended =
            self.channels.get(id).is_some_and(|channel| channel.state == State::Suspended);
        if suspended && self.connection_state() == ConnectionState::Connected {
            self.begin_attach(id, None, now);
        }
    }

    /// Enters SUSPENDED, to attach again after a while if the connection stays (RTL4f, RTL13b).
    pub(super) fn suspend_channel(&mut self, id: ChannelId, error: ErrorInfo, now: Instant) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.retries = channel.retries.saturating_add(1);
        let retries = channel.retries;
        self.enter_channel(id, State::Suspended, Some(error.clone()));
        if self.connection_state() == ConnectionState::Connected {
            let wait = backoff::delay(
                self.shared.config.channel_retry_timeout,
                retries,
                &mut self.shared.rng,
            );
            self.shared.timers.set(Timer::Reattach(id), now + wait);
        }
        self.settle(id, Err(error), now);
    }

    pub(super) fn fail_channel(&mut self, id: ChannelId, error: ErrorInfo, now: Instant) {
        self.clear_channel_timers(id);
        self.enter_channel(id, State::Failed, Some(error.clone()));
        self.settle(id, Err(error), now);
    }
}
