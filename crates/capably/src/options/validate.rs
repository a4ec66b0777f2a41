//! Validates all options at once, and derives the configuration of a client.

use std::time::Duration;

use capably_protocol::{ErrorCode, Format, RecoveryKey};

use super::{ClientOptions, Problems};
use crate::{
    Result, agents,
    auth::{self, ClientNumber, Credentials},
    endpoint::{self, Domains},
    proxy::Proxies,
    tls::Tls,
    transport::{DialRequest, Transport},
};

/// The longest duration of an option: 30 years. A longer one could overflow when it is added to a clock.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// The largest frame of the host that a connectivity check connects to, in bytes.
const MAX_CHECK_FRAME: usize = 64 * 1024;

/// The resolution of the runtime's clock.
const TICK: Duration = Duration::from_millis(1);

/// Valid options, and the values that are derived from them.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Identifies the client with these options.
    pub(crate) number: ClientNumber,
    pub(crate) options: ClientOptions,
    pub(crate) credentials: Credentials,
    pub(crate) domains: Domains,
    pub(crate) proxies: Proxies,
    pub(crate) tls: Tls,
    /// The connection to continue (RTN16).
    pub(crate) recover: Option<RecoveryKey>,
}

impl Config {
    /// The encoding of frames and bodies (TO3f).
    pub(crate) fn format(&self) -> Format {
        if self.options.use_binary_protocol { Format::MsgPack } else { Format::Json }
    }

    /// Host and port for a URL, without the default port of the scheme.
    pub(crate) fn authority(&self, host: &str) -> String {
        let (port, usual) =
            if self.options.tls { (self.options.tls_port, 443) } else { (self.options.port, 80) };
        let host = endpoint::url_host(host);
        if port == usual { host } else { format!("{host}:{port}") }
    }

    /// Scheme, host and port for URLs of this host.
    pub(crate) fn origin(&self, host: &str) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority(host))
    }

    /// The `Ably-Agent` header (RSC7d).
    pub(crate) fn agent(&self) -> String {
        let mut products = agents::own();
        products.extend_from_slice(&self.options.agents);
        agents::identifier(&products)
    }

    /// The URL of the connectivity check (REC3).
    pub(crate) fn connectivity_check_url(&self) -> &str {
        let given = self.options.connectivity_check_url.as_deref();
        given.unwrap_or(endpoint::CONNECTIVITY_CHECK_URL)
    }

    /// Whether a realtime client chooses between transports.
    pub(crate) fn falls_back(&self) -> bool {
        let has = |transport| self.options.transports.contains(&transport);
        has(Transport::WebSocket) && has(Transport::Comet)
    }

    /// The WebSocket that finds out whether the network lets WebSockets through.
    pub(crate) fn ws_connectivity_check(&self) -> DialRequest {
        let given = self.options.ws_connectivity_check_url.as_deref();
        let timeout = self.options.realtime_request_timeout;
        let request = |url| DialRequest::of_url(url, MAX_CHECK_FRAME, timeout);
        let default = || request(endpoint::WS_CONNECTIVITY_CHECK_URL);
        given.and_then(request).or_else(default).expect("the default URL is that of a WebSocket")
    }
}

impl ClientOptions {
    /// Checks all options.
    ///
    /// # Errors
    /// One error that lists every wrong option, with the code of the first: 40101 or 40005 for a malformed key or an
    /// empty token, 40103 for a key without TLS (RSC18), 40106 without credentials (RSC1b), 40012 for an invalid client
    /// id (RSA7c), 40102 for a token of another client id (RSA15a), 40000 for the rest.
    pub(crate) fn validate(mut self) -> Result<Config> {
        self.clamp_times();
        let mut problems = Problems::default();
        let credentials = self.auth.credentials(None, &mut problems);
        let domains = Domains::new(self.endpoint.as_deref(), self.fallback_hosts.as_deref());
        self.check_identity(&mut problems);
        let basic = credentials.as_ref().is_some_and(|credentials| credentials.basic);
        self.check_hosts(&domains, basic, &mut problems);
        self.check_limits(&mut problems);
        self.check_agents(&mut problems);
        self.check_network_events(&mut problems);
        let proxies = self.proxies(&mut problems);
        let tls = self.trust(&mut problems);
        match (credentials, proxies, tls) {
            (Some(credentials), Some(proxies), Some(tls)) if problems.len() == 0 => {
                let recover = self.recovery_key();
                Ok(Config {
                    number: ClientNumber::next(),
                    options: self,
                    credentials,
                    domains,
                    proxies,
                    tls,
                    recover,
                })
            }
            _ => Err(problems.into_error()),
        }
    }

