//! The options of a client (TO3).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use capably_protocol::{Millis, TokenParams};

use crate::{
    auth::{AuthOptions, Clock},
    http::HttpClient,
    outbox::OutboxSlot,
    plugin::VcdiffDecoder,
    proxy::ProxyOption,
    push::PushOptions,
    transport::{Connector, Transport},
};

mod auth;
mod limits;
mod network;
mod outbox;
mod problems;
mod validate;

pub(crate) use problems::Problems;
pub(crate) use validate::Config;

/// The options of a client: its credentials, its hosts, and its behaviour (TO1).
///
/// Setters never fail. The client's constructor checks all options, and reports every wrong one in one error, with a
/// remedy for each. `Debug` shows no secret.
///
/// An API key or a token string converts into options: text with a colon is a key (RSC1a).
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
    pub(crate) seed: Option<u64>,
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
    pub(crate) transports: Vec<Transport>,
    pub(crate) ws_connectivity_check_url: Option<String>,
    /// `None` is the default: watch where that is possible and useful.
    pub(crate) network_events: Option<bool>,
    pub(crate) agents: Vec<(String, Option<String>)>,
    pub(crate) proxy: ProxyOption,
    /// In PEM.
    pub(crate) root_certificates: Vec<Vec<u8>>,
    pub(crate) http_client: Option<Arc<dyn HttpClient>>,
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) vcdiff: Option<Arc<dyn VcdiffDecoder>>,
    pub(crate) outbox: Option<OutboxSlot>,
    pub(crate) push: Option<PushOptions>,
}

impl Default for ClientOptions {
    /// The specification's defaults, without credentials. Add a [`key`](Self::key), a [`token`](Self::token), or a
    /// way to
    /// [get tokens](crate::auth).
    fn default() -> Self {
        Self {
            auth: AuthOptions::default(),
            default_token_params: None,
            clock: Clock::default(),
            seed: None,
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
            transports: vec![Transport::WebSocket],
            ws_connectivity_check_url: None,
            network_events: None,
            agents: Vec::new(),
            proxy: ProxyOption::default(),
            root_certificates: Vec::new(),
            http_client: None,
            connector: None,
            vcdiff: None,
            outbox: None,
            push: None,
        }
    }
}

impl ClientOptions {
    /// Options with an API key, or with a token when the text has no colon (RSC1a).
    pub fn new(key_or_token: impl Into<String>) -> Self {
        let text = key_or_token.into();
        if text.contains(':') { Self::default().key(text) } else { Self::default().token(text) }
    }

    /// Replaces the wall clock, for tests. It returns ms since the epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn wall_clock(mut self, now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }

    /// Sets the seed of a realtime client's jitter and choice of hosts, for tests. By default it is random.
    #[doc(hidden)]
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the client id (TO3a). It cannot be `*` (RSA7c).
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Whether to use MessagePack instead of JSON; true by default (TO3f).
    #[must_use]
    pub fn use_binary_protocol(mut self, binary: bool) -> Self {
        self.use_binary_protocol = binary;
        self
    }

    /// Whether a connection receives its own messages; true by default (TO3h).
    #[must_use]
    pub fn echo_messages(mut self, echo: bool) -> Self {
        self.echo_messages = echo;
        self
    }

    /// Whether to queue messages that are published without a connection, until there is one; true by default (TO3g).
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

    /// Continues an earlier connection with its recovery key (TO3i). An invalid key is logged and ignored (RTN16f1).
    #[must_use]
    pub fn recover(mut self, recovery_key: impl Into<String>) -> Self {
        self.recover = Some(recovery_key.into());
        self
    }

    /// Whether REST publishes get ids with which the service drops duplicates; true by default (TO3n, RSL1k1).
    #[must_use]
    pub fn idempotent_rest_publishing(mut self, idempotent: bool) -> Self {
        self.idempotent_rest_publishing = idempotent;
        self
    }

    /// Whether every REST request has a random id, which its error then contains; false by default (TO3p, RSC7c).
    #[must_use]
    pub fn add_request_ids(mut self, add: bool) -> Self {
        self.add_request_ids = add;
        self
    }

    /// Whether operations without effect fail instead of being logged as errors; false by default (TO3r). Subscribing
    /// without the mode `subscribe` fails with 90009 (RTL7i), and getting members without `presence_subscribe` with
    /// 91008 (RTP11f).
    #[must_use]
    pub fn strict_mode(mut self, strict: bool) -> Self {
        self.strict_mode = strict;
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
            // Values may be credentials, such as a token in a parameter.
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
            .field("transports", &self.transports)
            .field("ws_connectivity_check_url", &self.ws_connectivity_check_url)
            .field("network_events", &self.network_events)
            .field("agents", &self.agents)
            .field("proxy", &self.proxy)
            .field("root_certificates", &self.root_certificates.len())
            .field("http_client", &self.http_client.is_some())
            .field("connector", &self.connector.is_some())
            .field("vcdiff", &self.vcdiff)
            .field("outbox", &self.outbox)
            .field("push", &self.push)
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
