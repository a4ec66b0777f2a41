//! What [`Auth`](super::Auth) does when it is awaited.

use std::sync::Arc;

use capably_protocol::{ErrorCode, TokenDetails, TokenParams, TokenRequest};

use super::{AuthOptions, calling, obtain, session::Session};
use crate::{Error, Result, http::BoxFuture, realtime::WeakDriverHandle, rest::Pipeline};

/// Parameters and options of an operation; what is left out is the client's own (RSA8e).
#[derive(Clone)]
struct TokenOperation {
    pipeline: Arc<Pipeline>,
    params: Option<TokenParams>,
    options: Option<AuthOptions>,
    /// The connection that is to use the token, too.
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
        #[must_use = "nothing happens until it is awaited"]
        pub struct $name(TokenOperation);

        impl $name {
            pub(super) fn new(pipeline: Arc<Pipeline>) -> Self {
                Self(TokenOperation::new(pipeline))
            }

            /// What the token is to be like. These stand in place of all the client's own.
            pub fn params(mut self, params: TokenParams) -> Self {
                self.0.params = Some(params);
                self
            }

            /// Where the token comes from. These stand in place of all the client's own, but for the API
            /// key where they have none.
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
    /// Gets a token and uses it from now on, when it is awaited (RSA10).
    ///
    /// Later tokens come from the same place with the same parameters, except for `timestamp`, `nonce`
    /// and `query_time` (RSA10g). Options with a token make it the one to use (RSA10e).
    ///
    /// Of a [`Realtime`](crate::Realtime) client it alters the connection (RTC8). A connected one goes on
    /// without interruption under the new token, and this returns once the service has accepted it. An
    /// attempt to connect is begun again with the new token, and a client without a connection connects;
    /// this then returns once it is connected.
    ///
    /// # Errors
    /// 40171 when there is nothing to get a token from, 40170 when callback or auth URL give none, 40102
    /// when it is for another client (RSA15), and what the service says. The client then goes on as
    /// before; but a connection fails when the token is for another client, when it is refused with status
    /// 403 (RSA4d), and when the service does not accept it (RTC8a2).
    ///
    /// Of a realtime client besides: 50003 without an answer of the service within the realtime request
    /// timeout; why there is no connection when it is closed, fails or is suspended before one is there
    /// (RTC8b1).
    Authorize -> TokenDetails,
    |request| Box::pin(async move {
        let TokenOperation { pipeline, params, options, connection } = request;
        pipeline.require_runtime()?;
        // The connection would get the token in a task of its own, which does not know its caller.
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
    /// The same, for the client of this connection.
    pub(super) fn over(mut self, connection: Option<WeakDriverHandle>) -> Self {
        self.0.connection = connection;
        self
    }
}

operation!(
    /// Gets a token without using it, when it is awaited (RSA8).
    ///
    /// # Errors
    /// As [`Authorize`], except for 40102.
    RequestToken -> TokenDetails,
    |request| Box::pin(async move {
        let TokenOperation { pipeline, options, .. } = &request;
        pipeline.require_runtime()?;
        let credentials = pipeline.session().credentials(options.as_ref())?;
        obtain::token(pipeline, &credentials, request.params()).await
    })
);

operation!(
    /// Makes a signed token request for somebody else to use, when it is awaited (RSA9).
    ///
    /// It needs the API key and nothing from the network, unless the service is to tell the time.
    ///
    /// # Errors
    /// 40101 without an API key; what keeps the service from telling the time, if it has to.
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
