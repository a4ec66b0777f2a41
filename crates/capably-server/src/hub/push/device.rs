//! A device and its registration.

use capably_protocol::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushState, ErrorInfo, JsonObject, Millis,
};
use serde_json::{Value, json};

use super::{change::MAX_KEY, delivery};
use crate::hub::{access::secret::Secret, error};

/// A registered device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(super) details: DeviceDetails,
    pub(super) secret: Option<Secret>,
    /// The time of the first registration, in ms since the epoch.
    pub(super) since: Millis,
}

impl Device {
    pub(super) fn new(registration: Registration, since: Millis) -> Self {
        let Registration { details, secret } = registration;
        Self { details, secret, since }
    }

    /// Replaces the details, and the secret if the registration has one.
    pub(super) fn renew(&mut self, registration: Registration) {
        self.details = registration.details;
        if registration.secret.is_some() {
            self.secret = registration.secret;
        }
    }

    pub(super) fn has_secret(&self, secret: &str) -> bool {
        self.secret.as_ref().is_some_and(|own| own.is(secret))
    }

    /// Records the result of the last delivery.
    pub(super) fn set_outcome(&mut self, failure: Option<ErrorInfo>) {
        let push = &mut self.details.push;
        push.state = Some(match failure {
            None => DevicePushState::Active,
            Some(_) => DevicePushState::Failing,
        });
        push.error_reason = failure;
    }

    /// The details with the secret. Only the device itself and administrators may receive them.
    pub(super) fn to_json_with_secret(&self) -> Value {
        let mut value = self.to_json();
        if let Some(secret) = &self.secret {
            value["deviceSecret"] = json!(&**secret.reveal());
        }
        value
    }

    /// The details without the secret (PCD).
    pub(super) fn to_json(&self) -> Value {
        let mut value = serde_json::to_value(&self.details).unwrap_or_default();
        if self.details.metadata.is_empty() {
            value["metadata"] = json!({});
        }
        value
    }
}

/// The registration of a device in a request. It may contain a secret, so there is no `Debug`.
pub(super) struct Registration {
    pub(super) details: DeviceDetails,
    pub(super) secret: Option<Secret>,
}

impl Registration {
    /// # Errors
    /// Code 40000 for invalid details, 40012 for an invalid client id.
    pub(super) fn read(mut body: JsonObject) -> Result<Self, ErrorInfo> {
        let secret = match body.remove("deviceSecret") {
            None | Some(Value::Null) => None,
            Some(Value::String(secret)) if !secret.is_empty() => Some(Secret::new(secret)),
            Some(_) => return Err(error::bad_request("the `deviceSecret` is not a text")),
        };
        // The message of serde is left out: it might quote a secret address.
        let mut details: DeviceDetails = serde_json::from_value(Value::Object(body))
            .map_err(|_| error::bad_request("the body is not the details of a device"))?;
        check(&details)?;
        details.push.state = Some(DevicePushState::Active);
        details.push.error_reason = None;
        Ok(Self { details, secret })
    }
}

fn check(details: &DeviceDetails) -> Result<(), ErrorInfo> {
    if details.id.is_empty() {
        return Err(error::bad_request("a device needs an `id`"));
    }
    if details.id.len() > MAX_KEY / 2 {
        return Err(error::bad_request(format!("an `id` is longer than {} bytes", MAX_KEY / 2)));
    }
    if details.client_id.as_ref().is_some_and(|id| id.is_empty() || *id == "*") {
        return Err(error::bad_client_id("a device cannot have this clientId"));
    }
    if matches!(details.platform, None | Some(DevicePlatform::Unknown(_))) {
        return Err(error::bad_request("the `platform` is not one of a device"));
    }
    if matches!(details.form_factor, None | Some(DeviceFormFactor::Unknown(_))) {
        return Err(error::bad_request("the `formFactor` is not one of a device"));
    }
    delivery::check_address(&details.push.recipient)
}
