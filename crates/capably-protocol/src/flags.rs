//! Frame flags and channel modes (TR3).

use std::{fmt, ops::BitOr};

/// The `flags` of a frame: bits of the table in TR3. Unknown bits are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

impl Flags {
    /// No flag set.
    pub const NONE: Self = Self(0);
    /// Members are present; a sync follows (TR3a).
    pub const HAS_PRESENCE: Self = Self(1);
    /// Messages from before the attachment follow (TR3b).
    pub const HAS_BACKLOG: Self = Self(1 << 1);
    /// Continuity was kept (TR3c).
    pub const RESUMED: Self = Self(1 << 2);
    /// Attached for publishing only (TR3e).
    pub const TRANSIENT: Self = Self(1 << 4);
    /// Deprecated: the attachment continues an earlier one (TR3f).
    pub const ATTACH_RESUME: Self = Self(1 << 5);
    /// Objects exist; a sync follows (TR3h).
    pub const HAS_OBJECTS: Self = Self(1 << 7);

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The channel modes among the flags, in the order of TR3 (RTL4m).
    pub fn modes(self) -> Vec<ChannelMode> {
        ChannelMode::ALL.into_iter().filter(|mode| self.contains(mode.flag())).collect()
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<ChannelMode> for Flags {
    fn from_iter<I: IntoIterator<Item = ChannelMode>>(modes: I) -> Self {
        modes.into_iter().fold(Self::NONE, |flags, mode| flags | mode.flag())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x})", self.0)
    }
}

/// What an attachment may do on its channel (TB2d).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChannelMode {
    /// Enter, update and leave presence (TR3q).
    Presence,
    /// Publish messages (TR3r).
    Publish,
    /// Receive messages (TR3u).
    Subscribe,
    /// Receive presence (TR3t).
    PresenceSubscribe,
    /// Publish annotations (TR3w).
    AnnotationPublish,
    /// Receive annotations one by one (TR3x).
    AnnotationSubscribe,
    /// Receive object operations (TR3y).
    ObjectSubscribe,
    /// Publish object operations (TR3z).
    ObjectPublish,
}

impl ChannelMode {
    /// Every mode, in the order of TR3.
    pub const ALL: [Self; 8] = [
        Self::Presence,
        Self::Publish,
        Self::Subscribe,
        Self::PresenceSubscribe,
        Self::AnnotationPublish,
        Self::AnnotationSubscribe,
        Self::ObjectSubscribe,
        Self::ObjectPublish,
    ];

    /// The mode's bit.
    pub fn flag(self) -> Flags {
        Flags(match self {
            Self::Presence => 1 << 16,
            Self::Publish => 1 << 17,
            Self::Subscribe => 1 << 18,
            Self::PresenceSubscribe => 1 << 19,
            Self::AnnotationPublish => 1 << 21,
            Self::AnnotationSubscribe => 1 << 22,
            Self::ObjectSubscribe => 1 << 24,
            Self::ObjectPublish => 1 << 25,
        })
    }

    /// The mode's name as the `modes` channel parameter spells it, such as `presence_subscribe`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::PresenceSubscribe => "presence_subscribe",
            Self::AnnotationPublish => "annotation_publish",
            Self::AnnotationSubscribe => "annotation_subscribe",
            Self::ObjectSubscribe => "object_subscribe",
            Self::ObjectPublish => "object_publish",
        }
    }

    /// The mode with this name, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}
