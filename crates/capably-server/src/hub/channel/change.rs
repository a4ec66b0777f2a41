//! Changing published messages: updates, deletions and appends (RSL15).

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Message, MessageAction, MessageVersion, Str, frame::Delivery};

use super::{Channel, Channels, commit::Commit, order::Proposed, subscriber::Subscriber};
use crate::hub::{
    Now, Page, PageQuery, Turn,
    access::{capability::Operation, claims, identity::Identity},
    channel_name, error,
    log::{
        Entry,
        payload::canonicalize,
        position::Position,
        proposal::{Body, Change, Place},
    },
    message::{
        change::{latest, merge, require_change},
        ephemeral::{is_ephemeral, require_privilege},
        publish::{Publisher, Receipt},
    },
};

/// A new version of a message.
struct NewVersion {
    /// The position of the frame that created the message, and its index there.
    at: Place,
    whole: Arc<Entry>,
    /// The appended data alone, if the change is an append. Subscribers that have the message need no more.
    addition: Option<Arc<Entry>>,
    chosen_id: Option<Str>,
}

impl Channels {
    /// Changes a message.
    ///
    /// # Errors
    /// 93002 for a channel whose messages cannot be changed, 40003 without a serial, 40400 for an unknown message,
    /// 40160 for the capability, 40012 for a client id, 40013 for a broken encoding, 40009 for the size, 40032 for
    /// extras, 40000 for an append of another type of data or an ephemeral change.
    pub(crate) fn change(
        &mut self,
        name: &Str,
        mut message: Message,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let name = &channel_name::plain_str(name)?;
        if !self.is_mutable(name) {
            return Err(error::not_mutable());
        }
        let serial = message.serial.take().ok_or_else(error::serial_missing)?;
        let channel = self.get_mut(name).ok_or_else(error::unknown_message)?;
        channel.expire(turn.now.steady);
        let (at, latest) = channel.latest(&serial).ok_or_else(error::unknown_message)?;
        require_change(publisher.identity, name, &message, &latest)?;
        require_privilege(publisher.identity, name, std::slice::from_ref(&message))?;
        if is_ephemeral(&message)? {
            return Err(error::bad_request("a change of a message cannot be ephemeral"));
        }

        // A client that changes a received message may send the message's id back. It is not an id of the change, which
        // would then count as a repeated publish.
        if message.id.as_ref().is_some_and(|id| channel.position_of_id(id) == Some(at.0)) {
            message.id = None;
        }
        let chosen_id = message.id.clone();
        let repeated = chosen_id.as_deref().and_then(|id| channel.position_of_id(id));
        let receipt = Receipt { messages: 1, bytes: message.size(), chosen_id };
        if let Some(position) = repeated {
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        let mut version = message.version.take().map_or_else(MessageVersion::default, |it| *it);
        version.client_id = publisher.identity.client_id_for(version.client_id)?;
        canonicalize(&mut message.data, &mut message.encoding)?;
        channel.pin(at);
        let change = Change {
            at,
            id: publisher.frame_id,
            connection: publisher.connection.cloned(),
            message,
            version,
            // The claim is that of this version's publisher, not of the version before.
            claim: publisher.identity.user_claim(name).cloned(),
            max_size: turn.settings.max_message_size,
        };
        self.propose(name, Body::Change(Box::new(change)), receipt, turn)
    }

    /// Applies a committed change of a message.
    ///
    /// # Errors
    /// 40400 for an unknown message, 40000 for an append of another type of data, 40009 for the size of the whole message.
    pub(super) fn apply_change(
        &mut self,
        name: &Str,
        commit: Commit,
        change: Change,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorInfo> {
        let channel = self.get_mut(name).ok_or_else(error::unknown_message)?;
        let version = channel.new_version(commit, change)?;
        channel.commit_version(version, turn);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
        Ok(())
    }

    /// The latest version of a message (RSL11).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability, 40400 for an unknown message.
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
        let channel = self.readable(identity, channel, now)?;
        let found = channel.and_then(|channel| channel.versions(serial, query));
        found.ok_or_else(error::unknown_message)
    }

    /// The channel, if it exists and the identity may read its history.
    fn readable(
        &mut self,
        identity: &Identity,
        channel: &str,
        now: Now,
    ) -> Result<Option<&Channel>, ErrorInfo> {
        let channel = readable_name(identity, channel)?;
        Ok(self.get_mut(channel).map(|channel| {
            channel.expire(now.steady);
            &*channel
        }))
    }
}

/// The name of a channel whose history the identity may read.
///
/// # Errors
/// Code 40010 for the name, 40160 for the capability.
pub(crate) fn readable_name<'a>(
    identity: &Identity,
    channel: &'a str,
) -> Result<&'a str, ErrorInfo> {
    let channel = channel_name::plain(channel)?;
    identity.require(channel, Operation::History)?;
    Ok(channel)
}

