//! Replays: the service sends a part of the channel once more, for listeners that had no room for it.
//!
//! A replay needs no right beyond `subscribe`. The channel is attached again from an earlier channel serial, as the
//! recovery of a delta does (RTL18c), and stays ATTACHED for the user. Its own position, the head, stays where it
//! is, so a drop of the connection costs nothing: the channel continues from the head as ever.
//!
//! ```text
//!            ATTACH(after)          ATTACHED                  a frame at or beyond the head
//! (none) ──────────────────► Asked ──────────► Repeating ─────────────────────────────────► (none)
//!                              │ not resumed       │ no more room, or silence
//!                              └─► Returning ◄─────┘ ATTACH(head)
//!                                     └──────────────────── ATTACHED ─────────────────────► (none)
//! ```
//!
//! Channel serials ascend in lexicographic order. A frame without one has no place in the channel's history, so it is
//! never repeated.

use std::mem;

use capably_protocol::{
    ClientFrame, ErrorInfo, Flags, Millis, Str,
    frame::{Attach, Attached},
};

use super::{Channel, State};
use crate::{ChannelId, Client, ConnectionState, Event, Instant, Now, Output, Timer, errors};

/// The place of a batch in its channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The channel serial before the batch: a replay from here begins with the batch.
    pub after: Option<Str>,
    /// The channel serial of the batch's last frame. A batch without one cannot be replayed.
    pub serial: Option<Str>,
    /// The batch comes once more, in a replay. It is for those who have not had it.
    pub repeated: bool,
}

/// The end of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayEnd {
    /// How it ended.
    pub outcome: ReplayOutcome,
    /// The channel's position: what arrives from here on is live.
    pub until: Option<Str>,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplayOutcome {
    /// Everything up to the channel's position was sent.
    Complete,
    /// It was stopped before that ([`Client::stop_replay`], or a request to attach or detach).
    Stopped,
    /// The service sent nothing more for the realtimeRequestTimeout.
    Silent,
    /// The service cannot send the messages right after a position.
    Lost {
        /// The position: whoever is there, or before it, does not get what comes next.
        after: Str,
        /// Why the service did not send it.
        reason: ErrorInfo,
    },
}

/// A replay under way.
#[derive(Debug)]
pub(super) struct Replay {
    /// The serial that the service is to continue after.
    after: Str,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// ATTACH was sent; what arrives before its answer is live.
    Asked,
    /// Frames up to the head are repetitions.
    Repeating {
        /// The serial of the last repetition.
        at: Str,
        /// A repetition arrived since the deadline was set.
        heard: bool,
    },
    /// ATTACH from the head was sent; what arrives before its answer comes again.
    Returning(ReplayOutcome),
}

impl Channel {
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Whether what arrives may have arrived before: of such a channel, [`Client::admit`] tells the place of each frame.
    pub(super) fn may_repeat(&self) -> bool {
        self.replay.is_some() || self.abandoned_replay.is_some()
    }

    /// Moves an attached channel, of which nothing comes again, behind a frame. Returns the frame's place.
    pub(super) fn advance(&mut self, serial: Option<Str>) -> Place {
        match serial {
            Some(serial) => {
                let after = self.channel_serial.replace(serial.clone());
                Place { after, serial: Some(serial), repeated: false }
            }
            None => Place { after: self.channel_serial.clone(), ..Place::default() },
        }
    }

    /// Whether a frame is a rest of an abandoned replay. It must not move the channel backwards.
    fn is_stale(&self, serial: &Str) -> bool {
        self.abandoned_replay.is_some()
            && self.channel_serial.as_ref().is_some_and(|head| serial <= head)
    }

    /// Whether ATTACHED answers the first request of a replay that was given up meanwhile. The answer to the request
    /// that followed is still to come.
    pub(super) fn is_late_answer(&self, attached: &Attached) -> bool {
        let asked = self.abandoned_replay.as_ref();
        asked.is_some()
            && attached.channel_serial.as_ref() == asked
            && attached.channel_serial != self.channel_serial
    }
}

