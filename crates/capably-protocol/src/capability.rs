//! Capabilities: the operations that a token allows, by channel (TK2b, TD5).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::{ErrorCode, ErrorInfo, Str};

mod pattern;

pub use pattern::Pattern;

/// The rights of a token: resources, each with its operations.
///
/// A resource is a channel's name, or a pattern such as `chat:*` or `[*]*`: `*` stands for one part of a
/// name between colons, or for all that follows, and `[*]` for channels with a qualifier as well. On the
/// wire a capability is JSON text. `Display` writes this text, with resources and operations in order.
///
/// ```
/// use capably_protocol::{Capability, Operation};
///
/// let capability = Capability::new()
///     .allow("news", [Operation::Subscribe, Operation::History])
///     .allow("chat:*", [Operation::All]);
/// assert_eq!(capability.to_string(), r#"{"chat:*":["*"],"news":["history","subscribe"]}"#);
/// assert_eq!(capability.to_string().parse(), Ok(capability.clone()));
/// assert!(capability.allows("chat:lobby", &Operation::Publish));
/// assert!(!capability.allows("news", &Operation::Publish));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capability {
    resources: BTreeMap<Pattern, BTreeSet<Operation>>,
}

impl Capability {
    /// A capability that allows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every operation on every channel: `{"*":["*"]}`.
    pub fn all() -> Self {
        Self::new().allow("*", [Operation::All])
    }

    /// Allows operations on a resource, besides those that it allows already.
    #[must_use]
    pub fn allow<O: Into<Operation>>(
        mut self,
        resource: impl Into<String>,
        operations: impl IntoIterator<Item = O>,
    ) -> Self {
        let known = self.resources.entry(Pattern::new(resource.into())).or_default();
        known.extend(operations.into_iter().map(Into::into));
        self
    }

    /// The resources in order, each with its operations in order.
    pub fn resources(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &Operation>)> {
        self.resources.iter().map(|(resource, operations)| (resource.as_str(), operations.iter()))
    }

    /// Whether it allows nothing at all.
    pub fn is_empty(&self) -> bool {
        self.resources.values().all(BTreeSet::is_empty)
    }

    /// Whether it allows every operation on every channel that has no qualifier.
    pub fn is_full(&self) -> bool {
        let mut resources = self.resources.iter();
        resources
            .any(|(pattern, operations)| pattern.is_open() && operations.contains(&Operation::All))
    }

    /// Whether it allows the operation on the channel.
    pub fn allows(&self, channel: &str, operation: &Operation) -> bool {
        self.resources.iter().any(|(pattern, operations)| {
            let allowed = operations.contains(&Operation::All) || operations.contains(operation);
            allowed && pattern.matches(channel)
        })
    }

    /// Whether it allows the operation on some channel.
    pub fn allows_anywhere(&self, operation: &Operation) -> bool {
        self.resources.values().any(|operations| {
            operations.contains(&Operation::All) || operations.contains(operation)
        })
    }

    /// The rights that both allow. An operation that one of them allows as part of [`All`](Operation::All) is named.
    ///
    /// Where one resource covers another, the result has the narrower one. Resources that only overlap are left out.
    ///
    /// ```
    /// # use capably_protocol::Capability;
    /// let key = Capability::new().allow("chat:*", ["publish", "subscribe"]);
    /// let wanted = Capability::new().allow("chat:lobby", ["*"]).allow("news", ["history"]);
    /// let granted = key.intersection(&wanted);
    /// assert_eq!(granted.to_string(), r#"{"chat:lobby":["publish","subscribe"]}"#);
    /// ```
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Self::new();
        for (ours, our_operations) in &self.resources {
            for (theirs, their_operations) in &other.resources {
                let narrower = if theirs.covers(ours) {
                    ours
                } else if ours.covers(theirs) {
                    theirs
                } else {
                    continue;
                };
                let both = both(our_operations, their_operations);
                if !both.is_empty() {
                    common.resources.entry(narrower.clone()).or_default().extend(both);
                }
            }
        }
        common
    }
}

