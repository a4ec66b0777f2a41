//! Changing messages that were published: updates, deletions and appends (RSL15).

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use capably_protocol::{
    Data, ErrorInfo, Message, MessageAction, MessageVersion, Str, frame::Delivery,
};

use super::{
    annotation::Annotations,
    ephemeral::{is_ephemeral, require_privilege},
    publish::{Accepted, Publisher},
};
use crate::hub::log::payload::canonicalize;
use crate::hub::{
    App, Now, Output, Page, PageQuery,
    access::{capability::Operation, claims, identity::Identity},
    channel::{Channel, Channels, name as channel_name},
    error,
    log::{Entry, position::Position},
    stats::tally::Way,
};

/// What has become of the messages of a channel since they were published. They are known by the
/// position of their frame and their index in it.
pub(crate) type Changes = BTreeMap<(Position, usize), Changed>;

/// What has become of one message.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Its later versions, each whole, in their order.
    pub(crate) versions: Vec<Arc<Entry>>,
    pub(crate) annotations: Annotations,
}

/// Whether the action changes a message that is there already.
pub(crate) fn is_change(message: &Message) -> bool {
    matches!(
        message.action,
        Some(MessageAction::Update | MessageAction::Delete | MessageAction::Append)
    )
}

/// Changes a message.
///
/// # Errors
/// 93002 for a channel whose messages stay as they are, 40003 without a serial, 40400 for a message that
/// is not there, 40160 for the capability, 40012 for a client id, 40013 for a broken encoding, 40009 for
/// the size, 40032 for extras, 40000 for an append of another kind of data or an ephemeral change.
pub(crate) fn change(
    channels: &mut Channels,
    name: &Str,
    mut message: Message,
    publisher: Publisher<'_>,
    max_message_size: usize,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    let name = &channel_name::plain_str(name)?;
    if !channels.is_mutable(name) {
        return Err(error::not_mutable());
    }
    let serial = message.serial.take().ok_or_else(error::serial_missing)?;
    let channel = channels.get_mut(name).ok_or_else(error::unknown_message)?;
    channel.expire(now.steady);
    let (at, latest) = channel.latest(&serial).ok_or_else(error::unknown_message)?;
    require(publisher.identity, name, &message, &latest)?;
    require_privilege(publisher.identity, name, std::slice::from_ref(&message))?;
    if is_ephemeral(&message)? {
        return Err(error::bad_request("a change of a message cannot be ephemeral"));
    }

    // Who changes a message that it was sent gives the id of that message, which is none of the change.
    if message.id.as_ref().is_some_and(|id| channel.position_of_id(id) == Some(at.0)) {
        message.id = None;
    }
    let chosen_id = message.id.clone();
    let bytes = message.size();
    let accepted =
        |position| Accepted { position, messages: 1, bytes, chosen_id: chosen_id.clone() };
    if let Some(position) = chosen_id.as_deref().and_then(|id| channel.position_of_id(id)) {
        return Ok(accepted(position));
    }
    let mut version = message.version.take().map_or_else(MessageVersion::default, |it| *it);
    version.client_id = publisher.identity.client_id_for(version.client_id)?;
    canonicalize(&mut message.data, &mut message.encoding)?;
    let append = message.action == Some(MessageAction::Append);
    let mut merged = merge(latest, &message)?;
    // A version shows the claim of whoever made it, not that of the version before.
    claims::stamp(&mut merged.extras, publisher.identity.user_claim(name));
    let size = merged.size();
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }

    let position = channels.next_position(now);
    let previous = merged.version.as_ref().and_then(|version| version.timestamp);
    version.timestamp = previous.map(|previous| now.wall.max(previous + 1)).or(Some(now.wall));
    version.serial = Some(position.message_serial(0));
    merged.version = Some(Box::new(version));
    let entry = |item: Message| {
        let channel_serial = position.channel_serial();
        let mut delivery = Delivery::new(name.clone(), vec![item]);
        delivery.id = Some(publisher.frame_id.clone().unwrap_or_else(|| channel_serial.clone()));
        delivery.channel_serial = Some(channel_serial);
        delivery.connection_id = publisher.connection.cloned();
        delivery.timestamp = Some(now.wall);
        Entry::new(position, now.steady, delivery)
    };
    // Those who have the message already need no more than what is new.
    let addition = append.then(|| {
        entry(Message {
            action: Some(MessageAction::Append),
            data: message.data,
            encoding: message.encoding,
            ..merged.clone()
        })
    });
    let whole = entry(merged);
    if let Some(channel) = channels.get_mut(name) {
        channel.commit_change(at, whole, addition, chosen_id.as_ref(), now, outputs);
        let persisted = channel.newly_persisted();
        channels.persisted.add(persisted);
    }
    Ok(accepted(position))
}

