//! What handles ask of the driver.

use std::{
    collections::VecDeque,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use capably_core::{
    ChannelId, ChannelOptions, ConnectionState, ConnectionStateChange, MembersQuery,
};
use capably_protocol::{
    Annotation, ErrorCode, ErrorInfo, Message, PresenceAction, PresenceMessage, PublishResult,
    RecoveryKey, Str, TokenDetails, TokenParams, frame::Params,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::realtime::{
    Changes, ChannelProperties, ConnectionMetrics, changes::listeners::Listeners,
    channel::ChannelShared, subscribing::filter::Wanted, subscribing::subscribers::Subscriber,
};
use crate::{
    Error, Result,
    auth::{AuthOptions, ClientNumber, refuse_callback_of},
};

/// Where the result of an operation goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ErrorInfo>>;

/// One call of a handle.
#[derive(Debug)]
pub(crate) enum Command {
    Connect,
    /// To be answered when nothing of the connection is left to follow.
    Close(oneshot::Sender<()>),
    /// To be answered when all that was asked for before has had its effects.
    Settle(oneshot::Sender<()>),
    Ping(Reply<Duration>),
    RecoveryKey(oneshot::Sender<Option<RecoveryKey>>),
    Authorize(Box<Authorize>),
    /// The operating system says that there is a network, or that there is none (RTN20).
    Network(bool),
    Open {
        channel: Arc<ChannelShared>,
        options: ChannelOptions,
    },
    Release(ChannelId),
    Attach(ChannelId, Reply<()>),
    Detach(ChannelId, Reply<()>),
    SetOptions(ChannelId, ChannelOptions, Reply<()>),
    Properties(ChannelId, oneshot::Sender<ChannelProperties>),
    Publish(Publish),
    Subscribe {
        channel: ChannelId,
        subscriber: Subscriber<Message, Wanted>,
        attach: bool,
        reply: Reply<()>,
    },
    Unsubscribe {
        channel: ChannelId,
        subscriber: u64,
    },
    Presence(ChannelId, PresenceCommand),
    Annotations(ChannelId, AnnotationCommand),
}

/// One call of a handle that is about a channel's presence.
#[derive(Debug)]
pub(crate) enum PresenceCommand {
    Say {
        message: PresenceMessage,
        reply: Reply<()>,
    },
    Members {
        query: MembersQuery,
        reply: Reply<Vec<PresenceMessage>>,
    },
    Subscribe {
        subscriber: Subscriber<PresenceMessage, Vec<PresenceAction>>,
        attach: bool,
        reply: Reply<()>,
    },
    Unsubscribe {
        subscriber: u64,
    },
}

/// One call of a handle that is about annotations of a channel's messages.
#[derive(Debug)]
pub(crate) enum AnnotationCommand {
    /// With what it takes of the window of unacknowledged publishes.
    Publish {
        annotation: Box<Annotation>,
        permits: u32,
        reply: Reply<PublishResult>,
    },
    Subscribe {
        subscriber: Subscriber<Annotation, Vec<Str>>,
        attach: bool,
        reply: Reply<()>,
    },
    Unsubscribe {
        subscriber: u64,
    },
}

/// A token to get and to use (RTC8).
#[derive(Debug)]
pub(crate) struct Authorize {
    pub(crate) params: Option<TokenParams>,
    pub(crate) options: Option<AuthOptions>,
    pub(crate) reply: oneshot::Sender<Result<TokenDetails>>,
}

/// Messages to publish in one frame.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) channel: ChannelId,
    pub(crate) messages: Arc<[Message]>,
    pub(crate) params: Params,
    /// What it takes of the window of unacknowledged publishes.
    pub(crate) permits: u32,
    pub(crate) reply: Reply<PublishResult>,
}

/// A way to the driver. While one exists, the client lives.
///
/// Every operation clones it, so that its future borrows nothing: a clone is one reference count.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<HandleInner>);

#[derive(Debug)]
pub(crate) struct HandleInner {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) shared: Arc<Shared>,
}

impl Deref for Handle {
    type Target = HandleInner;

    fn deref(&self) -> &HandleInner {
        &self.0
    }
}

/// A way to the driver that does not keep the client alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakHandle(Weak<HandleInner>);

impl WeakHandle {
    /// A handle, while another exists.
    pub(crate) fn upgrade(&self) -> Option<Handle> {
        self.0.upgrade().map(Handle)
    }
}

/// What handles and driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Which client it is, to the auth callbacks of this process.
    client: ClientNumber,
    connection: Mutex<ConnectionSnapshot>,
    /// The ids of the last connections, the newest last.
    connection_ids: Mutex<VecDeque<Str>>,
    listeners: Listeners<ConnectionStateChange>,
    metrics: Mutex<ConnectionMetrics>,
    /// The window of unacknowledged publishes, in units of [`WINDOW_UNIT`] bytes.
    window: Semaphore,
}

/// What is known of the connection.
#[derive(Clone)]
pub(crate) struct ConnectionSnapshot {
    pub(crate) state: ConnectionState,
    pub(crate) id: Option<Str>,
    pub(crate) key: Option<Str>,
    pub(crate) error_reason: Option<Error>,
}

impl fmt::Debug for ConnectionSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSnapshot")
            .field("state", &self.state)
            .field("id", &self.id)
            .field("key", &self.key.as_ref().map(|_| "[redacted]"))
            .field("error_reason", &self.error_reason)
            .finish()
    }
}