impl Client {
    /// Has the service send again what came after this serial, on an attached channel. It comes as batches that are
    /// [`repeated`](Place::repeated), up to the channel's position; then [`Event::ReplayEnded`] says how it ended.
    /// There is no such event when the channel leaves ATTACHED meanwhile.
    ///
    /// Returns whether the replay has begun, and its end will be told. It has not if the channel is not attached, the
    /// connection is not there, or another request is under way.
    pub fn replay(&mut self, id: ChannelId, after: Str, now: Instant) -> bool {
        if self.connection_state() != ConnectionState::Connected {
            return false;
        }
        let Some(channel) = self.channels.get_mut(id) else { return false };
        let free = channel.state == State::Attached
            && channel.replay.is_none()
            && channel.waiting.is_empty()
            && channel.channel_serial.is_some();
        if !free {
            return false;
        }
        if channel.channel_serial.as_ref().is_some_and(|head| after >= *head) {
            // There is no such part of the channel.
            let outcome = ReplayOutcome::Lost { after, reason: errors::not_replayed() };
            self.end_replay(id, outcome, now);
        } else {
            channel.replay = Some(Replay { after: after.clone(), phase: Phase::Asked });
            self.attach_from(id, Some(after), now);
        }
        true
    }

    /// Ends a replay early: nobody has room for more of it.
    pub fn stop_replay(&mut self, id: ChannelId, now: Instant) {
        self.return_from_replay(id, ReplayOutcome::Stopped, now);
    }

    /// A frame arrived on a channel. Returns its place, or `None` if the frame comes again and is to be ignored.
    pub(crate) fn admit(
        &mut self,
        id: ChannelId,
        serial: Option<&Str>,
        now: Instant,
    ) -> Option<Place> {
        let channel = self.channels.get_mut(id)?;
        let head = channel.channel_serial.as_ref();
        let live = || Place { after: head.cloned(), serial: serial.cloned(), repeated: false };
        let Some(serial) = serial else { return Some(live()) };
        let Some(replay) = &mut channel.replay else {
            let place = live();
            return (!channel.is_stale(serial)).then_some(place);
        };
        match &mut replay.phase {
            Phase::Asked => Some(live()),
            Phase::Returning(_) => None,
            Phase::Repeating { at, heard } if head.is_some_and(|head| serial <= head) => {
                *heard = true;
                Some(Place {
                    after: Some(at.clone()),
                    serial: Some(serial.clone()),
                    repeated: true,
                })
            }
            Phase::Repeating { .. } => {
                let place = live();
                self.end_replay(id, ReplayOutcome::Complete, now);
                Some(place)
            }
        }
    }

