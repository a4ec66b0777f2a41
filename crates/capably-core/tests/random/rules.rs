//! The model: the transitions, reasons and deadlines that the specification allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use capably_core::{
    ChannelEvent, ChannelId, ChannelState, ChannelStateChange, Client, ConnectionEvent,
    ConnectionState, ConnectionStateChange, Timer,
};
use capably_protocol::ErrorInfo;

/// The default wait before the first retry (TO3l1).
const DISCONNECTED_RETRY: Duration = Duration::from_secs(15);
/// The default wait while suspended (TO3l2).
const SUSPENDED_RETRY: Duration = Duration::from_secs(30);

/// The state of a connection as its events describe it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) state: ConnectionState,
    reason: Reason,
    /// Waits before retries since the connection was last established.
    retries: u32,
    /// The transitions that it has made.
    pub(crate) went: BTreeSet<String>,
}

/// The expected `errorReason` (RTN25).
#[derive(Debug)]
enum Reason {
    Is(Option<ErrorInfo>),
    /// The same as before, unless the service has answered a new token with the last CONNECTED.
    IsOrWasCleared(Option<ErrorInfo>),
    /// The error that no token can be obtained, which is no change of state (RSA4c1).
    NoToken,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self {
            state: ConnectionState::Initialized,
            reason: Reason::Is(None),
            retries: 0,
            went: BTreeSet::new(),
        }
    }

    pub(crate) fn changed(&mut self, change: &ConnectionStateChange) {
        assert_eq!(change.previous, self.state, "no change is left out");
        let reason = change.reason.clone();
        match change.event {
            ConnectionEvent::Update => {
                assert_eq!(change.previous, ConnectionState::Connected, "RTN24");
                assert_eq!(change.current, ConnectionState::Connected, "RTN24");
                match (reason, &self.reason) {
                    (Some(reason), _) => self.reason = Reason::Is(Some(reason)),
                    (None, Reason::Is(own) | Reason::IsOrWasCleared(own)) => {
                        self.reason = Reason::IsOrWasCleared(own.clone());
                    }
                    (None, Reason::NoToken) => self.reason = Reason::IsOrWasCleared(None),
                }
                return;
            }
            ConnectionEvent::State(state) => {
                assert_eq!(state, change.current);
                assert!(connection_may_go(change.previous, state), "{change:?}");
            }
        }
        let starts_afresh = matches!(
            (change.previous, change.current),
            (
                ConnectionState::Closing | ConnectionState::Closed | ConnectionState::Failed,
                ConnectionState::Connecting
            )
        );
        match change.current {
            ConnectionState::Connected => self.reason = Reason::Is(reason),
            ConnectionState::Disconnected
            | ConnectionState::Suspended
            | ConnectionState::Failed => {
                assert!(reason.is_some(), "{} has its reason", change.current);
                self.reason = Reason::Is(reason);
            }
            ConnectionState::Connecting if starts_afresh => self.reason = Reason::Is(None),
            ConnectionState::Connecting
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Initialized => {
                if reason.is_some() {
                    self.reason = Reason::Is(reason);
                }
            }
        }
        if starts_afresh || change.current == ConnectionState::Connected {
            self.retries = 0;
        }
        self.check_wait(change);
        self.went.insert(format!("{} to {}", change.previous, change.current));
        self.state = change.current;
    }

    /// Waits grow to twice the first one, less a fifth at most (RTN14d, RTN14e, RTB1); after a loss of the
    /// connection there is none (RTN15a).
    fn check_wait(&mut self, change: &ConnectionStateChange) {
        match (change.current, change.retry_in) {
            (ConnectionState::Disconnected, Some(Duration::ZERO)) => {
                assert_eq!(change.previous, ConnectionState::Connected, "RTN15a");
            }
            (ConnectionState::Disconnected, Some(wait)) => {
                self.retries += 1;
                let most = DISCONNECTED_RETRY.mul_f64(f64::from(self.retries.min(4) + 2) / 3.0);
                assert!(
                    (most.mul_f64(0.799_999)..=most.mul_f64(1.000_001)).contains(&wait),
                    "RTB1: {wait:?}"
                );
            }
            (ConnectionState::Suspended, wait) => assert_eq!(wait, Some(SUSPENDED_RETRY), "RTN14e"),
            (_, wait) => assert_eq!(wait, None, "{change:?}"),
        }
    }

    /// The reason changed, and nothing else.
    pub(crate) fn noted(&mut self) {
        self.reason = Reason::NoToken;
    }

    /// No deadline outlives its state.
    fn check_deadline(&self, timer: Timer) {
        use ConnectionState::{
            Closing, Connected, Connecting, Disconnected, Initialized, Suspended,
        };
        let fits = match timer {
            // A closing connection continues its attempt, to close properly (RTN12f).
            Timer::Connect => matches!(self.state, Connecting | Closing),
            Timer::Retry => matches!(self.state, Disconnected | Suspended),
            // Before the first connection it limits how long operations wait.
            Timer::Suspend => {
                matches!(self.state, Initialized | Connecting | Disconnected | Closing)
            }
            // The deadline is that of the transport, which closing still needs.
            Timer::Idle => matches!(self.state, Connected | Closing),
            Timer::Auth | Timer::Ack => self.state == Connected,
            Timer::Close => self.state == Closing,
            _ => true,
        };
        assert!(fits, "{timer:?} while {}", self.state);
    }

    /// Every event has been emitted.
    pub(crate) fn check(&mut self, client: &Client, next: Option<Timer>) {
        if let Some(timer) = next {
            self.check_deadline(timer);
        }
        assert_eq!(client.connection_state(), self.state);
        let actual = client.error_reason();
        match &self.reason {
            Reason::Is(expected) => assert_eq!(actual, expected.as_ref(), "RTN25"),
            Reason::IsOrWasCleared(expected) => {
                assert!(actual.is_none() || actual == expected.as_ref(), "RTN25: {actual:?}");
            }
            Reason::NoToken => {
                let code = actual.expect("RSA4c1").code.0;
                assert!(matches!(code, 80019 | 40170), "RSA4c1: {actual:?}");
            }
        }
        self.reason = Reason::Is(actual.cloned());
    }
}

