//! Publishing messages on a channel.

use capably_protocol::{ErrorInfo, Message, MessageAction, MessageVersion, Str, frame::Delivery};

use super::{Channel, Channels};
use crate::hub::{
    Now, Output, Turn,
    access::capability::Operation,
    channel_name,
    ids::ConnectionId,
    log::{Entry, position::Position},
    message::{
        change::is_change,
        ephemeral::{are_ephemeral, require_privilege},
        publish::{Accepted, Publisher, check_ids, check_messages},
    },
};

/// Messages to publish as one frame.
#[derive(Debug)]
struct NewFrame {
    /// The id of the frame. Without one, the id is made from the frame's position.
    id: Option<Str>,
    /// `None` for a REST request.
    connection: Option<ConnectionId>,
    /// Checked and in canonical form.
    messages: Vec<Message>,
}

impl Channels {
    /// Publishes messages, all or none. A single message may be a change of an earlier one.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40009 for the size, 40012 for a client id,
    /// 40013 for a broken encoding, 40031 for ids, 40032 for extras, 40000 when only some messages are ephemeral, 40114 for
    /// one channel too many; for a change of a message as [`change`](Self::change).
    pub(crate) fn publish(
        &mut self,
        channel: &Str,
        mut messages: Vec<Message>,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Accepted, ErrorInfo> {
        if let [message] = &mut messages[..]
            && is_change(message)
        {
            let message = std::mem::take(message);
            return self.change(channel, message, publisher, turn);
        }
        // The name of an existing channel is valid: parsing it for each publish would be wasted.
        let plain;
        let channel = if self.get(channel).is_some() {
            channel
        } else {
            plain = channel_name::plain_str(channel)?;
            &plain
        };
        publisher.identity.require(channel, Operation::Publish)?;
        let max_size = turn.settings.max_message_size;
        let (messages, bytes) = check_messages(channel, messages, publisher.identity, max_size)?;
        let chosen_id = check_ids(messages.iter().map(|message| message.id.as_ref()))?;
        let ephemeral = are_ephemeral(&messages)?;
        require_privilege(publisher.identity, channel, &messages)?;
        let count = messages.len();

        let repeated = messages
            .first()
            .and_then(|first| first.id.as_ref())
            .and_then(|id| self.get(channel)?.position_of_id(id));
        let position = match repeated {
            Some(position) => position,
            None => {
                let frame = NewFrame {
                    id: publisher.frame_id,
                    connection: publisher.connection.cloned(),
                    messages,
                };
                let pushes = self.pushes(channel, &frame.messages, turn.now);
                let position = if ephemeral {
                    self.deliver_ephemeral(channel, frame, turn)
                } else {
                    self.require_room(channel, turn)?;
                    self.publish_frame(channel, frame, turn)
                };
                turn.outputs.extend(pushes.into_iter().map(Output::from));
                position
            }
        };
        Ok(Accepted { position, messages: count, bytes, chosen_id })
    }

    fn publish_frame(&mut self, name: &Str, frame: NewFrame, turn: &mut Turn<'_>) -> Position {
        let position = self.next_position(turn.now);
        let channel = self.get_or_create(name);
        channel.publish(position, frame, turn);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
        position
    }

    /// Sends ephemeral messages to the subscribers. A channel that does not exist has none, and is not created.
    fn deliver_ephemeral(&mut self, name: &Str, frame: NewFrame, turn: &mut Turn<'_>) -> Position {
        let position = self.next_position(turn.now);
        if let Some(channel) = self.get_mut(name) {
            channel.deliver_ephemeral(position, frame, turn);
        }
        position
    }
}

impl Channel {
    fn publish(&mut self, position: Position, frame: NewFrame, turn: &mut Turn<'_>) {
        for id in frame.messages.iter().filter_map(|message| message.id.as_ref()) {
            self.ids.insert(id.clone(), position);
        }
        let delivery = self.delivery_of(position, frame, turn.now);
        self.commit(&Entry::new(position, turn.now.steady, delivery), turn);
    }

    fn deliver_ephemeral(&mut self, position: Position, frame: NewFrame, turn: &mut Turn<'_>) {
        let mut delivery = self.delivery_of(position, frame, turn.now);
        // The messages are not in the log: without a channel serial, no client resumes from them.
        delivery.channel_serial = None;
        self.send(&Entry::new(position, turn.now.steady, delivery), |_| true, turn.outputs);
    }

    /// The frame as subscribers receive it, with the fields that the server sets.
    fn delivery_of(&self, position: Position, frame: NewFrame, now: Now) -> Delivery<Message> {
        let NewFrame { id, connection, mut messages } = frame;
        let (first_serial, channel_serial) = position.first_serials();
        for (index, message) in messages.iter_mut().enumerate() {
            let serial =
                if index == 0 { first_serial.clone() } else { position.message_serial(index) };
            message.version = Some(Box::new(MessageVersion {
                serial: Some(serial.clone()),
                timestamp: Some(now.wall),
                ..MessageVersion::default()
            }));
            message.serial = Some(serial);
            message.action = Some(MessageAction::Create);
        }
        let mut delivery = Delivery::new(self.name.clone(), messages);
        delivery.id = Some(id.unwrap_or_else(|| channel_serial.clone()));
        delivery.channel_serial = Some(channel_serial);
        delivery.connection_id = connection;
        delivery.timestamp = Some(now.wall);
        delivery
    }
}
