//! A rule, as an application or an operator gives it.

use std::fmt;

use capably_protocol::Format;
use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use regex::{Regex, RegexBuilder};

use super::RuleError;

/// The most bytes of a channel filter, and of the program that it is compiled to.
const MAX_FILTER: (usize, usize) = (1024, 256 * 1024);

/// The most headers of a rule.
const MAX_HEADERS: usize = 32;

/// The most bytes of a URL, and of the value of a header.
const MAX_TEXT: usize = 4096;

/// The events that a rule reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Messages are published, updated or deleted.
    Message,
    /// Members enter, update their data or leave.
    Presence,
    /// A channel is opened or closed.
    Lifecycle,
    /// The occupancy of a channel changes.
    Occupancy,
}

impl Source {
    /// The name, such as `channel.message`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "channel.message",
            Self::Presence => "channel.presence",
            Self::Lifecycle => "channel.lifecycle",
            Self::Occupancy => "channel.occupancy",
        }
    }

    /// The source with this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Message, Self::Presence, Self::Lifecycle, Self::Occupancy]
            .into_iter()
            .find(|source| source.name() == name)
    }
}

/// How many events a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequestMode {
    /// One.
    #[default]
    Single,
    /// All that wait, up to 1,000.
    Batch,
}

impl RequestMode {
    /// The name, such as `single`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
        }
    }
}

/// A webhook: which events are reported, and where to.
///
/// It is checked when it is given to a server: see [`check`](Self::check).
#[derive(Clone)]
#[must_use]
pub struct Rule {
    pub(crate) id: Option<String>,
    pub(crate) is_enabled: bool,
    pub(crate) source: Source,
    pub(crate) filter: String,
    pub(crate) mode: RequestMode,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) signing_key_id: Option<String>,
    pub(crate) is_enveloped: bool,
    pub(crate) format: Format,
}

impl Rule {
    /// A rule for the events of all channels, one in each request, enveloped, as JSON. `url` is `http` or `https`.
    pub fn new(source: Source, url: impl Into<String>) -> Self {
        Self {
            id: None,
            is_enabled: true,
            source,
            filter: String::new(),
            mode: RequestMode::Single,
            url: url.into(),
            headers: Vec::new(),
            signing_key_id: None,
            is_enveloped: true,
            format: Format::Json,
        }
    }

    /// The id: up to 64 letters, digits, `_` and `-`. By default the server chooses one. A rule that the server starts with
    /// and that has an id goes on after a restart where it stood, whatever the order of the rules.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Whether events are reported; true by default.
    pub fn enabled(mut self, on: bool) -> Self {
        self.is_enabled = on;
        self
    }

    /// Only channels whose names contain a match of this regular expression, such as `^chat:`.
    pub fn channel_filter(mut self, pattern: impl Into<String>) -> Self {
        self.filter = pattern.into();
        self
    }

    /// How many events a request has; one by default.
    pub fn request_mode(mut self, mode: RequestMode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds a header to every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Signs every request with a key of the app: `X-Ably-Key` has the name of the key, and `X-Ably-Signature` the HMAC-SHA256
    /// of the body with its secret, in base64. `key_id` is the part of the name after the app's id.
    pub fn signing_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.signing_key_id = Some(key_id.into());
        self
    }

    /// Whether a single event has an envelope with its channel and source; true by default. Without one, the body is the data
    /// of the message, and headers have the rest. A batch always has envelopes.
    pub fn enveloped(mut self, on: bool) -> Self {
        self.is_enveloped = on;
        self
    }

    /// The format of envelopes; JSON by default.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Checks the rule. Whether the URL leads to an address that the server may call is checked when it does.
    ///
    /// # Errors
    /// The first field that is not valid, and why.
    pub fn check(&self) -> Result<(), RuleError> {
        self.checked_id()?;
        self.uri()?;
        self.regex()?;
        self.checked_headers().map(drop)
    }

