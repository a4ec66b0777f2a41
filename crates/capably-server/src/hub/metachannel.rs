//! Metachannels: channels `[meta]…` with events about the app, which only the server publishes on.

/// The qualifier of metachannels, before the rest of their names.
pub(crate) const META: &str = "[meta]";

/// A metachannel that the server publishes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metachannel {
    /// Channels are opened and closed, and their occupancy changes.
    ChannelLifecycle,
    /// Connections are opened and closed.
    ConnectionLifecycle,
    /// The statistics of each minute.
    StatsMinute,
    /// Failures that no client is told of.
    Log,
    /// As `Log`, for push notifications.
    LogPush,
}

impl Metachannel {
    const ALL: [Self; 5] = [
        Self::ChannelLifecycle,
        Self::ConnectionLifecycle,
        Self::StatsMinute,
        Self::Log,
        Self::LogPush,
    ];

    /// The name of the channel, with the qualifier.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChannelLifecycle => "[meta]channel.lifecycle",
            Self::ConnectionLifecycle => "[meta]connection.lifecycle",
            Self::StatsMinute => "[meta]stats:minute",
            Self::Log => "[meta]log",
            Self::LogPush => "[meta]log:push",
        }
    }

    /// The metachannel with this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metachannel| metachannel.name() == name)
    }

    /// The names of all, for an error.
    pub(crate) fn names() -> String {
        Self::ALL.map(|metachannel| format!("`{}`", metachannel.name())).join(", ")
    }
}

/// Whether the name of a channel is that of a metachannel.
pub(crate) fn is_metachannel(name: &str) -> bool {
    name.starts_with(META)
}