/// Checks that the identity may make this change of a message: of any, or of its own.
fn require(
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

/// The next version of a message: what the change gives, and what it leaves out as it was.
fn merge(latest: Message, change: &Message) -> Result<Message, ErrorInfo> {
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

impl Channel {
    /// Where the message with this serial was published, and its latest version.
    pub(crate) fn latest(&self, serial: &str) -> Option<((Position, usize), Message)> {
        let at = Position::parse_message(serial)?;
        let created = self.created(at)?;
        self.latest_of(created, at.1).map(|message| (at, message))
    }

    /// The frame that created the message at this place.
    pub(crate) fn created(&self, (position, index): (Position, usize)) -> Option<&Arc<Entry>> {
        let entry = self.log.get(position)?;
        (entry.is_creation() && index < entry.items().len()).then_some(entry)
    }

    /// The latest version of the message at `index` of the frame that created it, with the summaries of
    /// its annotations.
    pub(crate) fn latest_of(&self, created: &Entry, index: usize) -> Option<Message> {
        latest(&self.changes, created, index, None)
    }
}

/// A frame that created messages, as a rewind shows it: of each message the latest version of those that are
/// not after `until`.
pub(crate) fn rewound(changes: &Changes, created: &Arc<Entry>, until: Position) -> Arc<Entry> {
    let position = created.position();
    if changes.range((position, 0)..=(position, usize::MAX)).next().is_none() {
        return Arc::clone(created);
    }
    let indexes = 0..created.items().len();
    let items = indexes.filter_map(|index| latest(changes, created, index, Some(until)));
    created.with_items(items.collect()).unwrap_or_else(|| Arc::clone(created))
}

/// The latest version of the message at `index` of the frame that created it, of those that are not after
/// `until`, with the summaries of its annotations.
fn latest(
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
    message.annotations = changed.annotations.shown().cloned().map(Box::new);
    Some(message)
}

impl App {
    /// Changes a message over REST (RSL15), and gives the serial of the version that it makes.
    ///
    /// # Errors
    /// As [`change`], and 40000 for an action that is not a change.
    pub(crate) fn change(
        &mut self,
        identity: &Identity,
        channel: &Str,
        message: Message,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Str, ErrorInfo> {
        if !is_change(&message) {
            return Err(error::bad_request("the `action` is not an update, delete or append"));
        }
        let publisher = Publisher { identity, connection: None, frame_id: None };
        let limit = self.settings.max_message_size;
        let sent = outputs.len();
        let accepted =
            change(&mut self.channels, channel, message, publisher, limit, now, outputs)?;
        self.count_publish(Way::Rest, accepted.volume(), &outputs[sent..], now);
        self.channels.make_room(outputs);
        Ok(accepted.position.message_serial(0))
    }

    /// The latest version of a message (RSL11).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability, 40400 when it is not there.
    pub(crate) fn message(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        now: Now,
    ) -> Result<Message, ErrorInfo> {
        let channel = self.readable(identity, channel, now)?;
        channel
            .and_then(|channel| channel.latest(serial))
            .map(|(_, message)| message)
            .ok_or_else(error::unknown_message)
    }

    /// A page of the versions of a message (RSL14).
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub(crate) fn versions(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        let found = self.readable(identity, channel, now)?.and_then(|channel| {
            let at = channel.latest(serial)?.0;
            let created = channel.log.get(at.0)?.message(at.1)?;
            let later = channel.changes.get(&at).map_or(&[][..], |changed| &changed.versions);
            let later = later.iter().filter_map(|version| version.message(0));
            let all = std::iter::once(created).chain(later);
            Some(query.page(all.map(|version| (version_serial(&version), version))))
        });
        found.ok_or_else(error::unknown_message)
    }

    /// The channel, if anybody has used it, for someone who may read its history.
    fn readable(
        &mut self,
        identity: &Identity,
        channel: &str,
        now: Now,
    ) -> Result<Option<&Channel>, ErrorInfo> {
        let channel = channel_name::plain(channel)?;
        identity.require(channel, Operation::History)?;
        Ok(self.channels.get_mut(channel).map(|channel| {
            channel.expire(now.steady);
            &*channel
        }))
    }
}

fn version_serial(message: &Message) -> Str {
    message.version.as_ref().and_then(|version| version.serial.clone()).unwrap_or_default()
}
