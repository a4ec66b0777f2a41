//! Authentication: the client's identity, and the credentials that prove it (RSA).
//!
//! | the client has | option | used for |
//! |---|---|---|
//! | an API key | [`ClientOptions::key`](crate::ClientOptions::key) | servers: every request contains the key |
//! | a token | [`token`](crate::ClientOptions::token), [`token_details`](crate::ClientOptions::token_details) | short-lived programs: the token cannot be renewed |
//! | a signed token request | [`token_request`](crate::ClientOptions::token_request) | short-lived programs: the request is exchanged for one token |
//! | a function that gets tokens | [`auth_callback`](crate::ClientOptions::auth_callback) | clients that get tokens from your server |
//! | a URL that returns tokens | [`auth_url`](crate::ClientOptions::auth_url) | clients that get tokens from your server with one HTTP request |
//!
//! An API key is a secret with all rights that it was created with. Use it on servers only. A server issues tokens to
//! clients. A token is for one client id, has a [`Capability`](crate::Capability), and expires. The server can
//! [request](Auth::request_token) a token from the service, [sign a token request](Auth::create_token_request) that
//! the client exchanges for a token, or make a JWT. For a client, every token is opaque text.
//!
//! When the service rejects a token (401 with a code from 40140 to 40149), the client renews it once and sends the
//! request again (RSA4b). It also renews an expired token before a request, if it has queried the service's time
//! (RSA4b1). All requests that need a new token share one renewal. For tokens on a connection, see the page about
//! [tokens](crate::guide::tokens).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use capably::{Capability, ClientOptions, ErrorCode, Rest, TokenParams};
//!
//! let service = capably_server::Server::builder().start().await?;
//! let options = || {
//!     ClientOptions::default().endpoint(service.endpoint()).port(service.port()).tls(false)
//! };
//!
//! // On your server: a client with the key signs token requests. This needs no network.
//! let signer = Rest::new(options().key(service.key()))?;
//! let sign = move |params: TokenParams| {
//!     let signer = signer.clone();
//!     let params = params
//!         .client_id("ada")
//!         .capability(Capability::new().allow("chat:*", ["publish", "subscribe"]))
//!         .ttl(Duration::from_secs(600));
//!     async move { signer.auth().create_token_request().params(params).await }
//! };
//!
//! // In the client: a function that gets a signed request from the server, here in the same process.
//! let client = Rest::new(options().auth_callback(sign))?;
//! assert_eq!(client.auth().token_details(), None, "the client gets no token before it needs one");
//!
//! client.channels().get("chat:lobby").publish("greeting", "hello").await?;
//! assert_eq!(client.auth().client_id().as_deref(), Some("ada"));
//! let denied = client.channels().get("elsewhere").publish("greeting", "hello").await.unwrap_err();
//! assert_eq!(denied.code(), ErrorCode::CAPABILITY_DENIED);
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run --example token_server` shows the same with an HTTP server and
//! [`auth_url`](crate::ClientOptions::auth_url) instead of the function.
//!
//! # Errors
//!
//! | code | meaning |
//! |---|---|
//! | 40101, 40005 | the key or the token is malformed, or the service does not know it |
//! | 40106 | the options have no credentials (RSC1b) |
//! | 40102 | the token is for another client id than [`client_id`](crate::ClientOptions::client_id) (RSA15) |
//! | 40103 | an API key would be sent without TLS (RSC18) |
//! | 40170 | the auth callback or auth URL returned an error, an invalid token, or nothing in time (RSA4e, RSA4f); or the auth callback made a call that needs the token that the callback provides |
//! | 40171 | a new token is needed, and the client has no way to get one (RSA4a2) |
//! | 40162 | revoking tokens needs an API key (RSA17d) |

use std::{fmt, sync::Arc};

use capably_protocol::{ErrorCode, ErrorInfo, Str, TokenDetails};

pub(crate) mod calling;
mod clock;
mod credentials;
mod obtain;
mod operations;
mod options;
mod renewal;
mod revoke;
mod session;
mod source;
mod url;

pub use operations::{Authorize, CreateTokenRequest, RequestToken};
pub use options::{AuthMethod, AuthOptions};
pub use revoke::{Revocation, RevocationFailure, RevocationResult, RevocationTarget, RevokeTokens};
pub use source::TokenSource;

pub(crate) use calling::{ClientNumber, refuse_callback_of};
pub(crate) use clock::Clock;
pub(crate) use credentials::Credentials;
pub(crate) use obtain::{cannot_renew, service_time};
pub(crate) use session::{Proof, Session, mismatch};
pub(crate) use source::CallbackError;

use crate::{Error, realtime::WeakDriverHandle, rest::Pipeline};

/// A client's identity, and the tokens that prove it (RSC5).
#[derive(Clone)]
pub struct Auth {
    pipeline: Arc<Pipeline>,
    /// The connection that uses the same tokens. The handle does not keep the client alive.
    connection: Option<WeakDriverHandle>,
}

impl Auth {
    pub(crate) fn new(pipeline: Arc<Pipeline>, connection: Option<WeakDriverHandle>) -> Self {
        Self { pipeline, connection }
    }

    /// The same identity with another pipeline for its requests.
    pub(crate) fn through(&self, pipeline: Arc<Pipeline>) -> Self {
        let mut auth = self.clone();
        auth.pipeline = pipeline;
        auth
    }

    /// The client id: from the options, else from the last token or from the connection (RSA7b, RSC17). `*` stands for
    /// any client id (RSA7b4). `None` if the client has none, or does not know it yet (RSA12).
    pub fn client_id(&self) -> Option<Str> {
        self.pipeline.session().client_id()
    }

    /// The current token (RSA16). `None` with an API key, before the first token, and after the service has rejected
    /// the token.
    pub fn token_details(&self) -> Option<TokenDetails> {
        self.pipeline.session().token()
    }

    /// Gets a token when awaited, and uses it from then on for requests and for the connection (RSA10, RTC8).
    pub fn authorize(&self) -> Authorize {
        Authorize::new(Arc::clone(&self.pipeline)).over(self.connection.clone())
    }

    /// Gets a token when awaited, without using it (RSA8).
    pub fn request_token(&self) -> RequestToken {
        RequestToken::new(Arc::clone(&self.pipeline))
    }

    /// Makes a signed token request for another client when awaited (RSA9).
    pub fn create_token_request(&self) -> CreateTokenRequest {
        CreateTokenRequest::new(Arc::clone(&self.pipeline))
    }

    /// Revokes tokens when awaited (RSA17). Needs an API key with revocable tokens.
    pub fn revoke_tokens(
        &self,
        targets: impl IntoIterator<Item = RevocationTarget>,
    ) -> RevokeTokens {
        RevokeTokens::new(Arc::clone(&self.pipeline), targets)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("session", self.pipeline.session()).finish_non_exhaustive()
    }
}

/// The error for an auth callback or auth URL that returns no token (RSA4e).
fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK, 401, message)
}

/// As [`failed`], with a cause.
fn failed_because(message: String, cause: ErrorInfo) -> Error {
    caused((ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK, 401), message, cause)
}

fn caused((code, status): (ErrorCode, u16), message: String, cause: ErrorInfo) -> Error {
    ErrorInfo::new(code, status, message).with_cause(cause).into()
}
