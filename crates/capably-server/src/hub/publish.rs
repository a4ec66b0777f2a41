//! Publishing: what is checked, stamped and brought into canonical form.

use std::sync::Arc;

use capably_protocol::{Data, ErrorInfo, Message, MessageAction, Str, encoding};

use super::{
    ConnectionId, Now, Output,
    ack::Outcome,
    auth::Identity,
    capability::Operation,
    change::{change, is_change},
    channel::{Channels, NewFrame},
    channel_name, error,
    serial::{MAX_INDEX, Position},
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
pub(super) struct Publisher<'a> {
    pub(super) identity: &'a Identity,
    pub(super) connection: Option<&'a ConnectionId>,
    /// The frame's id; made from its position when there is none.
    pub(super) frame_id: Option<Str>,
}

/// A frame that was accepted, now or the first time it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Accepted {
    pub(super) position: Position,
    pub(super) messages: usize,
    /// The id that the publisher chose for the frame, if any.
    pub(super) chosen_id: Option<Str>,
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
/// 40013 for a broken encoding, 40031 for ids; for a change of a message as [`change`].
pub(super) fn publish(
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
    if channels.get(channel).is_none() {
        channel_name::validate(channel)?;
    }
    publisher.identity.require(channel, Operation::Publish)?;
    let messages = prepare(messages, publisher.identity, max_message_size)?;
    let chosen_id = check_ids(&messages)?;
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
            let position = channels.publish(channel, frame, now, outputs);
            outputs.extend(pushes);
            position
        }
    };
    Ok(Accepted { position, messages: count, chosen_id })
}

/// The items of a frame, without a copy when nobody else holds them.
pub(super) fn take_items(mut items: Arc<[Message]>) -> Vec<Message> {
    match Arc::get_mut(&mut items) {
        Some(items) => items.iter_mut().map(std::mem::take).collect(),
        None => items.to_vec(),
    }
}

/// Checks every message and brings it into the form in which it is stored.
fn prepare(
    mut messages: Vec<Message>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<Vec<Message>, ErrorInfo> {
    if messages.is_empty() {
        return Err(error::bad_request("a publish needs at least one message"));
    }
    if messages.len() > MAX_INDEX {
        return Err(error::too_many_messages(MAX_INDEX));
    }
    let mut size = 0;
    for message in &mut messages {
        match message.action {
            None | Some(MessageAction::Create) => {}
            Some(MessageAction::Update | MessageAction::Delete | MessageAction::Append) => {
                return Err(error::bad_request("a change of a message is published by itself"));
            }
            Some(_) => return Err(error::bad_request("clients cannot publish this action")),
        }
        if message.id.as_ref().is_some_and(|id| id.is_empty()) {
            return Err(error::bad_message_ids());
        }
        message.client_id = identity.client_id_for(message.client_id.take())?;
        canonicalize(message)?;
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
    Ok(messages)
}

/// Brings a message's payload into the form in which it is stored: text, or bytes without base64.
///
/// # Errors
/// Code 40013 for data that is not encoded as it says.
pub(super) fn canonicalize(message: &mut Message) -> Result<(), ErrorInfo> {
    if matches!(message.data, Data::Json(_)) {
        encoding::encode(&mut message.data, &mut message.encoding, None)?;
    }
    encoding::strip_base64(&mut message.data, &mut message.encoding)
}

/// Checks the ids that the publisher chose, and gives the one they stand for together (RSL1k).
fn check_ids(messages: &[Message]) -> Result<Option<Str>, ErrorInfo> {
    let [message] = messages else {
        if messages.iter().all(|message| message.id.is_none()) {
            return Ok(None);
        }
        let base = messages
            .first()
            .and_then(|message| message.id.as_deref()?.strip_suffix(":0"))
            .ok_or_else(error::bad_message_ids)?;
        let in_order = messages.iter().enumerate().all(|(index, message)| {
            message
                .id
                .as_deref()
                .and_then(|id| id.strip_prefix(base)?.strip_prefix(':')?.parse().ok())
                == Some(index)
        });
        return if in_order { Ok(Some(base.into())) } else { Err(error::bad_message_ids()) };
    };
    let id = message.id.as_ref();
    Ok(id.map(|id| id.strip_suffix(":0").map_or_else(|| id.clone(), Str::from)))
}
