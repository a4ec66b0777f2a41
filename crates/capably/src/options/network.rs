//! Where a client connects, and by which way (TO3k).

use std::sync::Arc;

use super::ClientOptions;
use crate::{http::HttpClient, proxy::ProxyOption, transport::Connector};

/// Where to connect.
impl ClientOptions {
    /// Which service to use: a routing policy such as `sandbox` or `nonprod:sandbox`, or a host name
    /// or address without port (TO3k8, REC1b). An IPv6 address may have brackets, and `localhost` may be
    /// written in any case. The default is Ably's global service.
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

    /// Where to ask whether there is a network at all, when a realtime connection fails (REC3b).
    #[must_use]
    pub fn connectivity_check_url(mut self, url: impl Into<String>) -> Self {
        self.connectivity_check_url = Some(url.into());
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

    /// Adds a product to the `Ably-Agent` header: only for SDKs built upon this one, which name
    /// themselves with it (RSC7d6).
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>, version: Option<&str>) -> Self {
        self.agents.push((name.into(), version.map(str::to_owned)));
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