/// How many units of publishes may be unacknowledged: 64 MiB. More wait, so that a service that is slow
/// or away cannot fill the memory.
const WINDOW: usize = 65_536;

/// Of how many connections the ids are remembered.
const REMEMBERED_CONNECTIONS: usize = 64;

/// What a publish takes of the window at least, in bytes.
const WINDOW_UNIT: usize = 1024;

impl Handle {
    pub(crate) fn new(client: ClientNumber) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client,
            connection: Mutex::new(ConnectionSnapshot {
                state: ConnectionState::Initialized,
                id: None,
                key: None,
                error_reason: None,
            }),
            connection_ids: Mutex::default(),
            listeners: Listeners::new(),
            metrics: Mutex::default(),
            window: Semaphore::new(WINDOW),
        });
        (Self(Arc::new(HandleInner { commands, shared })), receiver)
    }

    /// Hands a command to the driver; after the driver's end it goes nowhere, and its reply is dropped.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Whether the driver has ended, and with it the client.
    pub(crate) fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// The same way, without keeping the client alive.
    pub(crate) fn downgrade(&self) -> WeakHandle {
        WeakHandle(Arc::downgrade(&self.0))
    }

    /// Gets a token and uses it on the connection (RTC8).
    pub(crate) async fn authorize(
        &self,
        params: Option<TokenParams>,
        options: Option<AuthOptions>,
    ) -> Result<TokenDetails> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Authorize(Box::new(Authorize { params, options, reply })));
        answer.await.map_err(|_| gone())?
    }

    /// Whether a call may wait for the connection: not in the auth callback that is to give the token for it.
    ///
    /// # Errors
    /// Code 40170 in such a callback, while there is no connection.
    pub(crate) fn check_may_wait(&self) -> Result<()> {
        match self.shared.connection().state {
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Disconnected => refuse_callback_of(self.shared.client),
            ConnectionState::Connected
            | ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => Ok(()),
        }
    }

    /// Closes the connection, and returns when nothing of it is left to follow (RTN12).
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        self.send(Command::Close(reply));
        // Without a driver there is no connection.
        let _ = closed.await;
    }

    /// Waits until all that was asked for so far has had its effects.
    pub(crate) async fn settled(&self) {
        let (reply, settled) = oneshot::channel();
        self.send(Command::Settle(reply));
        let _ = settled.await;
    }

    /// Asks for something and waits for the answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply));
        answered(answer).await
    }

    /// Waits for room for a publish of this size, and takes it. The driver gives it back.
    pub(crate) async fn take_window(&self, size: usize) -> Result<u32> {
        let permits = size.div_ceil(WINDOW_UNIT).clamp(1, WINDOW) as u32;
        let window = &self.shared.window;
        // Whoever finds room takes it without yielding to the runtime: publishes that are awaited together keep their
        // order. There is room only while nobody waits for it.
        let permit = match window.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(_) => window.acquire_many(permits).await.map_err(|_| gone())?,
        };
        permit.forget();
        Ok(permits)
    }
}

/// Waits for an answer of the driver.
pub(crate) async fn answered<T>(
    answer: impl Future<Output = Result<Result<T, ErrorInfo>, oneshot::error::RecvError>>,
) -> Result<T> {
    match answer.await {
        Ok(result) => result.map_err(Error::from),
        Err(_) => Err(gone()),
    }
}

/// The driver has ended, and with it everything it was asked for.
pub(crate) fn gone() -> Error {
    Error::new(ErrorCode::CONNECTION_CLOSED, 400, "the client has ended")
}

impl Shared {
    pub(crate) fn connection(&self) -> ConnectionSnapshot {
        lock(&self.connection).clone()
    }

    /// Updates the snapshot, then tells every listener.
    pub(crate) fn connection_changed(
        &self,
        snapshot: ConnectionSnapshot,
        change: &ConnectionStateChange,
    ) {
        if let Some(id) = &snapshot.id {
            self.remember_connection(id);
        }
        *lock(&self.connection) = snapshot;
        self.listeners.tell(change);
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

    /// Whether this is or was a connection of this client.
    pub(crate) fn is_own_connection(&self, id: &Str) -> bool {
        lock(&self.connection_ids).contains(id)
    }

    pub(crate) fn metrics(&self) -> ConnectionMetrics {
        *lock(&self.metrics)
    }

    /// Counts something.
    pub(crate) fn count(&self, count: impl FnOnce(&mut ConnectionMetrics)) {
        count(&mut lock(&self.metrics));
    }

    /// Updates the error reason, which is no change of state (RSA4c3).
    pub(crate) fn error_reason_changed(&self, reason: Option<Error>) {
        lock(&self.connection).error_reason = reason;
    }

    pub(crate) fn changes(&self) -> Changes<ConnectionStateChange> {
        self.listeners.listen()
    }

    /// Gives back what publishes took of the window.
    pub(crate) fn give_back(&self, permits: usize) {
        if permits > 0 {
            self.window.add_permits(permits);
        }
    }

    /// The driver has ended: nobody waits any longer.
    pub(crate) fn end(&self) {
        self.window.close();
        let mut connection = lock(&self.connection);
        if connection.state != ConnectionState::Failed {
            connection.state = ConnectionState::Closed;
        }
        connection.id = None;
        connection.key = None;
        drop(connection);
        self.listeners.end();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever held the lock left a whole value behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
