//! Filters of devices and subscriptions.

use capably_protocol::{ErrorInfo, PushChannelSubscription, Str};

use super::device::Device;
use crate::hub::error;

/// Selects devices or subscriptions: those that match every field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PushFilter {
    pub(crate) channel: Option<Str>,
    pub(crate) device_id: Option<Str>,
    pub(crate) client_id: Option<Str>,
    /// Whether a match of either the device or the client is enough (RSH7e).
    pub(crate) either: bool,
}

impl PushFilter {
    /// Checks that the filter does not match everything.
    ///
    /// # Errors
    /// Code 40003 for an empty filter.
    pub(super) fn require_some(&self) -> Result<(), ErrorInfo> {
        if self.is_empty() {
            return Err(error::bad_parameter("without a filter this would remove everything"));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.channel.is_none() && self.device_id.is_none() && self.client_id.is_none()
    }

    pub(super) fn matches(&self, subscription: &PushChannelSubscription) -> bool {
        let of_device = |id: &Str| subscription.device_id() == Some(id);
        let of_client = |id: &Str| subscription.client_id() == Some(id);
        let target = match (&self.device_id, &self.client_id) {
            (Some(device), Some(client)) if self.either => of_device(device) || of_client(client),
            (device, client) => {
                device.as_ref().is_none_or(of_device) && client.as_ref().is_none_or(of_client)
            }
        };
        target && self.channel.as_ref().is_none_or(|channel| *channel == subscription.channel())
    }

    pub(super) fn matches_device(&self, device: &Device) -> bool {
        let details = &device.details;
        self.device_id.as_ref().is_none_or(|id| details.id == *id)
            && self.client_id.as_ref().is_none_or(|id| details.client_id.as_ref() == Some(id))
    }
}
