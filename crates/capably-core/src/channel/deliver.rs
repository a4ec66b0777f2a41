//! Messages on their way to the user (RTL7, RTL17).

use std::mem;

use capably_protocol::{Message, encoding, frame::Delivery};

use super::State;
use crate::{Client, Event, Output};

impl Client {
    /// Messages arrived (RTL15b, RTL17).
    pub(crate) fn deliver(&mut self, delivery: &mut Delivery<Message>) {
        let Some((id, channel)) = self.channel_named(&delivery.channel) else { return };
        channel.moved(delivery.channel_serial.take());
        if channel.state != State::Attached {
            return;
        }
        for (index, message) in delivery.items.iter_mut().enumerate() {
            message.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            if message.encoding.is_some()
                && let Err(error) = encoding::decode(
                    &mut message.data,
                    &mut message.encoding,
                    channel.options.cipher.as_ref(),
                )
            {
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*channel.name, %error, "a payload could not be decoded");
            }
        }
        // What arrived together is handed on together.
        match self.last_output() {
            Some(Output::Event(Event::Messages(last, messages))) if *last == id => {
                messages.append(&mut delivery.items);
            }
            _ => {
                let messages = mem::take(&mut delivery.items);
                self.push(Output::Event(Event::Messages(id, messages)));
            }
        }
    }
}
