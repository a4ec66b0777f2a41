//! Delivery of messages to the application (RTL7, RTL17).

use std::mem;

use capably_protocol::{ErrorCode, ErrorInfo, Message, encoding, frame::Delivery};

use super::{Channel, Gap, Place, State, VcdiffDecoder, is_delta};
use crate::{Batch, Event, Output, context::Cx};

impl Channel {
    /// MESSAGE arrived (RTL15b, RTL17), with the gaps that its unreadable items leave.
    pub(crate) fn deliver(
        &mut self,
        delivery: &mut Delivery<Message>,
        mut missing: Vec<(usize, Gap)>,
        cx: &mut Cx<'_>,
    ) {
        let serial = delivery.channel_serial.take();
        let mut place = None;
        // Most channels have no replay: their frames skip the clones that a place costs here.
        if self.may_repeat() {
            place = self.admit(serial.as_ref(), cx);
            if place.is_none() {
                return;
            }
        }
        let repeated = place.as_ref().is_some_and(|place| place.repeated);
        if self.state != State::Attached {
            return self.pass_over(serial);
        }
        let damaged = !missing.is_empty();
        if damaged && !repeated && delivery.items.iter().any(is_delta) {
            // The base of a delta may be among the missing items. If so, the channel recovers after this
            // frame: before it, the service would send the unreadable items again.
            place = Some(self.advance(serial.clone()));
        }
        let decoder = cx.config.vcdiff.as_deref();
        match self.decode_messages(delivery, decoder) {
            Ok(()) => {
                let place = match place {
                    Some(place) => {
                        if !repeated {
                            self.moved(serial);
                        }
                        place
                    }
                    None => self.advance(serial),
                };
                if decoder.is_some() {
                    self.deltas.progressed();
                }
                let again = repeated.then(|| place.clone());
                self.emit_messages(&mut delivery.items, missing, place, cx);
                if let Some(place) = again {
                    self.repeated(&place, cx);
                }
            }
            Err((_, error)) if repeated && decoder.is_some() => self.replay_failed(error, cx),
            // The frame is dropped as a whole: the recovery makes the service send it again (RTL18b).
            Err((_, error)) if decoder.is_some() && !damaged => self.recover_delta(error, cx),
            // This frame is not requested again, so the messages before the failed one are delivered.
            Err((index, error)) => {
                delivery.items.truncate(index);
                // A gap behind the cut moves to the cut, as no item is left between them.
                missing.iter_mut().for_each(|(before, _)| *before = index.min(*before));
                let place = place.unwrap_or_else(|| self.advance(serial));
                self.emit_messages(&mut delivery.items, missing, place, cx);
                if decoder.is_some() {
                    self.recover_delta(error, cx);
                } else {
                    self.fail(error, cx);
                }
            }
        }
    }

    /// Decodes the payloads of a frame, with the fields that messages inherit from it. The error is that of the first
    /// message that makes those after it unusable, with its index.
    fn decode_messages(
        &mut self,
        delivery: &mut Delivery<Message>,
        decoder: Option<&dyn VcdiffDecoder>,
    ) -> Result<(), (usize, ErrorInfo)> {
        let Delivery { id, connection_id, timestamp, items, .. } = delivery;
        let cipher = self.options.cipher.as_ref();
        // In order: each message may be the base of the next (RTL21).
        for (index, message) in items.iter_mut().enumerate() {
            message.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
            let decoded = match decoder {
                Some(decoder) => self.deltas.decode(message, cipher, decoder),
                None if message.encoding.is_none() => continue,
                None => encoding::decode(&mut message.data, &mut message.encoding, cipher),
            };
            match decoded {
                Ok(()) => {}
                Err(error) if is_fatal(&error) => return Err((index, error)),
                // It is delivered as far as it was decoded (RSL6b).
                Err(error) => {
                    tracing::error!(channel = &*self.name, %error, "a payload could not be decoded");
                }
            }
        }
        Ok(())
    }

    /// Emits messages as a batch. They join a batch that the driver has not polled yet, so that a subscriber wakes once
    /// for messages that arrived together.
    fn emit_messages(
        &mut self,
        items: &mut Vec<Message>,
        missing: Vec<(usize, Gap)>,
        place: Place,
        cx: &mut Cx<'_>,
    ) {
        if !place.repeated {
            self.note_unreadable(&missing, cx);
        }
        if missing.is_empty()
            && let Some(Output::Event(Event::Messages(last, batch))) = cx.last_output()
            && *last == self.id
            // Only the last output may grow: to join an earlier one would reorder events.
            && batch.joins(&place)
        {
            return batch.join(items, place);
        }
        let batch = Batch { items: mem::take(items), missing, place };
        cx.emit(Event::Messages(self.id, batch));
    }
}

/// Whether a message that cannot be decoded for this reason makes those after it unusable, too (RTL18, PC3).
fn is_fatal(error: &ErrorInfo) -> bool {
    matches!(error.code, ErrorCode::DELTA_DECODING_FAILED | ErrorCode::MISSING_PLUGIN)
}
