//! Changes of the registry. A change is made in two steps: the registry checks it and says what it is, and applies it
//! once it is stored. A node applies the changes of other nodes in the same way.

use bytes::Bytes;
use capably_protocol::{DeviceDetails, Millis, PushChannelSubscription, Str};
use serde::{Deserialize, Serialize};

use super::{Push, activity::Stage, device::Device, subscriptions};
use crate::hub::access::secret::Secret;

/// A change of the registry. Something without a value is removed.
#[derive(Debug)]
pub(crate) enum PushChange {
    /// The device with this id.
    Device(Str, Option<Box<Device>>),
    /// The subscription with this key.
    Subscription(Str, Option<PushChannelSubscription>),
    /// The broadcast channel with this id.
    Broadcast(Str, Option<Stage>),
}

/// The longest key of a change, in bytes. An engine has limits of its own, which are higher.
pub(super) const MAX_KEY: usize = 2048;

/// A result, and the changes that must be stored and applied before anyone is told.
pub(crate) type Changed<T> = (T, Vec<PushChange>);

const DEVICE: &str = "device/";
const SUBSCRIPTION: &str = "subscription/";
const BROADCAST: &str = "broadcast/";

/// A device as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredDevice {
    details: DeviceDetails,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Str>,
    /// The time of the first registration, in ms since the epoch.
    since: Millis,
}

impl PushChange {
    /// The key of what changes, unique in its app, and the value to store. Without a value, what is stored is removed.
    pub(crate) fn fact(&self) -> (String, Option<Bytes>) {
        match self {
            Self::Device(id, device) => {
                let device = device.as_ref().map(|device| {
                    json(&StoredDevice {
                        details: device.details.clone(),
                        secret: device.secret.as_ref().map(|secret| secret.reveal().clone()),
                        since: device.since,
                    })
                });
                (format!("{DEVICE}{id}"), device)
            }
            Self::Subscription(key, subscription) => {
                (format!("{SUBSCRIPTION}{key}"), subscription.as_ref().map(json))
            }
            Self::Broadcast(id, stage) => (format!("{BROADCAST}{id}"), stage.as_ref().map(json)),
        }
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// The reason why it is not readable.
    pub(crate) fn read(key: &str, value: Option<&[u8]>) -> Result<Self, String> {
        if let Some(id) = key.strip_prefix(DEVICE) {
            let device = value.map(|value| {
                let StoredDevice { details, secret, since } = from_json(value)?;
                let secret = secret.map(Secret::new);
                Ok::<_, String>(Box::new(Device { details, secret, since }))
            });
            Ok(Self::Device(id.into(), device.transpose()?))
        } else if let Some(key) = key.strip_prefix(SUBSCRIPTION) {
            Ok(Self::Subscription(key.into(), value.map(from_json).transpose()?))
        } else if let Some(id) = key.strip_prefix(BROADCAST) {
            Ok(Self::Broadcast(id.into(), value.map(from_json).transpose()?))
        } else {
            Err("it is none of push".to_owned())
        }
    }

    pub(super) fn device(device: Device) -> Self {
        Self::Device(device.details.id.clone(), Some(Box::new(device)))
    }

    pub(super) fn subscription(subscription: PushChannelSubscription) -> Self {
        Self::Subscription(subscriptions::key(&subscription), Some(subscription))
    }
}

impl Push {
    /// Makes a change that is stored.
    pub(crate) fn apply(&mut self, change: PushChange) {
        match change {
            PushChange::Device(id, Some(device)) => drop(self.devices.insert(id, *device)),
            PushChange::Device(id, None) => drop(self.devices.remove(&id)),
            PushChange::Subscription(key, Some(subscription)) => {
                self.subscriptions.insert(key, subscription);
            }
            PushChange::Subscription(key, None) => drop(self.subscriptions.remove(&key)),
            PushChange::Broadcast(id, Some(stage)) => drop(self.broadcasts.insert(id, stage)),
            PushChange::Broadcast(id, None) => drop(self.broadcasts.remove(&id)),
        }
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The message of serde is left out: it might quote a secret.
fn from_json<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|_| "it is not in the form of this server".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hub::push::device::Registration;

    /// A registry in which everything is, with names that look like keys.
    fn changes() -> Vec<PushChange> {
        let device = json!({
            "id": "a/device/b\nc", "clientId": "ada", "platform": "ios", "formFactor": "phone",
            "metadata": {"a": [1, null]}, "deviceSecret": "s3cr3t",
            "push": {"recipient": {"transportType": "apns", "deviceToken": "t"}},
        });
        let registration = Registration::read(device.as_object().cloned().unwrap()).unwrap();
        let subscriptions = [
            PushChannelSubscription::for_device("a/b:\u{1F389}", "a/device/b\nc"),
            PushChannelSubscription::for_client("a", "device\nx"),
            PushChannelSubscription::for_device("a", "client\nx"),
        ];
        let mut changes = vec![
            PushChange::device(Device::new(registration, 7)),
            PushChange::Broadcast("b/1".into(), Some(Stage::Started)),
        ];
        changes.extend(subscriptions.map(PushChange::subscription));
        changes
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let mut here = Push::default();
        let facts: Vec<_> = changes().iter().map(PushChange::fact).collect();
        changes().into_iter().for_each(|change| here.apply(change));
        let mut there = Push::default();
        for (key, value) in &facts {
            there.apply(PushChange::read(key, value.as_deref()).unwrap());
        }
        assert_eq!(format!("{here:?}"), format!("{there:?}"));
        assert!(there.device("a/device/b\nc").unwrap().has_secret("s3cr3t"));
        let keys: std::collections::BTreeSet<_> = facts.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), facts.len(), "each has a key of its own");
        for (key, _) in &facts {
            there.apply(PushChange::read(key, None).unwrap());
        }
        assert_eq!(format!("{there:?}"), format!("{:?}", Push::default()));
    }

    #[test]
    fn what_is_not_readable_is_refused_without_showing_it() {
        for (key, value) in [
            ("device/d", "{\"secret\":\"s3cr3t\"}"),
            ("subscription/c", "[1, \"s3cr3t\"]"),
            ("broadcast/b", "\"s3cr3t\""),
            ("other/o", "\"s3cr3t\""),
        ] {
            let reason = PushChange::read(key, Some(value.as_bytes())).unwrap_err();
            assert!(!reason.contains("s3cr3t"), "{key}: {reason}");
        }
    }
}
