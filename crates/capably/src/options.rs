//! What a client can be told (TO3).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use capably_protocol::{Millis, TokenDetails, TokenParams, TokenRequest};

use crate::{
    auth::{AuthMethod, AuthOptions, CallbackError, Clock, TokenSource},
    http::HttpClient,
    proxy::ProxyOption,
    transport::Connector,
};

mod problems;
mod validate;

pub(crate) use problems::Problems;
pub(crate) use validate::Config;

/// How a client authenticates, where it connects, and how it behaves (TO1).
///
/// Setters never fail: the client's constructor checks everything at once and reports all that is
/// wrong in one error, each with its remedy. `Debug` shows no secret.
///
/// An API key or a token string converts into options (RSC1a): text with a colon is a key.
///
/// ```
/// use std::time::Duration;
/// use capably::{ClientOptions, Rest};
///
/// let options = ClientOptions::new("app.key:secret")
///     .client_id("ada")
///     .endpoint("sandbox")
///     .http_request_timeout(Duration::from_secs(5));
/// let rest = Rest::new(options)?;
/// assert_eq!(rest.auth().client_id().as_deref(), Some("ada"));
///
/// let error = Rest::new(ClientOptions::new("no-secret:").client_id("*")).unwrap_err();
/// assert_eq!(error.detail().keys().collect::<Vec<_>>(), ["client_id", "key"]);
/// # Ok::<(), capably::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    pub(crate) auth: AuthOptions,
    pub(crate) default_token_params: Option<TokenParams>,
    pub(crate) clock: Clock,
    pub(crate) client_id: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) fallback_hosts: Option<Vec<String>>,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) tls: bool,
    pub(crate) use_binary_protocol: bool,
    pub(crate) echo_messages: bool,
    pub(crate) queue_messages: bool,
    pub(crate) auto_connect: bool,
    pub(crate) recover: Option<String>,
    pub(crate) transport_params: BTreeMap<String, String>,
    pub(crate) idempotent_rest_publishing: bool,
    pub(crate) add_request_ids: bool,
    pub(crate) strict_mode: bool,
    pub(crate) disconnected_retry_timeout: Duration,
    pub(crate) suspended_retry_timeout: Duration,
    pub(crate) channel_retry_timeout: Duration,
    pub(crate) http_open_timeout: Duration,
    pub(crate) http_request_timeout: Duration,
    pub(crate) realtime_request_timeout: Duration,
    pub(crate) http_max_retry_count: usize,
    pub(crate) http_max_retry_duration: Duration,
    pub(crate) fallback_retry_timeout: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) max_frame_size: usize,
    pub(crate) connectivity_check_url: Option<String>,
    pub(crate) agents: Vec<(String, Option<String>)>,
    pub(crate) proxy: ProxyOption,
    pub(crate) http_client: Option<Arc<dyn HttpClient>>,
    pub(crate) connector: Option<Arc<dyn Connector>>,
}

impl Default for ClientOptions {
    /// The specification's defaults, without credentials: add a [`key`](Self::key), a
    /// [`token`](Self::token), or a way to [get tokens](crate::auth).
    fn default() -> Self {
        Self {
            auth: AuthOptions::default(),
            default_token_params: None,
            clock: Clock::default(),
            client_id: None,
            endpoint: None,
            fallback_hosts: None,
            port: 80,
            tls_port: 443,
            tls: true,
            use_binary_protocol: true,
            echo_messages: true,
            queue_messages: true,
            auto_connect: true,
            recover: None,
            transport_params: BTreeMap::new(),
            idempotent_rest_publishing: true,
            add_request_ids: false,
            strict_mode: false,
            disconnected_retry_timeout: Duration::from_secs(15),
            suspended_retry_timeout: Duration::from_secs(30),
            channel_retry_timeout: Duration::from_secs(15),
            http_open_timeout: Duration::from_secs(4),
            http_request_timeout: Duration::from_secs(10),
            realtime_request_timeout: Duration::from_secs(10),
            http_max_retry_count: 3,
            http_max_retry_duration: Duration::from_secs(15),
            fallback_retry_timeout: Duration::from_secs(600),
            max_message_size: 65_536,
            max_frame_size: 524_288,
            connectivity_check_url: None,
            agents: Vec::new(),
            proxy: ProxyOption::default(),
            http_client: None,
            connector: None,
        }
    }
}

