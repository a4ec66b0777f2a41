//! What the activation remembers, as bytes.

use capably_protocol::{DevicePushDetails, JsonObject, Str};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActivationState, DeviceProfile, LocalDevice};

/// The most bytes that are read. What is longer was not written by this library.
pub const MAX_STORED: usize = 256 * 1024;

/// The version of the format.
const VERSION: u64 = 1;

/// The changes of a registered device that have not been sent to the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Unsent {
    pub(super) address: bool,
    pub(super) client_id: bool,
}

impl Unsent {
    pub(super) fn any(self) -> bool {
        self.address || self.client_id
    }
}

/// What survives the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Remembered {
    pub(super) state: ActivationState,
    pub(super) unsent: Unsent,
    pub(super) device: LocalDevice,
}

#[derive(Serialize)]
struct Stored {
    version: u64,
    device: StoredDevice,
    activation: StoredActivation,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_secret: Option<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_identity_token: Option<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Str>,
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    recipient: JsonObject,
}

#[derive(Serialize, Deserialize)]
struct StoredActivation {
    state: ActivationState,
    #[serde(default)]
    unsent: Unsent,
}

impl Remembered {
    /// The bytes to store.
    pub(super) fn encode(&self) -> Vec<u8> {
        let LocalDevice { id, client_id, push, device_identity_token, device_secret, .. } =
            &self.device;
        let stored = Stored {
            version: VERSION,
            device: StoredDevice {
                id: (!id.is_empty()).then(|| id.clone()),
                device_secret: device_secret.clone(),
                device_identity_token: device_identity_token.clone(),
                client_id: client_id.clone(),
                recipient: push.recipient.clone(),
            },
            activation: StoredActivation { state: self.state, unsent: self.unsent },
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads stored bytes. If the device cannot be read, nothing of them counts, and the device is one that was never
    /// activated (RSH8a1). If only the state cannot be read, as after a downgrade, the next activation validates the
    /// registration of the device (RSH3a2a).
    pub(super) fn decode(stored: Option<&[u8]>, profile: &DeviceProfile) -> Self {
        let fresh = || Self { device: LocalDevice::new(profile), ..Self::default() };
        let Some(bytes) = stored else { return fresh() };
        let Some(read) = Self::read(bytes, profile) else {
            tracing::warn!("the stored push device cannot be read, and is discarded");
            return fresh();
        };
        read
    }

    fn read(bytes: &[u8], profile: &DeviceProfile) -> Option<Self> {
        if bytes.len() > MAX_STORED {
            return None;
        }
        let Value::Object(mut fields) = serde_json::from_slice(bytes).ok()? else { return None };
        let device: StoredDevice = serde_json::from_value(fields.remove("device")?).ok()?;
        let empty = |text: &Option<Str>| text.as_ref().is_none_or(|text| text.is_empty());
        if empty(&device.id) != empty(&device.device_secret) {
            return None;
        }
        let is_known = !empty(&device.id);
        let device = LocalDevice {
            id: device.id.unwrap_or_default(),
            device_secret: device.device_secret.filter(|_| is_known),
            device_identity_token: device.device_identity_token.filter(|_| is_known),
            client_id: device.client_id.filter(|_| is_known),
            push: DevicePushDetails { recipient: device.recipient, ..DevicePushDetails::default() },
            ..LocalDevice::new(profile)
        };
        let version = fields.get("version").and_then(Value::as_u64);
        let activation = fields.remove("activation").filter(|_| version == Some(VERSION));
        let activation: Option<StoredActivation> =
            activation.and_then(|value| serde_json::from_value(value).ok());
        let activation = activation.filter(|activation| fits(activation.state, &device));
        let (state, unsent) =
            activation.map(|activation| (activation.state, activation.unsent)).unwrap_or_default();
        Some(Self { state, unsent, device })
    }
}

/// Whether the device has what the state needs of it.
fn fits(state: ActivationState, device: &LocalDevice) -> bool {
    match state {
        ActivationState::NotActivated => true,
        ActivationState::WaitingForPushDeviceDetails => device.device_secret.is_some(),
        ActivationState::WaitingForDeviceRegistration => {
            device.device_secret.is_some() && device.has_address()
        }
        ActivationState::WaitingForNewPushDeviceDetails
        | ActivationState::WaitingForRegistrationSync(_)
        | ActivationState::AfterRegistrationSyncFailed
        | ActivationState::WaitingForDeregistration(_) => device.is_registered(),
    }
}
