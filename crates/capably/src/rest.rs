//! The REST client: channels without a connection (RSC).
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

use std::{fmt, sync::Arc};

use capably_protocol::Millis;

mod channel;
mod fallback;
mod history;
mod link;
mod page;
mod publish;
mod request;
mod response;

pub use channel::{ChannelOptions, RestChannel, RestChannels};
pub use history::{Direction, History};
pub use page::PaginatedResult;
pub use publish::{Publish, PublishBatch};

use crate::{Auth, ClientOptions, Result, options::Config};
pub(crate) use request::{Call, Pipeline, escape};
pub(crate) use response::Reply;

/// A client for the service's REST API (RSC). Cloning it gives another handle to the same client.
#[derive(Clone)]
pub struct Rest {
    auth: Auth,
    channels: RestChannels,
    pipeline: Arc<Pipeline>,
}

impl Rest {
    /// A client with these options, or with an API key or a token (RSC1). Needs no runtime; the calls
    /// that it makes later do.
    ///
    /// # Errors
    /// All that is wrong with the options, in one error: 40101 or 40005 for malformed credentials,
    /// 40103 for a key without TLS (RSC18), 40106 for none at all (RSC1b), 40012 for a client id that
    /// cannot be, 40102 for one that the token is not for (RSA15a), 40000 for the rest.
    pub fn new(options: impl Into<ClientOptions>) -> Result<Self> {
        Ok(Self::with_config(Arc::new(options.into().validate()?)))
    }

    pub(crate) fn with_config(config: Arc<Config>) -> Self {
        let pipeline = Arc::new(Pipeline::new(config));
        let channels = RestChannels::new(Arc::clone(&pipeline));
        Self { auth: Auth::new(Arc::clone(&pipeline)), channels, pipeline }
    }

    /// Who the client is, and the tokens that prove it (RSC5).
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The client's channels (RSN1).
    pub fn channels(&self) -> &RestChannels {
        &self.channels
    }

    /// The service's time, in ms since the epoch (RSC16). Sends no credentials.
    ///
    /// # Errors
    /// What the service says; 50003 when it does not answer in time, 80000 when it cannot be reached.
    pub async fn time(&self) -> Result<Millis> {
        self.pipeline.time().await
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("config", self.pipeline.config()).finish_non_exhaustive()
    }
}
