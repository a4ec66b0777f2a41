//! MESSAGE, ANNOTATION, OBJECT and PRESENCE.

use capably_protocol::{
    Annotation, ChannelMode, ErrorInfo, Message, ObjectMessage, PresenceMessage, Str,
    frame::Publish,
};

use super::Receiver;
use crate::hub::{
    Turn,
    access::capability::Operation,
    channel::{
        members::PresenceFrame,
        order::{Origin, Proposed},
    },
    connection::{Arrival, Connection, ack::Outcome},
    error,
    ids::ConnectionId,
    log::payload::take_items,
    message::{
        change::is_change,
        ephemeral::{self, EPHEMERAL},
        publish::Publisher,
    },
    metachannel::is_metachannel,
};

impl Receiver<'_> {
    pub(super) fn publish(
        &mut self,
        publish: Publish<Message>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let Publish { channel, msg_serial, items, params } = publish;
        error::unless_forced(params.get("_forceNack").map(String::as_str))?;
        let mut messages = take_items(items);
        ephemeral::mark(params.get(EPHEMERAL).map(String::as_str), &mut messages)?;
        // A change needs other rights than a publish. They are checked with the change.
        if !messages.first().is_some_and(is_change) {
            let mode = ChannelMode::Publish;
            self.connection.require_mode(&channel, mode, Operation::Publish)?;
        }
        let publisher = self.connection.publisher(msg_serial);
        let proposed = self.channels.publish(&channel, messages, publisher, turn)?;
        self.received.messages.add(proposed.volume());
        Ok(proposed)
    }

    pub(super) fn annotate(
        &mut self,
        publish: Publish<Annotation>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let Publish { channel, msg_serial, items, params } = publish;
        error::unless_forced(params.get("_forceNack").map(String::as_str))?;
        let mode = ChannelMode::AnnotationPublish;
        self.connection.require_mode(&channel, mode, Operation::AnnotationPublish)?;
        let publisher = self.connection.publisher(msg_serial);
        let proposed = self.channels.annotate(&channel, take_items(items), publisher, turn)?;
        self.received.messages.add(proposed.volume());
        Ok(proposed)
    }

    pub(super) fn publish_objects(
        &mut self,
        publish: Publish<ObjectMessage>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let Publish { channel, msg_serial, items, params } = publish;
        error::unless_forced(params.get("_forceNack").map(String::as_str))?;
        self.connection.require_mode(
            &channel,
            ChannelMode::ObjectPublish,
            Operation::ObjectPublish,
        )?;
        let publisher = self.connection.publisher(msg_serial);
        let items = take_items(items);
        let proposed = self.channels.publish_objects(&channel, items, publisher, turn)?;
        self.received.objects.add(proposed.volume());
        Ok(proposed)
    }

    /// Unlike other frames, a repeated PRESENCE can have an effect: it enters members again that have left because the
    /// client was disconnected for too long. Its answer waits for that: a DETACH behind it must find these members, and the
    /// client must learn if they are not there.
    pub(super) fn publish_presence(
        &mut self,
        publish: Publish<PresenceMessage>,
        turn: &mut Turn<'_>,
    ) {
        let msg_serial = publish.msg_serial;
        self.connection.may_have_members = true;
        let arrival = self.connection.arrived(msg_serial);
        let repeated = match &arrival {
            Arrival::First => false,
            Arrival::Repeated(Outcome::Accepted { .. }) => true,
            Arrival::Repeated(outcome @ (Outcome::Refused(_) | Outcome::Forgotten)) => {
                return self.acknowledge_again(msg_serial, outcome.clone(), turn.outputs);
            }
            Arrival::Unsettled => return,
        };
        let frame = PresenceFrame {
            connection: &self.connection.id,
            identity: &self.connection.identity,
            attached: &self.connection.attached,
            publish,
            repeated,
            remain: self.connection.remain,
        };
        let result = self.channels.publish_presence(frame, turn);
        let outcome = match (arrival, &result) {
            (Arrival::Repeated(outcome), Ok(Proposed::Waiting(ticket))) => {
                let origin = Origin::Repeated(self.connection.id.clone(), msg_serial);
                self.channels.set_origin(*ticket, origin);
                self.connection.repeat(msg_serial, outcome, true)
            }
            (Arrival::Repeated(outcome), _) => self.connection.repeat(msg_serial, outcome, false),
            (Arrival::First | Arrival::Unsettled, _) => {
                if let Ok(proposed) = &result {
                    self.received.presence.add(proposed.volume());
                }
                self.remember(msg_serial, result)
            }
        };
        if let Some(outcome) = outcome {
            self.acknowledge(msg_serial, outcome, turn.outputs);
        }
    }
}

impl Connection {
    /// Checks that the attachment to the channel has the mode. A connection that is not attached needs no mode.
    ///
    /// # Errors
    /// Code 40160 when the credentials do not allow the operation, and for a metachannel, 40165 when the client did not request the mode.
    fn require_mode(
        &self,
        channel: &Str,
        mode: ChannelMode,
        operation: Operation,
    ) -> Result<(), ErrorInfo> {
        let Some(attachment) = self.attached.get(channel) else { return Ok(()) };
        if attachment.granted.contains(mode.flag()) {
            return Ok(());
        }
        if is_metachannel(attachment.channel(channel)) {
            return Err(error::metachannel());
        }
        self.identity.require(attachment.resource(channel), operation)?;
        Err(error::mode_missing(mode.name()))
    }

    fn publisher(&self, msg_serial: u64) -> Publisher<'_> {
        Publisher {
            identity: &self.identity,
            connection: Some(&self.id),
            frame_id: Some(frame_id(&self.id, msg_serial)),
            may_repeat: self.is_foreign,
        }
    }
}

/// `connectionId:msgSerial`, from which the ids of the messages derive. Written by hand, as this runs for each frame.
fn frame_id(connection: &ConnectionId, msg_serial: u64) -> Str {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = msg_serial;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[start..];
    let (colon, len) = (connection.len(), connection.len() + 1 + digits.len());
    if len <= Str::INLINE {
        let mut id = [0; Str::INLINE];
        id[..colon].copy_from_slice(connection.as_ref());
        id[colon] = b':';
        id[colon + 1..len].copy_from_slice(digits);
        if let Some(id) = Str::from_ascii(&id, len) {
            return id;
        }
    }
    let mut id = Vec::with_capacity(len);
    id.extend_from_slice(connection.as_ref());
    id.push(b':');
    id.extend_from_slice(digits);
    Str::try_from(id).expect("an id and digits are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_frame_is_its_connection_and_its_serial() {
        let connections = ["AbCdEf123456", "", "é", "a connection id that is longer than usual"];
        for connection in connections {
            for msg_serial in [0, 9, 10, 1_234_567_890, u64::MAX] {
                let id = frame_id(&connection.into(), msg_serial);
                assert_eq!(id, format!("{connection}:{msg_serial}"));
            }
        }
    }
}
