//! Capabilities: what a key may do, on which channels.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use capably_protocol::{ErrorInfo, JsonObject};
use serde_json::{Value, json};

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

    /// One operation on every channel.
    pub(crate) fn of(operation: Operation) -> Self {
        Self {
            grants: vec![(Pattern::new("*"), Operations::Some([operation].into()))],
            text: json!({ "*": [operation.name()] }).to_string(),
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

    /// What both allow, in canonical form: resources and operations in order.
    ///
    /// Of two patterns one of which covers the other, the narrower counts; patterns that only overlap
    /// have nothing in common.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut common: BTreeMap<&str, (&Pattern, Operations)> = BTreeMap::new();
        for (ours, our_operations) in &self.grants {
            for (theirs, their_operations) in &other.grants {
                let narrower = if theirs.covers(ours) {
                    ours
                } else if ours.covers(theirs) {
                    theirs
                } else {
                    continue;
                };
                let Some(operations) = our_operations.intersection(their_operations) else {
                    continue;
                };
                match common.entry(&narrower.text) {
                    Entry::Vacant(entry) => {
                        entry.insert((narrower, operations));
                    }
                    Entry::Occupied(mut entry) => entry.get_mut().1.extend(operations),
                }
            }
        }
        let text: JsonObject = common
            .iter()
            .map(|(resource, (_, operations))| ((*resource).to_owned(), operations.names().into()))
            .collect();
        let grants = common
            .into_values()
            .map(|(pattern, operations)| (pattern.clone(), operations))
            .collect();
        Self { grants, text: Value::Object(text).to_string() }
    }

    /// Whether it has a grant for just this resource.
    pub(crate) fn names(&self, resource: &str) -> bool {
        self.grants.iter().any(|(pattern, _)| pattern.text == resource)
    }

    /// Whether it allows nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether it allows the operation on the channel.
    pub(crate) fn allows(&self, channel: &str, operation: Operation) -> bool {
        self.grants
            .iter()
            .any(|(pattern, operations)| operations.contain(operation) && pattern.matches(channel))
    }

    /// Whether it allows the operation on some channels.
    pub(crate) fn allows_anywhere(&self, operation: Operation) -> bool {
        self.grants.iter().any(|(_, operations)| operations.contain(operation))
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

    /// What both hold; `None` for nothing.
    fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::All, other) => Some(other.clone()),
            (some, Self::All) => Some(some.clone()),
            (Self::Some(ours), Self::Some(theirs)) => {
                let common: BTreeSet<_> = ours.intersection(theirs).copied().collect();
                (!common.is_empty()).then_some(Self::Some(common))
            }
        }
    }

    fn extend(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (Self::Some(_), Self::All) => *self = Self::All,
            (Self::Some(ours), Self::Some(theirs)) => ours.extend(theirs),
        }
    }

    /// The names, in order.
    fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Some(operations) => {
                let mut names: Vec<_> =
                    operations.iter().map(|operation| operation.name()).collect();
                names.sort_unstable();
                names
            }
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
    text: String,
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
        Self { text: resource.to_owned(), qualifier: qualifier.map(str::to_owned), segments }
    }

    /// Whether it matches every channel that `other` matches.
    fn covers(&self, other: &Self) -> bool {
        if self.qualifier.as_deref() != Some("*") && self.qualifier != other.qualifier {
            return false;
        }
        let mut others = other.segments.iter().enumerate();
        for (index, segment) in self.segments.iter().enumerate() {
            let Some((at, theirs)) = others.next() else { return false };
            let theirs_is_open = *theirs == Segment::Any && at + 1 == other.segments.len();
            match segment {
                Segment::Any if index + 1 == self.segments.len() => return true,
                Segment::Any if theirs_is_open => return false,
                Segment::Any => {}
                Segment::Literal(_) if segment == theirs => {}
                Segment::Literal(_) => return false,
            }
        }
        others.next().is_none()
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
    fn an_intersection_is_what_both_allow_in_canonical_form() {
        let read = |value| Capability::from_value(&value).unwrap();
        let key = json!({
            "channel0": ["publish"],
            "channel2": ["publish", "subscribe"],
            "channel6": ["*"],
            "cansubscribe:*": ["subscribe"],
        });
        for (wanted, granted) in [
            (
                json!({"channel2": ["subscribe", "publish"]}),
                r#"{"channel2":["publish","subscribe"]}"#,
            ),
            (json!({"channel2": ["presence", "subscribe"]}), r#"{"channel2":["subscribe"]}"#),
            (json!({"channel2": ["*"]}), r#"{"channel2":["publish","subscribe"]}"#),
            (json!({"channel6": ["publish", "history"]}), r#"{"channel6":["history","publish"]}"#),
            (json!({"channel6": "*"}), r#"{"channel6":["*"]}"#),
            (
                json!({"cansubscribe:check": ["subscribe"]}),
                r#"{"cansubscribe:check":["subscribe"]}"#,
            ),
            (
                json!({"*": ["subscribe"]}),
                r#"{"cansubscribe:*":["subscribe"],"channel2":["subscribe"],"channel6":["subscribe"]}"#,
            ),
            (json!({"channel2": ["presence"]}), "{}"),
            (json!({"channelx": ["publish"]}), "{}"),
            (json!({"[*]channel2": ["publish"]}), r#"{"channel2":["publish"]}"#),
            (json!({}), "{}"),
        ] {
            let intersection = read(wanted.clone()).intersection(&read(key.clone()));
            assert_eq!(intersection.text(), granted, "{wanted}");
            assert_eq!(intersection.is_empty(), granted == "{}");
            assert_eq!(read(json!(granted)).grants, intersection.grants);
        }
    }

    #[test]
    fn a_pattern_covers_another_when_it_matches_all_that_the_other_does() {
        let covers = |wide: &str, narrow: &str| Pattern::new(wide).covers(&Pattern::new(narrow));
        for (wide, narrow) in [
            ("*", "a"),
            ("*", "a:*"),
            ("a:*", "a:b:*"),
            ("a:*:c", "a:b:c"),
            ("[*]*", "[meta]a"),
            ("[*]*", "*"),
        ] {
            assert!(covers(wide, narrow), "{wide} covers {narrow}");
            assert!(!covers(narrow, wide), "{narrow} does not cover {wide}");
        }
        for (one, other) in [("a:*:c", "a:*"), ("*:b", "a:*"), ("a", "b"), ("*", "[meta]*")] {
            assert!(!covers(one, other), "{one} does not cover {other}");
        }
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
