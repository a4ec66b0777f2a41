//! Deltas: messages as differences from the message before, for attachments that request them.

use std::sync::Arc;

use capably_protocol::{Data, Message, vcdiff};
use serde_json::json;

use super::Subscriber;
use crate::hub::{Broadcast, log::Entry};

/// The parameter that requests deltas, and its value.
pub(crate) const PARAM: &str = "delta";
pub(crate) const VCDIFF: &str = "vcdiff";

/// Whether the parameter's value requests deltas.
pub(crate) fn asked_for(format: Option<&String>) -> bool {
    format.is_some_and(|format| format == VCDIFF)
}

/// The base of the next delta for an attachment.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    /// The last entry with messages that was sent. The next delta starts from its last message. Without one, messages are
    /// sent in full.
    last: Option<Arc<Entry>>,
}

/// An entry on its way to subscribers. Each form of it is created once, and shared.
pub(crate) struct Fanout<'a> {
    entry: &'a Arc<Entry>,
    full: Option<Arc<Broadcast>>,
    /// The entry as deltas, by the entry of their base.
    deltas: Vec<(Arc<Entry>, Arc<Broadcast>)>,
}

impl<'a> Fanout<'a> {
    pub(crate) fn new(entry: &'a Arc<Entry>) -> Self {
        Self { entry, full: None, deltas: Vec::new() }
    }

    /// The entry in the form for this subscriber, to send at once.
    pub(crate) fn broadcast(&mut self, subscriber: &mut Subscriber) -> Arc<Broadcast> {
        let base = match &mut subscriber.deltas {
            Some(deltas) if !self.entry.items().is_empty() => {
                deltas.last.replace(Arc::clone(self.entry))
            }
            Some(_) | None => None,
        };
        let Some(base) = base else { return self.full() };
        if let Some((_, made)) = self.deltas.iter().find(|(own, _)| Arc::ptr_eq(own, &base)) {
            return Arc::clone(made);
        }
        let made = match made_from(&base, self.entry) {
            Some(entry) => Broadcast::new(entry),
            None => self.full(),
        };
        self.deltas.push((base, Arc::clone(&made)));
        made
    }

    fn full(&mut self) -> Arc<Broadcast> {
        let full = self.full.get_or_insert_with(|| Broadcast::new(Arc::clone(self.entry)));
        Arc::clone(full)
    }
}

/// The entry with deltas in place of larger payloads. The first starts from the last message of `base`, each other from
/// the message before it. `None` if no delta is smaller than its payload.
fn made_from(base: &Entry, entry: &Entry) -> Option<Arc<Entry>> {
    let mut before = base.message(base.items().len().checked_sub(1)?)?;
    let mut items = entry.items().to_vec();
    let mut any = false;
    for (index, item) in items.iter_mut().enumerate() {
        any |= make_delta(item, &before).is_some();
        before = entry.message(index)?;
    }
    if any { entry.with_items(items) } else { None }
}

/// Replaces the payload by the delta from the message before, if the delta is smaller.
fn make_delta(message: &mut Message, before: &Message) -> Option<()> {
    let (base, target) = (bytes(&before.data)?, bytes(&message.data)?);
    let from = before.id.as_ref()?;
    let delta = vcdiff::encode(base, target);
    if delta.len() >= target.len() {
        return None;
    }
    let is_text = matches!(message.data, Data::Text(_));
    let steps = if is_text { "utf-8/vcdiff" } else { "vcdiff" };
    message.encoding = Some(match message.encoding.as_deref() {
        None | Some("") => steps.into(),
        Some(before) => format!("{before}/{steps}").into(),
    });
    message.data = Data::Binary(delta.into());
    let extras = message.extras.get_or_insert_default();
    extras.insert("delta".to_owned(), json!({ "from": from, "format": VCDIFF }));
    Some(())
}

/// A payload in canonical form: text, or bytes without base64.
fn bytes(data: &Data) -> Option<&[u8]> {
    match data {
        Data::Text(text) => Some(text.as_bytes()),
        Data::Binary(bytes) => Some(bytes),
        Data::Json(_) | Data::None => None,
    }
}
