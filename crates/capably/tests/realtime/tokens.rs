//! An auth callback that answers by script and counts its calls.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{
    ClientOptions, Error, ErrorCode, Realtime,
    auth::TokenSource,
    http::BoxFuture,
    realtime::{ConnectionState, ConnectionStateChange},
};
use capably_protocol::Format;

use crate::support::{NO_HOSTS, Peer, Service, client_of, connected_frame};

/// The outcome of a call.
pub(crate) type Outcome = BoxFuture<'static, Result<TokenSource, Error>>;

/// A source of tokens.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    asked: Arc<AtomicUsize>,
}

impl Tokens {
    /// Options for a client that gets `token-1`, `token-2`, and so on.
    pub(crate) fn options(&self) -> ClientOptions {
        self.scripted(|number| give(format!("token-{number}")))
    }

    /// Options for a client whose calls, counted from 1, have these outcomes.
    pub(crate) fn scripted(
        &self,
        script: impl Fn(usize) -> Outcome + Send + Sync + 'static,
    ) -> ClientOptions {
        let asked = Arc::clone(&self.asked);
        let callback = move |_| script(asked.fetch_add(1, Ordering::SeqCst) + 1);
        ClientOptions::default().fallback_hosts(NO_HOSTS).auth_callback(callback)
    }

    /// The number of calls.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A token.
pub(crate) fn give(token: impl Into<TokenSource>) -> Outcome {
    let token = token.into();
    Box::pin(async { Ok(token) })
}

/// An error.
pub(crate) fn refuse(code: u32, status: u16) -> Outcome {
    Box::pin(async move { Err(Error::new(ErrorCode(code), status, "no token for you")) })
}

/// No answer.
pub(crate) fn hang() -> Outcome {
    Box::pin(std::future::pending())
}

/// A connected client with these options, and its peer.
pub(crate) async fn connected_as(
    format: Format,
    options: ClientOptions,
) -> (Realtime, Service, Peer) {
    let (client, mut service) = client_of(format, options);
    client.connection().connect();
    let mut peer = service.accept().await;
    peer.send(connected_frame("connection-1", "key-1"));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    (client, service, peer)
}

/// The states that changes led to.
pub(crate) fn states(changes: &[ConnectionStateChange]) -> Vec<ConnectionState> {
    changes.iter().map(|change| change.current).collect()
}

/// Code, status, and the code of the cause of the connection's error reason.
pub(crate) fn reason(client: &Realtime) -> Option<(u32, Option<u16>, Option<u32>)> {
    let error = client.connection().error_reason()?;
    Some((error.code().0, error.status(), error.cause().map(|cause| cause.code.0)))
}
