//! Options for hosts and connections (TO3k).

use std::sync::Arc;

use hyper::Uri;

use super::ClientOptions;
use crate::{
    Error, ErrorCode, Result,
    endpoint::Domains,
    http::{HttpClient, HttpProxy},
    proxy::ProxyOption,
    transport::{Connector, Transport},
};

/// Hosts and connections.
impl ClientOptions {
    /// Sets the service to use: a routing policy such as `sandbox` or `nonprod:sandbox`, or a host name or address
    /// without port (TO3k8, REC1b). An IPv6 address may have brackets, and `localhost` may have any case. The default
    /// is Ably's global service.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the hosts to try when the first host fails. They replace the fallback hosts of the endpoint; an empty list
    /// turns fallback off (TO3k6, REC2a).
    #[must_use]
    pub fn fallback_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fallback_hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// The hosts that a client with these options connects to: the primary domain, then the fallback domains (REC1, REC2).
    /// A firewall must let a client reach all of them.
    ///
    /// ```
    /// let hosts = capably::ClientOptions::new("app.key:secret").hosts();
    /// assert_eq!(hosts[0], "main.realtime.ably.net");
    /// assert_eq!(hosts.len(), 6);
    /// ```
    pub fn hosts(&self) -> Vec<String> {
        let Domains { primary, fallbacks } =
            Domains::new(self.endpoint.as_deref(), self.fallback_hosts.as_deref());
        std::iter::once(primary).chain(fallbacks).collect()
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
    /// Without TLS an API key is refused with code 40103, because anyone who can read the traffic could read the key
    /// (RSC18). Loopback hosts (`localhost`, `127.0.0.0/8`, `::1`) are the exception, for servers under development:
    /// their traffic does not leave the machine. A token works with any host.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Trusts the certificates in this PEM as additional roots, for REST and realtime: those of a service with a private
    /// certificate authority, or of a proxy that inspects TLS. May be called several times. The Mozilla roots stay trusted.
    ///
    /// An [`http_client`](Self::http_client) or [`connector`](Self::connector) of your own does not use this option.
    ///
    /// # Errors
    /// The client's constructor returns 40000 for a text that has no certificate in PEM, and in a build without the cargo
    /// feature `tls`.
    ///
    /// ```
    /// use capably::{ClientOptions, Rest};
    ///
    /// # fn connect(pem: Vec<u8>) -> capably::Result<Rest> {
    /// // `pem` is the content of the file private-root.pem.
    /// let options = ClientOptions::new("app.key:secret").endpoint("ably.example").root_certificate(pem);
    /// let rest = Rest::new(options)?;
    /// # Ok(rest)
    /// # }
    /// # assert_eq!(connect(b"nonsense".to_vec()).unwrap_err().code().0, 40000);
    /// ```
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }

    /// Connects through this HTTP proxy, `http://host:port`. If the proxy needs authentication, add `user:password@`
    /// before the host, percent-encoded.
    ///
    /// Connections with TLS and WebSockets use a tunnel (CONNECT), in which the proxy sees nothing but the host. By
    /// default the environment determines the proxy: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, as in
    /// curl, but never for hosts on this machine. An [`http_client`](Self::http_client) or
    /// [`connector`](Self::connector) of your own does not use this option.
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

