//! Frames of a channel of which a part cannot be read, or nothing.

use capably_protocol::{ErrorInfo, Str};

use super::{Channel, Gap, Place, State};
use crate::{Batch, Event, context::Cx};

impl Channel {
    /// The gap that unreadable items of a frame leave. `until` is the channel serial after the frame.
    pub(crate) fn unreadable_gap(
        &self,
        reason: &ErrorInfo,
        until: Option<&Str>,
        cx: &Cx<'_>,
    ) -> Gap {
        Gap {
            reason: Some(reason.clone()),
            after: self.channel_serial.clone(),
            until: until.cloned(),
            time: cx.now.wall,
        }
    }

    /// A frame cannot be read at all, and may have been for this channel.
    pub(crate) fn frame_lost(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        if self.state != State::Attached {
            return;
        }
        let gap = self.unreadable_gap(error, None, cx);
        self.unreadable(error, cx);
        // A listener that is behind gets these messages in a replay; the others may lack something here.
        let place = Place { after: gap.after.clone(), ..Place::default() };
        cx.emit(Event::Messages(self.id, Batch::missing(&gap, &place)));
        cx.emit(Event::Presence(self.id, Batch::missing(&gap, &place)));
        cx.emit(Event::Annotations(self.id, Batch::missing(&gap, &place)));
    }

    /// Emits an update if a frame lacks items. Their gaps all have the same reason.
    pub(super) fn note_unreadable(&mut self, missing: &[(usize, Gap)], cx: &mut Cx<'_>) {
        if let Some(reason) = missing.first().and_then(|(_, gap)| gap.reason.as_ref()) {
            self.unreadable(reason, cx);
        }
    }

    /// Emits an update: the channel lost something that cannot be read.
    pub(crate) fn unreadable(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        self.error_reason = Some(error.clone());
        self.updated(error.clone(), false, cx);
    }
}
