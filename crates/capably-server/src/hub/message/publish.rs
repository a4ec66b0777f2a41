//! Publishes: the checks of messages, and the result.

use capably_protocol::{ErrorInfo, Message, MessageAction, Str};

use crate::hub::{
    access::{claims, identity::Identity},
    error,
    ids::ConnectionId,
    log::{
        payload::canonicalize,
        position::{MAX_ITEMS, Position},
        volume::Volume,
    },
};

/// The response to a REST publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The id of the frame.
    pub(crate) message_id: Str,
    /// The serial of each message.
    pub(crate) serials: Vec<Str>,
}

/// The publisher of a frame.
#[derive(Debug)]
pub(crate) struct Publisher<'a> {
    pub(crate) identity: &'a Identity,
    /// `None` for a REST request.
    pub(crate) connection: Option<&'a ConnectionId>,
    /// The id of the frame. Without one, the id is made from the frame's position.
    pub(crate) frame_id: Option<Str>,
    /// Whether the frame may be a repetition that only the engine recognises, as another node has committed the first copy.
    pub(crate) may_repeat: bool,
}

/// The part of the answer to a publish that is known before it is committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Receipt {
    pub(crate) messages: usize,
    /// The size of the payloads.
    pub(crate) bytes: usize,
    /// The id that the publisher chose for the frame, if any.
    pub(crate) chosen_id: Option<Str>,
}

impl Receipt {
    /// The answer to a publish that was committed at this position.
    pub(crate) fn at(self, position: Position) -> Accepted {
        let Self { messages, bytes, chosen_id } = self;
        Accepted { position, messages, bytes, chosen_id }
    }
}

/// An accepted frame. If the client repeated it, this is the result of the first copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    pub(crate) position: Position,
    pub(crate) messages: usize,
    /// The size of the payloads.
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

/// Checks every message, stamps it, and converts it to canonical form. Returns their size, too.
///
/// # Errors
/// 40000 for no messages, too many, or an action that clients cannot publish; 40012 for a client id, 40013 for a broken
/// encoding, 40009 for the size.
pub(crate) fn check_messages(
    channel: &str,
    mut messages: Vec<Message>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<(Vec<Message>, usize), ErrorInfo> {
    if messages.is_empty() {
        return Err(error::bad_request("a publish needs at least one message"));
    }
    if messages.len() > MAX_ITEMS {
        return Err(error::too_many_messages(MAX_ITEMS));
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
        // Only the server sets these fields. A client must not forge them.
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

/// Checks the ids that the publisher chose, and returns the id of the frame that they share (RSL1k).
///
/// # Errors
/// Code 40031 unless they are `base:0`, `base:1` and so on, without an empty one.
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
