//! The realtime client (RTC).

use std::sync::Arc;

use capably_core::{Client, Credentials as CoreCredentials, Now};
use capably_protocol::{ErrorCode, Millis, Stats, Str};
use tokio::{
    runtime::{Handle, TryCurrentError},
    time::Instant as TokioInstant,
};
use tracing::Instrument;

#[cfg(feature = "blocking")]
use crate::blocking;
use crate::{
    Auth, ClientOptions, Error, Rest, Result,
    http::{BoxFuture, HttpMethod},
    options::Config,
    outbox::{OutboxHandle, OutboxSlot, PreparedOutbox},
    plugin,
    rest::{HttpRequestBuilder, Pipeline, Push, Query},
    transport::{CometConnector, Connector, FallbackConnector, TcpConnector, Transport},
};

pub mod annotations;
mod callback;
mod changes;
mod channel;
mod connection;
mod driver;
pub mod objects;
pub mod presence;
mod publishing;
mod queue;
mod sdk_proxy;
mod subscribing;

pub use capably_core::{
    ChannelEvent, ChannelState, ChannelStateChange, ConnectionEvent, ConnectionState,
    ConnectionStateChange,
};
pub(crate) use changes::ChangeSender;
use driver::NetworkWatch;
pub(crate) use driver::{Command, StoredPublish, WeakDriverHandle};

pub use annotations::{AnnotationSubscription, Annotations};
pub use callback::{CallbackFlow, CallbackHandle};
pub use changes::Changes;
pub use channel::{Channel, ChannelProperties, Channels, DeriveOptions, RealtimeChannelOptions};
pub use connection::{Connection, ConnectionMetrics};
pub use objects::{PathObject, RealtimeObjects};
pub use presence::{Presence, PresenceSubscription};
pub use publishing::{ChangeReceipt, MessageChange, MessagePublish, Receipt};
pub use queue::Overflow;
pub use subscribing::{Gap, MessageFilter, Subscribe, Subscription, SubscriptionEvent};

/// A realtime client: one connection to the service, and the channels on it (RTC).
///
/// It is cheap to clone. Every clone, and every [`Connection`], [`Channel`] and [`Subscription`] made from it, is a
/// handle to the same client. When the last handle is dropped, the connection closes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use capably::{ClientOptions, Realtime};
///
/// let server = capably_server::Server::builder().start().await?;
/// let options = ClientOptions::new(server.key())
///     .endpoint(server.endpoint())
///     .port(server.port())
///     .tls(false);
/// let client = Realtime::connect(options).await?;
/// let channel = client.channels().get("greetings");
/// let mut messages = channel.subscribe().await?;
/// channel.publish("hello", "world").await?;
/// let message = messages.next().await.ok_or("the subscription ended")?;
/// assert_eq!(message.name.as_deref(), Some("hello"));
/// assert_eq!(message.data.as_str(), Some("world"));
/// client.close().await;
/// # Ok(())
/// # }
/// ```
///
/// # Time limits
/// Every call that the service answers ends: with a result, an error or a timeout. The service has the
/// [`realtime_request_timeout`](ClientOptions::realtime_request_timeout) to answer, or the connectionStateTtl (two
/// minutes, unless the service sets another value) to acknowledge a message, annotation or change of presence.
///
/// After a loss of the connection the call goes on, and its frame is sent again (RTN19). If the client stays without
/// a connection for the connectionStateTtl, it is suspended, and the call ends (RTN7e, RTL3c). If the connection is lost
/// again and again before the service answers, the call ends with the first loss after the connectionStateTtl and the
/// request timeout together. Publishes, annotations and changes of presence share this limit: each acknowledgement
/// renews it. Calls to attach and detach one channel run one after the other, each with its own limit.
#[derive(Clone, Debug)]
pub struct Realtime {
    connection: Connection,
    channels: Channels,
    rest: Rest,
}