/// Every transition that a connection may make.
pub(crate) fn connection_ways() -> BTreeSet<String> {
    let states = [
        ConnectionState::Initialized,
        ConnectionState::Connecting,
        ConnectionState::Connected,
        ConnectionState::Disconnected,
        ConnectionState::Suspended,
        ConnectionState::Closing,
        ConnectionState::Closed,
        ConnectionState::Failed,
    ];
    let ways = states.into_iter().flat_map(|from| states.map(|to| (from, to)));
    let ways = ways.filter(|(from, to)| connection_may_go(*from, *to));
    ways.map(|(from, to)| format!("{from} to {to}")).collect()
}

/// An authorize call that fails for good leads from every state into FAILED (RSA4d).
fn connection_may_go(from: ConnectionState, to: ConnectionState) -> bool {
    use ConnectionState::{
        Closed, Closing, Connected, Connecting, Disconnected, Failed, Initialized, Suspended,
    };
    match from {
        Initialized => matches!(to, Connecting | Closed | Failed),
        Connecting => matches!(to, Connected | Disconnected | Suspended | Closing | Failed),
        Connected => matches!(to, Disconnected | Closing | Failed),
        Disconnected => matches!(to, Connecting | Suspended | Closed | Failed),
        Suspended => matches!(to, Connecting | Closed | Failed),
        Closing => matches!(to, Closed | Connecting),
        Closed => matches!(to, Connecting | Failed),
        Failed => to == Connecting,
    }
}

/// Whether a channel may emit this change.
pub(crate) fn check_channel(change: &ChannelStateChange) {
    match change.event {
        ChannelEvent::Update if change.resumed => {
            assert_eq!(change.reason.as_ref().unwrap().code.0, 91004, "RTP17e");
            assert_eq!(change.current, change.previous);
        }
        ChannelEvent::Update => {
            assert_eq!(change.current, ChannelState::Attached, "RTL12");
            assert_eq!(change.previous, ChannelState::Attached, "RTL12");
        }
        ChannelEvent::State(state) => {
            assert_eq!(state, change.current);
            assert!(channel_may_go(change.previous, state), "{change:?}");
        }
    }
}

/// No deadline outlives its state of the channel.
pub(crate) fn check_channel_deadline(timer: Timer, channels: &BTreeMap<ChannelId, ChannelState>) {
    match timer {
        Timer::Attach(id) => assert_eq!(channels[&id], ChannelState::Attaching, "{timer:?}"),
        Timer::Detach(id) => assert_eq!(channels[&id], ChannelState::Detaching, "{timer:?}"),
        Timer::Reattach(id) => assert_eq!(channels[&id], ChannelState::Suspended, "{timer:?}"),
        _ => {}
    }
}

fn channel_may_go(from: ChannelState, to: ChannelState) -> bool {
    use ChannelState::{Attached, Attaching, Detached, Detaching, Failed, Initialized, Suspended};
    // From every state into FAILED (RTL14); from every state that an ended connection leaves into INITIALIZED
    // (RTN11d).
    match from {
        Initialized => matches!(to, Attaching | Failed),
        Attaching => matches!(to, Attached | Detached | Suspended | Failed),
        // The channel attaches again after a DETACHED (RTL13a) and on a new connection (RTL3d).
        Attached => matches!(to, Attaching | Detaching | Detached | Suspended | Failed),
        // An unanswered DETACH leaves the channel as it was (RTL5f).
        Detaching => matches!(to, Attached | Detached | Failed),
        // An ATTACHED that was not requested is answered by a DETACH (RTL5k).
        Detached => matches!(to, Attaching | Detaching | Failed | Initialized),
        Suspended => matches!(to, Attaching | Attached | Detached | Failed | Initialized),
        Failed => matches!(to, Attaching | Initialized),
    }
}
