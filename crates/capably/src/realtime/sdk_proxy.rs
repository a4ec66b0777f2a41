//! Realtime clients for wrapper SDKs (WP).

use super::Realtime;
use crate::{Result, rest::WrapperSdkProxyOptions};

impl Realtime {
    /// A handle to the same client for a wrapper SDK: its REST requests also name the agents of the wrapper SDK, and
    /// so do its new channels when they attach (RTC14, WP6, WP7). Only Ably's own SDKs need it, applications do not
    /// (RTC14c). See [`crate::Rest::create_wrapper_sdk_proxy`].
    ///
    /// # Errors
    /// Code 40000 for a name or a version that is not valid in a header.
    pub fn create_wrapper_sdk_proxy(&self, options: &WrapperSdkProxyOptions) -> Result<Self> {
        let mut proxy = self.clone();
        proxy.rest = self.rest.create_wrapper_sdk_proxy(options)?;
        if let Some(agent) = options.identifier()? {
            proxy.channels = self.channels.attributed(agent);
        }
        Ok(proxy)
    }
}