impl Realtime {
    /// Makes a client, and starts to connect it in the background unless [`auto_connect`](ClientOptions::auto_connect)
    /// is off (RTC1b).
    ///
    /// # Errors
    /// One error that lists every wrong option; 40000 outside a tokio runtime, or if another client has used the
    /// [`outbox`](ClientOptions::outbox).
    /// With the feature `blocking`, a client that is made outside a runtime runs on the runtime of the blocking
    /// calls, and the error is 50000 when the system cannot start a thread.
    pub fn new(options: impl Into<ClientOptions>) -> Result<Self> {
        Self::start(options.into(), NetworkWatch::new)
    }

    fn start(
        options: ClientOptions,
        watch: impl FnOnce(&Config) -> Option<NetworkWatch>,
    ) -> Result<Self> {
        let runtime = Handle::try_current().or_else(without_runtime)?;
        let _context = runtime.enter();
        let config = Arc::new(options.validate()?);
        let seed = match config.options.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|error| {
                Error::new(ErrorCode::INTERNAL_ERROR, 0, "the system provides no random bytes")
                    .with_source(error)
            })?,
        };
        let network = watch(&config);
        let outbox = config.options.outbox.clone().map(|slot| {
            let OutboxSlot { store, policy } = slot;
            PreparedOutbox::start(&store, policy, &config, &runtime)
        });
        let outbox = outbox.transpose()?;
        let start = TokioInstant::now();
        let core = Client::new(Arc::new(core_config(&config)), seed, Now::default());
        let (handle, commands) = driver::DriverHandle::new(
            config.number,
            runtime.clone(),
            outbox.as_ref().map(PreparedOutbox::handle),
        );
        let shared = Arc::clone(&handle.shared);
        let auto_connect = config.options.auto_connect;
        let rest = Rest::with_config(config, Some(handle.downgrade()));
        let pipeline = Arc::clone(rest.pipeline());
        let connector = connector(&pipeline);
        let span = tracing::debug_span!("connection", primary = %pipeline.config().domains.primary);
        let driver =
            driver::Driver::new(core, pipeline, connector, shared, commands, network, start);
        if let Some(outbox) = outbox {
            let sender =
                outbox.sender(handle.downgrade(), rest.clone(), handle.shared.changes(&runtime));
            runtime.spawn(sender.run().instrument(span.clone()));
        }
        runtime.spawn(driver.instrument(span));
        let connection = Connection::new(handle.clone());
        if auto_connect {
            connection.connect();
        }
        Ok(Self { connection, channels: Channels::new(handle, rest.clone()), rest })
    }

    /// Makes a client, and returns it once it is connected.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new); the reason of the first failed attempt to connect. To keep trying after a
    /// failure, use `new`.
    pub async fn connect(options: impl Into<ClientOptions>) -> Result<Self> {
        let client = Self::new(options.into().auto_connect(false))?;
        let mut changes = client.connection.changes();
        client.connection.connect();
        while let Some(change) = changes.next().await {
            match change.current {
                ConnectionState::Connected => return Ok(client),
                ConnectionState::Initialized | ConnectionState::Connecting => {}
                ConnectionState::Disconnected
                | ConnectionState::Suspended
                | ConnectionState::Closing
                | ConnectionState::Closed
                | ConnectionState::Failed => {
                    return Err(change.reason.map_or_else(driver::gone, Error::from));
                }
            }
        }
        Err(driver::gone())
    }

    /// The connection (RTC2).
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The channels (RTC3).
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// The client's identity and its tokens, for the connection and REST (RTC4).
    pub fn auth(&self) -> &Auth {
        self.rest.auth()
    }

    /// The client id; the same as [`Auth::client_id`] (RTC17).
    pub fn client_id(&self) -> Option<Str> {
        self.auth().client_id()
    }

    /// The REST client with the same options and tokens. While the connection is to a fallback host, the REST client
    /// also uses that host first (RTN17e).
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The durable outbox; `None` without the option [`outbox`](ClientOptions::outbox).
    pub fn outbox(&self) -> Option<&OutboxHandle> {
        self.connection.outbox()
    }

    /// Push notifications (RTC13).
    pub fn push(&self) -> Push {
        self.rest.push()
    }

    /// Reads the app's statistics when awaited; see [`Rest::stats`] (RTC5).
    pub fn stats(&self) -> Query<Stats> {
        self.rest.stats()
    }

    /// Sends any REST request when awaited; see [`Rest::request`] (RTC9).
    pub fn request(&self, method: HttpMethod, path: impl AsRef<str>) -> HttpRequestBuilder {
        self.rest.request(method, path)
    }

    /// Reads the service's time when awaited, in ms since the epoch (RTC6).
    ///
    /// # Errors
    /// As for any REST request.
    pub fn time(&self) -> BoxFuture<'static, Result<Millis>> {
        self.rest.time()
    }

    /// Closes the connection when awaited; see [`Connection::close`] (RTC16).
    pub fn close(&self) -> BoxFuture<'static, ()> {
        self.connection.close()
    }
}

