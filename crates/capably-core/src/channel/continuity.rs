//! How far a channel's listeners have come, and what they may miss (RTL2f, RTL12).

use std::mem;

use capably_protocol::{ErrorInfo, Millis, Str, frame::Attached};

use super::{Channel, State};

/// Between two attachments of a channel, of which the second does not continue the first, messages may have
/// been missed.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Why continuity was lost, if the service or the connection said (TH3).
    pub reason: Option<ErrorInfo>,
    /// The channel serial up to which nothing is missing (RTL15b).
    pub after: Option<Str>,
    /// The channel serial from which on nothing is missing (RTL15c).
    pub until: Option<Str>,
    /// When nothing was missed any more, in ms since the epoch by the client's clock.
    pub time: Millis,
}

/// Where a channel that is not attached is to continue.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// How far it had come when it last was attached. Unlike the `channelSerial` this outlasts DETACHED
    /// (RTL15b2).
    position: Option<Str>,
    /// Why it is not attached any more, or the connection not the same.
    cause: Option<ErrorInfo>,
    /// Since the last ATTACH was sent, a message arrived that was not passed on (RTL17), though it has moved
    /// the `channelSerial` (RTL15b). What the service sends from that ATTACH on includes it.
    passed_over: bool,
    /// An ATTACH was sent that continues after such a message.
    missed: bool,
}

impl Continuity {
    /// To be continued here: where the channel of another client had come (RTN16j).
    pub(super) fn at(position: Option<Str>) -> Self {
        Self { position, ..Self::default() }
    }
}

impl Channel {
    /// Whether a listener that joins now is to miss nothing from now on, though the channel may have to be
    /// attached first: the service will be asked to continue it.
    pub fn is_continuous(&self) -> bool {
        match self.state {
            State::Attached => true,
            State::Initialized | State::Attaching | State::Suspended => {
                self.channel_serial.is_some()
            }
            State::Detaching { .. } | State::Detached | State::Failed => false,
        }
    }

    /// The channel is attached no more.
    pub(super) fn left(&mut self, cause: Option<&ErrorInfo>) {
        if self.channel_serial.is_some() {
            self.continuity.position.clone_from(&self.channel_serial);
        }
        if let Some(cause) = cause {
            self.continuity.cause = Some(cause.clone());
        }
    }

    /// The connection is another than the one that the channel was on (RTN15c7).
    pub(super) fn not_continued(&mut self, reason: &ErrorInfo) {
        match self.state {
            // Before the first attach there may be the position of another client's channel (RTN16l).
            State::Initialized | State::Attaching | State::Attached | State::Suspended => {
                self.continuity.cause = Some(reason.clone());
            }
            State::Detaching { .. } | State::Detached | State::Failed => {}
        }
    }

    /// The service is not to continue the channel where it is, as what comes there cannot be read.
    pub(crate) fn begin_anew(&mut self, cause: &ErrorInfo) {
        self.left(Some(cause));
        self.channel_serial = None;
    }

    /// A message arrived that is not passed on (RTL17).
    pub(super) fn pass_over(&mut self, serial: Option<Str>) {
        let before = self.channel_serial.clone();
        self.moved(serial);
        self.continuity.passed_over |= self.channel_serial != before;
    }

    /// The service is asked to continue after the `channelSerial`.
    pub(super) fn asked_to_continue(&mut self) {
        self.continuity.missed |= mem::take(&mut self.continuity.passed_over);
    }

    /// The channel is attached, perhaps once more. Returns what may have been missed, unless it continues.
    pub(super) fn attached(
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
            let reason = attached.error.clone().or(cause);
            Gap { reason, after: position, until: attached.channel_serial.clone(), time }
        })
    }

    /// A detach was not confirmed, and the channel is attached as before (RTL5f). Returns what may have been
    /// missed: what arrived meanwhile was not passed on (RTL17).
    pub(super) fn returned(&mut self, reason: &ErrorInfo, time: Millis) -> Option<Gap> {
        let Continuity { position, .. } = mem::take(&mut self.continuity);
        let until = self.channel_serial.clone();
        let reason = Some(reason.clone());
        (position != until).then_some(Gap { reason, after: position, until, time })
    }
}
