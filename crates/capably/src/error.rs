//! The error type of every operation.

use std::{collections::BTreeMap, error::Error as StdError, fmt, sync::Arc};

use capably_protocol::{ErrorCode, ErrorInfo};

/// The result type of the SDK's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason of a failure: an Ably code, an HTTP status, a message, and a remedy if one is known (TI1).
///
/// A clone is cheap and shares the error, so that one failure can be the result of several calls.
///
/// ```
/// use capably::{ClientOptions, ErrorCode, Rest};
///
/// let error = Rest::new(ClientOptions::new("app.key:secret").tls(false)).unwrap_err();
/// assert_eq!(error.code(), ErrorCode::INVALID_USE_OF_BASIC_AUTH_OVER_NON_TLS_TRANSPORT);
/// assert!(error.remediation().is_some());
/// ```
#[derive(Clone)]
pub struct Error(Arc<ErrorParts>);

#[derive(Clone)]
struct ErrorParts {
    info: ErrorInfo,
    remedy: Option<&'static str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error with a code, an HTTP status (0 for none) and a message.
    pub fn new(code: ErrorCode, status: u16, message: impl Into<String>) -> Self {
        ErrorInfo::new(code, status, message.into()).into()
    }

    /// Ably's error code.
    pub fn code(&self) -> ErrorCode {
        self.0.info.code
    }

    /// The HTTP status; `None` if there was no response and no status represents the failure.
    pub fn status(&self) -> Option<u16> {
        (self.0.info.status_code != 0).then_some(self.0.info.status_code)
    }

    /// A message that describes the failure.
    pub fn message(&self) -> &str {
        &self.0.info.message
    }

    /// A remedy, if the SDK knows one.
    pub fn remediation(&self) -> Option<&'static str> {
        self.0.remedy.or_else(|| remedy(self.code()))
    }

    /// The URL of a page about the error (TI4).
    pub fn href(&self) -> Option<&str> {
        self.0.info.href.as_deref()
    }

    /// The id of the request that failed, with
    /// [`add_request_ids`](crate::ClientOptions::add_request_ids) (RSC7c).
    pub fn request_id(&self) -> Option<&str> {
        self.0.info.request_id.as_deref()
    }

    /// Structured details from the service (TI6). For wrong options: the name of each, with its problem.
    pub fn detail(&self) -> &BTreeMap<String, String> {
        &self.0.info.detail
    }

    /// The cause, if the service or the SDK gave one.
    pub fn cause(&self) -> Option<&ErrorInfo> {
        self.0.info.cause.as_deref()
    }

    /// The error in its wire form.
    pub fn info(&self) -> &ErrorInfo {
        &self.0.info
    }

    /// Converts the error into its wire form, without remedy and source.
    pub fn into_info(self) -> ErrorInfo {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.info.clone(), |inner| inner.info)
    }

    /// The kind of remedy, by code and status alone.
    pub fn recourse(&self) -> Recourse {
        recourse(self.code().0, self.0.info.status_code)
    }

    /// Whether the same operation may succeed later or with another host.
    pub fn is_retryable(&self) -> bool {
        self.recourse() == Recourse::Retry
    }

    /// Whether a new token may help: status 401 and a code from 40140 to 40149 (RSA4b).
    pub fn is_token_error(&self) -> bool {
        self.recourse() == Recourse::NewToken
    }

    /// Sets a remedy that is more precise than the general one for the code.
    #[must_use]
    pub fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.inner().remedy = Some(remedy);
        self
    }

    /// Sets the source of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    /// Sets the id of the request.
    #[must_use]
    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        self.inner().info.request_id = Some(id.into());
        self
    }

    /// Sets structured details.
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: BTreeMap<String, String>) -> Self {
        self.inner().info.detail = detail;
        self
    }

    /// The error for a log: with the URL of a page about it (TI5).
    pub(crate) fn logged(&self) -> Logged<'_> {
        Logged(self)
    }

    fn inner(&mut self) -> &mut ErrorParts {
        Arc::make_mut(&mut self.0)
    }
}

/// An error in a log.
pub(crate) struct Logged<'a>(&'a Error);

impl fmt::Display for Logged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let info = &self.0.0.info;
        let url = match &info.href {
            Some(href) => href.to_string(),
            None if info.code.0 == 0 => return Ok(()),
            None => format!("https://help.ably.io/error/{}", info.code.0),
        };
        if info.message.contains(&url) { Ok(()) } else { write!(f, ". See {url}") }
    }
}

/// The kind of remedy for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recourse {
    /// Try again later or with another host: the network or the service failed.
    Retry,
    /// Try again with a new token (RSA4b).
    NewToken,
    /// Change the request, the credentials or the account: another attempt would fail, too.
    Change,
}

/// Decides whether another attempt may succeed. All retries of the SDK use this function.
fn recourse(code: u32, status: u16) -> Recourse {
    match status {
        401 if (40140..=40149).contains(&code) => return Recourse::NewToken,
        408 | 429 | 500..=504 => return Recourse::Retry,
        0..=407 | 409..=428 | 430..=499 | 505..=u16::MAX => {}
    }
    match code {
        // Rate limits, failures of the service, and broken connections.
        42900..=42999 | 50000..=50099 | 80000 | 80002 | 80003 | 80014 | 80021 => Recourse::Retry,
        0..=42899
        | 43000..=49999
        | 50100..=79999
        | 80001
        | 80004..=80013
        | 80015..=80020
        | 80022..=u32::MAX => Recourse::Change,
    }
}

