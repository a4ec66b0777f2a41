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
    /// Continuity is preserved (TR3c).
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

/// A right of an attachment on its channel (TB2d).
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

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TR3, TR3a, TR3b, TR3c, TR3e, TR3f, TR3h, TR3q, TR3r, TR3s, TR3t, TR3u, TR3w, TR3x, TR3y, TR3z
    #[test]
    fn flags_and_modes_have_the_bits_of_the_specification() {
        let flags = [
            (Flags::HAS_PRESENCE, 0),
            (Flags::HAS_BACKLOG, 1),
            (Flags::RESUMED, 2),
            (Flags::TRANSIENT, 4),
            (Flags::ATTACH_RESUME, 5),
            (Flags::HAS_OBJECTS, 7),
        ];
        let bits = [16, 17, 18, 19, 21, 22, 24, 25];
        let modes = ChannelMode::ALL.map(ChannelMode::flag).into_iter().zip(bits);
        for (flag, bit) in flags.into_iter().chain(modes) {
            assert_eq!(flag, Flags(1 << bit), "bit {bit}");
        }
    }

    // Spec: TR3v
    #[test]
    fn bits_that_are_reserved_or_unknown_are_kept_and_mean_no_mode() {
        let flags = Flags(1 << 20 | 1 << 23 | 1 << 40) | ChannelMode::Publish.flag();
        assert_eq!(flags.modes(), [ChannelMode::Publish]);
        assert!(flags.contains(Flags(1 << 40)));
        assert_eq!(ChannelMode::ALL.into_iter().collect::<Flags>().modes(), ChannelMode::ALL);
    }

    #[test]
    fn modes_have_names() {
        for mode in ChannelMode::ALL {
            assert_eq!(ChannelMode::from_name(mode.name()), Some(mode));
            assert_eq!(ChannelMode::from_name(&mode.name().to_uppercase()), Some(mode));
        }
        assert_eq!(ChannelMode::from_name("subscribe_presence"), None);
    }
}