    /// Connects without a proxy, and ignores the environment.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyOption::None;
        self
    }

    /// The proxy that a client with these options connects through to reach a host; `None` for a direct connection.
    ///
    /// It is the [`proxy`](Self::proxy) of the options, or else the one that the environment names for the host. For
    /// the network of an organisation, and for tools that explain why a connection fails.
    ///
    /// # Errors
    /// 40000 for an option `proxy` that is not the URL of an HTTP proxy, and for a proxy in the environment that has
    /// another protocol than HTTP: a client does not connect then.
    ///
    /// ```
    /// let options = capably::ClientOptions::new("app.key:secret").proxy("http://ada:pass@proxy.example:3128");
    /// let proxy = options.proxy_for("main.realtime.ably.net")?.expect("the option names one");
    /// assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
    /// assert_eq!(proxy.authorization(), Some("Basic YWRhOnBhc3M="));
    /// assert!(options.no_proxy().proxy_for("main.realtime.ably.net")?.is_none());
    /// # Ok::<(), capably::Error>(())
    /// ```
    pub fn proxy_for(&self, host: &str) -> Result<Option<HttpProxy>> {
        let bad = |message: String| Error::new(ErrorCode::BAD_REQUEST, 400, message);
        let proxies = self.proxy.proxies().ok_or_else(|| {
            bad("option `proxy`: the text is not the URL of an HTTP proxy".to_owned())
        })?;
        let (scheme, port) = if self.tls { ("https", self.tls_port) } else { ("http", self.port) };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let target = format!("{scheme}://{host}:{port}/").parse::<Uri>();
        let target = target.map_err(|_| bad(format!("`{host}` is not a host")))?;
        proxies.of(&target).map_err(|error| bad(error.to_string()))
    }

    /// Sets the URL that a realtime client requests after a failed connection, to find out whether the internet can be
    /// reached (REC3b).
    #[must_use]
    pub fn connectivity_check_url(mut self, url: impl Into<String>) -> Self {
        self.connectivity_check_url = Some(url.into());
        self
    }

    /// Sets the transports of realtime connections; a WebSocket alone by default (RTN1).
    ///
    /// With [`Transport::Comet`] as well, a client connects with HTTP requests where the network lets no WebSocket
    /// through, such as behind a proxy that refuses the upgrade. WebSockets come first, in whatever order the
    /// transports are listed. If one cannot be opened, or takes longer than two fifths of the
    /// [`realtime_request_timeout`](Self::realtime_request_timeout), the client opens another to the [check
    /// URL](Self::ws_connectivity_check_url). If that fails, too, it connects over comet. Later attempts to connect
    /// begin with comet, until a check succeeds. An attempt may take twice the `realtime_request_timeout`.
    ///
    /// A connection goes on when its transport changes: it is resumed. Comet carries JSON, also with the
    /// [binary protocol](Self::use_binary_protocol). It uses the [`http_client`](Self::http_client) and the
    /// [`proxy`](Self::proxy) of the options.
    ///
    /// # Errors
    /// The client's constructor returns 40000 for an empty list.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// use capably::{ClientOptions, Realtime, transport::Transport};
    ///
    /// let options = ClientOptions::new(server.key())
    ///     .endpoint(server.endpoint())
    ///     .port(server.port())
    ///     .tls(false)
    ///     .transports([Transport::WebSocket, Transport::Comet]);
    /// let client = Realtime::connect(options).await?;
    /// client.channels().get("greetings").publish("hello", "world").await?;
    /// client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// Sets the URL, `wss` or `ws`, of the WebSocket that a client opens to find out whether the network lets
    /// WebSockets through. Only a client with several [transports](Self::transports) uses it. By default it is a host
    /// of Ably.
    #[must_use]
    pub fn ws_connectivity_check_url(mut self, url: impl Into<String>) -> Self {
        self.ws_connectivity_check_url = Some(url.into());
        self
    }

    /// Whether a realtime client watches the machine's network, and so notices at once when the network is gone or
    /// back (RTN20). This needs the cargo feature `network-events` and Linux.
    ///
    /// By default a client watches the network if the feature is enabled, except for a service on this machine and
    /// with a [connector](Self::connector) of your own, whose connections may use another network. `true` watches in
    /// these cases, too. `false` turns the watch off, also when another crate of the program enables the feature.
    ///
    /// # Errors
    /// With `true`, the client's constructor returns 40000 in a build that cannot watch the network. Use
    /// [`Connection::network_available`](crate::realtime::Connection::network_available) and
    /// [`network_lost`](crate::realtime::Connection::network_lost) there.
    ///
    /// ```
    /// use capably::{ClientOptions, Realtime};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> capably::Result<()> {
    /// let options = ClientOptions::new("app.key:secret").auto_connect(false).network_events(false);
    /// let client = Realtime::new(options)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn network_events(mut self, watch: bool) -> Self {
        self.network_events = Some(watch);
        self
    }

    /// Adds a parameter to the query string of realtime connections (TO3q). It replaces a parameter of the SDK with the
    /// same name (RTC1f1).
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

    /// Adds an agent to the `Ably-Agent` header. Only SDKs that are built on this one need it, to name themselves
    /// (RSC7d6).
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>, version: Option<&str>) -> Self {
        self.agents.push((name.into(), version.map(str::to_owned)));
        self
    }

    /// Sends HTTP requests with this client instead of the built-in one: for tests, or for another HTTP stack.
    #[must_use]
    pub fn http_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Opens WebSockets with this connector instead of the built-in one: for tests, or for another WebSocket library.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = Some(connector);
        self
    }
}
