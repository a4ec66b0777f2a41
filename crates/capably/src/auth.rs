//! Who the client is, and how it proves it (RSA).
//!
//! | the client has | it is told by | used for |
//! |---|---|---|
//! | an API key | [`ClientOptions::key`](crate::ClientOptions::key) | servers: every request carries the key |
//! | a token | [`token`](crate::ClientOptions::token), [`token_details`](crate::ClientOptions::token_details) | short-lived programs: it cannot be renewed |
//! | a signed request | [`token_request`](crate::ClientOptions::token_request) | the same: it is exchanged for one token |
//! | a function that gets tokens | [`auth_callback`](crate::ClientOptions::auth_callback) | clients that ask a server of yours |
//! | a URL that gives tokens | [`auth_url`](crate::ClientOptions::auth_url) | the same, where a plain HTTP request is enough |
//!
//! A key is a secret that allows everything it was made for, so it belongs on servers only. Those give
//! tokens to clients: for one client id, with a [`Capability`](crate::Capability), for a time. A server
//! can [request](Auth::request_token) a token from the service, [sign a request](Auth::create_token_request)
//! for the client to hand in, or make a JWT; to a client a token of any kind is opaque text.
//!
//! A token that the service rejects (401 with a code from 40140 to 40149) is renewed once, and the request is
//! sent again (RSA4b); so is one that is past its time, where the service's time was queried (RSA4b1). However many requests need a new token at that
//! moment, one is got for all of them. What becomes of tokens on a connection is on a
//! [page of its own](crate::guide::tokens).
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
//! // On your server: a client with the key signs requests for tokens. The network is not needed.
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
//! // In the client: a function that asks the server, here without a network between them.
//! let client = Rest::new(options().auth_callback(sign))?;
//! assert_eq!(client.auth().token_details(), None, "no token is got before one is needed");
//!
//! client.channels().get("chat:lobby").publish("greeting", "hello").await?;
//! assert_eq!(client.auth().client_id().as_deref(), Some("ada"));
//! let denied = client.channels().get("elsewhere").publish("greeting", "hello").await.unwrap_err();
//! assert_eq!(denied.code(), ErrorCode::CAPABILITY_DENIED);
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run --example token_server` shows the same with an HTTP server in between, and
//! [`auth_url`](crate::ClientOptions::auth_url) in place of the function.
//!
//! # Errors
//!
//! | code | what it means |
//! |---|---|
//! | 40101, 40005 | the key or the token is malformed, or the service does not know it |
//! | 40106 | there is nothing to authenticate with (RSC1b) |
//! | 40102 | the token is for another client than [`client_id`](crate::ClientOptions::client_id) says (RSA15) |
//! | 40103 | an API key would go over a connection without TLS (RSC18) |
//! | 40170 | callback or auth URL gave no token: an error, no answer in time, or nonsense (RSA4e, RSA4f); or the callback needs the token that it is to give |
//! | 40171 | a new token is needed, and there is nothing to get one from (RSA4a2) |
//! | 40162 | tokens can be revoked with an API key alone (RSA17d) |

use std::{fmt, sync::Arc};

use capably_protocol::{ErrorCode, ErrorInfo, Str, TokenDetails};

mod calling;
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
pub(crate) use obtain::cannot_renew;
pub(crate) use session::{Proof, Session, mismatch};
pub(crate) use source::CallbackError;

use crate::{Error, realtime::WeakDriverHandle, rest::Pipeline};

/// A client's identity, and the tokens that prove it (RSC5).
#[derive(Clone)]
pub struct Auth {
    pipeline: Arc<Pipeline>,
    /// The connection that follows its tokens. It does not keep that client alive.
    connection: Option<WeakDriverHandle>,
}

impl Auth {
    pub(crate) fn new(pipeline: Arc<Pipeline>, connection: Option<WeakDriverHandle>) -> Self {
        Self { pipeline, connection }
    }

    /// The same identity, whose requests go another way.
    pub(crate) fn through(&self, pipeline: Arc<Pipeline>) -> Self {
        let mut auth = self.clone();
        auth.pipeline = pipeline;
        auth
    }

    /// Who the client is: as the options say, else as the last token or the connection said (RSA7b,
    /// RSC17). `*` is any client (RSA7b4). `None` credentials nobody, or that it is not known yet (RSA12).
    pub fn client_id(&self) -> Option<Str> {
        self.pipeline.session().client_id()
    }

    /// The token in use (RSA16); `None` with an API key, before there is a token, and after one ceased to
    /// be good.
    pub fn token_details(&self) -> Option<TokenDetails> {
        self.pipeline.session().token()
    }

    /// Gets a token and uses it from now on, on the connection too if there is one, when it is awaited
    /// (RSA10, RTC8).
    pub fn authorize(&self) -> Authorize {
        Authorize::new(Arc::clone(&self.pipeline)).over(self.connection.clone())
    }

    /// Gets a token without using it, when it is awaited (RSA8).
    pub fn request_token(&self) -> RequestToken {
        RequestToken::new(Arc::clone(&self.pipeline))
    }

    /// Makes a signed token request for somebody else to use, when it is awaited (RSA9).
    pub fn create_token_request(&self) -> CreateTokenRequest {
        CreateTokenRequest::new(Arc::clone(&self.pipeline))
    }

    /// Revokes tokens when it is awaited (RSA17). Needs the API key, and one whose tokens can be revoked.
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

/// The error for a callback or an auth URL that yields no token (RSA4e).
fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK, 401, message)
}

/// The same, with what caused it.
fn failed_because(message: String, cause: ErrorInfo) -> Error {
    caused((ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK, 401), message, cause)
}

fn caused((code, status): (ErrorCode, u16), message: String, cause: ErrorInfo) -> Error {
    ErrorInfo::new(code, status, message).with_cause(cause).into()
}
