//! Filters of messages (RTL22).

use capably_protocol::{Message, Str};
use serde_json::Value;

/// A filter of messages. A message matches if it meets every condition that is set (RTL22c, MFI1).
///
/// ```
/// # use capably::{Message, realtime::MessageFilter};
/// let filter = MessageFilter::new().name("comment").is_ref(false);
/// assert!(filter.matches(&Message::new("comment", "first!")));
/// assert!(!filter.matches(&Message::new("reaction", "👍")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct MessageFilter {
    /// Whether the message refers to another message, in `extras.ref` (MFI2a).
    pub is_ref: Option<bool>,
    /// The serial of the other message, in `extras.ref.timeserial` (MFI2b).
    pub ref_timeserial: Option<Str>,
    /// The type of the reference, in `extras.ref.type` (MFI2c).
    pub ref_type: Option<Str>,
    /// The message's name (MFI2d).
    pub name: Option<Str>,
    /// The publisher's client id (MFI2e).
    pub client_id: Option<Str>,
}

impl MessageFilter {
    /// A filter that every message matches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only messages that refer to another message (`true`), or only messages that do not (`false`) (MFI2a).
    pub fn is_ref(mut self, is_ref: bool) -> Self {
        self.is_ref = Some(is_ref);
        self
    }

    /// Only messages that refer to the message with this serial (MFI2b).
    pub fn ref_timeserial(mut self, timeserial: impl Into<Str>) -> Self {
        self.ref_timeserial = Some(timeserial.into());
        self
    }

    /// Only messages with a reference of this type (MFI2c).
    pub fn ref_type(mut self, ref_type: impl Into<Str>) -> Self {
        self.ref_type = Some(ref_type.into());
        self
    }

    /// Only messages with this name (MFI2d).
    pub fn name(mut self, name: impl Into<Str>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Only messages of this client (MFI2e).
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Whether a message meets every condition that is set.
    pub fn matches(&self, message: &Message) -> bool {
        let equal = |expected: &Option<Str>, own: Option<&str>| match expected {
            Some(expected) => own == Some(&**expected),
            None => true,
        };
        let reference = message.extras.as_ref().and_then(|extras| extras.get("ref"));
        let reference = reference.filter(|reference| !reference.is_null());
        let part =
            |name| reference.and_then(|reference| reference.get(name)).and_then(Value::as_str);
        equal(&self.name, message.name.as_deref())
            && equal(&self.client_id, message.client_id.as_deref())
            && self.is_ref.is_none_or(|is_ref| is_ref == reference.is_some())
            && equal(&self.ref_timeserial, part("timeserial"))
            && equal(&self.ref_type, part("type"))
    }
}
