//! The REST client: publishing and reading over HTTP, without a connection (RSC).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use capably::{ClientOptions, Rest, rest::Direction};
//!
//! let server = capably_server::Server::builder().start().await?;
//! let options = ClientOptions::new(server.key())
//!     .endpoint(server.endpoint())
//!     .port(server.port())
//!     .tls(false);
//! let rest = Rest::new(options)?;
//!
//! let channel = rest.channels().get("greetings");
//! channel.publish("hello", "world").await?;
//!
//! let page = channel.history().direction(Direction::Forwards).limit(50).await?;
//! assert_eq!(page.items()[0].name.as_deref(), Some("hello"));
//! assert_eq!(page.items()[0].data.as_str(), Some("world"));
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | publish, read history and status | [`RestChannel`] |
//! | read pages, one after the other or as a stream | [`PaginatedResult`] |
//! | read, change and delete single messages | [`mutation`] |
//! | annotate messages | [`annotations`] |
//! | read and change shared maps and counters | [`objects`] |
//! | read the present members | [`presence`] |
//! | publish to many channels, or read their presence, in one request | [`batch`] |
//! | administer push notifications | [`push`] |
//! | become a push device | [`crate::push`] |
//! | receive push notifications of channels, as a device | [`push_channel`] |
//! | read statistics | [`Rest::stats`] |
//! | send a request for which there is no method | [`Rest::request`] |

use std::{fmt, sync::Arc};

use capably_protocol::{Millis, Stats};

pub mod annotations;
pub mod batch;
mod call;
mod channel;
mod fallback;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod http_response;
mod link;
pub mod mutation;
pub mod objects;
mod page;
mod pipeline;
pub mod presence;
mod publish;
pub mod push;
pub mod push_channel;
mod query;
mod response;
mod sdk_proxy;

pub use annotations::RestAnnotations;
pub use channel::{ChannelOptions, RestChannel, RestChannels};
pub use http_response::{HttpPaginatedResponse, HttpRequestBuilder};
pub use mutation::{MessageSerial, RestMessageChange};
pub use objects::RestObjects;
pub use page::{PaginatedResult, UnreadableItem};
pub use presence::RestPresence;
pub use publish::RestPublish;
pub use push::{
    Push, PushAdmin, PushChannelSubscriptions, PushDeviceRegistrations, PushFilter, PushRecipient,
};
pub use push_channel::PushChannel;
pub use query::{Direction, History, Query, QueryItem, Timestamp};
pub use sdk_proxy::WrapperSdkProxyOptions;

pub use capably_core::push::LocalDevice;

use crate::{
    Auth, ClientOptions, Result, http::BoxFuture, options::Config, outbox,
    realtime::WeakDriverHandle,
};
pub(crate) use call::{Call, append_pair, escape};
pub(crate) use pipeline::Pipeline;
pub(crate) use response::Reply;

/// A client for the service's REST API (RSC). A clone is another handle to the same client.
#[derive(Clone)]
pub struct Rest {
    auth: Auth,
    channels: RestChannels,
    pipeline: Arc<Pipeline>,
}

impl Rest {
    /// Makes a client with these options, or with an API key or a token (RSC1). This needs no runtime, but requests do.
    ///
    /// # Errors
    /// One error that lists every wrong option: 40101 or 40005 for malformed credentials, 40103 for a key without TLS
    /// (RSC18), 40106 without credentials (RSC1b), 40012 for an invalid client id, 40102 for a token of another client
    /// id (RSA15a), 40000 for the rest.
    pub fn new(options: impl Into<ClientOptions>) -> Result<Self> {
        let options = options.into();
        outbox::refuse_for_rest(&options)?;
        Ok(Self::with_config(Arc::new(options.validate()?), None))
    }

    /// A client of its own, or the REST client of a realtime client.
    pub(crate) fn with_config(config: Arc<Config>, connection: Option<WeakDriverHandle>) -> Self {
        let pipeline = Arc::new(Pipeline::new(config));
        let channels = RestChannels::new(Arc::clone(&pipeline));
        Self { auth: Auth::new(Arc::clone(&pipeline), connection), channels, pipeline }
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// A handle to the same client with another pipeline for its requests.
    fn through(&self, pipeline: Pipeline) -> Self {
        let pipeline = Arc::new(pipeline);
        let channels = self.channels.through(Arc::clone(&pipeline));
        Self { auth: self.auth.through(Arc::clone(&pipeline)), channels, pipeline }
    }

    /// The client's identity and its tokens (RSC5).
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The client's channels (RSN1).
    pub fn channels(&self) -> &RestChannels {
        &self.channels
    }

    /// Push notifications (RSC21).
    pub fn push(&self) -> Push {
        Push::new(Arc::clone(&self.pipeline))
    }

    /// Reads the app's statistics when awaited, by default the newest first (RSC6). See the page about
    /// [statistics](crate::guide::statistics).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = capably::ClientOptions::new(server.key())
    /// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
    /// # let rest = capably::Rest::new(options)?;
    /// use capably::StatsUnit;
    ///
    /// rest.channels().get("greetings").publish("hello", "world").await?;
    /// let page = rest.stats().unit(StatsUnit::Hour).limit(24).await?;
    /// let hour = &page.items()[0];
    /// println!("{}: {} in", hour.interval_id, hour.entry("messages.inbound.all.messages.count"));
    /// # assert!(hour.in_progress.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Query<Stats> {
        Query::new(&self.pipeline, "/stats")
    }

    /// Reads the service's time when awaited, in ms since the epoch (RSC16). Sends no credentials.
    ///
    /// # Errors
    /// The service's reason; 50003 without a response in time; 80000 when the service cannot be reached.
    pub fn time(&self) -> BoxFuture<'static, Result<Millis>> {
        let pipeline = Arc::clone(&self.pipeline);
        Box::pin(async move { pipeline.time(&Call::get("/time")).await })
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("config", self.pipeline.config()).finish_non_exhaustive()
    }
}
