//! Options for authentication (TO3j).

use capably_protocol::{TokenDetails, TokenParams, TokenRequest};

use super::ClientOptions;
use crate::auth::{AuthMethod, CallbackError, TokenSource};

/// Authentication.
impl ClientOptions {
    /// Sets the API key, as the dashboard shows it: `appId.keyId:secret` (TO3j1). Surrounding white space is ignored.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.auth = self.auth.key(key);
        self
    }

    /// Sets a token to authenticate with (TO3j2). It takes precedence over a key (RSA4).
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.auth = self.auth.token(token);
        self
    }

    /// Sets a token to authenticate with, with its details (TO3j3).
    #[must_use]
    pub fn token_details(mut self, details: TokenDetails) -> Self {
        self.auth = self.auth.token_details(details);
        self
    }

    /// Sets a signed token request to exchange for the first token (TO3j2). Without another way to get tokens, that
    /// token cannot be renewed.
    #[must_use]
    pub fn token_request(mut self, request: TokenRequest) -> Self {
        self.auth = self.auth.token_request(request);
        self
    }

    /// Whether to authenticate with a token instead of the key itself. By default a token is used if the options have
    /// one, or a way to get one other than the key (TO3j4, RSA4).
    #[must_use]
    pub fn use_token_auth(mut self, token: bool) -> Self {
        self.auth = self.auth.use_token_auth(token);
        self
    }

    /// Sets a function that the client calls whenever it needs a token (TO3j5); see
    /// [`AuthOptions::auth_callback`](crate::auth::AuthOptions::auth_callback).
    ///
    /// ```
    /// use capably::{ClientOptions, TokenParams, auth::TokenSource};
    ///
    /// async fn token(params: TokenParams) -> Result<TokenSource, std::io::Error> {
    ///     let _client = params.client_id;
    ///     Ok("a JWT that your server made".into())
    /// }
    ///
    /// let options = ClientOptions::default().client_id("ada").auth_callback(token);
    /// ```
    #[must_use]
    pub fn auth_callback<F, R, T, E>(mut self, callback: F) -> Self
    where
        F: Fn(TokenParams) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<TokenSource>,
        E: Into<CallbackError>,
    {
        self.auth = self.auth.auth_callback(callback);
        self
    }

    /// Sets a URL that the client requests whenever it needs a token (TO3j6); see
    /// [`AuthOptions::auth_url`](crate::auth::AuthOptions::auth_url).
    #[must_use]
    pub fn auth_url(mut self, url: impl Into<String>) -> Self {
        self.auth = self.auth.auth_url(url);
        self
    }

    /// Sets the HTTP method for the auth URL; GET by default (TO3j7).
    #[must_use]
    pub fn auth_method(mut self, method: AuthMethod) -> Self {
        self.auth = self.auth.auth_method(method);
        self
    }

    /// Adds a header to requests to the auth URL (TO3j8).
    #[must_use]
    pub fn auth_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.auth = self.auth.auth_header(name, value);
        self
    }

    /// Adds a parameter to requests to the auth URL (TO3j9).
    #[must_use]
    pub fn auth_param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.auth = self.auth.auth_param(name, value);
        self
    }

    /// Whether token requests have the time of the service's clock; false by default (TO3j10).
    #[must_use]
    pub fn query_time(mut self, query: bool) -> Self {
        self.auth = self.auth.query_time(query);
        self
    }

    /// Sets the default parameters of tokens (TO3j11). Timestamp and nonce are ignored, because they are valid for one
    /// request only. [`client_id`](Self::client_id) takes precedence over their client id (RSA7a4).
    #[must_use]
    pub fn default_token_params(mut self, params: TokenParams) -> Self {
        self.default_token_params = Some(params);
        self
    }
}
