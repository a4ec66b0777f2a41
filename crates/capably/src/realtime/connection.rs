//! The connection's handle (RTN).

use std::time::Duration;

use capably_protocol::{ErrorCode, Str};
use tokio::sync::oneshot;

mod metrics;

pub use metrics::ConnectionMetrics;

use super::{
    Changes, ConnectionState, ConnectionStateChange,
    driver::{Command, ConnectionSnapshot, DriverHandle, gone},
};
use crate::{Error, Result, http::BoxFuture};

/// The connection of a [`Realtime`](crate::Realtime) client (RTN).
#[derive(Clone, Debug)]
pub struct Connection {
    handle: DriverHandle,
}

impl Connection {
    pub(crate) fn new(handle: DriverHandle) -> Self {
        Self { handle }
    }

    /// Connects, if the client is not connected or connecting (RTN11). Returns at once; see
    /// [`when`](Self::when).
    pub fn connect(&self) {
        self.handle.send(Command::Connect);
    }

    /// Closes the connection, and returns once it is closed (RTN12): within the realtime request timeout,
    /// and at once while there is nobody to say goodbye to. The state is then CLOSED, or FAILED as before,
    /// and no other follows until you [`connect`](Self::connect).
    ///
    /// It also returns when somebody connects before the connection is closed.
    pub async fn close(&self) {
        self.handle.close().await;
    }

    /// Tells the client that the operating system sees a network, or another one than before.
    ///
    /// A client that waits to retry connects at once, and an attempt under way starts again, since what it
    /// was sent over may be gone (RTN20b, RTN20c). In any other state nothing changes. Without the feature
    /// `network-events`, which is for Linux, the SDK watches no network by itself: call this from whatever
    /// tells your application, such as a platform's reachability service.
    pub fn network_available(&self) {
        self.handle.send(Command::Network(true));
    }

    /// Tells the client that the operating system sees no network any more.
    ///
    /// The connection becomes DISCONNECTED at once, instead of after the silence it would take to notice
    /// (RTN20a). The client goes on trying to reconnect; [`network_available`](Self::network_available)
    /// makes it try at once.
    pub fn network_lost(&self) {
        self.handle.send(Command::Network(false));
    }

    /// Measures, when it is awaited, the time a message takes to the service and back (RTN13). Waits for the connection while
    /// connecting or disconnected.
    ///
    /// # Errors
    /// 50003 without an answer within the realtime request timeout; 80000, 80002, 80009 or 80017 in a
    /// state without a connection to wait for.
    pub fn ping(&self) -> BoxFuture<'static, Result<Duration>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            handle.check_may_wait()?;
            handle.ask(Command::Ping).await
        })
    }

    /// The state (RTN4d).
    pub fn state(&self) -> ConnectionState {
        self.handle.shared.connection().state
    }

    /// The connection's id, while there is one (RTN8).
    pub fn id(&self) -> Option<Str> {
        self.handle.shared.connection().id
    }

    /// The connection's secret, while there is one (RTN9).
    pub fn key(&self) -> Option<Str> {
        self.handle.shared.connection().key
    }

    /// The last error (RTN25).
    pub fn error_reason(&self) -> Option<Error> {
        self.handle.shared.connection().error_reason
    }

    /// What another process needs to continue this connection, for
    /// [`ClientOptions::recover`](crate::ClientOptions::recover) (RTN16g). It holds the connection's
    /// secret.
    ///
    /// `None` while there is nothing to continue: not yet connected, suspended, closing, closed or failed
    /// (RTN16g2).
    pub async fn create_recovery_key(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::RecoveryKey(reply));
        answer.await.ok().flatten().map(|key| key.encode())
    }

    /// Waits for a state (RTN26): `None` at once in it (RTN26a), else the change that led to it (RTN26b).
    ///
    /// It ends when the connection is closed or has failed, since no other state follows before the next
    /// [`connect`](Self::connect). In any other state the wait has no limit of its own: a client goes on
    /// trying to connect, and one that was never told to connect waits for that. To wait for so long only,
    /// put it into a timeout.
    ///
    /// # Errors
    /// Why the connection has failed; 80017 when it is closed or the client has ended; 40170 for CONNECTED
    /// in the auth callback that is to give the token for it.
    pub async fn when(&self, state: ConnectionState) -> Result<Option<ConnectionStateChange>> {
        let mut changes = self.changes();
        if self.state() == state {
            return Ok(None);
        }
        if state == ConnectionState::Connected {
            self.handle.check_may_wait()?;
        }
        if self.ended().is_some() {
            // The client may have been told to connect already.
            self.handle.settled().await;
            if let Some(reason) = self.ended().filter(|_| self.state() != state) {
                return Err(reason);
            }
        }
        while let Some(change) = changes.next().await {
            if change.current == state {
                return Ok(Some(change));
            }
            if is_final(change.current) {
                return Err(change.reason.map_or_else(closed, Error::from));
            }
        }
        Err(gone())
    }

    /// Why no other state follows, if none does.
    fn ended(&self) -> Option<Error> {
        let ConnectionSnapshot { state, error_reason, .. } = self.handle.shared.connection();
        match state {
            ConnectionState::Closed => Some(closed()),
            ConnectionState::Failed => Some(error_reason.unwrap_or_else(closed)),
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Connected
            | ConnectionState::Disconnected
            | ConnectionState::Suspended
            | ConnectionState::Closing => None,
        }
    }

    /// What the connection has been through: attempts, fallbacks, losses. For an exporter of metrics to
    /// read when it likes.
    pub fn metrics(&self) -> ConnectionMetrics {
        self.handle.shared.metrics()
    }

    /// Every change from now on, in order (RTN4).
    pub fn changes(&self) -> Changes<ConnectionStateChange> {
        self.handle.shared.changes()
    }
}

/// Whether no other state follows before the user connects.
fn is_final(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Closed | ConnectionState::Failed)
}

fn closed() -> Error {
    Error::new(ErrorCode::CONNECTION_CLOSED, 400, "the connection is closed")
        .with_remedy("connect before you wait for a state")
}