/// The general remedy for a code.
fn remedy(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::INVALID_CREDENTIAL | ErrorCode::INVALID_CREDENTIALS => {
            "check the API key or token: it must be whole, of the right app, and not revoked"
        }
        ErrorCode::MISSING_PLUGIN => {
            "add a decoder with `plugin(Plugin::vcdiff(Vcdiff))`, or do not request deltas"
        }
        ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED => {
            "publish less at once, or store large data elsewhere and publish a reference"
        }
        ErrorCode::INVALID_CLIENT_ID => {
            "use the client id that the credentials allow, or do not set one"
        }
        ErrorCode::INVALID_USE_OF_BASIC_AUTH_OVER_NON_TLS_TRANSPORT => {
            "turn TLS on, or use a token instead of the API key"
        }
        ErrorCode::NO_VALID_AUTHENTICATION_METHOD_PROVIDED => {
            "set an API key, a token, or a way to get a token"
        }
        ErrorCode::TOKEN_RENEWAL_NOT_CONFIGURED => {
            "set a way to get a new token: a key, `auth_callback` or `auth_url`"
        }
        ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK => {
            "check that the auth callback or the auth server returns a valid token in time"
        }
        ErrorCode::INCOMPATIBLE_CREDENTIALS => {
            "use credentials for the configured client id, or do not set a client id"
        }
        ErrorCode::CAPABILITY_DENIED => {
            "use a key or token whose capability covers this operation on this channel"
        }
        ErrorCode::TIMEOUT_ERROR => "check the network, or allow more time in the options",
        ErrorCode::CONNECTION_FAILED => {
            "check that the host and port are right and that the network lets you reach them"
        }
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.info.fmt(f)?;
        match self.remediation() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.0.info;
        let mut out = f.debug_struct("Error");
        out.field("code", &info.code);
        out.field("status", &info.status_code).field("message", &info.message);
        if let Some(remedy) = self.remediation() {
            out.field("remediation", &remedy);
        }
        if let Some(href) = &info.href {
            out.field("href", href);
        }
        if let Some(id) = &info.request_id {
            out.field("request_id", id);
        }
        if !info.detail.is_empty() {
            out.field("detail", &info.detail);
        }
        if let Some(cause) = &info.cause {
            out.field("cause", cause);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => self.0.info.source(),
        }
    }
}

impl From<ErrorInfo> for Error {
    fn from(info: ErrorInfo) -> Self {
        Self(Arc::new(ErrorParts { info, remedy: None, source: None }))
    }
}

impl From<Error> for ErrorInfo {
    fn from(error: Error) -> Self {
        error.into_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_message_code_status_and_remedy() {
        let error = Error::new(ErrorCode::INVALID_CREDENTIALS, 401, "no such key");
        assert_eq!(
            error.to_string(),
            "no such key (code 40101, status 401); check the API key or token: it must be whole, of \
             the right app, and not revoked"
        );
        assert_eq!(
            Error::new(ErrorCode(12345), 0, "odd").to_string(),
            "odd (code 12345)",
            "no status and no remedy"
        );
    }

    #[test]
    fn judges_what_may_mend_it() {
        for (code, status, expected) in [
            (40142, 401, Recourse::NewToken),
            (40149, 401, Recourse::NewToken),
            (40150, 401, Recourse::Change),
            (40139, 401, Recourse::Change),
            (40142, 403, Recourse::Change),
            (40101, 401, Recourse::Change),
            (50000, 500, Recourse::Retry),
            (50410, 504, Recourse::Retry),
            (50500, 505, Recourse::Change),
            (50003, 0, Recourse::Retry),
            (80000, 0, Recourse::Retry),
            (80001, 0, Recourse::Change),
            (42910, 429, Recourse::Retry),
            (40000, 400, Recourse::Change),
            (99999, 0, Recourse::Change),
        ] {
            assert_eq!(
                Error::new(ErrorCode(code), status, "").recourse(),
                expected,
                "code {code}, status {status}"
            );
        }
    }

    #[test]
    fn keeps_the_source_chain_when_cloned() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        let error =
            Error::new(ErrorCode::CONNECTION_FAILED, 0, "could not connect").with_source(io);
        let copy = error.clone();
        drop(error);
        let source = copy.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn the_service_s_cause_is_the_source() {
        let cause = ErrorInfo::new(ErrorCode(50001), 500, "inner");
        let error = Error::from(ErrorInfo::new(ErrorCode(50000), 500, "outer").with_cause(cause));
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("inner (code 50001, status 500)")
        );
        assert_eq!(error.into_info().cause.map(|cause| cause.code), Some(ErrorCode(50001)));
    }

    // UTS: rest/unit/TI/ably-exception-wraps-errorinfo-2
    #[test]
    fn wraps_an_error_info() {
        let info = ErrorInfo::new(ErrorCode(40000), 400, "Bad request");
        let error = Error::from(info.clone());
        assert_eq!(error.code(), ErrorCode(40000));
        assert_eq!(error.status(), Some(400));
        assert_eq!(error.message(), "Bad request");
        assert_eq!(error.info(), &info);
    }

    // UTS: rest/unit/TI/error-string-representation-4
    #[test]
    fn says_code_status_and_message() {
        let text = Error::new(ErrorCode(40100), 401, "Unauthorized: token expired").to_string();
        assert!(text.contains("40100") && text.contains("401"), "{text}");
        assert!(text.contains("Unauthorized: token expired"), "{text}");
    }
}