    fn check_identity(&self, problems: &mut Problems) {
        let token = self.auth.token.as_ref();
        if let Some(message) =
            token.and_then(|token| auth::mismatch(self.client_id.as_deref(), token))
        {
            problems.add(
                "client_id",
                (ErrorCode::INCOMPATIBLE_CREDENTIALS, 401),
                message,
                "use a token for this client id, or do not set a client id",
            );
        }
        let wrong = match self.client_id.as_deref() {
            Some("*") => "the client id `*` is reserved",
            Some("") => "the client id is empty",
            Some(_) | None => return,
        };
        problems.add(
            "client_id",
            (ErrorCode::INVALID_CLIENT_ID, 400),
            wrong.to_owned(),
            "set the id of one client, or do not set a client id",
        );
    }

    fn check_hosts(&self, domains: &Domains, basic: bool, problems: &mut Problems) {
        if !endpoint::is_host(&domains.primary) {
            let given = self.endpoint.as_deref().unwrap_or_default();
            problems.bad(
                "endpoint",
                format!("`{given}` is neither a routing policy nor a host"),
                "set a name such as `sandbox`, or a host or address without scheme, port and path; use the \
                 options `port` and `tls_port` for the port",

            );
        }
        for host in self.fallback_hosts.iter().flatten().filter(|host| !endpoint::is_host(host)) {
            problems.bad(
                "fallback_hosts",
                format!("`{host}` is not a host"),
                "set host names without scheme, port and path",
            );
        }
        let (port, name) = if self.tls { (self.tls_port, "tls_port") } else { (self.port, "port") };
        if port == 0 {
            problems.bad(
                name,
                "port 0 is not valid for a connection".to_owned(),
                "set the real port",
            );
        }
        let mut hosts = std::iter::once(&domains.primary).chain(&domains.fallbacks);
        if basic && !self.tls && !hosts.all(|host| endpoint::is_loopback(host)) {
            problems.add(
                "tls",
                (ErrorCode::INVALID_USE_OF_BASIC_AUTH_OVER_NON_TLS_TRANSPORT, 401),
                "an API key cannot be sent over an insecure connection".to_owned(),
                "turn TLS on, or use a token instead of the API key",
            );
        }
        if let Some(url) = &self.connectivity_check_url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            problems.bad(
                "connectivity_check_url",
                format!("`{url}` is not an HTTP URL"),
                "start the URL with `https://`",
            );
        }
        self.check_transports(problems);
    }

    fn check_transports(&self, problems: &mut Problems) {
        if self.transports.is_empty() {
            problems.bad(
                "transports",
                "the list is empty".to_owned(),
                "list `Transport::WebSocket`, `Transport::Comet` or both",
            );
        }
        let limit = self.realtime_request_timeout;
        if let Some(url) = &self.ws_connectivity_check_url
            && DialRequest::of_url(url, MAX_CHECK_FRAME, limit).is_none()
        {
            problems.bad(
                "ws_connectivity_check_url",
                format!("`{url}` is not the URL of a WebSocket"),
                "start the URL with `wss://`",
            );
        }
    }

    /// Limits durations to [`LONGEST`], so that they can be added to any clock, and retry times to at least one tick of
    /// the runtime's clock, so that a retry always waits.
    fn clamp_times(&mut self) {
        for time in [
            &mut self.disconnected_retry_timeout,
            &mut self.suspended_retry_timeout,
            &mut self.channel_retry_timeout,
            &mut self.http_open_timeout,
            &mut self.http_request_timeout,
            &mut self.realtime_request_timeout,
            &mut self.http_max_retry_duration,
            &mut self.fallback_retry_timeout,
        ] {
            *time = (*time).min(LONGEST);
        }
        for retry in [
            &mut self.disconnected_retry_timeout,
            &mut self.suspended_retry_timeout,
            &mut self.channel_retry_timeout,
        ] {
            // Zero stays zero here: `check_limits` reports it as a problem.
            if !retry.is_zero() {
                *retry = (*retry).max(TICK);
            }
        }
    }

    fn check_limits(&self, problems: &mut Problems) {
        for (name, duration) in [
            ("disconnected_retry_timeout", self.disconnected_retry_timeout),
            ("suspended_retry_timeout", self.suspended_retry_timeout),
            ("channel_retry_timeout", self.channel_retry_timeout),
            ("http_open_timeout", self.http_open_timeout),
            ("http_request_timeout", self.http_request_timeout),
            ("realtime_request_timeout", self.realtime_request_timeout),
        ] {
            if duration.is_zero() {
                problems.bad(name, "the time is zero".to_owned(), "set a time above zero");
            }
        }
        for (name, bytes) in
            [("max_message_size", self.max_message_size), ("max_frame_size", self.max_frame_size)]
        {
            if bytes == 0 {
                problems.bad(name, "the size is zero".to_owned(), "set a size above zero");
            }
        }
    }

    /// Agents become part of a header, separated by spaces.
    fn check_agents(&self, problems: &mut Problems) {
        for name in agents::unfit(&self.agents) {
            let message = format!("`{name}` or its version is not valid in a header");
            problems.bad("agents", message, agents::REMEDY);
        }
    }

    fn check_network_events(&self, problems: &mut Problems) {
        let can_watch = cfg!(all(feature = "network-events", target_os = "linux"));
        if self.network_events == Some(true) && !can_watch {
            problems.bad(
                "network_events",
                "this build cannot watch the network".to_owned(),
                "enable the cargo feature `network-events` of `capably` on Linux; elsewhere call \
                 `Connection::network_available` and `network_lost`",
            );
        }
    }

    fn proxies(&self, problems: &mut Problems) -> Option<Proxies> {
        let proxies = self.proxy.proxies();
        if proxies.is_none() {
            // The message does not quote the URL: it may contain a password.
            problems.bad(
                "proxy",
                "the text is not the URL of an HTTP proxy".to_owned(),
                "start it with `http://` and a host, and percent-encode user and password",
            );
        }
        proxies
    }

    fn trust(&self, problems: &mut Problems) -> Option<Tls> {
        let tls = Tls::with_roots(&self.root_certificates);
        let add = |why: String| {
            problems.bad(
                "root_certificate",
                why,
                "give certificates in PEM, and enable the feature `tls`",
            );
        };
        tls.map_err(add).ok()
    }

    fn recovery_key(&self) -> Option<RecoveryKey> {
        let text = self.recover.as_deref()?;
        RecoveryKey::decode(text)
            .inspect_err(|error| {
                tracing::error!(%error, "the recovery key is invalid and ignored");
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::TokenDetails;

    use super::*;
    use crate::Error;

    fn options() -> ClientOptions {
        ClientOptions::new("app.key:secret")
    }

    #[track_caller]
    fn refused(options: ClientOptions) -> Error {
        options.validate().expect_err("these options are wrong")
    }

    #[test]
    fn good_options_pass() {
        let config = options().client_id("ada").validate().expect("nothing is wrong");
        assert_eq!(config.domains.primary, "main.realtime.ably.net");
        assert_eq!(config.format(), Format::MsgPack);
        assert!(config.credentials.basic && !config.credentials.query_time);
        assert_eq!(config.credentials.key.as_ref().map(|key| key.name()), Some("app.key"));
    }

    #[test]
    fn each_problem_has_its_code_and_a_remedy() {
        let cases = [
            (ClientOptions::new("no-dot:secret"), "key", 40101, 401),
            (ClientOptions::default().key("app.key"), "key", 40101, 401),
            (ClientOptions::default().key(""), "key", 40101, 401),
            (ClientOptions::default(), "key", 40106, 401),
            (ClientOptions::default().token(" "), "token", 40005, 401),
            (ClientOptions::default().use_token_auth(true), "key", 40106, 401),
            (ClientOptions::new("token").use_token_auth(false), "key", 40106, 401),
            (options().auth_url("auth.example.com"), "auth_url", 40000, 400),
            (options().auth_url("https:///token"), "auth_url", 40000, 400),
            (options().auth_url("https://a.example/to ken"), "auth_url", 40000, 400),
            (
                options().auth_url("https://a.example").auth_header("X-A", "b\r\nc"),
                "auth_headers",
                40000,
                400,
            ),
            (options().auth_header("a b", "c"), "auth_headers", 40000, 400),
            (
                options().client_id("ada").token_details(TokenDetails::new("t").client_id("eve")),
                "client_id",
                40102,
                401,
            ),
            (options().client_id("*"), "client_id", 40012, 400),
            (options().client_id(""), "client_id", 40012, 400),
            (options().endpoint(""), "endpoint", 40000, 400),
            (options().endpoint("https://a.example.com"), "endpoint", 40000, 400),
            (options().endpoint("nonprod:"), "endpoint", 40000, 400),
            (options().endpoint("a.example.com:8080"), "endpoint", 40000, 400),
            (options().fallback_hosts(["ok.example.com", "a/b"]), "fallback_hosts", 40000, 400),
            (options().tls_port(0), "tls_port", 40000, 400),
            (options().tls(false), "tls", 40103, 401),
            (options().tls(false).endpoint("sandbox"), "tls", 40103, 401),
            (options().connectivity_check_url("ftp://x"), "connectivity_check_url", 40000, 400),
            (options().transports([]), "transports", 40000, 400),
            (
                options().ws_connectivity_check_url("https://x"),
                "ws_connectivity_check_url",
                40000,
                400,
            ),
            (options().http_open_timeout(Duration::ZERO), "http_open_timeout", 40000, 400),
            (options().http_request_timeout(Duration::ZERO), "http_request_timeout", 40000, 400),
            (
                options().realtime_request_timeout(Duration::ZERO),
                "realtime_request_timeout",
                40000,
                400,
            ),
            (
                options().disconnected_retry_timeout(Duration::ZERO),
                "disconnected_retry_timeout",
                40000,
                400,
            ),
            (
                options().suspended_retry_timeout(Duration::ZERO),
                "suspended_retry_timeout",
                40000,
                400,
            ),
            (options().channel_retry_timeout(Duration::ZERO), "channel_retry_timeout", 40000, 400),
            (options().max_message_size(0), "max_message_size", 40000, 400),
            (options().max_frame_size(0), "max_frame_size", 40000, 400),
            (options().agent("two words", None), "agents", 40000, 400),
            (options().proxy("https://proxy.example"), "proxy", 40000, 400),
            (options().proxy("http://ada:s3 cr3t@proxy.example"), "proxy", 40000, 400),
            (options().agent("sdk", Some("1\r\n2")), "agents", 40000, 400),
        ];
        for (options, option, code, status) in cases {
            let error = refused(options);
            assert_eq!((error.code().0, error.status()), (code, Some(status)), "{error}");
            assert_eq!(error.detail().keys().collect::<Vec<_>>(), [option], "{error}");
            assert!(error.remediation().is_some(), "{error}");
        }
    }

    #[test]
    fn all_problems_are_reported_together() {
        let error = refused(
            ClientOptions::default()
                .key("s3cr3t")
                .client_id("*")
                .http_request_timeout(Duration::ZERO)
                .fallback_hosts(["a b", "c d"]),
        );
        assert_eq!(error.code(), ErrorCode::INVALID_CREDENTIALS);
        assert!(error.message().starts_with("5 options are wrong: `key`: "), "{error}");
        assert_eq!(
            error.detail().keys().collect::<Vec<_>>(),
            ["client_id", "fallback_hosts", "http_request_timeout", "key"]
        );
        assert!(error.detail()["fallback_hosts"].contains("`c d`"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }

    #[test]
    fn a_key_goes_without_tls_only_to_this_machine() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "::1", "[::1]", "0:0:0:0:0:0:0:1"] {
            options().tls(false).endpoint(host).validate().expect("loopback");
        }
        let elsewhere = options().tls(false).endpoint("localhost");
        let error = refused(elsewhere.fallback_hosts(["far.example.com"]));
        assert_eq!(error.code().0, 40103, "the key would follow to a fallback host");
        ClientOptions::new("token").tls(false).validate().expect("a token may (RSA3a)");
        let signs = options().tls(false).use_token_auth(true).validate();
        signs.expect("a key that only signs is not sent");
    }

    #[test]
    fn white_space_around_a_key_does_not_count() {
        for key in [" app.key:secret", "app.key:secret\n", "\t app.key:secret \r\n"] {
            let config = ClientOptions::new(key).validate().expect(key);
            let key = config.credentials.key.expect("a key");
            assert_eq!((key.name(), key.secret()), ("app.key", "secret"));
        }
    }

    #[test]
    fn times_are_clamped() {
        let config = options()
            .disconnected_retry_timeout(Duration::from_nanos(1))
            .suspended_retry_timeout(Duration::MAX)
            .http_open_timeout(Duration::from_nanos(1))
            .http_max_retry_duration(Duration::MAX)
            .validate()
            .expect("nothing is wrong");
        assert_eq!(config.options.disconnected_retry_timeout, TICK);
        assert_eq!(config.options.suspended_retry_timeout, LONGEST);
        assert_eq!(config.options.http_open_timeout, Duration::from_nanos(1));
        assert_eq!(config.options.http_max_retry_duration, LONGEST);
    }

    #[test]
    fn a_token_goes_before_a_key() {
        let config = options().token("t").validate().expect("both may be set");
        assert!(!config.credentials.basic);
        assert_eq!(config.credentials.token.map(|token| token.token).as_deref(), Some("t"));
    }

    #[test]
    fn a_recovery_key_that_cannot_be_read_is_left_out() {
        let config = options().recover("{nonsense").validate().expect("only logged (RTN16f1)");
        assert_eq!(config.recover, None);
    }

    #[test]
    fn builds_the_authority_with_a_port_where_it_is_not_the_usual_one() {
        let config = options().validate().expect("good");
        assert_eq!(config.authority("a.example.com"), "a.example.com");
        assert_eq!(config.authority("::1"), "[::1]");
        let config = options().tls(false).endpoint("::1").port(8080).validate().expect("good");
        assert_eq!(config.authority("::1"), "[::1]:8080");
    }

    #[test]
    fn names_itself_and_the_sdks_built_upon_it() {
        let config = options().agent("chat", Some("1.2.3")).agent("wrapped", None).validate();
        let agent = config.expect("good").agent();
        let own = concat!("capably-rust/", env!("CARGO_PKG_VERSION"), " ");
        assert!(agent.starts_with(own), "{agent}");
        assert!(agent.ends_with(" chat/1.2.3 wrapped"), "{agent}");
    }

    #[test]
    fn watching_the_network_is_refused_where_the_build_cannot() {
        options().network_events(false).validate().expect("every build can leave it off");
        let watching = options().network_events(true);
        if cfg!(all(feature = "network-events", target_os = "linux")) {
            watching.validate().expect("the build can watch");
        } else {
            let error = refused(watching);
            assert_eq!((error.code().0, error.status()), (40000, Some(400)), "{error}");
            assert_eq!(error.detail().keys().collect::<Vec<_>>(), ["network_events"]);
            assert!(error.to_string().contains("feature `network-events`"), "{error}");
        }
    }

    #[test]
    fn the_websocket_of_the_connectivity_check_can_be_replaced() {
        let check =
            |options: ClientOptions| options.validate().expect("good").ws_connectivity_check();
        assert_eq!(check(options()).url(), "wss://ws-up.ably-realtime.com/");
        for url in ["ws://x.example:81/y?z=1", "wss://[::1]:8443/"] {
            let own = check(options().ws_connectivity_check_url(url));
            assert_eq!(own.url(), url);
        }
    }

    #[test]
    fn the_connectivity_check_url_can_be_replaced() {
        let config = options().validate().expect("good");
        assert_eq!(config.connectivity_check_url(), endpoint::CONNECTIVITY_CHECK_URL);
        let config = options().connectivity_check_url("http://x.example/y").validate();
        assert_eq!(config.expect("good").connectivity_check_url(), "http://x.example/y");
    }
}
