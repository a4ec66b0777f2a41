//! The results of auth callbacks and auth URLs, and the callback itself.

use std::{error::Error as StdError, fmt, sync::Arc};

use capably_protocol::{Str, TokenDetails, TokenParams, TokenRequest};
use serde_json::Value;

use super::failed;
use crate::{Error, Result, http::BoxFuture};

/// The largest token, or JSON of a token, in bytes (RSA4f).
pub(super) const MAX_SIZE: usize = 128 * 1024;

/// The error of an auth callback.
pub(crate) type CallbackError = Box<dyn StdError + Send + Sync>;

/// The result of an auth callback (RSA8d).
///
/// Strings, [`TokenDetails`], [`TokenRequest`]s and JSON values convert into it. `Debug` shows no secret.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum TokenSource {
    /// A token, such as a JWT. It is used unchanged.
    Token(Str),
    /// A token with its details.
    Details(TokenDetails),
    /// A signed token request. The client exchanges it for a token.
    Request(TokenRequest),
    /// JSON of token details, of a token request, or of a token string. Its members decide which (TO3j5).
    Json(Value),
}

/// A valid token, or a token request to exchange for one.
pub(super) enum Resolved {
    Token(TokenDetails),
    Request(TokenRequest),
}

impl TokenSource {
    /// Checks form and size (RSA4f).
    ///
    /// # Errors
    /// Code 40170 for an invalid token or token request.
    pub(super) fn resolve(self) -> Result<Resolved> {
        match self {
            Self::Token(token) => checked(TokenDetails::new(token)).map(Resolved::Token),
            Self::Details(details) => checked(details).map(Resolved::Token),
            Self::Request(request) => {
                check_size(request.to_json().len())?;
                Ok(Resolved::Request(request))
            }
            Self::Json(value) => Self::from_json(value)?.resolve(),
        }
    }

    /// Recognises token details by the member `token`, and token requests by `keyName`.
    fn from_json(value: Value) -> Result<Self> {
        match value {
            Value::String(token) => Ok(Self::Token(token.into())),
            Value::Object(ref fields) if fields.contains_key("token") => {
                TokenDetails::from_value(value).map(Self::Details).map_err(unreadable)
            }
            Value::Object(ref fields) if fields.contains_key("keyName") => {
                TokenRequest::from_value(value).map(Self::Request).map_err(unreadable)
            }
            Value::Object(_)
            | Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_) => {
                Err(failed("the JSON is neither token details nor a token request"))
            }
        }
    }
}

/// Checks that a token is neither empty nor too large (RSA4f).
///
/// # Errors
/// Code 40170 for an empty token, or one that is too large.
pub(super) fn checked(details: TokenDetails) -> Result<TokenDetails> {
    let known = details.capability.as_deref().map_or(0, str::len);
    check_size(details.token.len().saturating_add(known))?;
    if details.token.trim().is_empty() {
        return Err(failed("the token is empty"));
    }
    Ok(details)
}

fn check_size(size: usize) -> Result<()> {
    if size > MAX_SIZE {
        return Err(failed(format!("a token of more than {MAX_SIZE} bytes is refused")));
    }
    Ok(())
}

fn unreadable(cause: capably_protocol::ErrorInfo) -> Error {
    failed(cause.message.to_string())
}

impl From<&str> for TokenSource {
    fn from(token: &str) -> Self {
        Self::Token(token.into())
    }
}

impl From<String> for TokenSource {
    fn from(token: String) -> Self {
        Self::Token(token.into())
    }
}

impl From<Str> for TokenSource {
    fn from(token: Str) -> Self {
        Self::Token(token)
    }
}

impl From<TokenDetails> for TokenSource {
    fn from(details: TokenDetails) -> Self {
        Self::Details(details)
    }
}

impl From<TokenRequest> for TokenSource {
    fn from(request: TokenRequest) -> Self {
        Self::Request(request)
    }
}

impl From<Value> for TokenSource {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token([redacted])"),
            Self::Details(details) => f.debug_tuple("Details").field(details).finish(),
            Self::Request(request) => f.debug_tuple("Request").field(request).finish(),
            Self::Json(_) => f.write_str("Json([redacted])"),
        }
    }
}

/// The program's function, with its types erased.
#[derive(Clone)]
pub(crate) struct AuthCallback(Arc<Erased>);

type Erased =
    dyn Fn(TokenParams) -> BoxFuture<'static, Result<TokenSource, CallbackError>> + Send + Sync;

impl AuthCallback {
    pub(super) fn new<F, R, T, E>(callback: F) -> Self
    where
        F: Fn(TokenParams) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<TokenSource>,
        E: Into<CallbackError>,
    {
        Self(Arc::new(move |params| {
            let answer = callback(params);
            Box::pin(async move { answer.await.map(Into::into).map_err(Into::into) })
        }))
    }

    /// Calls the function.
    ///
    /// # Errors
    /// An [`Error`] of the callback unchanged; 40170 for any other error.
    pub(super) async fn call(&self, params: TokenParams) -> Result<TokenSource> {
        (self.0)(params).await.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(other) => failed(format!("the auth callback failed: {other}")).with_source(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(source: TokenSource) -> Error {
        match source.resolve() {
            Ok(_) => panic!("it is no token"),
            Err(error) => error,
        }
    }

    #[test]
    fn json_is_told_apart_by_what_is_in_it() {
        let token = |source: TokenSource| match source.resolve() {
            Ok(Resolved::Token(details)) => details.token,
            Ok(Resolved::Request(_)) | Err(_) => panic!("it is a token"),
        };
        assert_eq!(token(json!({"token": "t", "expires": 1}).into()), "t");
        assert_eq!(token(json!("t").into()), "t");
        let request = TokenSource::from(json!({"keyName": "a.b", "mac": "m"})).resolve();
        assert!(matches!(request, Ok(Resolved::Request(request)) if request.key_name == "a.b"));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let long = "x".repeat(MAX_SIZE + 1);
        for source in [
            TokenSource::from(""),
            " \n".into(),
            long.clone().into(),
            TokenDetails::new("t").capability(long).into(),
            json!({}).into(),
            json!({"token": 5}).into(),
            json!({"keyName": null}).into(),
            json!([{"token": "t"}]).into(),
            json!(null).into(),
        ] {
            let error = refused(source.clone());
            assert_eq!((error.code().0, error.status()), (40170, Some(401)), "{source:?}");
        }
        assert!(TokenSource::from("x".repeat(MAX_SIZE)).resolve().is_ok(), "128 KiB are allowed");
    }

    #[test]
    fn debug_shows_no_secret() {
        for source in
            [TokenSource::from("hush"), TokenDetails::new("hush").into(), json!("hush").into()]
        {
            let text = format!("{source:?}");
            assert!(!text.contains("hush"), "{text}");
        }
    }
}
