//! Changes of published messages: updates, deletions and appends (RSL15).

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use capably_protocol::{Data, ErrorInfo, Message, MessageAction};

use super::annotation::Annotations;
use crate::hub::{
    access::{capability::Operation, identity::Identity},
    error,
    log::{Entry, position::Position},
};

/// The changes and annotations of a channel's messages, by the position of a message's frame and its index there.
pub(crate) type Changes = BTreeMap<(Position, usize), Changed>;

/// The changes and annotations of one message.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// The versions after the first, each a whole message, in their order.
    pub(crate) versions: Vec<Arc<Entry>>,
    pub(crate) annotations: Annotations,
}

/// Whether the message is a change of an earlier one.
pub(crate) fn is_change(message: &Message) -> bool {
    matches!(
        message.action,
        Some(MessageAction::Update | MessageAction::Delete | MessageAction::Append)
    )
}

/// Checks that the identity may make this change: of any message, or of a message of its own.
///
/// # Errors
/// Code 40160 for the capability.
pub(crate) fn require_change(
    identity: &Identity,
    channel: &str,
    change: &Message,
    latest: &Message,
) -> Result<(), ErrorInfo> {
    let (any, own) = match change.action {
        Some(MessageAction::Delete) => (Operation::MessageDeleteAny, Operation::MessageDeleteOwn),
        _ => (Operation::MessageUpdateAny, Operation::MessageUpdateOwn),
    };
    let is_own = identity.client.name().is_some_and(|name| latest.client_id.as_ref() == Some(name));
    identity
        .require(channel, any)
        .or_else(|denied| if is_own { identity.require(channel, own) } else { Err(denied) })
}

/// The next version of a message: the fields of the change, and the other fields of the latest version.
///
/// # Errors
/// Code 40000 for an append of another type of data.
pub(crate) fn merge(latest: Message, change: &Message) -> Result<Message, ErrorInfo> {
    let mut merged = latest;
    merged.action = Some(match change.action {
        Some(MessageAction::Delete) => MessageAction::Delete,
        _ => MessageAction::Update,
    });
    merged.id.clone_from(&change.id);
    if change.name.is_some() {
        merged.name.clone_from(&change.name);
    }
    if change.extras.is_some() {
        merged.extras.clone_from(&change.extras);
    }
    if change.action == Some(MessageAction::Append) && !merged.data.is_none() {
        merged.data = joined(&merged.data, &change.data)?;
        if !change.data.is_none() && merged.encoding != change.encoding {
            return Err(error::bad_append());
        }
    } else if !change.data.is_none() {
        merged.data = change.data.clone();
        merged.encoding.clone_from(&change.encoding);
    }
    Ok(merged)
}

fn joined(data: &Data, more: &Data) -> Result<Data, ErrorInfo> {
    match (data, more) {
        (_, Data::None) => Ok(data.clone()),
        (Data::Text(text), Data::Text(more)) => Ok(Data::from(format!("{text}{more}"))),
        (Data::Binary(bytes), Data::Binary(more)) => {
            let mut joined = BytesMut::with_capacity(bytes.len() + more.len());
            joined.extend_from_slice(bytes);
            joined.extend_from_slice(more);
            Ok(Data::from(Bytes::from(joined)))
        }
        _ => Err(error::bad_append()),
    }
}

/// A frame that created messages, as a rewind sends it: each message in its latest version up to `until`.
pub(crate) fn rewound(changes: &Changes, created: &Arc<Entry>, until: Position) -> Arc<Entry> {
    let position = created.position();
    if changes.range((position, 0)..=(position, usize::MAX)).next().is_none() {
        return Arc::clone(created);
    }
    let indexes = 0..created.items().len();
    let items = indexes.filter_map(|index| latest(changes, created, index, Some(until)));
    created.with_items(items.collect()).unwrap_or_else(|| Arc::clone(created))
}

/// The latest version, up to `until`, of the message at `index` of the frame that created it. It has the summaries of
/// its annotations.
pub(crate) fn latest(
    changes: &Changes,
    created: &Entry,
    index: usize,
    until: Option<Position>,
) -> Option<Message> {
    let Some(changed) = changes.get(&(created.position(), index)) else {
        return created.message(index);
    };
    let known = |version: &&Arc<Entry>| until.is_none_or(|until| version.position() <= until);
    let mut message = match changed.versions.iter().rev().find(known) {
        Some(version) => version.message(0)?,
        None => created.message(index)?,
    };
    message.annotations = changed.annotations.summary().cloned().map(Box::new);
    Some(message)
}
