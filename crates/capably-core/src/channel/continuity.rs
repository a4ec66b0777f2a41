//! How far a channel's listeners have come, and whether they may have missed messages (RTL2f, RTL12).

use std::mem;

use capably_protocol::{ErrorInfo, Millis, Str, frame::Attached};

use super::{Channel, State};

/// The part of a channel in which messages may have been missed: the channel was attached twice, and the second
/// attachment does not continue the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Why continuity was lost, if the service or the connection gave a reason (TH3).
    pub reason: Option<ErrorInfo>,
    /// The channel serial up to which nothing is missing (RTL15b).
    pub after: Option<Str>,
    /// The channel serial from which on nothing is missing (RTL15c).
    pub until: Option<Str>,
    /// When the gap ended, in ms since the epoch by the client's clock.
    pub time: Millis,
}

/// The record from which a gap is made when the channel is attached again.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// The channel's position when it was last attached. Unlike the `channelSerial` it outlasts DETACHED
    /// (RTL15b2).
    position: Option<Str>,
    /// Why the channel is not attached any more, or the connection not the same.
    cause: Option<ErrorInfo>,
    /// Since the last ATTACH was sent, a message arrived that was not delivered (RTL17), though it has moved
    /// the `channelSerial` (RTL15b). What the service sends from that ATTACH on includes the message.
    passed_over: bool,
    /// An ATTACH was sent that continues after such a message.
    missed: bool,
}

impl Continuity {
    /// Starts at the position that the channel of an earlier client had (RTN16j).
    pub(super) fn at(position: Option<Str>) -> Self {
        Self { position, ..Self::default() }
    }
}

impl Channel {
    /// Whether a listener that joins at this moment will miss nothing from here on. That holds for a channel
    /// that is still to be attached, too, if the service will be asked to continue it.
    pub fn is_continuous(&self) -> bool {
        match self.state {
            State::Attached => true,
            State::Initialized | State::Attaching { .. } | State::Suspended => {
                self.channel_serial.is_some()
            }
            State::Detaching { .. } | State::Detached | State::Failed => false,
        }
    }

    /// The channel left ATTACHED.
    pub(super) fn left(&mut self, cause: Option<&ErrorInfo>) {
        // Without a serial, the recorded position stays: `begin_anew` has dropped the serial already.
        if self.channel_serial.is_some() {
            self.continuity.position.clone_from(&self.channel_serial);
        }
        if let Some(cause) = cause {
            self.continuity.cause = Some(cause.clone());
        }
    }

    /// The connection is another than the one that the channel was attached on (RTN15c7).
    pub(super) fn not_continued(&mut self, reason: &ErrorInfo) {
        match self.state {
            // An initialized channel may have the position of an earlier client's channel (RTN16l).
            State::Initialized | State::Attaching { .. } | State::Attached | State::Suspended => {
                self.continuity.cause = Some(reason.clone());
            }
            State::Detaching { .. } | State::Detached | State::Failed => {}
        }
    }

    /// Drops the position, because the frame that follows it cannot be read and would arrive after every resume.
    pub(crate) fn begin_anew(&mut self, cause: &ErrorInfo) {
        self.left(Some(cause));
        self.channel_serial = None;
    }

    /// A message arrived that is not delivered (RTL17).
    pub(super) fn pass_over(&mut self, serial: Option<Str>) {
        let before = self.channel_serial.clone();
        self.moved(serial);
        self.continuity.passed_over |= self.channel_serial != before;
    }

    /// ATTACH is sent, to continue after the `channelSerial`.
    pub(super) fn asked_to_continue(&mut self) {
        self.continuity.missed |= mem::take(&mut self.continuity.passed_over);
    }

    /// The gap before this ATTACHED, unless the channel continues without one. The record is reset.
    pub(super) fn take_gap(
        &mut self,
        attached: &Attached,
        resumed: bool,
        time: Millis,
    ) -> Option<Gap> {
        if self.state == State::Attached {
            self.left(None);
        }
        let Continuity { position, cause, passed_over: _, missed } =
            mem::take(&mut self.continuity);
        (!resumed || missed).then(|| {
            // The error of ATTACHED is about this channel; the cause may be that of the whole connection.
            let reason = attached.error.clone().or(cause);
            Gap { reason, after: position, until: attached.channel_serial.clone(), time }
        })
    }

    /// The gap that an unconfirmed detach leaves when the channel is attached as before (RTL5f): messages that
    /// arrived meanwhile were not delivered (RTL17).
    pub(super) fn take_detaching_gap(&mut self, reason: &ErrorInfo, time: Millis) -> Option<Gap> {
        let Continuity { position, .. } = mem::take(&mut self.continuity);
        let until = self.channel_serial.clone();
        let reason = Some(reason.clone());
        (position != until).then_some(Gap { reason, after: position, until, time })
    }
}
