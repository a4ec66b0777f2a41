//! Annotations of messages, and the entries that publish them (RSAN, RTAN).

use std::{collections::HashMap, sync::Arc, time::Duration};

use capably_protocol::{
    Annotation, AnnotationAction, ErrorInfo, Message, MessageAction, MessageAnnotations, Millis,
    Str, frame::Delivery,
};

use super::summary::{Method, Summaries};
use crate::hub::{
    access::{claims, identity::Identity},
    error,
    log::{
        Entry,
        payload::canonicalize,
        position::{MAX_ITEMS, Position},
        proposal::Items,
    },
};

/// The annotations of one message.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// Each as its entry and its index there, in their order.
    all: Vec<(Arc<Entry>, usize)>,
    /// Ids that publishers chose, to recognise repeated annotations (RSAN1c4).
    ids: HashMap<Str, Position>,
    summaries: Summaries,
    /// The summaries as messages carry them. `None` before the first annotation that has one.
    summary: Option<Box<MessageAnnotations>>,
}

impl Annotations {
    /// The summaries as messages carry them (TM8).
    pub(crate) fn summary(&self) -> Option<&MessageAnnotations> {
        self.summary.as_deref()
    }

    /// Adds an annotation. Returns whether it changes a summary.
    pub(crate) fn add(&mut self, entry: &Arc<Entry>, index: usize) -> bool {
        let Some(annotation) = entry.annotation(index) else { return false };
        if let Some(id) = entry.annotation_items().get(index).and_then(|item| item.id.clone()) {
            self.ids.insert(id, entry.position());
        }
        self.all.push((Arc::clone(entry), index));
        self.summaries.fold(&annotation)
    }

    /// Updates the summaries from the annotations that were added.
    pub(crate) fn summarize(&mut self, max_message_size: usize) {
        let summary = self.summaries.to_values(max_message_size);
        self.summary = Some(Box::new(MessageAnnotations { summary }));
    }

    /// The position of earlier annotations with this id, chosen by their publisher.
    pub(crate) fn position_of_id(&self, id: &str) -> Option<Position> {
        self.ids.get(id).copied()
    }

    /// The approximate size of the summaries with these annotations added, in bytes.
    pub(crate) fn size_with<'a>(
        &self,
        annotations: impl IntoIterator<Item = &'a Annotation>,
    ) -> usize {
        self.summaries.size_with(annotations)
    }

    /// All annotations, in their order.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = Annotation> {
        self.all.iter().filter_map(|(entry, index)| entry.annotation(*index))
    }
}

/// Checks every annotation, stamps it, and converts it to canonical form. Returns their size, too.
///
/// # Errors
/// 40000 and 40003 for a missing field, 40012 for a client id, 40013 for a broken encoding, 40009 for the size.
pub(crate) fn check_annotations(
    channel: &str,
    mut annotations: Vec<Annotation>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<(Vec<Annotation>, usize), ErrorInfo> {
    if annotations.is_empty() {
        return Err(error::bad_request("there is no annotation to publish"));
    }
    if annotations.len() > MAX_ITEMS {
        return Err(error::too_many_messages(MAX_ITEMS));
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
        // Only the server sets these fields. A client must not forge them.
        annotation.connection_id = None;
        annotation.serial = None;
        annotation.timestamp = None;
    }
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }
    Ok((annotations, size))
}

/// The entry of a frame of annotations.
pub(crate) fn annotations_entry(
    channel: &Str,
    frame: Items<Annotation>,
    position: Position,
    time: Millis,
    at: Duration,
) -> Arc<Entry> {
    let Items { id, connection, items: mut annotations } = frame;
    for (index, annotation) in annotations.iter_mut().enumerate() {
        annotation.serial = Some(position.message_serial(index));
    }
    let channel_serial = position.channel_serial();
    let mut delivery = Delivery::new(channel.clone(), annotations);
    delivery.id = Some(id.unwrap_or_else(|| channel_serial.clone()));
    delivery.channel_serial = Some(channel_serial);
    delivery.connection_id = connection;
    delivery.timestamp = Some(time);
    Entry::annotations(position, at, delivery)
}

/// The entry that sends the new summaries of a message. It carries the fields that identify the message, and no
/// payload.
pub(crate) fn summary_entry(
    channel: &Str,
    latest: Message,
    position: Position,
    time: Millis,
    at: Duration,
) -> Arc<Entry> {
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
    delivery.timestamp = Some(time);
    Entry::new(position, at, delivery)
}
