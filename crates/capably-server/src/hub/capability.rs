//! Capabilities: what a key may do, on which channels.

use std::collections::BTreeSet;

use capably_protocol::ErrorInfo;
use serde_json::Value;

use super::error;

/// Something a capability can allow on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Publish,
    Subscribe,
    Presence,
    History,
    Statistics,
    ChannelMetadata,
    PushSubscribe,
    PushAdmin,
    PrivilegedHeaders,
    AnnotationPublish,
    AnnotationSubscribe,
    ObjectPublish,
    ObjectSubscribe,
    MessageUpdateOwn,
    MessageUpdateAny,
    MessageDeleteOwn,
    MessageDeleteAny,
}

impl Operation {
    const NAMES: [(&'static str, Self); 18] = [
        ("publish", Self::Publish),
        ("subscribe", Self::Subscribe),
        ("presence", Self::Presence),
        ("history", Self::History),
        ("statistics", Self::Statistics),
        ("stats", Self::Statistics),
        ("channel-metadata", Self::ChannelMetadata),
        ("push-subscribe", Self::PushSubscribe),
        ("push-admin", Self::PushAdmin),
        ("privileged-headers", Self::PrivilegedHeaders),
        ("annotation-publish", Self::AnnotationPublish),
        ("annotation-subscribe", Self::AnnotationSubscribe),
        ("object-publish", Self::ObjectPublish),
        ("object-subscribe", Self::ObjectSubscribe),
        ("message-update-own", Self::MessageUpdateOwn),
        ("message-update-any", Self::MessageUpdateAny),
        ("message-delete-own", Self::MessageDeleteOwn),
        ("message-delete-any", Self::MessageDeleteAny),
    ];

    /// The name in a capability.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, operation)| *operation)
    }
}

/// What credentials may do: resource patterns, each with its operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    grants: Vec<(Pattern, Operations)>,
    /// The text it was read from.
    text: String,
}

impl Capability {
    /// Everything on every channel: what a key has when none is given.
    pub(crate) fn full() -> Self {
        Self {
            grants: vec![(Pattern::new("*"), Operations::All)],
            text: r#"{"*":["*"]}"#.to_owned(),
        }
    }

    /// Reads a capability given as JSON text or as an object of arrays.
    ///
    /// # Errors
    /// Code 40000 when it is neither, names an unknown operation, or an empty list of them.
    pub(crate) fn from_value(value: &Value) -> Result<Self, ErrorInfo> {
        let (parsed, text) = match value {
            Value::String(text) => {
                let parsed = serde_json::from_str(text)
                    .map_err(|_| error::bad_request("the capability is not JSON"))?;
                (parsed, text.clone())
            }
            other => (other.clone(), other.to_string()),
        };
        let Value::Object(resources) = parsed else {
            return Err(error::bad_request("the capability is not an object"));
        };
        let grants = resources
            .iter()
            .map(|(resource, operations)| {
                Ok((Pattern::new(resource), Operations::from_value(operations)?))
            })
            .collect::<Result<_, ErrorInfo>>()?;
        Ok(Self { grants, text })
    }

    /// The capability as JSON text: that which it was given as.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it allows the operation on the channel.
    pub(crate) fn allows(&self, channel: &str, operation: Operation) -> bool {
        self.grants
            .iter()
            .any(|(pattern, operations)| operations.contain(operation) && pattern.matches(channel))
    }