    fn checked_id(&self) -> Result<(), RuleError> {
        let is_plain = |id: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            (1..=64).contains(&id.len()) && id.bytes().all(plain)
        };
        match &self.id {
            Some(id) if !is_plain(id) => Err(RuleError::new(
                "the `id` of a rule must have 1 to 64 letters, digits, `_` and `-`",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The URL.
    pub(crate) fn uri(&self) -> Result<Uri, RuleError> {
        let wrong = |why: &str| Err(RuleError::new(format!("`target.url` {why}")));
        if self.url.len() > MAX_TEXT {
            return wrong("is longer than 4,096 bytes");
        }
        let Ok(uri) = self.url.parse::<Uri>() else { return wrong("is not a URL") };
        let is_host = uri.host().is_some_and(|host| !host.is_empty());
        match uri.scheme_str() {
            Some("http" | "https") if is_host => {}
            _ => return wrong("must begin with `http://` or `https://` and a host"),
        }
        if uri.scheme_str() == Some("https") && !cfg!(feature = "tls") {
            return wrong("is `https`, and this server was built without the feature `tls`");
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if authority.contains('@') {
            return wrong("has a user name: use a header `Authorization`");
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, it)| !it.ends_with(']'));
        if has_port && uri.port_u16().is_none() {
            return wrong("has a port that is not one");
        }
        Ok(uri)
    }

    /// The expression that names of channels have to match.
    pub(crate) fn regex(&self) -> Result<Option<Regex>, RuleError> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        let (length, size) = MAX_FILTER;
        if self.filter.len() > length {
            return Err(RuleError::new("`source.channelFilter` is longer than 1,024 bytes"));
        }
        let built = RegexBuilder::new(&self.filter).size_limit(size).dfa_size_limit(size).build();
        built.map(Some).map_err(|problem| {
            RuleError::new(format!(
                "`source.channelFilter` is not a regular expression that the server can use: {problem}"
            ))
        })
    }

    /// The headers, as they are sent.
    pub(crate) fn checked_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, RuleError> {
        if self.headers.len() > MAX_HEADERS {
            return Err(RuleError::new("`target.headers` has more than 32 headers"));
        }
        let headers = self.headers.iter().map(|(name, value)| {
            let wrong = |why: &str| {
                RuleError::new(format!("the header {name:?} of `target.headers` {why}"))
            };
            let read = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong("has a name that is not allowed"))?;
            if is_own(&read) {
                return Err(wrong("is one that the server sets"));
            }
            if value.len() > MAX_TEXT {
                return Err(wrong("has more than 4,096 bytes"));
            }
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| wrong("has a value that is not allowed, such as a line break"))?;
            value.set_sensitive(true);
            Ok((read, value))
        });
        headers.collect()
    }
}

/// Whether the server sets a header itself. Another value would change where the request begins or ends, or what is signed.
fn is_own(name: &HeaderName) -> bool {
    let own = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    own.contains(&name.as_str()) || name.as_str().starts_with("x-ably-")
}

// The URL and the headers may have secrets.
impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("filter", &self.filter)
            .field("mode", &self.mode)
            .field("host", &self.uri().ok().and_then(|uri| uri.host().map(str::to_owned)))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule::new(Source::Message, "http://example.com/hook")
    }

    fn refused(rule: &Rule) -> String {
        rule.check().unwrap_err().to_string()
    }

    #[test]
    fn a_header_cannot_end_its_line_or_replace_one_of_the_server() {
        assert_eq!(rule().header("X-Custom", "a value").check(), Ok(()));
        for (name, value) in [
            ("X-Custom", "a\r\nX-Other: b"),
            ("X-Custom", "a\nb"),
            ("X-Custom", "a\0b"),
            ("X-Custom\r\nX-Other", "b"),
            ("X Custom", "b"),
            ("", "b"),
            ("Host", "other"),
            ("content-length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("X-Ably-Signature", "mine"),
        ] {
            assert!(refused(&rule().header(name, value)).contains("header"), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn a_url_is_http_with_a_host_and_without_a_user() {
        for url in ["http://a", "http://a:8080/b?c=d", "http://[::1]:80/", "http://[::1]/"] {
            assert_eq!(Rule::new(Source::Message, url).check(), Ok(()), "{url}");
        }
        for url in [
            "",
            "a",
            "/a",
            "ftp://a",
            "file:///etc/passwd",
            "http://",
            "http:///a",
            "http://user@a",
            "http://user:secret@a/",
            "http://a:99999",
            "http://a b",
            "http://a\r\nb",
        ] {
            assert!(refused(&Rule::new(Source::Message, url)).contains("target.url"), "{url:?}");
        }
    }

    #[test]
    fn a_filter_is_a_regular_expression_of_limited_size() {
        let matches = |filter: &str, name: &str| {
            rule().channel_filter(filter).regex().unwrap().is_none_or(|it| it.is_match(name))
        };
        assert!(matches("", "any"));
        assert!(matches("^public.*europe$", "public:news:europe"));
        assert!(!matches("^public$", "public:events"));
        assert!(matches("news", "public:news:americas"));
        for filter in ["(", "(?=a)", "(a)\\1", "\\w{1000}{1000}", &"a".repeat(1025)] {
            assert!(refused(&rule().channel_filter(filter)).contains("channelFilter"), "{filter}");
        }
    }

    #[test]
    fn debug_shows_neither_headers_nor_the_path() {
        let rule = Rule::new(Source::Message, "http://a/secret").header("Authorization", "secret");
        assert!(!format!("{rule:?}").contains("secret"), "{rule:?}");
    }
}
