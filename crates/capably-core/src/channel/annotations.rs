//! Annotations that arrive (RTAN4).

use std::mem;

use capably_protocol::{Annotation, encoding, frame::Delivery};

use super::{Channel, Gap, State};
use crate::{Batch, Event, Output, context::Cx};

impl Channel {
    /// ANNOTATION arrived (RTL15b, RTAN4b), with the gaps that its unreadable items leave.
    pub(crate) fn deliver_annotations(
        &mut self,
        mut delivery: Delivery<Annotation>,
        missing: Vec<(usize, Gap)>,
        cx: &mut Cx<'_>,
    ) {
        let serial = delivery.channel_serial.take();
        let Some(place) = self.admit(serial.as_ref(), cx) else { return };
        if !place.repeated {
            self.moved(serial);
        }
        if self.state != State::Attached {
            return;
        }
        let cipher = self.options.cipher.as_ref();
        for (index, annotation) in delivery.items.iter_mut().enumerate() {
            annotation.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            let decoded = encoding::decode(&mut annotation.data, &mut annotation.encoding, cipher);
            if let Err(error) = decoded {
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*self.name, %error, "a payload could not be decoded");
            }
        }
        if !place.repeated {
            self.note_unreadable(&missing, cx);
        }
        let again = place.repeated.then(|| place.clone());
        match cx.last_output() {
            // A subscriber wakes once for annotations that arrived together.
            Some(Output::Event(Event::Annotations(last, batch)))
                if *last == self.id && missing.is_empty() && batch.joins(&place) =>
            {
                batch.join(&mut delivery.items, place);
            }
            _ => {
                let items = mem::take(&mut delivery.items);
                cx.emit(Event::Annotations(self.id, Batch { items, missing, place }));
            }
        }
        if let Some(place) = again {
            self.repeated(&place, cx);
        }
    }
}
