//! The operations of [`Auth`](super::Auth).

use std::sync::Arc;

use capably_protocol::{ErrorCode, TokenDetails, TokenParams, TokenRequest};

use super::{AuthOptions, calling, obtain, session::Session};
use crate::{Error, Result, http::BoxFuture, realtime::WeakDriverHandle, rest::Pipeline};

/// The parameters and options of an operation. The client's own are the defaults (RSA8e).
#[derive(Clone)]
struct TokenOperation {
    pipeline: Arc<Pipeline>,
    params: Option<TokenParams>,
    options: Option<AuthOptions>,
    /// The connection that uses the token, too.
    connection: Option<WeakDriverHandle>,
}

impl TokenOperation {
    fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, params: None, options: None, connection: None }
    }

    fn params(&self) -> TokenParams {
        self.params.clone().unwrap_or_else(|| self.pipeline.session().params())
    }
}

macro_rules! operation {
    ($(#[$doc:meta])* $name:ident -> $output:ty, $run:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        #[must_use = "nothing happens until this is awaited"]
        pub struct $name(TokenOperation);

        impl $name {
            pub(super) fn new(pipeline: Arc<Pipeline>) -> Self {
                Self(TokenOperation::new(pipeline))
            }

            /// The parameters of the token. They replace all of the client's own parameters.
            pub fn params(mut self, params: TokenParams) -> Self {
                self.0.params = Some(params);
                self
            }

            /// The credentials for the token. They replace all of the client's own, except that the client's API key
            /// is used if they have none.
            pub fn options(mut self, options: AuthOptions) -> Self {
                self.0.options = Some(options);
                self
            }
        }

        impl IntoFuture for $name {
            type Output = Result<$output>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                let run: fn(TokenOperation) -> BoxFuture<'static, Result<$output>> = $run;
                run(self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("params", &self.0.params)
                    .field("options", &self.0.options)
                    .finish()
            }
        }
    };
}

operation!(
    /// Gets a token when awaited, and uses it from then on (RSA10).
    ///
    /// Later tokens use the same options and parameters, except for `timestamp`, `nonce` and `query_time` (RSA10g). If
    /// the options contain a token, the client uses that one (RSA10e).
    ///
    /// With a [`Realtime`](crate::Realtime) client the connection uses the new token, too (RTC8). An established
    /// connection continues without interruption, and the call returns once the service has accepted the token. A
    /// pending attempt to connect starts again with the new token, and a client without a connection connects; the
    /// call then returns once the client is connected.
    ///
    /// # Errors
    /// 40171 without a way to get a token; 40170 when the callback or the auth URL returns none; 40102 for a token of
    /// another client (RSA15); the service's reason. The client then continues with its old token. Its connection,
    /// however, fails when the token is for another client, when the auth server refuses with status 403 (RSA4d), and
    /// when the service does not accept the token (RTC8a2).
    ///
    /// With a realtime client also: 50003 without a reply of the service within the realtime request timeout; the
    /// reason why there is no connection when it is closed, fails or is suspended before it is established (RTC8b1).
    Authorize -> TokenDetails,
    |request| Box::pin(async move {
        let TokenOperation { pipeline, params, options, connection } = request;
        pipeline.require_runtime()?;
        // The driver gets the token in another task, where the caller is not known any more.
        if pipeline.session().calls_back(options.as_ref())? {
            calling::refuse_callback_of(pipeline.session().client())?;
        }
        match connection.and_then(|connection| connection.upgrade()) {
            Some(connection) => connection.authorize(params, options).await,
            None => {
                let token = Session::authorize(&pipeline, params, options.as_ref()).await;
                token.map(|(details, _)| details)
            }
        }
    })
);

impl Authorize {
    /// The same operation for the client of this connection.
    pub(super) fn over(mut self, connection: Option<WeakDriverHandle>) -> Self {
        self.0.connection = connection;
        self
    }
}

operation!(
    /// Gets a token when awaited, without using it (RSA8).
    ///
    /// # Errors
    /// As for [`Authorize`], except for 40102.
    RequestToken -> TokenDetails,
    |request| Box::pin(async move {
        let TokenOperation { pipeline, options, .. } = &request;
        pipeline.require_runtime()?;
        let credentials = pipeline.session().credentials(options.as_ref())?;
        obtain::token(pipeline, &credentials, request.params()).await
    })
);

operation!(
    /// Makes a signed token request for another client when awaited (RSA9).
    ///
    /// It needs the API key. It sends no request, except for the service's time if that is to be queried.
    ///
    /// # Errors
    /// 40101 without an API key; the errors of a request for the service's time.
    CreateTokenRequest -> TokenRequest,
    |request| Box::pin(async move {
        let TokenOperation { pipeline, options, .. } = &request;
        let credentials = pipeline.session().credentials(options.as_ref())?;
        let key = credentials.key.as_ref().ok_or_else(|| {
            let message = "signing a token request needs an API key, and there is none";
            Error::new(ErrorCode::INVALID_CREDENTIALS, 401, message).with_remedy("set `key`")
        })?;
        obtain::signed_request(pipeline, key, request.params(), credentials.query_time).await
    })
);