    /// A frame of a replay was handed on. The one at the head is the last.
    pub(crate) fn repeated(&mut self, id: ChannelId, place: &Place, now: Instant) {
        if !place.repeated {
            return;
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        if place.serial == channel.channel_serial {
            self.end_replay(id, ReplayOutcome::Complete, now);
        } else if let Some(Replay { phase: Phase::Repeating { at, .. }, .. }) = &mut channel.replay
            && let Some(serial) = &place.serial
        {
            at.clone_from(serial);
        }
    }

    /// A frame of a replay cannot be used, and the next attempt would end at the same frame.
    pub(super) fn replay_failed(&mut self, id: ChannelId, reason: ErrorInfo, now: Instant) {
        let Some(channel) = self.channels.get(id) else { return };
        if let Some(Replay { phase: Phase::Repeating { at, .. }, .. }) = &channel.replay {
            let outcome = ReplayOutcome::Lost { after: at.clone(), reason };
            self.return_from_replay(id, outcome, now);
        }
    }

    /// ATTACHED arrived on an attached channel. Returns whether it answered a request of a replay, and is dealt with.
    pub(super) fn replay_answered(
        &mut self,
        id: ChannelId,
        attached: &Attached,
        wall: Millis,
        now: Instant,
    ) -> bool {
        let resumed = attached.flags.contains(Flags::RESUMED);
        let Some(channel) = self.channels.get_mut(id) else { return false };
        let Some(replay) = &mut channel.replay else { return false };
        match &replay.phase {
            Phase::Asked if resumed => {
                replay.phase = Phase::Repeating { at: replay.after.clone(), heard: false };
                let hurried = !channel.waiting.is_empty();
                self.await_repetition(id, now);
                self.attached_again(id, attached, Now::at(now, wall));
                if hurried {
                    self.return_from_replay(id, ReplayOutcome::Stopped, now);
                }
            }
            // The service grants other modes, and goes on.
            Phase::Repeating { .. } if resumed => {
                self.attached_again(id, attached, Now::at(now, wall))
            }
            Phase::Asked | Phase::Repeating { .. } => {
                let after = match &replay.phase {
                    Phase::Repeating { at, .. } => at.clone(),
                    Phase::Asked | Phase::Returning(_) => replay.after.clone(),
                };
                let reason = attached.error.clone().unwrap_or_else(errors::not_replayed);
                self.return_from_replay(id, ReplayOutcome::Lost { after, reason }, now);
            }
            // The late answer to the first request.
            Phase::Returning(_)
                if attached.channel_serial.as_ref() == Some(&replay.after)
                    && attached.channel_serial != channel.channel_serial => {}
            Phase::Returning(end) => {
                let end = end.clone();
                if resumed {
                    self.attached_again(id, attached, Now::at(now, wall));
                }
                self.end_replay(id, end, now);
                return resumed;
            }
        }
        true
    }

    /// The deadline of a replay has passed.
    pub(crate) fn replay_timed_out(&mut self, id: ChannelId, now: Instant) {
        if self.connection_state() != ConnectionState::Connected {
            return self.abandon_replay(id);
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        match channel.replay.as_mut().map(|replay| &mut replay.phase) {
            None => {}
            Some(Phase::Asked | Phase::Returning(_)) => {
                let reason = errors::attach_timed_out();
                self.unanswered(id, reason.clone());
                self.begin_attach(id, Some(reason), now);
            }
            Some(Phase::Repeating { heard, .. }) => {
                if mem::take(heard) {
                    self.await_repetition(id, now);
                } else {
                    self.return_from_replay(id, ReplayOutcome::Silent, now);
                }
            }
        }
    }

    /// The channel goes on without the replay, if there is one: it is attached no more, or the connection is lost.
    pub(super) fn abandon_replay(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.replay = None;
            self.shared.timers.clear(Timer::Replay(id));
        }
    }

    /// The channel is attached no more, or the connection is lost: what the service still sends for a replay is not to
    /// be taken for what comes after the channel's position.
    pub(super) fn leave_replay(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        match channel.state {
            State::Attaching | State::Attached | State::Suspended | State::Detaching { .. } => {
                if let Some(replay) = &channel.replay {
                    channel.abandoned_replay = Some(replay.after.clone());
                }
            }
            // Without a position there is nothing behind it.
            State::Initialized | State::Detached | State::Failed => channel.abandoned_replay = None,
        }
        self.abandon_replay(id);
    }

    /// The service did not answer the request for a replay: it is not asked again and again.
    fn unanswered(&mut self, id: ChannelId, reason: ErrorInfo) {
        let Some(channel) = self.channels.get(id) else { return };
        if let Some(Replay { after, phase: Phase::Asked }) = &channel.replay {
            let outcome = ReplayOutcome::Lost { after: after.clone(), reason };
            let end = ReplayEnd { outcome, until: channel.channel_serial.clone() };
            self.push(Output::Event(Event::ReplayEnded(id, end)));
        }
    }

    /// Has the service go on from the head, if a replay leads away from it.
    fn return_from_replay(&mut self, id: ChannelId, end: ReplayOutcome, now: Instant) {
        if self.connection_state() != ConnectionState::Connected {
            return;
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        let Some(replay) = &mut channel.replay else { return };
        match &replay.phase {
            // Its answer must come first: two requests on their way could not be told apart.
            Phase::Asked if end == ReplayOutcome::Stopped => {}
            Phase::Asked | Phase::Repeating { .. } => {
                replay.phase = Phase::Returning(end);
                let head = channel.channel_serial.clone();
                self.attach_from(id, head, now);
            }
            Phase::Returning(_) => {}
        }
    }

    fn end_replay(&mut self, id: ChannelId, outcome: ReplayOutcome, now: Instant) {
        self.abandon_replay(id);
        let until = self.channels.get(id).and_then(|channel| channel.channel_serial.clone());
        let end = ReplayEnd { outcome, until };
        self.push(Output::Event(Event::ReplayEnded(id, end)));
        self.start_waiting(id, now);
    }

    /// A request that would leave the replay's attachment waits, and hurries the replay.
    pub(super) fn hurry_replay(&mut self, id: ChannelId, now: Instant) {
        self.return_from_replay(id, ReplayOutcome::Stopped, now);
    }

    fn await_repetition(&mut self, id: ChannelId, now: Instant) {
        self.shared
            .timers
            .set(Timer::Replay(id), now + self.shared.config.realtime_request_timeout);
    }

    /// The service has attached the channel once more. What it grants may have changed.
    fn attached_again(&mut self, id: ChannelId, attached: &Attached, now: Now) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.modes = attached.flags.modes();
        channel.params.clone_from(&attached.params);
        self.push(Output::Event(Event::Granted(id)));
        let has_presence = attached.flags.contains(Flags::HAS_PRESENCE);
        self.presence_attached(id, has_presence, false, now);
    }

    /// Sends ATTACH from this serial on, without a change of state.
    fn attach_from(&mut self, id: ChannelId, serial: Option<Str>, now: Instant) {
        let Some(channel) = self.channels.get(id) else { return };
        let frame = ClientFrame::Attach(Attach { channel_serial: serial, ..channel.attach() });
        self.await_repetition(id, now);
        self.send(frame);
    }
}
