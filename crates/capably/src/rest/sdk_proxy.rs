//! REST clients for wrapper SDKs (WP).

use capably_protocol::ErrorCode;

use super::Rest;
use crate::{
    Error, Result,
    agents::{self, Agent},
};

/// The agents of a wrapper SDK: names and versions for the `Ably-Agent` header. Only Ably's own SDKs need this,
/// applications do not (WPO1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrapperSdkProxyOptions {
    agents: Vec<Agent>,
}

impl WrapperSdkProxyOptions {
    /// Options without agents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an agent, with its version if it has one (WPO2a).
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>, version: Option<&str>) -> Self {
        self.agents.push((name.into(), version.map(str::to_owned)));
        self
    }

    /// The agents in the form of the header; `None` without agents.
    ///
    /// # Errors
    /// Code 40000 for a name or a version that is not valid in a header.
    pub(crate) fn identifier(&self) -> Result<Option<String>> {
        if let Some(name) = agents::unfit(&self.agents).next() {
            let message = format!("the agent `{name}` or its version is not valid in a header");
            let error = Error::new(ErrorCode::BAD_REQUEST, 400, message);
            return Err(error.with_remedy(agents::REMEDY));
        }
        Ok(Some(agents::identifier(&self.agents)).filter(|identifier| !identifier.is_empty()))
    }
}

impl Rest {
    /// A handle to the same client for a wrapper SDK: its requests also name the agents of the wrapper SDK, except for
    /// requests for tokens (RSC26, WP). Only Ably's own SDKs need this, applications do not (RSC26c).
    ///
    /// ```
    /// use capably::{Rest, rest::WrapperSdkProxyOptions};
    ///
    /// let rest = Rest::new("app.key:secret")?;
    /// let options = WrapperSdkProxyOptions::new().agent("my-wrapper", Some("1.2.3"));
    /// let wrapped = rest.create_wrapper_sdk_proxy(&options)?;
    /// // Channels and tokens are the same; requests made through `wrapped` name the wrapper.
    /// wrapped.channels().get("greetings");
    /// assert!(rest.channels().exists("greetings"));
    /// # Ok::<_, capably::Error>(())
    /// ```
    ///
    /// # Errors
    /// Code 40000 for a name or a version that is not valid in a header.
    pub fn create_wrapper_sdk_proxy(&self, options: &WrapperSdkProxyOptions) -> Result<Self> {
        Ok(match options.identifier()? {
            Some(identifier) => self.through(self.pipeline.attributed(&identifier)),
            None => self.clone(),
        })
    }
}
