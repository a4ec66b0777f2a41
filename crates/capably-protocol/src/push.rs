//! Push notifications: devices and subscriptions, as their administration sees them (PCD, PCP, PCS).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ErrorInfo, JsonObject, Str, lenient};

/// A device that can be pushed to (PCD1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceDetails {
    /// Its id (PCD2).
    #[serde(deserialize_with = "lenient::or_default")]
    pub id: Str,
    /// The client that it belongs to (PCD3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// What kind of device it is (PCD4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form_factor: Option<DeviceFormFactor>,
    /// What else is to be known of it (PCD5).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::string_map")]
    pub metadata: BTreeMap<String, String>,
    /// What it runs on (PCD6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<DevicePlatform>,
    /// How it is reached (PCD7).
    #[serde(deserialize_with = "lenient::or_default")]
    pub push: DevicePushDetails,
}

/// How a device is reached, and whether that works (PCP1).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DevicePushDetails {
    /// Why it cannot be reached (PCP2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<ErrorInfo>,
    /// The transport and the address, such as `transportType` and `deviceToken` (PCP3). It can hold
    /// secrets: `Debug` shows its names only.
    #[serde(deserialize_with = "recipient")]
    pub recipient: JsonObject,
    /// Whether it works (PCP4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<DevicePushState>,
}

fn recipient<'de, D: Deserializer<'de>>(d: D) -> Result<JsonObject, D::Error> {
    Ok(lenient::optional_object(d)?.unwrap_or_default())
}

impl std::fmt::Debug for DevicePushDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevicePushDetails")
            .field("error_reason", &self.error_reason)
            .field("recipient", &self.recipient.keys().collect::<Vec<_>>())
            .field("state", &self.state)
            .finish()
    }
}

/// An enum of names, of which unknown ones are kept (RTF1).
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
            /// One this version does not know (RTF1), by its name.
            Unknown(Str),
        }

        impl $type {
            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Unknown(name) => name,
                }
            }
        }

        impl From<&str> for $type {
            /// The value of this name, in any case; an unknown one is kept.
            fn from(name: &str) -> Self {
                $(if name.eq_ignore_ascii_case($name) { return Self::$variant; })*
                Self::Unknown(name.into())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Str::deserialize(d).map(|name| Self::from(&*name))
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What kind of device it is (PCD4).
    DeviceFormFactor {
        /// A phone.
        Phone = "phone",
        /// A tablet.
        Tablet = "tablet",
        /// A desktop computer.
        Desktop = "desktop",
        /// A television.
        Tv = "tv",
        /// A watch.
        Watch = "watch",
        /// A car.
        Car = "car",
        /// Built into something.
        Embedded = "embedded",
        /// Something else.
        Other = "other",
    }
}

named! {
    /// What a device runs on (PCD6).
    DevicePlatform {
        /// Android.
        Android = "android",
        /// iOS.
        Ios = "ios",
        /// A browser.
        Browser = "browser",
    }
}

named! {
    /// Whether a device can be reached (PCP4).
    DevicePushState {
        /// It can.
        Active = "ACTIVE",
        /// Lately it could not.
        Failing = "FAILING",
        /// It cannot.
        Failed = "FAILED",
    }
}

/// That a device, or all devices of a client, get what is pushed to a channel (PCS1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushChannelSubscription {
    channel: Str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Str>,
}

impl PushChannelSubscription {
    /// The subscription of one device (PCS5).
    pub fn for_device(channel: impl Into<Str>, device_id: impl Into<Str>) -> Self {
        Self { channel: channel.into(), device_id: Some(device_id.into()), client_id: None }
    }

    /// The subscription of all devices of a client (PCS5).
    pub fn for_client(channel: impl Into<Str>, client_id: impl Into<Str>) -> Self {
        Self { channel: channel.into(), device_id: None, client_id: Some(client_id.into()) }
    }

    /// The channel's name (PCS4).
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The device, when it is the subscription of one (PCS2).
    pub fn device_id(&self) -> Option<&str> {
        self.device_id.as_deref()
    }

    /// The client, when it is the subscription of one (PCS3).
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
}
