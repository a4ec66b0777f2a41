//! Handles to the driver.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

use capably_core::ConnectionState;
use capably_protocol::{ErrorCode, ErrorInfo, TokenDetails, TokenParams};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    command::{AuthorizeCommand, Command, Reply},
    shared::SharedState,
};
use crate::{
    Error, Result,
    auth::{AuthOptions, ClientNumber, refuse_callback_of},
    outbox::OutboxHandle,
};

/// A handle to the driver. The client lives while a handle exists.
///
/// Every operation clones it, so that its future borrows nothing. A clone costs one reference count.
#[derive(Clone, Debug)]
pub(crate) struct DriverHandle(Arc<HandleParts>);

#[derive(Debug)]
pub(crate) struct HandleParts {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) shared: Arc<SharedState>,
    /// The runtime that the driver runs on.
    pub(crate) runtime: Handle,
}

impl Deref for DriverHandle {
    type Target = HandleParts;

    fn deref(&self) -> &HandleParts {
        &self.0
    }
}

impl DriverHandle {
    pub(crate) fn new(
        client: ClientNumber,
        runtime: Handle,
        outbox: Option<OutboxHandle>,
    ) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(SharedState::new(client, outbox));
        (Self(Arc::new(HandleParts { commands, shared, runtime })), receiver)
    }

    /// Sends a command. After the driver's end the command is dropped, and its reply with it.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Sends a command and waits for the reply.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, result) = oneshot::channel();
        self.send(command(reply));
        received(result).await
    }

    /// Gets a token and uses it on the connection (RTC8).
    pub(crate) async fn authorize(
        &self,
        params: Option<TokenParams>,
        options: Option<AuthOptions>,
    ) -> Result<TokenDetails> {
        let (reply, result) = oneshot::channel();
        self.send(Command::Authorize(Box::new(AuthorizeCommand { params, options, reply })));
        result.await.map_err(|_| gone())?
    }

    /// Checks whether a call may wait for the connection. In the auth callback that provides the token for the
    /// connection, such a wait would never end.
    ///
    /// # Errors
    /// Code 40170 in such a callback, while the client is not connected.
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

    /// Closes the connection. Returns when no further change of state follows (RTN12).
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        self.send(Command::Close(reply));
        // An error means that the driver has ended, and the connection with it.
        let _ = closed.await;
    }

    /// Waits until the effects of all earlier commands are visible.
    pub(crate) async fn settled(&self) {
        let (reply, settled) = oneshot::channel();
        self.send(Command::Settle(reply));
        let _ = settled.await;
    }

    /// Whether the driver has ended, and the client with it.
    pub(crate) fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    pub(crate) fn downgrade(&self) -> WeakDriverHandle {
        WeakDriverHandle(Arc::downgrade(&self.0))
    }
}

/// A handle to the driver that does not keep the client alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakDriverHandle(Weak<HandleParts>);

impl WeakDriverHandle {
    /// A handle, while another handle exists.
    pub(crate) fn upgrade(&self) -> Option<DriverHandle> {
        self.0.upgrade().map(DriverHandle)
    }
}

/// Waits for the driver's reply.
pub(crate) async fn received<T>(
    reply: impl Future<Output = Result<Result<T, ErrorInfo>, oneshot::error::RecvError>>,
) -> Result<T> {
    match reply.await {
        Ok(result) => result.map_err(Error::from),
        Err(_) => Err(gone()),
    }
}

/// The error of a call whose driver has ended.
pub(crate) fn gone() -> Error {
    Error::new(ErrorCode::CONNECTION_CLOSED, 400, "the client has ended")
}
