//! Realtime clients for the SDKs that are built upon this one (WP).

use super::Realtime;
use crate::{Result, rest::WrapperSdkProxyOptions};

impl Realtime {
    /// A handle to the same client, whose REST requests name other products besides, and whose new
    /// channels do when they attach (RTC14, WP6, WP7). Only for the SDKs of the service's makers:
    /// applications have no use for it (RTC14c). See [`crate::Rest::create_wrapper_sdk_proxy`].
    ///
    /// # Errors
    /// Code 40000 for a name or a version that cannot stand in a header.
    pub fn create_wrapper_sdk_proxy(&self, options: &WrapperSdkProxyOptions) -> Result<Self> {
        let mut proxy = self.clone();
        proxy.rest = self.rest.create_wrapper_sdk_proxy(options)?;
        if let Some(agent) = options.identifier()? {
            proxy.channels = self.channels.attributed(agent);
        }
        Ok(proxy)
    }
}
