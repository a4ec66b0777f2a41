//! Replays: the service sends a part of the channel once more, for listeners whose buffer was full.
//!
//! A replay needs no right beyond `subscribe`. The channel is attached again from an earlier channel serial, as the
//! recovery of a delta does (RTL18c), and stays ATTACHED for the application. Its own position, the head, does not
//! move back, so a drop of the connection costs nothing: the channel continues from the head as ever.
//!
//! ```text
//!            ATTACH(after)          ATTACHED                  a frame at or beyond the head
//! (none) ──────────────────► Asked ──────────► Repeating ─────────────────────────────────► (none)
//!                              │ not resumed       │ no more room, or silence
//!                              └─► Returning ◄─────┘ ATTACH(head)
//!                                     └──────────────────── ATTACHED ─────────────────────► (none)
//! ```
//!
//! Channel serials ascend in lexicographic order. A frame without a serial has no place in the channel's history, so
//! it is never repeated.

use std::mem;

use capably_protocol::{
    ClientFrame, ErrorInfo, Flags, Str,
    frame::{Attach, Attached},
};

use super::{Channel, State};
use crate::{Event, Timer, context::Cx, errors, outbox::Outbox};

/// The place of a batch in its channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The channel serial before the batch: a replay from here begins with the batch.
    pub after: Option<Str>,
    /// The channel serial of the batch's last frame. A batch without one cannot be replayed.
    pub serial: Option<Str>,
    /// Whether the batch is part of a replay. It is then for listeners that have not had it.
    pub repeated: bool,
}

