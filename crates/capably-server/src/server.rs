//! The server and its builder, as an application uses them.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    front::{self, Shared},
    service::Service,
};

mod builder;
mod error;
mod injection;

pub use builder::Builder;
pub(crate) use builder::LONGEST;
pub use error::ServerError;

/// A running server. Dropping it stops it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use capably_server::Server;
///
/// let server = Server::builder().start().await?;
/// println!("ws://{}:{}/?key={}", server.endpoint(), server.port(), server.key());
/// server.shutdown().await;
/// # Ok::<_, capably_server::ServerError>(())
/// # }).unwrap();
/// ```
pub struct Server {
    service: Service,
    /// The listener for operators, if it has an address of its own.
    metrics: Option<Service>,
    drain_notice: Duration,
    shared: Arc<Shared>,
    key: String,
}

impl Server {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The host to connect to, such as `127.0.0.1`.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// The port that the server listens on.
    pub fn port(&self) -> u16 {
        self.service.address().port()
    }

    /// The address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.service.address()
    }

    /// The key of the first app, with its secret.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many realtime clients are connected, in all apps.
    pub fn connections(&self) -> usize {
        self.shared.transports()
    }

    /// The address of the metrics, if [`Builder::metrics`] has set one: with the port that the system has chosen if it
    /// was 0.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Service::address)
    }

    /// The URL of the console, if [`Builder::console`] is on. Behind its `#` is a token that opens one session, and grants every
    /// right: show it to the operator only. Once it is used, the URL has none.
    #[cfg(feature = "console")]
    pub fn console_url(&self) -> Option<String> {
        let console = self.shared.console.as_ref()?;
        let endpoint = self.endpoint();
        let host =
            if endpoint.contains(':') { format!("[{endpoint}]") } else { endpoint.to_owned() };
        let scheme = if self.shared.has_tls() { "https" } else { "http" };
        Some(format!("{scheme}://{host}:{}{}", self.port(), console.path()))
    }

    /// Disconnects all clients within `timeout`, so that they reconnect to other servers, and stops the server.
    ///
    /// 1. `GET /health/ready` is answered with 503. For as long as [`Builder::drain_notice`] the server still accepts new
    ///    clients, so that a load balancer can notice.
    /// 2. New clients are refused with status 503 and code 80003, and try another host (RTN17f).
    /// 3. Connected clients get a DISCONNECTED with code 80003, and connect again at once (RTN15h3): a few every 100 ms,
    ///    spread over `timeout`, so that the other servers are not overrun. The server acknowledges everything that it has
    ///    accepted from a client before. REST requests are still answered.
    /// 4. When no client is connected any more, or `timeout` is over, the server [shuts down](Self::shutdown).
    ///
    /// A server with few clients drains sooner: ten clients at least are disconnected every 100 ms. If the future is
    /// dropped, the server accepts no clients any more, and it can still be shut down.
    pub async fn drain(&self, timeout: Duration) {
        front::operating::drain(&self.shared, self.drain_notice, timeout).await;
        self.shutdown().await;
    }

    /// Stops the server: sends every client a DISCONNECTED with code 80003, closes all sockets, ends all tasks and closes
    /// the engine. Returns when that is done, but waits no longer than three seconds for clients that do not read.
    pub async fn shutdown(&self) {
        self.shared.operating.readiness.close();
        tracing::info!(connections = self.connections(), "the server stops");
        self.service.stop();
        self.service.ended().await;
        if let Some(metrics) = &self.metrics {
            metrics.stop();
            metrics.ended().await;
        }
        // Only now: the tasks of the service may still have counted, and given entries to the engine.
        self.shared.finish().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A request to the engine that is under way keeps an app for a moment.
        self.shared.end_webhooks();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.service.address())
            .field("key", &redacted(&self.key))
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

fn redacted(key: &str) -> String {
    format!("{}:[redacted]", key.split(':').next().unwrap_or_default())
}
