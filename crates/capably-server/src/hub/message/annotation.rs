//! Annotations of messages: published, summed up and read (RSAN, RTAN).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use capably_protocol::{
    Annotation, AnnotationAction, ErrorInfo, Message, MessageAction, MessageAnnotations, Str,
    frame::Delivery,
};

use super::{
    publish::{Accepted, Publisher, check_ids},
    summary::{Method, Summaries},
};
use crate::hub::log::payload::canonicalize;
use crate::hub::{
    App, Now, Output, Page, PageQuery, Published,
    access::{capability::Operation, claims, identity::Identity},
    channel::{Channels, name as channel_name},
    error,
    log::{
        Entry,
        position::{MAX_INDEX, Position},
    },
    stats::tally::Way,
};

/// The annotations of one message.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// Each as an index in its frame, in their order.
    all: Vec<(Arc<Entry>, usize)>,
    /// Ids that publishers chose, to tell a repetition (RSAN1c4).
    ids: HashMap<Str, Position>,
    summaries: Summaries,
    /// The summaries as they are shown; none before there is something to sum up.
    shown: Option<Box<MessageAnnotations>>,
}

impl Annotations {
    /// The summaries as messages show them (TM8).
    pub(crate) fn shown(&self) -> Option<&MessageAnnotations> {
        self.shown.as_deref()
    }

    /// Takes in an annotation. Returns whether it changes a summary.
    pub(crate) fn add(&mut self, entry: &Arc<Entry>, index: usize) -> bool {
        let Some(annotation) = entry.annotation(index) else { return false };
        if let Some(id) = entry.annotation_items().get(index).and_then(|item| item.id.clone()) {
            self.ids.insert(id, entry.position());
        }
        self.all.push((Arc::clone(entry), index));
        self.summaries.fold(&annotation)
    }

    /// Works out the summaries anew.
    pub(crate) fn sum_up(&mut self, max_message_size: usize) {
        let summary = self.summaries.to_values(max_message_size);
        self.shown = Some(Box::new(MessageAnnotations { summary }));
    }
}

/// Publishes annotations of a channel's messages, and the summaries that follow from them.
///
/// # Errors
/// 40010 for the channel's name, 40160 for the capability, 93002 for a channel whose messages stay as they
/// are, 40000 and 40003 for an annotation that lacks something, 40400 for a message that is not there,
/// 40012 for a client id, 40013 for a broken encoding, 40031 for ids, 40009 for the size.
pub(crate) fn annotate(
    channels: &mut Channels,
    name: &Str,
    annotations: Vec<Annotation>,
    publisher: Publisher<'_>,
    max_message_size: usize,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    let name = &channel_name::plain_str(name)?;
    publisher.identity.require(name, Operation::AnnotationPublish)?;
    if !channels.is_mutable(name) {
        return Err(error::not_mutable());
    }
    let (annotations, bytes) = prepare(name, annotations, publisher.identity, max_message_size)?;
    let chosen_id = check_ids(annotations.iter().map(|annotation| annotation.id.as_ref()))?;
    let messages = annotations.len();
    let accepted = |position| Accepted { position, messages, bytes, chosen_id };
    let channel = channels.get_mut(name).ok_or_else(error::unknown_message)?;
    channel.expire(now.steady);

    let mut by_message: BTreeMap<(Position, usize), Vec<usize>> = BTreeMap::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let serial = annotation.message_serial.as_deref().unwrap_or_default();
        let at = Position::parse_message(serial).filter(|at| channel.created(*at).is_some());
        let at = at.ok_or_else(error::unknown_message)?;
        by_message.entry(at).or_default().push(index);
    }
    for (at, indexes) in &by_message {
        let known = channel.changes.get(at).map(|changed| &changed.annotations);
        let repeated = known.and_then(|known| known.ids.get(annotations[indexes[0]].id.as_ref()?));
        if let Some(position) = repeated {
            return Ok(accepted(*position));
        }
        let added = indexes.iter().map(|index| &annotations[*index]);
        let size = match known {
            Some(known) => known.summaries.size_with(added),
            None => Summaries::default().size_with(added),
        };
        if size > max_message_size {
            return Err(error::summary_too_large(max_message_size));
        }
    }

    let position = channels.next_position(now);
    let entry = frame_of(name, annotations, &publisher, position, now);
    if let Some(channel) = channels.get_mut(name) {
        channel.commit(&entry, now, outputs);
        let persisted = channel.newly_persisted();
        channels.persisted.add(persisted);
    }
    for (at, indexes) in by_message {
        let summary = channels.get_mut(name).and_then(|channel| {
            // The message may just have been dropped to make room.
            let created = Arc::clone(channel.created(at)?);
            let annotations = &mut channel.changes.entry(at).or_default().annotations;
            let changes = indexes.into_iter().map(|index| annotations.add(&entry, index));
            if changes.fold(false, |any, one| any | one) {
                annotations.sum_up(max_message_size);
                channel.latest_of(&created, at.1)
            } else {
                None
            }
        });
        if let Some(latest) = summary {
            let entry = summary_of(name, latest, channels.next_position(now), now);
            if let Some(channel) = channels.get_mut(name) {
                channel.commit(&entry, now, outputs);
                let persisted = channel.newly_persisted();
                channels.persisted.add(persisted);
            }
        }
    }
    Ok(accepted(position))
}

