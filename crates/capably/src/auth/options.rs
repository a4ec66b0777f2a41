//! Authentication options (AO).

use std::fmt;

use capably_protocol::{TokenDetails, TokenParams, TokenRequest};

use super::source::{AuthCallback, CallbackError, TokenSource};

/// Credentials, and ways to get tokens (AO1).
///
/// In an operation of [`Auth`](super::Auth), they replace the client's own options, except that the client's API key is
/// used if they have none. `Debug` shows no secret.
///
/// ```
/// use capably::auth::{AuthMethod, AuthOptions};
///
/// let options = AuthOptions::new()
///     .auth_url("https://auth.example.com/token")
///     .auth_method(AuthMethod::Post)
///     .auth_header("X-Session", "…");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AuthOptions {
    pub(crate) key: Option<String>,
    pub(crate) token: Option<TokenDetails>,
    pub(crate) request: Option<TokenRequest>,
    pub(crate) use_token_auth: Option<bool>,
    pub(crate) callback: Option<AuthCallback>,
    pub(crate) url: Option<String>,
    pub(crate) method: AuthMethod,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) query_time: bool,
}

impl AuthOptions {
    /// Empty options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the API key that signs token requests: `appId.keyId:secret` (AO2a).
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets a token to use (AO2h).
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        self.token_details(TokenDetails::new(token.into()))
    }

    /// Sets a token to use, with its details (AO2i).
    #[must_use]
    pub fn token_details(mut self, details: TokenDetails) -> Self {
        self.token = Some(details);
        self
    }

    /// Sets a signed token request to exchange for the first token (TO3j2).
    #[must_use]
    pub fn token_request(mut self, request: TokenRequest) -> Self {
        self.request = Some(request);
        self
    }

    /// Whether to use a token instead of the API key. By default a token is used if the options have one, or a way to
    /// get one other than the key (AO2j, RSA4).
    #[must_use]
    pub fn use_token_auth(mut self, token: bool) -> Self {
        self.use_token_auth = Some(token);
        self
    }

    /// Sets a function that the client calls whenever it needs a token (AO2b).
    ///
    /// It receives the parameters of the token, and returns a token string, [`TokenDetails`], a [`TokenRequest`] or
    /// JSON of one of these. The client passes on an error of type [`Error`](crate::Error) unchanged. Any other
    /// error, a panic, and no result within [`http_request_timeout`](crate::ClientOptions::http_request_timeout)
    /// become error 40170 (RSA4e).
    ///
    /// In the function, calls that need a new token of the same client fail with 40170: requests, operations that wait
    /// for the connection, `authorize`, `request_token`. Use another client there.
    #[must_use]
    pub fn auth_callback<F, R, T, E>(mut self, callback: F) -> Self
    where
        F: Fn(TokenParams) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<TokenSource>,
        E: Into<CallbackError>,
    {
        self.callback = Some(AuthCallback::new(callback));
        self
    }

    /// Sets a URL that the client requests whenever it needs a token (AO2c, RSA8c).
    ///
    /// The response has the token as `text/plain` or `application/jwt`, or a token request or token details as
    /// `application/json`. Its size is at most 128 KiB (RSA4f).
    #[must_use]
    pub fn auth_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets the HTTP method for the auth URL; GET by default (AO2d).
    #[must_use]
    pub fn auth_method(mut self, method: AuthMethod) -> Self {
        self.method = method;
        self
    }

    /// Adds a header to requests to the auth URL (AO2e).
    #[must_use]
    pub fn auth_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to requests to the auth URL: in the query of a GET, in the form of a POST (AO2f).
    #[must_use]
    pub fn auth_param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }

    /// Whether token requests have the time of the service's clock instead of the local clock; false by default (AO2g).
    /// The client queries the service's time once, and then knows the offset (RSA10k).
    #[must_use]
    pub fn query_time(mut self, query: bool) -> Self {
        self.query_time = query;
        self
    }
}

/// The HTTP method for an auth URL (AO2d).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// GET, with the parameters in the query.
    #[default]
    Get,
    /// POST, with the parameters as a form in the body.
    Post,
}

impl fmt::Debug for AuthOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name of a key is public; only its secret is redacted.
        let key = self.key.as_deref().map(|key| match key.split_once(':') {
            Some((name, _)) => format!("{name}:[redacted]"),
            None => "[redacted]".to_owned(),
        });
        let names = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(name, _)| name.clone()).collect()
        };
        f.debug_struct("AuthOptions")
            .field("key", &key)
            .field("token", &self.token)
            .field("request", &self.request)
            .field("use_token_auth", &self.use_token_auth)
            .field("callback", &self.callback.is_some())
            // A query may contain credentials.
            .field("url", &self.url.as_deref().and_then(|url| url.split(['?', '#']).next()))
            .field("method", &self.method)
            .field("headers", &names(&self.headers))
            .field("params", &names(&self.params))
            .field("query_time", &self.query_time)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // UTS: rest/unit/AO2/auth-options-attributes-0
    // UTS: rest/unit/TO3/client-options-auth-url-2
    #[test]
    fn hold_what_they_are_given() {
        let options = AuthOptions::new()
            .auth_url("https://auth.example.com/token")
            .auth_method(AuthMethod::Post)
            .auth_header("Authorization", "Bearer api-key")
            .auth_param("user", "test")
            .query_time(true);
        let expected = ("Authorization".to_owned(), "Bearer api-key".to_owned());
        assert_eq!(options.url.as_deref(), Some("https://auth.example.com/token"));
        assert_eq!((options.method, options.query_time), (AuthMethod::Post, true));
        assert_eq!(options.headers, [expected]);
        assert_eq!(options.params, [("user".to_owned(), "test".to_owned())]);

        let options = crate::ClientOptions::default()
            .auth_url("https://auth.example.com/token")
            .auth_method(AuthMethod::Post)
            .auth_header("X-API-Key", "secret")
            .auth_param("scope", "full")
            .auth;
        assert_eq!(options.url.as_deref(), Some("https://auth.example.com/token"));
        assert_eq!(options.method, AuthMethod::Post);
        assert_eq!(options.headers, [("X-API-Key".to_owned(), "secret".to_owned())]);
        assert_eq!(options.params, [("scope".to_owned(), "full".to_owned())]);
    }

    // UTS: rest/unit/AO/auth-options-with-callback-0
    #[tokio::test]
    async fn hold_a_callback() {
        let options = AuthOptions::new().auth_callback(async |params: TokenParams| {
            assert_eq!(params, TokenParams::new());
            Ok::<_, crate::Error>(TokenDetails::new("callback-token"))
        });
        let callback = options.callback.expect("it was given");
        let source = callback.call(TokenParams::new()).await.expect("it succeeds");
        assert_eq!(source, TokenSource::Details(TokenDetails::new("callback-token")));
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = AuthOptions::new()
            .key("app.key:hush")
            .token("hush")
            .auth_url("https://auth.example.com/token?session=hush")
            .auth_header("X-Session", "hush")
            .auth_param("user", "hush")
            .auth_callback(async |_| Ok::<_, crate::Error>("hush"));
        let text = format!("{options:?}");
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("app.key:[redacted]") && text.contains("X-Session"), "{text}");
    }
}