impl Channel {
    /// The version of a message that a change creates.
    fn new_version(&self, commit: Commit, change: Change) -> Result<NewVersion, ErrorInfo> {
        let Change { at, id, connection, message, mut version, claim, max_size } = change;
        let Commit { position, time, at: steady, .. } = commit;
        let created = self.created(at).ok_or_else(error::unknown_message)?;
        let latest = self.latest_of(created, at.1).ok_or_else(error::unknown_message)?;
        let chosen_id = message.id.clone();
        let append = message.action == Some(MessageAction::Append);
        let mut merged = merge(latest, &message)?;
        claims::stamp(&mut merged.extras, claim.as_ref());
        let size = merged.size();
        if size > max_size {
            return Err(error::message_too_large(size, max_size));
        }
        let previous = merged.version.as_ref().and_then(|version| version.timestamp);
        version.timestamp = previous.map(|previous| time.max(previous + 1)).or(Some(time));
        version.serial = Some(position.message_serial(0));
        merged.version = Some(Box::new(version));
        let entry = |item: Message| {
            let channel_serial = position.channel_serial();
            let mut delivery = Delivery::new(self.name.clone(), vec![item]);
            delivery.id = Some(id.clone().unwrap_or_else(|| channel_serial.clone()));
            delivery.channel_serial = Some(channel_serial);
            delivery.connection_id = connection.clone();
            delivery.timestamp = Some(time);
            Entry::new(position, steady, delivery)
        };
        let addition = append.then(|| {
            entry(Message {
                action: Some(MessageAction::Append),
                data: message.data,
                encoding: message.encoding,
                ..merged.clone()
            })
        });
        Ok(NewVersion { at, whole: entry(merged), addition, chosen_id })
    }

    /// Commits a new version of a message, and sends it: the whole of it, or only the addition to subscribers that have
    /// the message.
    fn commit_version(&mut self, version: NewVersion, turn: &mut Turn<'_>) {
        let NewVersion { at, whole, addition, chosen_id } = version;
        if let Some(id) = chosen_id {
            self.ids.insert(id, whole.position());
        }
        let mut known: Vec<Arc<Entry>> = self.log.get(at.0).cloned().into_iter().collect();
        let versions = &mut self.changes.entry(at).or_default().versions;
        known.extend(versions.iter().cloned());
        versions.push(Arc::clone(&whole));
        self.append(&whole, turn);
        match addition {
            None => self.send(&whole, |_| true, turn.outputs),
            Some(addition) => {
                let suffices = |subscriber: &Subscriber| subscriber.accepts_append(&known);
                self.send(&whole, |subscriber| !suffices(subscriber), turn.outputs);
                self.send(&addition, suffices, turn.outputs);
            }
        }
    }

    /// A page of the versions of a message. `None` if there is no such message.
    pub(super) fn versions(&self, serial: &str, query: &PageQuery) -> Option<Page<Message>> {
        let at = self.latest(serial)?.0;
        let created = self.created(at)?.message(at.1)?;
        let later = self.changes.get(&at).map_or(&[][..], |changed| &changed.versions);
        let later = later.iter().filter_map(|version| version.message(0));
        let all = std::iter::once(created).chain(later);
        Some(query.page(all.map(|version| (version_serial(&version), version))))
    }

    /// The place of the message with this serial, and its latest version.
    pub(super) fn latest(&self, serial: &str) -> Option<((Position, usize), Message)> {
        let at = Position::parse_message(serial)?;
        let created = self.created(at)?;
        self.latest_of(created, at.1).map(|message| (at, message))
    }

    /// The frame that created the message at this place.
    pub(crate) fn created(&self, (position, index): (Position, usize)) -> Option<&Arc<Entry>> {
        let entry = self
            .log
            .get(position)
            .or_else(|| self.older.get(&position).and_then(Option::as_ref))?;
        (entry.is_creation() && index < entry.items().len()).then_some(entry)
    }

    /// The latest version of the message at `index` of the frame that created it, with the summaries of
    /// its annotations.
    pub(super) fn latest_of(&self, created: &Entry, index: usize) -> Option<Message> {
        latest(&self.changes, created, index, None)
    }
}

fn version_serial(message: &Message) -> Str {
    message.version.as_ref().and_then(|version| version.serial.clone()).unwrap_or_default()
}