/// Checks every annotation and brings it into the form in which it is stored. Gives their size, too.
fn prepare(
    channel: &str,
    mut annotations: Vec<Annotation>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<(Vec<Annotation>, usize), ErrorInfo> {
    if annotations.is_empty() {
        return Err(error::bad_request("there is no annotation to publish"));
    }
    if annotations.len() > MAX_INDEX {
        return Err(error::too_many_messages(MAX_INDEX));
    }
    let claim = identity.user_claim(channel);
    let mut size = 0;
    for annotation in &mut annotations {
        if !matches!(annotation.action, Some(AnnotationAction::Create | AnnotationAction::Delete)) {
            return Err(error::bad_request("the `action` of an annotation is neither 0 nor 1"));
        }
        let missing = |what: &str| error::bad_parameter(format!("an annotation needs a `{what}`"));
        let lacks = |field: &Option<Str>| field.as_ref().is_none_or(|text| text.is_empty());
        if lacks(&annotation.annotation_type) {
            return Err(missing("type"));
        }
        if lacks(&annotation.message_serial) {
            return Err(missing("messageSerial"));
        }
        annotation.client_id = identity.client_id_for(annotation.client_id.take())?;
        claims::stamp(&mut annotation.extras, claim);
        let method = annotation.annotation_type.as_deref().and_then(Method::of);
        if method.is_some_and(Method::needs_client) && annotation.client_id.is_none() {
            return Err(error::bad_client_id("only identified clients annotate with this type"));
        }
        if method.is_some_and(|method| method.needs_name(annotation.action))
            && lacks(&annotation.name)
        {
            return Err(missing("name"));
        }
        canonicalize(&mut annotation.data, &mut annotation.encoding)?;
        size += annotation.size();
        // What the service stamps is never taken from a client.
        annotation.connection_id = None;
        annotation.serial = None;
        annotation.timestamp = None;
    }
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }
    Ok((annotations, size))
}

fn frame_of(
    channel: &Str,
    mut annotations: Vec<Annotation>,
    publisher: &Publisher<'_>,
    position: Position,
    now: Now,
) -> Arc<Entry> {
    for (index, annotation) in annotations.iter_mut().enumerate() {
        annotation.serial = Some(position.message_serial(index));
    }
    let channel_serial = position.channel_serial();
    let mut delivery = Delivery::new(channel.clone(), annotations);
    delivery.id = Some(publisher.frame_id.clone().unwrap_or_else(|| channel_serial.clone()));
    delivery.channel_serial = Some(channel_serial);
    delivery.connection_id = publisher.connection.cloned();
    delivery.timestamp = Some(now.wall);
    Entry::annotations(position, now.steady, delivery)
}

/// What tells subscribers that the summaries of a message have changed: of the message only what it takes
/// to know it.
fn summary_of(channel: &Str, latest: Message, position: Position, now: Now) -> Arc<Entry> {
    let message = Message {
        action: Some(MessageAction::Summary),
        serial: latest.serial,
        name: latest.name,
        version: latest.version,
        timestamp: latest.timestamp,
        annotations: latest.annotations,
        ..Message::default()
    };
    let channel_serial = position.channel_serial();
    let mut delivery = Delivery::new(channel.clone(), vec![message]);
    delivery.id = Some(channel_serial.clone());
    delivery.channel_serial = Some(channel_serial);
    delivery.timestamp = Some(now.wall);
    Entry::new(position, now.steady, delivery)
}

impl App {
    /// Publishes annotations of one message over REST (RSAN1, RSAN2).
    ///
    /// # Errors
    /// As [`annotate`], and 40003 for an annotation of another message.
    pub(crate) fn annotate(
        &mut self,
        identity: &Identity,
        channel: &Str,
        serial: &str,
        mut annotations: Vec<Annotation>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Published, ErrorInfo> {
        for annotation in &mut annotations {
            match &annotation.message_serial {
                Some(own) if own != serial => return Err(error::other_serial()),
                Some(_) => {}
                None => annotation.message_serial = Some(serial.into()),
            }
        }
        let publisher = Publisher { identity, connection: None, frame_id: None };
        let limit = self.settings.max_message_size;
        let sent = outputs.len();
        let accepted =
            annotate(&mut self.channels, channel, annotations, publisher, limit, now, outputs)?;
        self.count_publish(Way::Rest, accepted.volume(), &outputs[sent..], now);
        self.channels.make_room(outputs);
        Ok(accepted.into())
    }

    /// A page of the annotations of a message, removals among them (RSAN3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability, 40400 for a message that is not there.
    pub(crate) fn annotations(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        let channel = channel_name::plain(channel)?;
        identity
            .require(channel, Operation::AnnotationSubscribe)
            .or_else(|_| identity.require(channel, Operation::History))?;
        let channel = self.channels.get_mut(channel).ok_or_else(error::unknown_message)?;
        channel.expire(now.steady);
        let at = Position::parse_message(serial).filter(|at| channel.created(*at).is_some());
        let at = at.ok_or_else(error::unknown_message)?;
        let known = channel.changes.get(&at).map_or(&[][..], |changed| &changed.annotations.all);
        let annotations = known.iter().filter_map(|(entry, index)| {
            let annotation = entry.annotation(*index)?;
            Some((annotation.serial.clone()?, annotation))
        });
        Ok(query.page(annotations))
    }
}