    /// Whether it allows everything on every ordinary channel.
    pub(crate) fn is_full(&self) -> bool {
        self.grants.iter().any(|(pattern, operations)| {
            *operations == Operations::All && pattern.segments == [Segment::Any]
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operations {
    All,
    Some(BTreeSet<Operation>),
}

impl Operations {
    fn from_value(value: &Value) -> Result<Self, ErrorInfo> {
        let invalid =
            || error::bad_request("the operations of a capability are an array of known names");
        let names: Vec<&str> = match value {
            Value::String(name) => vec![name],
            Value::Array(names) => names
                .iter()
                .map(|name| name.as_str().ok_or_else(invalid))
                .collect::<Result<_, _>>()?,
            _ => return Err(invalid()),
        };
        match names[..] {
            [] => Err(invalid()),
            ["*"] => Ok(Self::All),
            _ => names
                .into_iter()
                .map(|name| Operation::from_name(name).ok_or_else(invalid))
                .collect::<Result<_, _>>()
                .map(Self::Some),
        }
    }

    fn contain(&self, operation: Operation) -> bool {
        match self {
            Self::All => true,
            Self::Some(operations) => operations.contains(&operation),
        }
    }
}

/// A resource pattern: `[qualifier]` and segments between colons.
///
/// `*` stands for one whole segment and, at the end, for one or more; within a longer segment it is an
/// ordinary character. A pattern without a qualifier does not match a channel that has one; `[*]`
/// matches any qualifier, and none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    qualifier: Option<String>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Any,
    Literal(String),
}

impl Pattern {
    fn new(resource: &str) -> Self {
        let (qualifier, name) = split_qualifier(resource);
        let segments = name
            .split(':')
            .map(|segment| match segment {
                "*" => Segment::Any,
                literal => Segment::Literal(literal.to_owned()),
            })
            .collect();
        Self { qualifier: qualifier.map(str::to_owned), segments }
    }

    fn matches(&self, channel: &str) -> bool {
        let (qualifier, name) = split_qualifier(channel);
        let qualified = match (self.qualifier.as_deref(), qualifier) {
            (Some("*"), _) | (None, None) => true,
            (Some(pattern), Some(qualifier)) => pattern == qualifier,
            (Some(_), None) | (None, Some(_)) => false,
        };
        qualified && self.matches_name(name)
    }

    fn matches_name(&self, name: &str) -> bool {
        let mut parts = name.split(':');
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(part) = parts.next() else { return false };
            match segment {
                Segment::Any if index + 1 == self.segments.len() => return true,
                Segment::Any => {}
                Segment::Literal(literal) => {
                    if literal != part {
                        return false;
                    }
                }
            }
        }
        parts.next().is_none()
    }
}

fn split_qualifier(resource: &str) -> (Option<&str>, &str) {
    match resource.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((qualifier, name)) => (Some(qualifier), name),
        None => (None, resource),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: &str, channel: &str) -> bool {
        Pattern::new(pattern).matches(channel)
    }

    #[test]
    fn patterns() {
        for (pattern, channel) in [
            ("a", "a"),
            ("*", "a"),
            ("*", "a:b:c"),
            ("ns:*", "ns:a"),
            ("ns:*", "ns:a:b"),
            ("*:b", "a:b"),
            ("a:*:c", "a:x:c"),
            ("foo*", "foo*"),
            ("[*]*", "a"),
            ("[*]*", "[meta]a"),
            ("[meta]*", "[meta]a"),
            ("[*]a", "[filter=x]a"),
        ] {
            assert!(matches(pattern, channel), "{pattern} should match {channel}");
        }
        for (pattern, channel) in [
            ("a", "b"),
            ("a", "a:b"),
            ("ns:*", "ns"),
            ("ns:*", "nsa:b"),
            ("foo*", "foobar"),
            ("*:b", "a:c:b"),
            ("a:*:c", "a:x:y:c"),
            ("*", "[meta]a"),
            ("[meta]*", "a"),
            ("[meta]*", "[filter=x]a"),
        ] {
            assert!(!matches(pattern, channel), "{pattern} should not match {channel}");
        }
    }

    #[test]
    fn capabilities_are_read_from_text_and_from_objects() {
        let text = r#"{ "ns:*":["publish"], "one":"*" }"#;
        let capability = Capability::from_value(&json!(text)).unwrap();
        assert_eq!(capability.text(), text);
        assert!(capability.allows("ns:a", Operation::Publish));
        assert!(!capability.allows("ns:a", Operation::Subscribe));
        assert!(capability.allows("one", Operation::History));
        assert!(!capability.allows("two", Operation::History));
        assert!(!capability.is_full());

        let capability = Capability::from_value(&json!({"*": ["*"]})).unwrap();
        assert_eq!(capability.text(), r#"{"*":["*"]}"#);
        assert!(capability.is_full());
        assert!(Capability::full().is_full());
    }

    #[test]
    fn capabilities_that_are_refused() {
        for value in [
            json!("nonsense"),
            json!([]),
            json!(1),
            json!({"a": []}),
            json!({"a": ["publish_"]}),
            json!({"a": ["*", "publish"]}),
            json!({"a": [1]}),
            json!({"a": {}}),
        ] {
            let error = Capability::from_value(&value).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40000, 400), "{value}");
        }
    }
}