/// The operations that two sets have in common.
fn both(ours: &BTreeSet<Operation>, theirs: &BTreeSet<Operation>) -> BTreeSet<Operation> {
    let is_all = |operations: &BTreeSet<Operation>| operations.contains(&Operation::All);
    match (is_all(ours), is_all(theirs)) {
        (true, _) => theirs.clone(),
        (_, true) => ours.clone(),
        _ => ours.intersection(theirs).cloned().collect(),
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: BTreeMap<&str, Vec<&str>> = self
            .resources
            .iter()
            .map(|(resource, operations)| {
                (resource.as_str(), operations.iter().map(Operation::as_str).collect())
            })
            .collect();
        f.write_str(&serde_json::to_string(&names).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Capability {
    type Err = ErrorInfo;

    /// Reads JSON text: an object of arrays of operations, or of single operations.
    ///
    /// # Errors
    /// Code 40000 when it is anything else.
    fn from_str(text: &str) -> Result<Self, ErrorInfo> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Names {
            One(String),
            Many(Vec<String>),
        }
        let resources: BTreeMap<String, Names> = serde_json::from_str(text).map_err(|_| {
            let message =
                "a capability is a JSON object of resources, each with an array of operations";
            ErrorInfo::new(ErrorCode::BAD_REQUEST, 400, message)
        })?;
        let mut capability = Self::new();
        for (resource, names) in resources {
            capability = match names {
                Names::One(name) => capability.allow(resource, [name.as_str()]),
                Names::Many(names) => capability.allow(resource, names.iter().map(String::as_str)),
            };
        }
        Ok(capability)
    }
}

impl From<Capability> for Str {
    /// The JSON text.
    fn from(capability: Capability) -> Self {
        capability.to_string().into()
    }
}

/// Something that a capability can allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Everything: `*`.
    All,
    /// Publishing messages.
    Publish,
    /// Receiving messages, and listing the members.
    Subscribe,
    /// Being present.
    Presence,
    /// Reading history.
    History,
    /// Reading the app's statistics.
    Statistics,
    /// Reading the metadata of channels.
    ChannelMetadata,
    /// Subscribing the own device to pushes.
    PushSubscribe,
    /// Managing all devices and their subscriptions.
    PushAdmin,
    /// Setting headers that need the privilege.
    PrivilegedHeaders,
    /// Publishing annotations.
    AnnotationPublish,
    /// Receiving single annotations.
    AnnotationSubscribe,
    /// Changing objects.
    ObjectPublish,
    /// Following objects.
    ObjectSubscribe,
    /// Updating own messages.
    MessageUpdateOwn,
    /// Updating any message.
    MessageUpdateAny,
    /// Deleting own messages.
    MessageDeleteOwn,
    /// Deleting any message.
    MessageDeleteAny,
    /// An operation that this SDK does not know.
    Other(Str),
}

impl Operation {
    const KNOWN: [Self; 18] = [
        Self::All,
        Self::Publish,
        Self::Subscribe,
        Self::Presence,
        Self::History,
        Self::Statistics,
        Self::ChannelMetadata,
        Self::PushSubscribe,
        Self::PushAdmin,
        Self::PrivilegedHeaders,
        Self::AnnotationPublish,
        Self::AnnotationSubscribe,
        Self::ObjectPublish,
        Self::ObjectSubscribe,
        Self::MessageUpdateOwn,
        Self::MessageUpdateAny,
        Self::MessageDeleteOwn,
        Self::MessageDeleteAny,
    ];

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Statistics => "statistics",
            Self::ChannelMetadata => "channel-metadata",
            Self::PushSubscribe => "push-subscribe",
            Self::PushAdmin => "push-admin",
            Self::PrivilegedHeaders => "privileged-headers",
            Self::AnnotationPublish => "annotation-publish",
            Self::AnnotationSubscribe => "annotation-subscribe",
            Self::ObjectPublish => "object-publish",
            Self::ObjectSubscribe => "object-subscribe",
            Self::MessageUpdateOwn => "message-update-own",
            Self::MessageUpdateAny => "message-update-any",
            Self::MessageDeleteOwn => "message-delete-own",
            Self::MessageDeleteAny => "message-delete-any",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Operation {
    fn from(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|operation| operation.as_str() == name);
        known.unwrap_or_else(|| Self::Other(name.into()))
    }
}

impl Ord for Operation {
    /// By name, as the wire has them.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Operation {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TC1, TC2
    #[test]
    fn displays_as_sorted_json_and_reads_it_back() {
        let capability = Capability::new()
            .allow("b\"", ["subscribe", "publish"])
            .allow("a", [Operation::All])
            .allow("b\"", ["history", "subscribe"]);
        let text = r#"{"a":["*"],"b\"":["history","publish","subscribe"]}"#;
        assert_eq!(capability.to_string(), text);
        assert_eq!(text.parse(), Ok(capability.clone()));
        assert_eq!(Str::from(capability), text);
        assert_eq!(Capability::all().to_string(), r#"{"*":["*"]}"#);
    }

    #[test]
    fn every_known_operation_has_a_name_of_its_own() {
        for operation in Operation::KNOWN {
            assert_eq!(Operation::from(operation.as_str()), operation);
        }
        assert_eq!(Operation::from("fly").as_str(), "fly");
        assert_eq!(Operation::from("fly"), Operation::Other("fly".into()));
    }

    #[test]
    fn a_single_operation_needs_no_array() {
        assert_eq!(r#"{"*":"*"}"#.parse(), Ok(Capability::all()));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "[]", "nonsense", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":{"b":[]}}"#] {
            let error = text.parse::<Capability>().unwrap_err();
            assert_eq!((error.code, error.status_code), (ErrorCode::BAD_REQUEST, 400), "{text}");
        }
    }

    #[test]
    fn allows_what_a_resource_that_matches_names() {
        let capability: Capability = r#"{"ns:*":["publish"],"one":"*","none":[]}"#.parse().unwrap();
        for (channel, operation, expected) in [
            ("ns:a", Operation::Publish, true),
            ("ns:a", Operation::Subscribe, false),
            ("one", Operation::History, true),
            ("one", Operation::Other("new".into()), true),
            ("two", Operation::History, false),
            ("none", Operation::History, false),
        ] {
            assert_eq!(capability.allows(channel, &operation), expected, "{channel} {operation:?}");
        }
        for (text, full, empty) in [
            (r#"{"*":["*"]}"#, true, false),
            (r#"{"[*]*":["*"]}"#, true, false),
            (r#"{"a":["publish"],"*":["*"]}"#, true, false),
            (r#"{"*":["publish"]}"#, false, false),
            (r#"{"a":["*"]}"#, false, false),
            (r#"{"a":[]}"#, false, true),
            ("{}", false, true),
        ] {
            let capability: Capability = text.parse().unwrap();
            assert_eq!((capability.is_full(), capability.is_empty()), (full, empty), "{text}");
        }
        assert!(capability.allows_anywhere(&Operation::Publish));
        assert!(capability.allows_anywhere(&Operation::History), "as one of all");
        let limited = Capability::new().allow("a", ["publish"]);
        assert!(!limited.allows_anywhere(&Operation::History));
    }

    #[test]
    fn an_intersection_is_what_both_allow() {
        let key: Capability = r#"{
            "channel0": ["publish"],
            "channel2": ["publish", "subscribe"],
            "channel6": ["*"],
            "cansubscribe:*": ["subscribe"]
        }"#
        .parse()
        .unwrap();
        for (wanted, granted) in [
            (r#"{"channel2":["subscribe","publish"]}"#, r#"{"channel2":["publish","subscribe"]}"#),
            (r#"{"channel2":["presence","subscribe"]}"#, r#"{"channel2":["subscribe"]}"#),
            (r#"{"channel2":["*"]}"#, r#"{"channel2":["publish","subscribe"]}"#),
            (r#"{"channel6":["publish","history"]}"#, r#"{"channel6":["history","publish"]}"#),
            (r#"{"channel6":"*"}"#, r#"{"channel6":["*"]}"#),
            (r#"{"cansubscribe:check":["subscribe"]}"#, r#"{"cansubscribe:check":["subscribe"]}"#),
            (
                r#"{"*":["subscribe"]}"#,
                r#"{"cansubscribe:*":["subscribe"],"channel2":["subscribe"],"channel6":["subscribe"]}"#,
            ),
            (
                r#"{"*":["subscribe"],"channel2":["publish"]}"#,
                r#"{"cansubscribe:*":["subscribe"],"channel2":["publish","subscribe"],"channel6":["subscribe"]}"#,
            ),
            (r#"{"channel2":["presence"]}"#, "{}"),
            (r#"{"channelx":["publish"]}"#, "{}"),
            (r#"{"[*]channel2":["publish"]}"#, r#"{"channel2":["publish"]}"#),
            ("{}", "{}"),
        ] {
            let wanted: Capability = wanted.parse().unwrap();
            for both in [wanted.intersection(&key), key.intersection(&wanted)] {
                assert_eq!(both.to_string(), granted, "{wanted}");
                assert_eq!(both.is_empty(), granted == "{}");
            }
        }
    }

    #[test]
    fn lists_what_it_allows() {
        let capability = Capability::new().allow("a", ["x", "publish"]);
        let listed: Vec<(&str, Vec<&str>)> = capability
            .resources()
            .map(|(resource, operations)| (resource, operations.map(Operation::as_str).collect()))
            .collect();
        assert_eq!(listed, [("a", vec!["publish", "x"])]);
    }
}
