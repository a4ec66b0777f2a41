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
use crate::{Error, Result, http::BoxFuture, outbox::OutboxHandle};

/// The connection of a [`Realtime`](crate::Realtime) client (RTN).
#[derive(Clone, Debug)]
pub struct Connection {
    handle: DriverHandle,
}

impl Connection {
    pub(crate) fn new(handle: DriverHandle) -> Self {
        Self { handle }
    }

    /// Connects, if the client is not connected or connecting (RTN11). Returns at once; to wait for the connection,
    /// use [`when`](Self::when).
    pub fn connect(&self) {
        self.handle.send(Command::Connect);
    }

    /// Closes the connection when awaited. Returns once it is closed (RTN12): within the realtime request timeout,
    /// and at once without an open connection. The state is then CLOSED, or FAILED as before, and does not change
    /// until the program calls [`connect`](Self::connect).
    ///
    /// It also returns when another task connects before the connection is closed.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let handle = self.handle.clone();
        Box::pin(async move { handle.close().await })
    }

    /// Informs the client that the operating system sees a network, or a different network.
    ///
    /// A client that waits to retry connects at once. A pending attempt starts again, because its network may be gone
    /// (RTN20b, RTN20c). In any other state nothing changes. Call this from your platform's notifications, such as a
    /// reachability service, unless the SDK watches the network itself
    /// ([`ClientOptions::network_events`](crate::ClientOptions::network_events)).
    pub fn network_available(&self) {
        self.handle.send(Command::Network(true));
    }

    /// Informs the client that the operating system sees no network any more.
    ///
    /// The connection becomes DISCONNECTED at once, and not only after the heartbeats have stayed away (RTN20a). The
    /// client keeps trying to reconnect; [`network_available`](Self::network_available) makes it try at once.
    pub fn network_lost(&self) {
        self.handle.send(Command::Network(false));
    }

    /// Measures the round trip to the service when awaited (RTN13). While connecting or disconnected, it first waits
    /// for the connection.
    ///
    /// # Errors
    /// 50003 without a reply within the realtime request timeout; 80000, 80002, 80009 or 80017 in a state that
    /// cannot wait for a connection.
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

    /// The connection's key, while there is one: a secret (RTN9).
    pub fn key(&self) -> Option<Str> {
        self.handle.shared.connection().key
    }

    /// The host of the connection, or the host that was tried last: the primary domain or a fallback domain (RTN17).
    /// `None` before the first attempt.
    pub fn host(&self) -> Option<Str> {
        self.handle.shared.connection().host
    }

    /// The last error (RTN25).
    pub fn error_reason(&self) -> Option<Error> {
        self.handle.shared.connection().error_reason
    }

    /// Makes a key, when awaited, with which another process can continue this connection: see
    /// [`ClientOptions::recover`](crate::ClientOptions::recover) (RTN16g). The key contains the connection's secret.
    ///
    /// `None` without a connection to continue: not yet connected, suspended, closing, closed or failed (RTN16g2).
    pub fn create_recovery_key(&self) -> BoxFuture<'static, Option<String>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let (reply, key) = oneshot::channel();
            handle.send(Command::RecoveryKey(reply));
            key.await.ok().flatten().map(|key| key.encode())
        })
    }

    /// Waits for a state when awaited (RTN26). Returns `None` at once in that state (RTN26a), otherwise the change
    /// that led to it (RTN26b).
    ///
    /// The wait ends with an error when the connection is closed or has failed, because the state then stays until
    /// the next [`connect`](Self::connect). In other states the wait has no time limit: a client keeps trying to
    /// connect, and a client that was never started waits for the call of `connect`. For a time limit, use
    /// `tokio::time::timeout`.
    ///
    /// # Errors
    /// The reason why the connection has failed; 80017 when it is closed or the client has ended; 40170 for CONNECTED
    /// in the auth callback that provides the token for the connection.
    pub fn when(
        &self,
        state: ConnectionState,
    ) -> BoxFuture<'static, Result<Option<ConnectionStateChange>>> {
        let connection = self.clone();
        Box::pin(async move { connection.wait_for(state).await })
    }

    async fn wait_for(&self, state: ConnectionState) -> Result<Option<ConnectionStateChange>> {
        let mut changes = self.changes();
        if self.state() == state {
            return Ok(None);
        }
        if state == ConnectionState::Connected {
            self.handle.check_may_wait()?;
        }
        if self.ended().is_some() {
            // An earlier `connect` may still be in the queue of commands.
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

    /// The reason why the state stays as it is, in a final state.
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

    pub(super) fn outbox(&self) -> Option<&OutboxHandle> {
        self.handle.shared.outbox.as_ref()
    }

    /// Counters of the connection: attempts, fallbacks, losses. A metrics exporter can read them at any time.
    pub fn metrics(&self) -> ConnectionMetrics {
        self.handle.shared.metrics()
    }

    /// A stream of all changes from this moment, in order (RTN4).
    pub fn changes(&self) -> Changes<ConnectionStateChange> {
        self.handle.shared.changes(&self.handle.runtime)
    }
}

/// Whether the state stays until the program connects.
fn is_final(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Closed | ConnectionState::Failed)
}

fn closed() -> Error {
    Error::new(ErrorCode::CONNECTION_CLOSED, 400, "the connection is closed")
        .with_remedy("call `connect` before you wait for a state")
}
