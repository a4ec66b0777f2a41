//! The states of connection and channels, and their changes, as the application sees them.

use std::{fmt, time::Duration};

use capably_protocol::ErrorInfo;

/// The state of the connection (RTN27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// Never connected (RTN27a).
    Initialized,
    /// Connecting (RTN27b).
    Connecting,
    /// Connected (RTN27e).
    Connected,
    /// Not connected. The next attempt is scheduled (RTN27c).
    Disconnected,
    /// Not connected for long. Attempts continue at a slower pace (RTN27d).
    Suspended,
    /// Closing on the application's request (RTN27f).
    Closing,
    /// Closed on the application's request (RTN27g).
    Closed,
    /// Failed for good, until the application connects again (RTN27h).
    Failed,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialized => "initialized",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Suspended => "suspended",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Failed => "failed",
        })
    }
}

/// The event of a connection: a new state, or an update without one (RTN4h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionEvent {
    /// The connection entered this state.
    State(ConnectionState),
    /// The connection stays connected, under new conditions (RTN24).
    Update,
}

impl From<ConnectionState> for ConnectionEvent {
    fn from(state: ConnectionState) -> Self {
        Self::State(state)
    }
}

/// A change of the connection (TA).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionStateChange {
    /// The state before (TA2).
    pub previous: ConnectionState,
    /// The state now (TA2).
    pub current: ConnectionState,
    /// The event (TA5).
    pub event: ConnectionEvent,
    /// Why, if there was an error (TA3).
    pub reason: Option<ErrorInfo>,
    /// How long until the next attempt (TA2).
    pub retry_in: Option<Duration>,
}

/// The state of a channel (RTL2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelState {
    /// Never attached.
    Initialized,
    /// Attaching.
    Attaching,
    /// Attached: messages arrive.
    Attached,
    /// Detaching on the application's request.
    Detaching,
    /// Detached.
    Detached,
    /// Not attached, for a reason that may pass. The client attaches the channel again on its own.
    Suspended,
    /// Failed for good, until the application attaches again.
    Failed,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialized => "initialized",
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Detached => "detached",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
        })
    }
}

/// The event of a channel: a new state, or an update without one (RTL2g).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelEvent {
    /// The channel entered this state.
    State(ChannelState),
    /// The channel stays attached, having lost continuity (RTL12).
    Update,
}

impl From<ChannelState> for ChannelEvent {
    fn from(state: ChannelState) -> Self {
        Self::State(state)
    }
}

/// A change of a channel (TH).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChannelStateChange {
    /// The state before (TH2).
    pub previous: ChannelState,
    /// The state now (TH2).
    pub current: ChannelState,
    /// The event (TH5).
    pub event: ChannelEvent,
    /// Why, if there was an error (TH3).
    pub reason: Option<ErrorInfo>,
    /// Whether no message was lost since the channel was last attached (TH4).
    pub resumed: bool,
    /// Whether messages from before the attachment follow (TH6).
    pub has_backlog: bool,
}
