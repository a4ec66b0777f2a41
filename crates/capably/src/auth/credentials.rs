//! The credentials of a client, after validation.

use base64::{Engine, prelude::BASE64_STANDARD};
use capably_protocol::{ApiKey, ErrorCode, TokenDetails, TokenRequest};

use super::{AuthMethod, AuthOptions, source::AuthCallback};
use crate::options::Problems;

/// The credentials of a client, and its ways to get tokens. At least one of them is set.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) key: Option<ApiKey>,
    /// A token from the options.
    pub(crate) token: Option<TokenDetails>,
    /// A signed token request from the options. It is valid for one token.
    pub(crate) request: Option<TokenRequest>,
    pub(crate) source: Option<TokenProvider>,
    /// Whether requests contain the key itself.
    pub(crate) basic: bool,
    pub(crate) query_time: bool,
}

/// Provides tokens, instead of token requests signed with the key.
#[derive(Clone)]
pub(crate) enum TokenProvider {
    Callback(AuthCallback),
    Url(AuthUrl),
}

/// An auth URL, and the request to send to it.
#[derive(Clone)]
pub(crate) struct AuthUrl {
    pub(crate) url: String,
    pub(crate) method: AuthMethod,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) params: Vec<(String, String)>,
}

impl Credentials {
    /// Whether there is a way to get a new token (RSA4a).
    pub(crate) fn can_renew(&self) -> bool {
        self.key.is_some() || self.source.is_some()
    }
}

impl std::fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Callback(_) => "Callback",
            Self::Url(_) => "Url",
        })
    }
}

impl AuthOptions {
    /// Checks the options; `fallback` is the key to use if they have none.
    ///
    /// Adds to the problems: 40101 for a malformed key, 40005 for an empty token, 40106 without any credentials
    /// (RSC1b, RSA14), 40000 for the rest.
    pub(crate) fn credentials(
        &self,
        fallback: Option<&ApiKey>,
        problems: &mut Problems,
    ) -> Option<Credentials> {
        let before = problems.len();
        let key = match self.key.as_deref().map(|key| key.trim().parse::<ApiKey>()) {
            Some(Ok(key)) => Some(key),
            Some(Err(error)) => {
                problems.add(
                    "key",
                    (error.code, error.status_code),
                    error.message.to_string(),
                    "copy the whole key from the dashboard",
                );
                None
            }
            None => fallback.cloned(),
        };
        if self.token.as_ref().is_some_and(|token| token.token.trim().is_empty()) {
            problems.add(
                "token",
                (ErrorCode::INVALID_CREDENTIAL, 401),
                "the token is empty".to_owned(),
                "set a token that your auth server issued",
            );
        }
        self.check_url(problems);
        self.check_headers(problems);
        let source = match (&self.callback, &self.url) {
            (Some(callback), _) => Some(TokenProvider::Callback(callback.clone())),
            (None, Some(url)) => Some(TokenProvider::Url(AuthUrl {
                url: url.clone(),
                method: self.method,
                headers: self.headers.clone(),
                params: self.params.clone(),
            })),
            (None, None) => None,
        };
        let without_key = self.token.is_some() || self.request.is_some() || source.is_some();
        let by_token = self.use_token_auth.unwrap_or(without_key);
        let possible = key.is_some() || (by_token && without_key);
        if !possible && self.key.is_none() {
            problems.add(
                "key",
                (ErrorCode::NO_VALID_AUTHENTICATION_METHOD_PROVIDED, 401),
                "there is no API key, no token, and no way to get a token".to_owned(),
                "set `key`, `token`, `auth_callback` or `auth_url`",
            );
        }
        let credentials = Credentials {
            key,
            token: self.token.clone(),
            request: self.request.clone(),
            source,
            basic: !by_token,
            query_time: self.query_time,
        };
        (problems.len() == before).then_some(credentials)
    }

    fn check_url(&self, problems: &mut Problems) {
        let Some(url) = &self.url else { return };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let fits = |rest: &str| {
            !rest.is_empty()
                && !rest.starts_with(['/', '?', '#'])
                && rest.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !rest.is_some_and(fits) {
            // The message does not quote the URL: its query may contain a secret.
            problems.bad(
                "auth_url",
                "the text is not an HTTP URL".to_owned(),
                "start it with `https://` and a host, and percent-encode characters that are not valid in a URL",
            );
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (name, value) in &self.headers {
            let name_fits = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            let value_fits = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if !name_fits || !value_fits {
                problems.bad(
                    "auth_headers",
                    format!("`{}` or its value is not valid in a header", name.escape_debug()),
                    "use a valid header name, and visible ASCII characters for the value",
                );
            }
        }
    }
}

/// The value of the `Authorization` header for a key (RSA11).
pub(super) fn basic(key: &ApiKey) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(key.expose()))
}

/// The value of the `Authorization` header for a token (RSA3b).
pub(super) fn bearer(token: &str) -> String {
    // Base64 is optional. It is necessary only for characters that are not valid in a header.
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        format!("Bearer {token}")
    } else {
        format!("Bearer {}", BASE64_STANDARD.encode(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_basic_authentication() {
        let key = "app123.key456:secretXYZ".parse().expect("the key is well formed");
        assert_eq!(basic(&key), "Basic YXBwMTIzLmtleTQ1NjpzZWNyZXRYWVo=");
    }

    #[test]
    fn a_token_is_sent_as_it_is_unless_a_header_cannot_hold_it() {
        assert_eq!(bearer("a.b-c"), "Bearer a.b-c");
        assert_eq!(bearer("a\nb"), "Bearer YQpi");
    }
}
