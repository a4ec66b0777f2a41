//! Publishing: what is checked, stamped and brought into canonical form.

use capably_protocol::{ErrorInfo, Message, MessageAction, Str};

use super::{
    change::{change, is_change},
    ephemeral::{are_ephemeral, require_privilege},
};
use crate::hub::{
    Now, Output,
    access::{capability::Operation, claims, identity::Identity},
    channel::{Channels, NewFrame, name as channel_name},
    connection::ack::Outcome,
    error,
    log::payload::canonicalize,
    log::{
        position::{MAX_INDEX, Position},
        volume::Volume,
    },
    output::ConnectionId,
};

/// What a REST publish is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The id of the frame.
    pub(crate) message_id: Str,
    /// The serial of each message.
    pub(crate) serials: Vec<Str>,
}

/// Who publishes, and under which frame id.
#[derive(Debug)]
pub(crate) struct Publisher<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) connection: Option<&'a ConnectionId>,
    /// The frame's id; made from its position when there is none.
    pub(crate) frame_id: Option<Str>,
}

/// A frame that was accepted, now or the first time it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    pub(crate) position: Position,
    pub(crate) messages: usize,
    /// Of its payload.
    pub(crate) bytes: usize,
    /// The id that the publisher chose for the frame, if any.
    pub(crate) chosen_id: Option<Str>,
}

impl Accepted {
    pub(crate) fn volume(&self) -> Volume {
        Volume { count: self.messages as u64, data: self.bytes as u64 }
    }
}

impl From<Accepted> for Published {
    fn from(accepted: Accepted) -> Self {
        let Accepted { position, messages, chosen_id, .. } = accepted;
        Self {
            message_id: chosen_id.unwrap_or_else(|| position.channel_serial()),
            serials: (0..messages).map(|index| position.message_serial(index)).collect(),
        }
    }
}

impl From<Result<Accepted, ErrorInfo>> for Outcome {
    fn from(result: Result<Accepted, ErrorInfo>) -> Self {
        match result {
            Ok(Accepted { position, messages, .. }) => Self::Accepted { position, messages },
            Err(error) => Self::Refused(error),
        }
    }
}

/// Publishes messages on a channel, if they are all in order.
///
/// # Errors
/// 40010 for the channel's name, 40160 for the capability, 40009 for the size, 40012 for a client id,
/// 40013 for a broken encoding, 40031 for ids, 40032 for extras, 40000 when only some messages are ephemeral, 40114 for
/// one channel too many; for a change of a message as [`change`].
pub(crate) fn publish(
    channels: &mut Channels,
    channel: &Str,
    mut messages: Vec<Message>,
    publisher: Publisher<'_>,
    max_message_size: usize,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    if let [message] = &mut messages[..]
        && is_change(message)
    {
        let message = std::mem::take(message);
        return change(channels, channel, message, publisher, max_message_size, now, outputs);
    }
    let plain;
    let channel = if channels.get(channel).is_some() {
        channel
    } else {
        plain = channel_name::plain_str(channel)?;
        &plain
    };
    publisher.identity.require(channel, Operation::Publish)?;
    let (messages, bytes) = prepare(channel, messages, publisher.identity, max_message_size)?;
    let chosen_id = check_ids(messages.iter().map(|message| message.id.as_ref()))?;
    let ephemeral = are_ephemeral(&messages)?;
    require_privilege(publisher.identity, channel, &messages)?;
    let count = messages.len();

    let repeated = messages
        .first()
        .and_then(|first| first.id.as_ref())
        .and_then(|id| channels.get(channel)?.position_of_id(id));
    let position = match repeated {
        Some(position) => position,
        None => {
            let frame = NewFrame {
                id: publisher.frame_id,
                connection: publisher.connection.cloned(),
                messages,
            };
            let pushes = channels.pushes(channel, &frame.messages, now);
            let position = if ephemeral {
                channels.pass_on(channel, frame, now, outputs)
            } else {
                channels.require_room(channel, now.steady, outputs)?;
                channels.publish(channel, frame, now, outputs)
            };
            outputs.extend(pushes);
            position
        }
    };
    Ok(Accepted { position, messages: count, bytes, chosen_id })
}

/// Checks every message and brings it into the form in which it is stored. Gives their size, too.
fn prepare(
    channel: &str,
    mut messages: Vec<Message>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<(Vec<Message>, usize), ErrorInfo> {
    if messages.is_empty() {
        return Err(error::bad_request("a publish needs at least one message"));
    }
    if messages.len() > MAX_INDEX {
        return Err(error::too_many_messages(MAX_INDEX));
    }
    let claim = identity.user_claim(channel);
    let mut size = 0;
    for message in &mut messages {
        match message.action {
            None | Some(MessageAction::Create) => {}
            Some(MessageAction::Update | MessageAction::Delete | MessageAction::Append) => {
                return Err(error::bad_request("a change of a message is published by itself"));
            }
            Some(_) => return Err(error::bad_request("clients cannot publish this action")),
        }
        message.client_id = identity.client_id_for(message.client_id.take())?;
        claims::stamp(&mut message.extras, claim);
        canonicalize(&mut message.data, &mut message.encoding)?;
        size += message.size();
        // What the service stamps is never taken from a client.
        message.connection_id = None;
        message.connection_key = None;
        message.timestamp = None;
        message.annotations = None;
    }
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }
    Ok((messages, size))
}

/// Checks the ids that the publisher chose, and gives the one they stand for together (RSL1k).
///
/// # Errors
/// Code 40031 when they are not `base:0`, `base:1` and so on, or one is empty.
pub(crate) fn check_ids<'a>(
    mut ids: impl ExactSizeIterator<Item = Option<&'a Str>> + Clone,
) -> Result<Option<Str>, ErrorInfo> {
    if ids.clone().flatten().any(|id| id.is_empty()) {
        return Err(error::bad_message_ids());
    }
    if ids.len() == 1 {
        let id = ids.next().flatten();
        return Ok(id.map(|id| id.strip_suffix(":0").map_or_else(|| id.clone(), Str::from)));
    }
    if ids.clone().all(|id| id.is_none()) {
        return Ok(None);
    }
    let base = ids.clone().next().and_then(|id| id?.strip_suffix(":0"));
    let base = base.ok_or_else(error::bad_message_ids)?;
    let in_order = ids.enumerate().all(|(index, id)| {
        id.and_then(|id| id.strip_prefix(base)?.strip_prefix(':')?.parse().ok()) == Some(index)
    });
    if in_order { Ok(Some(base.into())) } else { Err(error::bad_message_ids()) }
}