/// The end of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayEnd {
    /// How it ended.
    pub outcome: ReplayOutcome,
    /// The channel's position: frames that arrive from here on are live.
    pub until: Option<Str>,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplayOutcome {
    /// Everything up to the channel's position was sent.
    Complete,
    /// It was stopped before that ([`Client::stop_replay`](crate::Client::stop_replay), or a request to attach
    /// or detach).
    Stopped,
    /// The service sent nothing more for the realtimeRequestTimeout.
    Silent,
    /// The service cannot send the messages right after a position.
    Lost {
        /// The position: a listener that is there, or before it, does not get the next messages.
        after: Str,
        /// Why the service did not send them.
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
    /// ATTACH was sent. Frames that arrive before its answer are live.
    Asked,
    /// Frames up to the head are repetitions.
    Repeating {
        /// The serial of the last repetition.
        at: Str,
        /// A repetition arrived since the deadline was set.
        progressed: bool,
    },
    /// ATTACH from the head was sent. Frames that arrive before its answer are sent again after it.
    Returning(ReplayOutcome),
}

impl Channel {
    /// Starts a replay of what follows this serial. Returns whether it has begun.
    pub(crate) fn begin_replay(&mut self, after: Str, cx: &mut Cx<'_>) -> bool {
        let is_free =
            self.state == State::Attached && self.replay.is_none() && self.waiting.is_empty();
        let Some(head) = self.channel_serial.as_ref().filter(|_| is_free && cx.is_connected())
        else {
            return false;
        };
        if after >= *head {
            // The channel has no part after this serial, so there is nothing to request.
            let outcome = ReplayOutcome::Lost { after, reason: errors::not_replayed() };
            self.end_replay(outcome, cx);
        } else {
            self.replay = Some(Replay { after: after.clone(), phase: Phase::Asked });
            self.attach_from(Some(after), cx);
        }
        true
    }

    /// Ends a replay early: no listener has room for more of it, or a request waits for its end.
    pub(crate) fn stop_replay(&mut self, cx: &mut Cx<'_>) {
        self.return_from_replay(ReplayOutcome::Stopped, cx);
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Whether frames that arrive may have arrived before. If so, [`admit`](Self::admit) finds the place of each.
    pub(super) fn may_repeat(&self) -> bool {
        self.replay.is_some() || self.abandoned_replay.is_some()
    }

    /// Moves an attached channel without a replay behind a frame. Returns the frame's place.
    pub(super) fn advance(&mut self, serial: Option<Str>) -> Place {
        match serial {
            Some(serial) => {
                let after = self.channel_serial.replace(serial.clone());
                Place { after, serial: Some(serial), repeated: false }
            }
            None => Place { after: self.channel_serial.clone(), ..Place::default() },
        }
    }

    /// A frame arrived. Returns its place, or `None` if it must be dropped because the service sends it again.
    pub(super) fn admit(&mut self, serial: Option<&Str>, cx: &mut Cx<'_>) -> Option<Place> {
        let head = self.channel_serial.as_ref();
        let live = || Place { after: head.cloned(), serial: serial.cloned(), repeated: false };
        let Some(serial) = serial else { return Some(live()) };
        let Some(replay) = &mut self.replay else {
            let place = live();
            return (!self.is_stale(serial)).then_some(place);
        };
        match &mut replay.phase {
            Phase::Asked => Some(live()),
            // The service starts again at the head, and sends this frame once more.
            Phase::Returning(_) => None,
            Phase::Repeating { at, progressed } if head.is_some_and(|head| serial <= head) => {
                *progressed = true;
                Some(Place {
                    after: Some(at.clone()),
                    serial: Some(serial.clone()),
                    repeated: true,
                })
            }
            // The service skips frames that are not for this client, so the frame at the head itself may never come.
            Phase::Repeating { .. } => {
                let place = live();
                self.end_replay(ReplayOutcome::Complete, cx);
                Some(place)
            }
        }
    }

    /// Whether a frame is a rest of an abandoned replay. It must not move the channel backwards.
    fn is_stale(&self, serial: &Str) -> bool {
        self.abandoned_replay.is_some()
            && self.channel_serial.as_ref().is_some_and(|head| serial <= head)
    }

    /// A frame of a replay was delivered. The one at the head is the last.
    pub(super) fn repeated(&mut self, place: &Place, cx: &mut Cx<'_>) {
        if place.serial == self.channel_serial {
            self.end_replay(ReplayOutcome::Complete, cx);
        } else if let Some(Replay { phase: Phase::Repeating { at, .. }, .. }) = &mut self.replay
            && let Some(serial) = &place.serial
        {
            at.clone_from(serial);
        }
    }

    /// A frame of a replay cannot be decoded. It is not asked for again: the next replay would end at the same frame.
    pub(super) fn replay_failed(&mut self, reason: ErrorInfo, cx: &mut Cx<'_>) {
        if let Some(Replay { phase: Phase::Repeating { at, .. }, .. }) = &self.replay {
            let outcome = ReplayOutcome::Lost { after: at.clone(), reason };
            self.return_from_replay(outcome, cx);
        }
    }

    /// ATTACHED arrived. Returns whether it answered a request of a replay, and needs nothing more.
    pub(super) fn replay_answered(
        &mut self,
        attached: &Attached,
        outbox: &mut Outbox,
        cx: &mut Cx<'_>,
    ) -> bool {
        let resumed = attached.flags.contains(Flags::RESUMED);
        let Some(replay) = &mut self.replay else { return false };
        match &replay.phase {
            Phase::Asked if resumed => {
                replay.phase = Phase::Repeating { at: replay.after.clone(), progressed: false };
                // A request that arrived before this answer could not stop the replay; it does so here.
                let is_hurried = !self.waiting.is_empty();
                self.await_repetition(cx);
                self.attached_again(attached, outbox, cx);
                if is_hurried {
                    self.stop_replay(cx);
                }
            }
            // The service grants other modes, and the replay continues.
            Phase::Repeating { .. } if resumed => self.attached_again(attached, outbox, cx),
            Phase::Asked | Phase::Repeating { .. } => {
                let after = match &replay.phase {
                    Phase::Repeating { at, .. } => at.clone(),
                    Phase::Asked | Phase::Returning(_) => replay.after.clone(),
                };
                let reason = attached.error.clone().unwrap_or_else(errors::not_replayed);
                self.return_from_replay(ReplayOutcome::Lost { after, reason }, cx);
            }
            // The late answer to the first request.
            Phase::Returning(_)
                if attached.channel_serial.as_ref() == Some(&replay.after)
                    && attached.channel_serial != self.channel_serial => {}
            Phase::Returning(end) => {
                let end = end.clone();
                if resumed {
                    self.attached_again(attached, outbox, cx);
                }
                self.end_replay(end, cx);
                return resumed;
            }
        }
        true
    }

    /// Whether ATTACHED answers the first request of a replay that was abandoned meanwhile. The answer to the request
    /// that followed is still to come.
    pub(super) fn is_late_answer(&self, attached: &Attached) -> bool {
        let asked = self.abandoned_replay.as_ref();
        asked.is_some()
            && attached.channel_serial.as_ref() == asked
            && attached.channel_serial != self.channel_serial
    }

    /// The deadline of a replay has passed.
    pub(crate) fn replay_timed_out(&mut self, cx: &mut Cx<'_>) {
        if !cx.is_connected() {
            // The next connection attaches the channel at its head, which ends the replay anyway.
            return self.abandon_replay(cx);
        }
        match self.replay.as_mut().map(|replay| &mut replay.phase) {
            None => {}
            Some(Phase::Asked | Phase::Returning(_)) => {
                let reason = errors::attach_timed_out();
                self.emit_unanswered(reason.clone(), cx);
                self.begin_attach(Some(reason), cx);
            }
            Some(Phase::Repeating { progressed, .. }) => {
                if mem::take(progressed) {
                    self.await_repetition(cx);
                } else {
                    self.return_from_replay(ReplayOutcome::Silent, cx);
                }
            }
        }
    }

    /// The channel left ATTACHED, or the connection is lost. Frames that the service still sends for the replay must
    /// not be taken for frames after the channel's position, so its start is recorded.
    pub(super) fn leave_replay(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Attaching { .. }
            | State::Attached
            | State::Suspended
            | State::Detaching { .. } => {
                if let Some(replay) = &self.replay {
                    self.abandoned_replay = Some(replay.after.clone());
                }
            }
            // Without a position no frame can lie before it.
            State::Initialized | State::Detached | State::Failed => self.abandoned_replay = None,
        }
        self.abandon_replay(cx);
    }

    fn abandon_replay(&mut self, cx: &mut Cx<'_>) {
        self.replay = None;
        cx.timers.clear(Timer::Replay(self.id));
    }

    /// The service did not answer the request for a replay: a listener must not ask for the same part again and again.
    fn emit_unanswered(&mut self, reason: ErrorInfo, cx: &mut Cx<'_>) {
        if let Some(Replay { after, phase: Phase::Asked }) = &self.replay {
            let outcome = ReplayOutcome::Lost { after: after.clone(), reason };
            let end = ReplayEnd { outcome, until: self.channel_serial.clone() };
            cx.emit(Event::ReplayEnded(self.id, end));
        }
    }

    /// Has the service continue from the head, if a replay leads away from it.
    fn return_from_replay(&mut self, end: ReplayOutcome, cx: &mut Cx<'_>) {
        if !cx.is_connected() {
            return;
        }
        let Some(replay) = &mut self.replay else { return };
        match &replay.phase {
            // Its answer must come first: the answers of two requests could not be told apart.
            Phase::Asked if end == ReplayOutcome::Stopped => {}
            Phase::Asked | Phase::Repeating { .. } => {
                replay.phase = Phase::Returning(end);
                self.attach_from(self.channel_serial.clone(), cx);
            }
            Phase::Returning(_) => {}
        }
    }

    fn end_replay(&mut self, outcome: ReplayOutcome, cx: &mut Cx<'_>) {
        self.abandon_replay(cx);
        let end = ReplayEnd { outcome, until: self.channel_serial.clone() };
        cx.emit(Event::ReplayEnded(self.id, end));
        self.start_waiting(cx);
    }

    fn await_repetition(&mut self, cx: &mut Cx<'_>) {
        cx.await_answer(Timer::Replay(self.id));
    }

    /// The service has attached the channel once more. It may have granted other modes.
    fn attached_again(&mut self, attached: &Attached, outbox: &mut Outbox, cx: &mut Cx<'_>) {
        self.modes = attached.flags.modes();
        self.params.clone_from(&attached.params);
        cx.emit(Event::Granted(self.id));
        let has_presence = attached.flags.contains(Flags::HAS_PRESENCE);
        self.presence.channel_attached(&self.name, has_presence, false, outbox, cx);
        self.objects_attached(attached.flags.contains(Flags::HAS_OBJECTS), cx);
    }

    /// Sends ATTACH from this serial on, without a change of state.
    fn attach_from(&mut self, serial: Option<Str>, cx: &mut Cx<'_>) {
        let frame = ClientFrame::Attach(Attach { channel_serial: serial, ..self.attach() });
        self.await_repetition(cx);
        cx.send(frame);
    }
}
