//! Members that the service sends: PRESENCE and SYNC (RTP2, RTP18).

use std::mem;

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use super::{LONGEST_SYNC, Presence, newness};
use crate::{Batch, Event, Outcome, Place, Timer, context::Cx, errors};

impl Presence {
    /// A presence message as it arrived. If it is of a member of this connection, it is stored, to be sent
    /// again as it is, encrypted or not (RTP17b).
    pub(crate) fn receive_own(&mut self, message: &PresenceMessage, connection: Option<&Str>) {
        if connection.is_none() || message.connection_id.as_ref() != connection {
            return;
        }
        match message.action {
            Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Present) => {
                if !self.is_of_earlier_attachment(message) {
                    self.own.put(message.clone());
                }
            }
            Some(PresenceAction::Leave) => {
                self.own.remove(message);
            }
            Some(_) | None => {}
        }
    }

    /// Whether a message of this connection was sent before the channel was attached. A rewind can bring it again, when its
    /// member has left with the earlier attachment.
    fn is_of_earlier_attachment(&self, message: &PresenceMessage) -> bool {
        let (Some((connection, first)), Some((msg_serial, _))) =
            (&self.began, newness::place(message))
        else {
            return false;
        };
        message.connection_id.as_ref() == Some(connection) && msg_serial < *first
    }

    /// A decoded presence message. Returns the message to emit; none if it changes no member.
    pub(crate) fn receive(&mut self, message: PresenceMessage) -> Option<PresenceMessage> {
        match message.action {
            Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Present) => {
                self.members.put(message)
            }
            Some(PresenceAction::Leave) => self.members.remove(message),
            // The message is of no member, or its action is unknown (RTF1).
            Some(_) | None => None,
        }
    }

    /// A page of a sync begins. The first page of another sync replaces the one under way (RTP18a). Returns
    /// whether the page is the last (RTP18b, RTP18c).
    pub(crate) fn begin_page(&mut self, serial: Option<&Str>) -> bool {
        let (sequence, cursor) = match serial.map(|serial| serial.split_once(':')) {
            Some(Some((sequence, cursor))) => (Some(sequence), cursor),
            Some(None) | None => (None, ""),
        };
        let awaited = self.members.is_syncing() && self.sequence.is_none();
        if !awaited && (sequence.is_none() || self.sequence.as_deref() != sequence) {
            self.members.start_sync();
        }
        self.sequence = sequence.map(Str::from);
        cursor.is_empty()
    }

    /// A page of the sync, not the last, was received. Queries wait on, but not for ever.
    pub(crate) fn sync_continues(&mut self, cx: &mut Cx<'_>) {
        let longest = cx.config.realtime_request_timeout.saturating_mul(LONGEST_SYNC);
        if self.waiting.is_empty() {
            return;
        }
        let now = cx.now.instant;
        for (op, ..) in self.waiting.extract_if(.., |(.., since)| now.since(*since) >= longest) {
            cx.done(op, Err(errors::sync_timed_out()));
        }
        let timer = Timer::Sync(self.channel);
        if self.waiting.is_empty() {
            cx.timers.clear(timer);
        } else {
            cx.await_answer(timer);
        }
    }

    /// The last page of the sync was received: emits its changes, then the members that have left (RTP19), and
    /// answers queries.
    pub(crate) fn finish_sync(&mut self, mut changes: Vec<PresenceMessage>, cx: &mut Cx<'_>) {
        self.sequence = None;
        changes.append(&mut self.members.end_sync(cx.now.wall));
        cx.timers.clear(Timer::Sync(self.channel));
        self.emit(changes, Place::default(), cx);
        if !mem::replace(&mut self.synced, true) {
            cx.emit(Event::PresenceSynced(self.channel, true));
        }
        for (op, query, _) in mem::take(&mut self.waiting) {
            cx.done(op, Ok(Outcome::Members(self.select(&query))));
        }
    }

    /// Emits changes of members, if there are any.
    pub(crate) fn emit(&self, changes: Vec<PresenceMessage>, place: Place, cx: &mut Cx<'_>) {
        if !changes.is_empty() {
            cx.emit(Event::Presence(self.channel, Batch::new(changes, place)));
        }
    }
}
