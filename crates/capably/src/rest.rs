//! The REST client (RSC).

use std::sync::Arc;

use crate::{Auth, ClientOptions, Result, options::Config};

/// A client for the service's REST API (RSC).
#[derive(Clone, Debug)]
pub struct Rest {
    auth: Auth,
}

impl Rest {
    /// A client with these options, or with an API key or a token (RSC1). Needs no runtime.
    ///
    /// # Errors
    /// All that is wrong with the options, in one error; see [`ClientOptions`].
    pub fn new(options: impl Into<ClientOptions>) -> Result<Self> {
        let config: Arc<Config> = Arc::new(options.into().validate()?);
        Ok(Self { auth: Auth::new(config) })
    }

    /// Who the client is (RSC5).
    pub fn auth(&self) -> &Auth {
        &self.auth
    }
}
