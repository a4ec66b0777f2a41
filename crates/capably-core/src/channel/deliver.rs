//! Messages on their way to the user (RTL7, RTL17).

use std::mem;

use capably_protocol::{ErrorCode, ErrorInfo, Message, encoding, frame::Delivery};

use super::{Channel, Gap, Place, State};
use crate::{Batch, ChannelId, Client, Event, Instant, Output, client::is_delta};

impl Client {
    /// Messages arrived (RTL15b, RTL17).
    pub(crate) fn deliver(&mut self, delivery: &mut Delivery<Message>, now: Instant) {
        self.deliver_damaged(delivery, Vec::new(), now);
    }

    /// The same, of a frame that lacks the items that cannot be read.
    pub(crate) fn deliver_damaged(
        &mut self,
        delivery: &mut Delivery<Message>,
        mut missing: Vec<(usize, Gap)>,
        now: Instant,
    ) {
        let decoder = self.shared.config.vcdiff.clone();
        let Some(id) = self.channel_id(&delivery.channel) else { return };
        let serial = delivery.channel_serial.take();
        let mut place = None;
        if self.channels.get(id).is_some_and(Channel::may_repeat) {
            place = self.admit(id, serial.as_ref(), now);
            if place.is_none() {
                return;
            }
        }
        let repeated = place.as_ref().is_some_and(|place| place.repeated);
        let Some(channel) = self.channels.get_mut(id) else { return };
        if channel.state != State::Attached {
            return channel.pass_over(serial);
        }
        let damaged = !missing.is_empty();
        if damaged && !repeated && delivery.items.iter().any(is_delta) {
            // Should these need what is missing, the channel goes on after the frame.
            place = Some(channel.advance(serial.clone()));
        }
        let mut failure = None;
        // Each may be needed for the next (RTL21).
        for (index, message) in delivery.items.iter_mut().enumerate() {
            message.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            let cipher = channel.options.cipher.as_ref();
            let decoded = match &decoder {
                Some(decoder) => channel.deltas.decode(message, cipher, &**decoder),
                None if message.encoding.is_none() => continue,
                None => encoding::decode(&mut message.data, &mut message.encoding, cipher),
            };
            if let Err(error) = decoded {
                if is_fatal(&error) {
                    failure = Some((index, error));
                    break;
                }
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*channel.name, %error, "a payload could not be decoded");
            }
        }
        match failure {
            None => {
                let place = match place {
                    Some(place) => {
                        if !repeated {
                            channel.moved(serial);
                        }
                        place
                    }
                    None => channel.advance(serial),
                };
                if decoder.is_some() {
                    channel.deltas.progressed();
                }
                let again = repeated.then(|| place.clone());
                self.hand_on(id, &mut delivery.items, missing, place);
                if let Some(place) = again {
                    self.repeated(id, &place, now);
                }
            }
            Some((_, error)) if repeated && decoder.is_some() => {
                self.replay_failed(id, error, now);
            }
            // The frame comes again as a whole (RTL18b).
            Some((_, error)) if decoder.is_some() && !damaged => self.recover_delta(id, error, now),
            Some((index, error)) => {
                delivery.items.truncate(index);
                missing.iter_mut().for_each(|(before, _)| *before = index.min(*before));
                let place = place.unwrap_or_else(|| channel.advance(serial));
                self.hand_on(id, &mut delivery.items, missing, place);
                if decoder.is_some() {
                    return self.recover_delta(id, error, now);
                }
                self.fail_channel(id, error, now);
            }
        }
    }

    /// Hands messages to the user. What arrived together is handed on together.
    fn hand_on(
        &mut self,
        id: ChannelId,
        items: &mut Vec<Message>,
        missing: Vec<(usize, Gap)>,
        place: Place,
    ) {
        if let Some(reason) = missing.first().and_then(|(_, gap)| gap.reason.as_ref())
            && !place.repeated
        {
            self.unreadable(id, reason);
        }
        if missing.is_empty()
            && let Some(Output::Event(Event::Messages(last, batch))) = self.last_output()
            && *last == id
            && batch.joins(&place)
        {
            batch.join(items, place);
            return;
        }
        let batch = Batch { items: mem::take(items), missing, place };
        self.push(Output::Event(Event::Messages(id, batch)));
    }
}

/// Whether a message that cannot be decoded for this reason ends what the channel can receive (RTL18, PC3).
fn is_fatal(error: &ErrorInfo) -> bool {
    matches!(error.code, ErrorCode::DELTA_DECODING_FAILED | ErrorCode::MISSING_PLUGIN)
}
