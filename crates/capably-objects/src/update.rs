//! Changes of objects, as they are reported (RTLO4b4, RTLM18, RTLC11).

use capably_protocol::Str;

/// A change of an object. An operation changes one object at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The object that changed.
    pub object_id: Str,
    /// The change (RTLO4b4a).
    pub change: Change,
    /// Whether the object was deleted by this change (RTLO4b4e).
    pub tombstone: bool,
}

/// The difference that an operation or a sync made to the value of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The keys of a map that changed, in the order of the keys (RTLM18b).
    Map(Vec<(Str, KeyChange)>),
    /// The amount by which a counter changed (RTLC11b1).
    Counter(f64),
}

/// Whether a key of a map was set or removed (RTLM18b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The key has another value.
    Updated,
    /// The key was removed.
    Removed,
}

impl KeyChange {
    /// The name in other SDKs: `updated` or `removed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Removed => "removed",
        }
    }
}