/// The runtime of a client that is made outside a runtime.
#[cfg(feature = "blocking")]
fn without_runtime(_: TryCurrentError) -> Result<Handle> {
    Ok(blocking::shared_runtime()?.handle().clone())
}

#[cfg(not(feature = "blocking"))]
fn without_runtime(error: TryCurrentError) -> Result<Handle> {
    Err(Error::new(ErrorCode::BAD_REQUEST, 0, "a realtime client needs a tokio runtime")
        .with_remedy(
            "make the client inside a tokio runtime, for example in a function with `#[tokio::main]`, or use the \
             feature `blocking`",
        )
        .with_source(error))
}

/// The connector for the transports of the options.
fn connector(pipeline: &Pipeline) -> Arc<dyn Connector> {
    let config = pipeline.config();
    let options = &config.options;
    let websocket = || {
        let built_in = || {
            let (proxies, tls) = (config.proxies.clone(), config.tls.clone());
            Arc::new(TcpConnector::new(proxies, tls)) as Arc<dyn Connector>
        };
        options.connector.clone().unwrap_or_else(built_in)
    };
    let comet = || Arc::new(CometConnector::new(pipeline.http_client()));
    if config.falls_back() {
        Arc::new(FallbackConnector::new(websocket(), comet(), config.ws_connectivity_check()))
    } else if options.transports.contains(&Transport::Comet) {
        comet()
    } else {
        websocket()
    }
}

fn core_config(config: &Config) -> capably_core::Config {
    let options = &config.options;
    let credentials = match &config.credentials.key {
        Some(key) if config.credentials.basic => CoreCredentials::Key(key.clone()),
        Some(_) | None => CoreCredentials::Tokens,
    };
    capably_core::Config {
        host: config.domains.primary.as_str().into(),
        fallback_hosts: config.domains.fallbacks.iter().map(|host| host.as_str().into()).collect(),
        client_id: options.client_id.as_deref().map(Into::into),
        format: config.format(),
        echo_messages: options.echo_messages,
        queue_messages: options.queue_messages,
        strict_mode: options.strict_mode,
        recover: config.recover.clone(),
        vcdiff: options.vcdiff.clone().map(plugin::guarded),
        transport_params: options.transport_params.clone(),
        agent: config.agent().into(),
        disconnected_retry_timeout: options.disconnected_retry_timeout,
        suspended_retry_timeout: options.suspended_retry_timeout,
        channel_retry_timeout: options.channel_retry_timeout,
        realtime_request_timeout: options.realtime_request_timeout,
        connect_timeout: config
            .falls_back()
            .then(|| options.realtime_request_timeout.saturating_mul(2)),
        max_message_size: options.max_message_size as u64,
        max_frame_size: options.max_frame_size as u64,
        ..capably_core::Config::new(credentials)
    }
}
