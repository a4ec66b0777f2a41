//! Messages that refer to another (REX).

use serde_json::Value;

use crate::{JsonObject, Message, Str};

/// A reference to another message: the `ref` of a message's extras (REX1).
///
/// ```
/// use capably_protocol::{Message, ReferenceExtras};
///
/// let question = Message { serial: Some("01732-7:0".into()), ..Message::default() };
/// let mut answer = Message::new("chat", "Yes.");
/// let to = question.serial.as_deref().unwrap_or_default();
/// answer.extras = Some(ReferenceExtras::new(to, "com.example.answer").into());
/// assert_eq!(answer.reference().map(|to| to.timeserial), question.serial);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReferenceExtras {
    /// The serial of the message referred to (REX2a).
    pub timeserial: Str,
    /// The type of reference, as a reversed domain name (REX2b1); those in `com.ably.` are the service's
    /// (REX2b2). `None` in one received without (REX2b).
    pub ref_type: Option<Str>,
}

impl ReferenceExtras {
    /// A reference to the message with this serial, of a type such as `com.example.answer` (REX2).
    pub fn new(timeserial: impl Into<Str>, ref_type: impl Into<Str>) -> Self {
        Self { timeserial: timeserial.into(), ref_type: Some(ref_type.into()) }
    }
}

impl From<ReferenceExtras> for JsonObject {
    /// Extras with only the reference.
    fn from(reference: ReferenceExtras) -> Self {
        let text = |text: &Str| Value::String(text.to_string());
        let mut members = JsonObject::new();
        members.insert("timeserial".to_owned(), text(&reference.timeserial));
        if let Some(ref_type) = &reference.ref_type {
            members.insert("type".to_owned(), text(ref_type));
        }
        let mut extras = JsonObject::new();
        extras.insert("ref".to_owned(), Value::Object(members));
        extras
    }
}

impl From<ReferenceExtras> for Value {
    /// Extras with only the reference.
    fn from(reference: ReferenceExtras) -> Self {
        Self::Object(reference.into())
    }
}

impl Message {
    /// The reference to another message, if there is one (REX1).
    pub fn reference(&self) -> Option<ReferenceExtras> {
        let reference = self.extras.as_ref()?.get("ref")?;
        let part = |name| reference.get(name).and_then(Value::as_str).map(Str::from);
        Some(ReferenceExtras { timeserial: part("timeserial")?, ref_type: part("type") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_extras(extras: Value) -> Message {
        Message { extras: extras.as_object().cloned(), ..Message::default() }
    }

    // Spec: REX1, REX2, REX2a, REX2b, REX2b1, REX2b2
    #[test]
    fn a_reference_goes_into_extras_and_comes_out() {
        // Any type is passed on, the service's own as well.
        for ref_type in ["com.example.answer", "com.ably.reply"] {
            let reference = ReferenceExtras::new("abc123@1700000000000-0", ref_type);
            let extras = JsonObject::from(reference.clone());
            let wire =
                json!({ "ref": { "timeserial": "abc123@1700000000000-0", "type": ref_type } });
            assert_eq!(Value::Object(extras.clone()), wire);
            let message = Message { extras: Some(extras), ..Message::default() };
            assert_eq!(message.reference(), Some(reference));
        }
    }

    #[test]
    fn what_refers_to_nothing_is_no_reference() {
        assert_eq!(Message::default().reference(), None);
        for extras in [json!({}), json!({ "ref": null }), json!({ "ref": { "type": "t" } })] {
            assert_eq!(with_extras(extras).reference(), None);
        }
        let untyped = with_extras(json!({ "ref": { "timeserial": "s", "type": 7 } })).reference();
        assert_eq!(untyped, Some(ReferenceExtras { timeserial: "s".into(), ref_type: None }));
    }
}
