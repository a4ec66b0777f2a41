//! Annotating messages, and reading their annotations (RSAN, RTAN).

use std::collections::{BTreeMap, BTreeSet};

use capably_protocol::{Annotation, ErrorInfo, Str};

use super::{Channel, Channels, commit::Commit, order::Proposed};
use crate::hub::{
    Now, Page, PageQuery, Turn,
    access::{capability::Operation, identity::Identity},
    channel_name, error,
    log::{
        position::Position,
        proposal::{Body, Items, Place, Summary},
    },
    message::{
        annotation::{Annotations, annotations_entry, check_annotations, summary_entry},
        publish::{Publisher, Receipt, check_ids},
    },
};

/// The indexes of a frame's annotations, by the message that they annotate.
type ByMessage = BTreeMap<Place, Vec<usize>>;

impl Channels {
    /// Publishes annotations of a channel's messages, all or none, and the new summaries of the messages.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 93002 for a channel whose messages cannot be annotated,
    /// 40000 and 40003 for a missing field, 40400 for an unknown message, 40012 for a client id, 40013 for a broken
    /// encoding, 40031 for ids, 40009 for the size.
    pub(crate) fn annotate(
        &mut self,
        name: &Str,
        annotations: Vec<Annotation>,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let name = &channel_name::plain_str(name)?;
        publisher.identity.require(name, Operation::AnnotationPublish)?;
        if !self.is_mutable(name) {
            return Err(error::not_mutable());
        }
        let max_size = turn.settings.max_message_size;
        let (annotations, bytes) =
            check_annotations(name, annotations, publisher.identity, max_size)?;
        let chosen_id = check_ids(annotations.iter().map(|annotation| annotation.id.as_ref()))?;
        let receipt = Receipt { messages: annotations.len(), bytes, chosen_id };
        let channel = self.get_mut(name).ok_or_else(error::unknown_message)?;
        channel.expire(turn.now.steady);
        let by_message = channel.annotated_messages(&annotations)?;
        if let Some(position) = channel.check_summaries(&by_message, &annotations, max_size)? {
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        by_message.keys().for_each(|at| channel.pin(*at));
        let frame = Items {
            id: publisher.frame_id,
            connection: publisher.connection.cloned(),
            items: annotations,
        };
        self.propose(name, Body::Annotations(frame), receipt, turn)
    }

    /// Applies a committed frame of annotations. Returns the messages whose summaries it changes.
    pub(super) fn apply_annotations(
        &mut self,
        name: &Str,
        commit: Commit,
        frame: Items<Annotation>,
        turn: &mut Turn<'_>,
    ) -> Vec<Place> {
        let entry = annotations_entry(name, frame, commit.position, commit.time, commit.at);
        self.append(name, &entry, turn);
        let Some(channel) = self.get_mut(name) else { return Vec::new() };
        let mut changed = BTreeSet::new();
        for (index, item) in entry.annotation_items().iter().enumerate() {
            // The append may have dropped the message to make room.
            let Ok(at) = channel.place_of(item.message_serial.as_deref().unwrap_or_default())
            else {
                continue;
            };
            if channel.changes.entry(at).or_default().annotations.add(&entry, index) {
                changed.insert(at);
            }
        }
        // Not only with the entry of the summaries: a node that reads the message and its annotations finds no such entry.
        for at in &changed {
            if let Some(changed) = channel.changes.get_mut(at) {
                changed.annotations.summarize(turn.settings.max_message_size);
            }
        }
        changed.into_iter().collect()
    }

    /// Applies a committed summary: sends the summaries of a message as they are at this place of the log.
    pub(super) fn apply_summary(
        &mut self,
        name: &Str,
        commit: Commit,
        summary: Summary,
        turn: &mut Turn<'_>,
    ) {
        let Summary { at, max_size } = summary;
        self.summarized(name, at);
        let latest = self.get_mut(name).and_then(|channel| {
            channel.changes.get_mut(&at)?.annotations.summarize(max_size);
            channel.latest_of(channel.created(at)?, at.1)
        });
        if let Some(latest) = latest {
            let entry = summary_entry(name, latest, commit.position, commit.time, commit.at);
            self.append(name, &entry, turn);
        }
    }

    /// A page of the annotations of a message, removals among them (RSAN3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability, 40400 for an unknown message.
    pub(crate) fn annotations(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        let channel = annotated_name(identity, channel)?;
        let channel = self.get_mut(channel).ok_or_else(error::unknown_message)?;
        channel.expire(now.steady);
        channel.annotations(serial, query)
    }
}

/// The name of a channel whose annotations the identity may read.
///
/// # Errors
/// Code 40010 for the name, 40160 for the capability.
pub(crate) fn annotated_name<'a>(
    identity: &Identity,
    channel: &'a str,
) -> Result<&'a str, ErrorInfo> {
    let channel = channel_name::plain(channel)?;
    identity
        .require(channel, Operation::AnnotationSubscribe)
        .or_else(|_| identity.require(channel, Operation::History))?;
    Ok(channel)
}

impl Channel {
    /// A page of the annotations of a message.
    ///
    /// # Errors
    /// Code 40400 for an unknown message.
    pub(super) fn annotations(
        &self,
        serial: &str,
        query: &PageQuery,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        let at = self.place_of(serial)?;
        let annotations = self.changes.get(&at).map(|changed| changed.annotations.all());
        let keyed = annotations
            .into_iter()
            .flatten()
            .filter_map(|annotation| Some((annotation.serial.clone()?, annotation)));
        Ok(query.page(keyed))
    }

    /// The place of the message with this serial.
    ///
    /// # Errors
    /// Code 40400 for an unknown message.
    fn place_of(&self, serial: &str) -> Result<Place, ErrorInfo> {
        let at = Position::parse_message(serial).filter(|at| self.created(*at).is_some());
        at.ok_or_else(error::unknown_message)
    }

    fn annotated_messages(&self, annotations: &[Annotation]) -> Result<ByMessage, ErrorInfo> {
        let mut by_message = ByMessage::new();
        for (index, annotation) in annotations.iter().enumerate() {
            let serial = annotation.message_serial.as_deref().unwrap_or_default();
            by_message.entry(self.place_of(serial)?).or_default().push(index);
        }
        Ok(by_message)
    }

    /// Checks the sizes of the summaries with these annotations. Returns the position of the annotations if they were
    /// published before.
    fn check_summaries(
        &self,
        by_message: &ByMessage,
        annotations: &[Annotation],
        max_size: usize,
    ) -> Result<Option<Position>, ErrorInfo> {
        for (at, indexes) in by_message {
            let known = self.changes.get(at).map(|changed| &changed.annotations);
            let first = annotations[indexes[0]].id.as_ref();
            let repeated = known.and_then(|known| known.position_of_id(first?));
            if repeated.is_some() {
                return Ok(repeated);
            }
            let added = indexes.iter().map(|index| &annotations[*index]);
            let size = match known {
                Some(known) => known.size_with(added),
                None => Annotations::default().size_with(added),
            };
            if size > max_size {
                return Err(error::summary_too_large(max_size));
            }
        }
        Ok(None)
    }
}
