//! The program as a push device.

use std::{collections::BTreeMap, fmt};

use capably_protocol::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, JsonObject, Str,
};

/// The part of a device that the program configures. It is not stored: the next version of the program may change it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceProfile {
    /// The platform (PCD6).
    pub platform: Option<DevicePlatform>,
    /// The form of the device (PCD4).
    pub form_factor: Option<DeviceFormFactor>,
    /// Further details, for the program's own use (PCD5).
    pub metadata: BTreeMap<String, String>,
}

/// The program as a push device (RSH8). `Debug` shows neither token nor secret.
#[derive(Clone, Default, PartialEq)]
pub struct LocalDevice {
    /// The id of the registration; empty for a device that was never activated (PCD2).
    pub id: Str,
    /// The client id of the device; `None` for the client id of the SDK's client (PCD3, RSH8d).
    pub client_id: Option<Str>,
    /// The platform (PCD6).
    pub platform: Option<DevicePlatform>,
    /// The form of the device (PCD4).
    pub form_factor: Option<DeviceFormFactor>,
    /// Further details, for the program's own use (PCD5).
    pub metadata: BTreeMap<String, String>,
    /// The transport and the address of its pushes (PCD7).
    pub push: DevicePushDetails,
    /// The token from the registration, which authenticates the device (RSH8k1).
    pub device_identity_token: Option<Str>,
    /// The secret of the registration, which authenticates the device if there is no token (RSH8k2).
    pub device_secret: Option<Str>,
}

impl LocalDevice {
    /// Whether the device is registered: it has a `deviceIdentityToken` (RSH7a1).
    pub fn is_registered(&self) -> bool {
        self.device_identity_token.is_some()
    }

    /// The details of the device, without its token and its secret (PCD1).
    pub fn details(&self) -> DeviceDetails {
        DeviceDetails {
            id: self.id.clone(),
            client_id: self.client_id.clone(),
            form_factor: self.form_factor.clone(),
            metadata: self.metadata.clone(),
            platform: self.platform.clone(),
            push: self.push.clone(),
        }
    }

    /// A device with this profile and nothing else.
    pub(super) fn new(profile: &DeviceProfile) -> Self {
        Self {
            platform: profile.platform.clone(),
            form_factor: profile.form_factor.clone(),
            metadata: profile.metadata.clone(),
            ..Self::default()
        }
    }

    /// Whether the device has an address: the transport has given its token (RSH3a2c).
    pub(super) fn has_address(&self) -> bool {
        !self.push.recipient.is_empty()
    }

    /// Sets the address. Returns whether it is a new one.
    pub(super) fn set_address(&mut self, recipient: JsonObject) -> bool {
        let is_new = self.push.recipient != recipient;
        self.push = DevicePushDetails { recipient, ..DevicePushDetails::default() };
        is_new
    }
}

impl fmt::Debug for LocalDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDevice")
            .field("id", &self.id)
            .field("client_id", &self.client_id)
            .field("push", &self.push)
            .field("registered", &self.is_registered())
            .finish_non_exhaustive()
    }
}
