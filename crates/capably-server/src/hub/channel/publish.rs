//! Publishing messages on a channel.

use std::time::Duration;

use bytes::Bytes;
use capably_protocol::{
    ErrorInfo, Message, MessageAction, MessageVersion, Millis, Str, frame::Delivery,
};

use super::{Channel, Channels, commit::Commit, order::Proposed};
use crate::hub::{
    Notice, Output, Turn,
    access::capability::Operation,
    channel_name,
    log::{
        Entry,
        position::Position,
        proposal::{Body, Items, Proposal},
    },
    message::{
        change::is_change,
        ephemeral::{are_ephemeral, require_privilege},
        publish::{Publisher, Receipt, check_ids, check_messages},
    },
    metachannel::is_metachannel,
};

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
    ) -> Result<Proposed, ErrorInfo> {
        if let [message] = &mut messages[..]
            && is_change(message)
        {
            let message = std::mem::take(message);
            return self.change(channel, message, publisher, turn);
        }
        // The name of an existing channel is valid: parsing it for each publish would be wasted. Metachannels exist, too.
        let plain;
        let channel = if self.get(channel).is_some() && !is_metachannel(channel) {
            channel
        } else {
            plain = channel_name::plain_str(channel)?;
            &plain
        };
        // Once: each time costs a check of its bytes.
        let name = channel.as_str();
        publisher.identity.require(name, Operation::Publish)?;
        let max_size = turn.settings.max_message_size;
        let (messages, bytes) = check_messages(name, messages, publisher.identity, max_size)?;
        let chosen_id = check_ids(messages.iter().map(|message| message.id.as_ref()))?;
        let ephemeral = are_ephemeral(&messages)?;
        require_privilege(publisher.identity, name, &messages)?;
        let receipt = Receipt { messages: messages.len(), bytes, chosen_id };
        let first_id = messages.first().and_then(|first| first.id.as_ref());
        if let Some(position) = first_id.and_then(|id| self.get(name)?.position_of_id(id)) {
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        let frame = Items {
            id: publisher.frame_id,
            connection: publisher.connection.cloned(),
            items: messages,
        };
        if ephemeral {
            let position = self.deliver_ephemeral(channel, frame, turn);
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        self.require_room(name, turn)?;
        self.propose(channel, Body::Messages(frame), receipt, turn)
    }

    /// Sends ephemeral messages to the subscribers. A channel that does not exist has none, and is not created.
    fn deliver_ephemeral(
        &mut self,
        name: &Str,
        frame: Items<Message>,
        turn: &mut Turn<'_>,
    ) -> Position {
        let position = self.unlogged_position(turn.now.wall);
        let pushes = self.pushes(name, &frame.items, turn.now);
        let time = turn.now.wall;
        if self.node().is_some() {
            let (channel, body) = (name.clone(), Body::Messages(frame.clone()));
            let mut proposal = Proposal { channel, time, proposer: None, body };
            let record = proposal.encode_append(&self.app, Duration::ZERO).payload;
            let notice = Notice::Ephemeral { channel: name.clone(), position, time, record };
            turn.outputs.push(Output::Notice(notice));
        }
        self.send_ephemeral(name, position, time, frame, turn);
        turn.outputs.extend(pushes.into_iter().map(Output::from));
        position
    }

    /// Sends the ephemeral messages of another node to the subscribers.
    pub(crate) fn relay_ephemeral(
        &mut self,
        name: &Str,
        position: Position,
        time: Millis,
        record: &Bytes,
        turn: &mut Turn<'_>,
    ) {
        match Proposal::decode(name, time, record) {
            Ok(Proposal { body: Body::Messages(frame), .. }) => {
                self.send_ephemeral(name, position, time, frame, turn);
            }
            Ok(_) => {}
            Err(problem) => tracing::error!(problem, "ephemeral messages cannot be read"),
        }
    }

    fn send_ephemeral(
        &mut self,
        name: &Str,
        position: Position,
        time: Millis,
        frame: Items<Message>,
        turn: &mut Turn<'_>,
    ) {
        let Some(channel) = self.get_mut(name) else { return };
        let commit = Commit { position, time, at: turn.now.steady, proposer: None };
        let mut delivery = channel.delivery_of(commit, frame);
        // The messages are not in the log: without a channel serial, no client resumes from them.
        delivery.channel_serial = None;
        let entry = Entry::new(position, commit.at, delivery);
        channel.count_published(&entry);
        channel.send(&entry, |_| true, turn.outputs);
    }

    /// Applies a committed frame of messages.
    pub(super) fn apply_messages(
        &mut self,
        name: &Str,
        commit: Commit,
        frame: Items<Message>,
        turn: &mut Turn<'_>,
    ) {
        let channel = self.get_or_create(name);
        for id in frame.items.iter().filter_map(|message| message.id.as_ref()) {
            channel.ids.insert(id.clone(), commit.position);
        }
        let delivery = channel.delivery_of(commit, frame);
        channel.commit(&Entry::new(commit.position, commit.at, delivery), turn);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
    }
}

impl Channel {
    /// The frame as subscribers receive it, with the fields that the server sets.
    pub(super) fn delivery_of(&self, commit: Commit, frame: Items<Message>) -> Delivery<Message> {
        let Items { id, connection, items: mut messages } = frame;
        let Commit { position, time, .. } = commit;
        let (first_serial, channel_serial) = position.first_serials();
        for (index, message) in messages.iter_mut().enumerate() {
            let serial =
                if index == 0 { first_serial.clone() } else { position.message_serial(index) };
            message.version = Some(Box::new(MessageVersion {
                serial: Some(serial.clone()),
                timestamp: Some(time),
                ..MessageVersion::default()
            }));
            message.serial = Some(serial);
            message.action = Some(MessageAction::Create);
        }
        let mut delivery = Delivery::new(self.name.clone(), messages);
        delivery.id = Some(id.unwrap_or_else(|| channel_serial.clone()));
        delivery.channel_serial = Some(channel_serial);
        delivery.connection_id = connection;
        delivery.timestamp = Some(time);
        delivery
    }
}
