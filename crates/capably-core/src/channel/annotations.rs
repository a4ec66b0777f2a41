//! Annotations of messages (RTAN).

use std::{mem, sync::Arc};

use capably_protocol::{
    Annotation, ClientFrame, encoding,
    frame::{Delivery, Params, Publish},
};

use crate::{Batch, ChannelId, ChannelState, Client, Event, Gap, Instant, Now, OpId, Output};

impl Client {
    /// Publishes an annotation, ready for the wire (RTAN1). Ends with
    /// [`Outcome::Published`](crate::Outcome::Published).
    pub fn annotate(&mut self, id: ChannelId, annotation: Annotation, op: OpId, now: Now) {
        let ready = self.ready_to_publish(id).and_then(|channel| {
            self.check_size(annotation.size())?;
            let items = Arc::from([annotation]);
            let params = Params::new();
            Ok(ClientFrame::Annotation(Publish { channel, msg_serial: 0, items, params }))
        });
        self.outbox.submit(op, ready, &mut self.shared.cx(now));
    }

    /// ANNOTATION arrived (RTL15b, RTAN4b).
    pub(crate) fn annotations_arrived(
        &mut self,
        mut delivery: Delivery<Annotation>,
        missing: Vec<(usize, Gap)>,
        now: Instant,
    ) {
        let Some(id) = self.channel_id(&delivery.channel) else { return };
        let serial = delivery.channel_serial.take();
        let Some(place) = self.admit(id, serial.as_ref(), now) else { return };
        let Some(channel) = self.channels.get_mut(id) else { return };
        if !place.repeated {
            channel.moved(serial);
        }
        if channel.state() != ChannelState::Attached {
            return;
        }
        let cipher = channel.options().cipher.as_ref();
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
                tracing::error!(channel = &*channel.name, %error, "a payload could not be decoded");
            }
        }
        if let Some(reason) = missing.first().and_then(|(_, gap)| gap.reason.as_ref())
            && !place.repeated
        {
            self.unreadable(id, reason);
        }
        // What arrived together is handed on together.
        let again = place.repeated.then(|| place.clone());
        match self.last_output() {
            Some(Output::Event(Event::Annotations(last, batch)))
                if *last == id && missing.is_empty() && batch.joins(&place) =>
            {
                batch.join(&mut delivery.items, place);
            }
            _ => {
                let items = mem::take(&mut delivery.items);
                self.push(Output::Event(Event::Annotations(id, Batch { items, missing, place })));
            }
        }
        if let Some(place) = again {
            self.repeated(id, &place, now);
        }
    }
}