impl ClientOptions {
    /// Options with an API key, or with a token when the text has no colon (RSC1a).
    pub fn new(key_or_token: impl Into<String>) -> Self {
        let text = key_or_token.into();
        if text.contains(':') { Self::default().key(text) } else { Self::default().token(text) }
    }

    /// The API key, as the dashboard shows it: `appId.keyId:secret` (TO3j1).
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.auth = self.auth.key(key);
        self
    }

    /// A token to authenticate with (TO3j2). It goes before a key (RSA4).
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.auth = self.auth.token(token);
        self
    }

    /// A token to authenticate with, with what is known of it (TO3j3).
    #[must_use]
    pub fn token_details(mut self, details: TokenDetails) -> Self {
        self.auth = self.auth.token_details(details);
        self
    }

    /// A signed request to exchange for the first token (TO3j2). Without another way to get tokens, that
    /// one cannot be renewed.
    #[must_use]
    pub fn token_request(mut self, request: TokenRequest) -> Self {
        self.auth = self.auth.token_request(request);
        self
    }

    /// Whether to authenticate with a token rather than with the key itself; when nothing is said, a token
    /// is used if there is one, or another way than the key to get one (TO3j4, RSA4).
    #[must_use]
    pub fn use_token_auth(mut self, token: bool) -> Self {
        self.auth = self.auth.use_token_auth(token);
        self
    }

    /// Asks this function for a token whenever one is needed (TO3j5); see
    /// [`AuthOptions::auth_callback`].
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

    /// Asks this URL for a token whenever one is needed (TO3j6); see [`AuthOptions::auth_url`].
    #[must_use]
    pub fn auth_url(mut self, url: impl Into<String>) -> Self {
        self.auth = self.auth.auth_url(url);
        self
    }

    /// How to ask the auth URL; GET by default (TO3j7).
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

    /// Whether to date token requests by the service's clock; false by default (TO3j10).
    #[must_use]
    pub fn query_time(mut self, query: bool) -> Self {
        self.auth = self.auth.query_time(query);
        self
    }

    /// What tokens are to be like when nothing else is said (TO3j11). Timestamp and nonce are good for one
    /// request and left out; [`client_id`](Self::client_id) goes before theirs (RSA7a4).
    #[must_use]
    pub fn default_token_params(mut self, params: TokenParams) -> Self {
        self.default_token_params = Some(params);
        self
    }

    /// The wall clock that tests set: ms since the epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn wall_clock(mut self, now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }

    /// Who the client is (TO3a). It cannot be `*` (RSA7c).
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Which service to use: a routing policy such as `sandbox` or `nonprod:sandbox`, or a host name
    /// or address without port (TO3k8, REC1b). The default is Ably's global service.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Hosts to try when the first one fails, in place of those that the endpoint implies; an empty
    /// list turns fallback off (TO3k6, REC2a).
    #[must_use]
    pub fn fallback_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fallback_hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// The port without TLS; 80 by default (TO3k4).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port with TLS; 443 by default (TO3k5).
    #[must_use]
    pub fn tls_port(mut self, port: u16) -> Self {
        self.tls_port = port;
        self
    }

    /// Whether connections use TLS; true by default (TO3d).
    ///
    /// Without TLS an API key is refused with code 40103, because whoever sees the traffic sees the
    /// key (RSC18). Loopback hosts (`localhost`, `127.0.0.0/8`, `::1`) are the exception, for a
    /// server under development: their traffic does not leave the machine. A token works with any
    /// host.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Whether to speak MessagePack rather than JSON; true by default (TO3f).
    #[must_use]
    pub fn use_binary_protocol(mut self, binary: bool) -> Self {
        self.use_binary_protocol = binary;
        self
    }

    /// Whether a connection receives the messages it published itself; true by default (TO3h).
    #[must_use]
    pub fn echo_messages(mut self, echo: bool) -> Self {
        self.echo_messages = echo;
        self
    }

    /// Whether to keep what is published while there is no connection, until there is one; true by
    /// default (TO3g).
    #[must_use]
    pub fn queue_messages(mut self, queue: bool) -> Self {
        self.queue_messages = queue;
        self
    }

    /// Whether a realtime client connects when it is created; true by default (TO3e).
    #[must_use]
    pub fn auto_connect(mut self, connect: bool) -> Self {
        self.auto_connect = connect;
        self
    }

    /// The recovery key of an earlier connection to continue (TO3i). One that cannot be read is
    /// logged and left out (RTN16f1).
    #[must_use]
    pub fn recover(mut self, recovery_key: impl Into<String>) -> Self {
        self.recover = Some(recovery_key.into());
        self
    }

    /// Adds a parameter to the query string of realtime connections (TO3q); it goes before one of
    /// the same name that the SDK sends (RTC1f1).
    #[must_use]
    pub fn transport_param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.transport_params.insert(name.into(), value.to_string());
        self
    }

    /// Adds several parameters to the query string of realtime connections (TO3q).
    #[must_use]
    pub fn transport_params<N: Into<String>, V: ToString>(
        mut self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let params = params.into_iter().map(|(name, value)| (name.into(), value.to_string()));
        self.transport_params.extend(params);
        self
    }

    /// Whether REST publishes get ids that let the service drop a repetition; true by default (TO3n,
    /// RSL1k1).
    #[must_use]
    pub fn idempotent_rest_publishing(mut self, idempotent: bool) -> Self {
        self.idempotent_rest_publishing = idempotent;
        self
    }

    /// Whether every REST request carries a random id, which an error then names; false by default
    /// (TO3p, RSC7c).
    #[must_use]
    pub fn add_request_ids(mut self, add: bool) -> Self {
        self.add_request_ids = add;
        self
    }

    /// Whether operations that cannot have their effect fail, rather than be logged as errors; false by
    /// default (TO3r). They are subscribing without the mode `subscribe`, which fails with 90009 (RTL7i), and
    /// asking for members without `presence_subscribe`, 91008 (RTP11f).
    #[must_use]
    pub fn strict_mode(mut self, strict: bool) -> Self {
        self.strict_mode = strict;
        self
    }

    /// How long to wait in DISCONNECTED before connecting again; 15 s by default (TO3l1).
    #[must_use]
    pub fn disconnected_retry_timeout(mut self, timeout: Duration) -> Self {
        self.disconnected_retry_timeout = timeout;
        self
    }

    /// How long to wait in SUSPENDED before connecting again; 30 s by default (TO3l2).
    #[must_use]
    pub fn suspended_retry_timeout(mut self, timeout: Duration) -> Self {
        self.suspended_retry_timeout = timeout;
        self
    }

    /// How long a suspended channel waits before attaching again; 15 s by default (TO3l7).
    #[must_use]
    pub fn channel_retry_timeout(mut self, timeout: Duration) -> Self {
        self.channel_retry_timeout = timeout;
        self
    }

    /// How long opening an HTTP connection may take, TLS included; 4 s by default (TO3l3).
    #[must_use]
    pub fn http_open_timeout(mut self, timeout: Duration) -> Self {
        self.http_open_timeout = timeout;
        self
    }

    /// How long one HTTP request and its response may take; 10 s by default (TO3l4).
    #[must_use]
    pub fn http_request_timeout(mut self, timeout: Duration) -> Self {
        self.http_request_timeout = timeout;
        self
    }

    /// How long to wait for the answer to a realtime request, such as connect, attach or close; 10 s by
    /// default (TO3l11).
    #[must_use]
    pub fn realtime_request_timeout(mut self, timeout: Duration) -> Self {
        self.realtime_request_timeout = timeout;
        self
    }

    /// How many fallback hosts to try for one HTTP request; 3 by default (TO3l5).
    #[must_use]
    pub fn http_max_retry_count(mut self, count: usize) -> Self {
        self.http_max_retry_count = count;
        self
    }

    /// After how long no further fallback host is tried for an HTTP request; 15 s by default (TO3l6).
    #[must_use]
    pub fn http_max_retry_duration(mut self, duration: Duration) -> Self {
        self.http_max_retry_duration = duration;
        self
    }

    /// How long a fallback host that worked is preferred; 10 minutes by default (TO3l10).
    #[must_use]
    pub fn fallback_retry_timeout(mut self, timeout: Duration) -> Self {
        self.fallback_retry_timeout = timeout;
        self
    }

    /// The most that one publish may hold, in bytes as TM6 counts them; 65,536 by default (TO3l8). The
    /// service's own limit replaces it on realtime connections (CD2c).
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The most that one request body or frame may hold, in bytes; 524,288 by default (TO3l9). A larger
    /// body is refused with code 40009. The service's own limit replaces it for the REST requests of a
    /// realtime client (CD2d).
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Where to ask whether there is a network at all, when a realtime connection fails (REC3b).
    #[must_use]
    pub fn connectivity_check_url(mut self, url: impl Into<String>) -> Self {
        self.connectivity_check_url = Some(url.into());
        self
    }

    /// Adds a product to the `Ably-Agent` header: only for SDKs built upon this one, which name
    /// themselves with it (RSC7d6).
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>, version: Option<&str>) -> Self {
        self.agents.push((name.into(), version.map(str::to_owned)));
        self
    }

    /// Connects through this HTTP proxy, `http://host:port`, with `user:password@` before the host if it
    /// wants to know who asks; what stands there is percent-encoded.
    ///
    /// Connections with TLS and WebSockets go through a tunnel that it opens (CONNECT); it sees no more of
    /// them than the host. By default the environment says whether there is a proxy: `HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them, but never for hosts on this machine.
    /// A client or connector of one's own does as it likes.
    ///
    /// ```
    /// use capably::{ClientOptions, Rest};
    ///
    /// let options = ClientOptions::new("app.key:secret").proxy("http://ada:pa%20ss@proxy.example:3128");
    /// assert!(!format!("{options:?}").contains("pa%20ss"));
    /// let rest = Rest::new(options)?;
    ///
    /// let error = Rest::new(ClientOptions::new("app.key:secret").proxy("ftp://x")).unwrap_err();
    /// assert_eq!(error.code().0, 40000);
    /// # Ok::<(), capably::Error>(())
    /// ```
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = ProxyOption::Url(url.into());
        self
    }

    /// Connects without a proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyOption::None;
        self
    }

    /// Sends HTTP requests through this client rather than the built-in one: for tests, or another HTTP
    /// stack.
    #[must_use]
    pub fn http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Opens WebSockets through this connector rather than the built-in one: for tests, or another
    /// WebSocket library.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = Some(connector);
        self
    }
}

