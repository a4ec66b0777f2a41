//! The state of a client that its handles read and its driver writes.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capably_core::{ConnectionState, ConnectionStateChange};
use capably_protocol::Str;
use tokio::runtime::Handle;

use crate::{
    Error,
    auth::ClientNumber,
    outbox::OutboxHandle,
    realtime::{
        Changes, ConnectionMetrics,
        changes::ChangeSender,
        publishing::{PublishWindow, ReceiptTable, SpareMessages},
    },
    sync::lock,
};

/// The state of a client that its handles read and its driver writes.
#[derive(Debug)]
pub(crate) struct SharedState {
    /// Identifies the client to the auth callbacks of this process.
    pub(super) client: ClientNumber,
    connection: Mutex<ConnectionSnapshot>,
    /// The ids of the latest connections, the newest last.
    connection_ids: Mutex<VecDeque<Str>>,
    changes: ChangeSender<ConnectionStateChange>,
    metrics: Mutex<ConnectionMetrics>,
    pub(crate) window: PublishWindow,
    /// In an `Arc` of its own: a receipt must not keep the rest of a client that is gone, such as its outbox.
    pub(crate) receipts: Arc<ReceiptTable>,
    pub(crate) spare: SpareMessages,
    pub(crate) outbox: Option<OutboxHandle>,
    session: AtomicU64,
}

/// How many connection ids are remembered, to recognise the client's own messages in history.
const REMEMBERED_CONNECTIONS: usize = 64;

impl SharedState {
    pub(super) fn new(client: ClientNumber, outbox: Option<OutboxHandle>) -> Self {
        Self {
            client,
            connection: Mutex::new(ConnectionSnapshot {
                state: ConnectionState::Initialized,
                id: None,
                key: None,
                host: None,
                error_reason: None,
            }),
            connection_ids: Mutex::default(),
            changes: ChangeSender::new(),
            metrics: Mutex::default(),
            window: PublishWindow::new(),
            receipts: Arc::default(),
            spare: SpareMessages::default(),
            outbox,
            session: AtomicU64::new(0),
        }
    }

    pub(crate) fn connection(&self) -> ConnectionSnapshot {
        lock(&self.connection).clone()
    }

    /// Updates the snapshot, then notifies every listener: a listener that reads the state sees the new one.
    pub(super) fn connection_changed(
        &self,
        snapshot: ConnectionSnapshot,
        change: &ConnectionStateChange,
    ) {
        if let Some(id) = &snapshot.id {
            self.remember_connection(id);
        }
        *lock(&self.connection) = snapshot;
        self.changes.send(change);
    }

    fn remember_connection(&self, id: &Str) {
        let mut ids = lock(&self.connection_ids);
        if ids.back() != Some(id) {
            if ids.len() == REMEMBERED_CONNECTIONS {
                ids.pop_front();
            }
            ids.push_back(id.clone());
        }
    }

    /// Whether the id belongs to a connection of this client, current or past.
    pub(crate) fn is_own_connection(&self, id: &Str) -> bool {
        lock(&self.connection_ids).contains(id)
    }

    pub(crate) fn metrics(&self) -> ConnectionMetrics {
        *lock(&self.metrics)
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut ConnectionMetrics)) {
        count(&mut lock(&self.metrics));
    }

    /// How often the connection was established, as far as all results of operations from before are known.
    pub(crate) fn session(&self) -> u64 {
        self.session.load(Ordering::Acquire)
    }

    /// All outputs of a round were handled.
    pub(super) fn round_ended(&self) {
        if self.outbox.is_some() {
            self.session.store(self.metrics().connected, Ordering::Release);
        }
    }

    /// Updates the error reason without a change of state (RSA4c3).
    pub(super) fn error_reason_changed(&self, reason: Option<Error>) {
        lock(&self.connection).error_reason = reason;
    }

    pub(crate) fn changes(&self, runtime: &Handle) -> Changes<ConnectionStateChange> {
        self.changes.listen(runtime)
    }

    /// The driver has ended: ends every wait.
    pub(super) fn end(&self) {
        self.window.close();
        self.receipts.end();
        let mut connection = lock(&self.connection);
        if connection.state != ConnectionState::Failed {
            connection.state = ConnectionState::Closed;
        }
        connection.id = None;
        connection.key = None;
        drop(connection);
        self.changes.end();
    }
}

/// The connection as its handles see it.
#[derive(Clone)]
pub(crate) struct ConnectionSnapshot {
    pub(crate) state: ConnectionState,
    pub(crate) id: Option<Str>,
    pub(crate) key: Option<Str>,
    pub(crate) host: Option<Str>,
    pub(crate) error_reason: Option<Error>,
}

impl fmt::Debug for ConnectionSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSnapshot")
            .field("state", &self.state)
            .field("id", &self.id)
            .field("key", &self.key.as_ref().map(|_| "[redacted]"))
            .field("host", &self.host)
            .field("error_reason", &self.error_reason)
            .finish()
    }
}
