//! Which items of a feed a listener receives.

use capably_protocol::{Annotation, Message, PresenceAction, PresenceMessage, Str};

use super::MessageFilter;

/// Selects items of a feed.
pub(crate) trait Selection<T> {
    fn includes(&self, item: &T) -> bool;

    /// Whether it includes every item: a batch then needs no inspection.
    fn is_all(&self) -> bool;
}

/// Selects messages with one of these names, or that match one of these filters; all messages if there is
/// neither (RTL7b, RTL22).
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageSelection {
    pub(super) names: Vec<Str>,
    pub(super) filters: Vec<MessageFilter>,
}

impl Selection<Message> for MessageSelection {
    fn includes(&self, message: &Message) -> bool {
        self.is_all()
            || message.name.as_ref().is_some_and(|name| self.names.contains(name))
            || self.filters.iter().any(|filter| filter.matches(message))
    }

    fn is_all(&self) -> bool {
        self.names.is_empty() && self.filters.is_empty()
    }
}

/// Selects presence messages with one of these actions; all if there is none (RTP6a, RTP6b).
impl Selection<PresenceMessage> for Vec<PresenceAction> {
    fn includes(&self, message: &PresenceMessage) -> bool {
        self.is_empty() || message.action.is_some_and(|action| self.contains(&action))
    }

    fn is_all(&self) -> bool {
        self.is_empty()
    }
}

/// Selects annotations with one of these types; all if there is none (RTAN4c).
impl Selection<Annotation> for Vec<Str> {
    fn includes(&self, annotation: &Annotation) -> bool {
        self.is_empty() || annotation.annotation_type.as_ref().is_some_and(|own| self.contains(own))
    }

    fn is_all(&self) -> bool {
        self.is_empty()
    }
}