impl From<&str> for ClientOptions {
    fn from(key_or_token: &str) -> Self {
        Self::new(key_or_token)
    }
}

impl From<String> for ClientOptions {
    fn from(key_or_token: String) -> Self {
        Self::new(key_or_token)
    }
}

impl From<&String> for ClientOptions {
    fn from(key_or_token: &String) -> Self {
        Self::new(key_or_token.as_str())
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("auth", &self.auth)
            .field("default_token_params", &self.default_token_params)
            .field("client_id", &self.client_id)
            .field("endpoint", &self.endpoint)
            .field("fallback_hosts", &self.fallback_hosts)
            .field("port", &self.port)
            .field("tls_port", &self.tls_port)
            .field("tls", &self.tls)
            .field("use_binary_protocol", &self.use_binary_protocol)
            .field("echo_messages", &self.echo_messages)
            .field("queue_messages", &self.queue_messages)
            .field("auto_connect", &self.auto_connect)
            .field("recover", &self.recover.as_ref().map(|_| "[redacted]"))
            // Values may be credentials, such as a token given as a parameter.
            .field("transport_params", &self.transport_params.keys())
            .field("idempotent_rest_publishing", &self.idempotent_rest_publishing)
            .field("add_request_ids", &self.add_request_ids)
            .field("strict_mode", &self.strict_mode)
            .field("disconnected_retry_timeout", &self.disconnected_retry_timeout)
            .field("suspended_retry_timeout", &self.suspended_retry_timeout)
            .field("channel_retry_timeout", &self.channel_retry_timeout)
            .field("http_open_timeout", &self.http_open_timeout)
            .field("http_request_timeout", &self.http_request_timeout)
            .field("realtime_request_timeout", &self.realtime_request_timeout)
            .field("http_max_retry_count", &self.http_max_retry_count)
            .field("http_max_retry_duration", &self.http_max_retry_duration)
            .field("fallback_retry_timeout", &self.fallback_retry_timeout)
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("connectivity_check_url", &self.connectivity_check_url)
            .field("agents", &self.agents)
            .field("proxy", &self.proxy)
            .field("http_client", &self.http_client.is_some())
            .field("connector", &self.connector.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // UTS: rest/unit/RSL1k1/idempotent-default-true-0
    // Spec: TO1, TO3, TO3d, TO3e, TO3f, TO3g, TO3h, TO3l, TO3l1, TO3l2, TO3l3, TO3l4, TO3l5, TO3l6, TO3l7
    // Spec: TO3l8, TO3l9, TO3l10, TO3l11, TO3n, TO3p, TO3q, TO3r
    #[test]
    fn defaults_are_the_specification_s() {
        let options = ClientOptions::new("app.key:secret");
        assert!(options.idempotent_rest_publishing);
        assert!(options.tls && options.use_binary_protocol);
        assert!(options.auto_connect && options.echo_messages && options.queue_messages);
        assert!(!options.add_request_ids && !options.strict_mode);
        assert!(options.transport_params.is_empty());
        assert_eq!((options.port, options.tls_port), (80, 443));
        let seconds = [
            options.disconnected_retry_timeout,
            options.suspended_retry_timeout,
            options.channel_retry_timeout,
            options.http_open_timeout,
            options.http_request_timeout,
            options.realtime_request_timeout,
            options.http_max_retry_duration,
            options.fallback_retry_timeout,
        ]
        .map(|duration| duration.as_secs());
        assert_eq!(seconds, [15, 30, 15, 4, 10, 10, 15, 600]);
        assert_eq!(options.http_max_retry_count, 3);
        assert_eq!((options.max_message_size, options.max_frame_size), (65_536, 524_288));
    }

    // UTS: rest/unit/TO3/client-options-attributes-0
    // Spec: TO3a, TO3j, TO3j7, TO3j10
    #[test]
    fn options_hold_what_they_are_told() {
        let options = ClientOptions::default();
        let auth = format!("{:?}", options.auth);
        assert!(auth.contains("method: Get") && auth.contains("query_time: false"), "{auth}");
        assert_eq!((options.client_id, options.endpoint, options.recover), (None, None, None));
        assert!(options.default_token_params.is_none());

        let options = ClientOptions::default()
            .key("appId.keyId:keySecret")
            .client_id("my-client")
            .endpoint("test")
            .tls(false)
            .http_request_timeout(Duration::from_secs(30))
            .use_binary_protocol(false)
            .idempotent_rest_publishing(false)
            .add_request_ids(true)
            .recover("key");
        assert_eq!(options.auth.key.as_deref(), Some("appId.keyId:keySecret"));
        assert_eq!(options.client_id.as_deref(), Some("my-client"));
        assert_eq!(options.endpoint.as_deref(), Some("test"));
        assert_eq!(options.recover.as_deref(), Some("key"));
        assert_eq!(options.http_request_timeout.as_millis(), 30_000);
        assert!(!options.tls && !options.use_binary_protocol);
        assert!(!options.idempotent_rest_publishing && options.add_request_ids);
    }

    // The host is named by `endpoint`, which came in the place of `restHost`.
    // UTS: rest/unit/TO3/client-options-custom-hosts-1
    // Spec: TO3k, TO3k6, TO3k8
    #[test]
    fn hosts_can_be_named() {
        let hosts = ["fallback1.example.com", "fallback2.example.com"];
        let options = ClientOptions::new("appId.keyId:keySecret")
            .endpoint("custom.ably.example.com")
            .fallback_hosts(hosts);
        assert_eq!(options.endpoint.as_deref(), Some("custom.ably.example.com"));
        assert_eq!(options.fallback_hosts.as_deref(), Some(&hosts.map(str::to_owned)[..]));
    }

    #[test]
    fn the_environment_says_which_proxy_unless_told_otherwise() {
        let options = ClientOptions::default();
        assert!(matches!(options.proxy, ProxyOption::Environment));
        let options = options.proxy("http://proxy.example");
        assert!(matches!(&options.proxy, ProxyOption::Url(url) if url == "http://proxy.example"));
        assert!(matches!(options.no_proxy().proxy, ProxyOption::None));
    }

    #[test]
    fn text_with_a_colon_is_a_key_and_any_other_a_token() {
        for text in ["app.key:secret", "a:b:c"] {
            let options = ClientOptions::from(text);
            assert_eq!(
                (options.auth.key.as_deref(), options.auth.token),
                (Some(text), None),
                "RSC1a"
            );
        }
        for text in ["opaque", "app.token-part", "eyJhbGci.eyJpYXQi.c2ln"] {
            let options = ClientOptions::from(text.to_owned());
            let token = options.auth.token.map(|token| token.token);
            assert_eq!((options.auth.key, token.as_deref()), (None, Some(text)), "RSC1a");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = ClientOptions::new("app.key:s3cr3t")
            .token("s3cr3t-token")
            .recover("{\"connectionKey\":\"s3cr3t\"}")
            .transport_param("accessToken", "s3cr3t");
        let text = format!("{options:?}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("app.key:[redacted]"), "{text}");
        let text = format!("{:?}", ClientOptions::default().key("s3cr3t-without-colon"));
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}
