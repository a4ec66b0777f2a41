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
    /// The form of the device (PCD4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form_factor: Option<DeviceFormFactor>,
    /// Further details (PCD5).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::string_map")]
    pub metadata: BTreeMap<String, String>,
    /// Its platform (PCD6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<DevicePlatform>,
    /// Its push transport and address (PCD7).
    #[serde(deserialize_with = "lenient::or_default")]
    pub push: DevicePushDetails,
}

/// The push transport and address of a device, and their state (PCP1).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DevicePushDetails {
    /// The reason why pushes fail (PCP2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<ErrorInfo>,
    /// The transport and the address, such as `transportType` and `deviceToken` (PCP3). It may
    /// contain secrets: `Debug` prints only the names.
    #[serde(deserialize_with = "recipient")]
    pub recipient: JsonObject,
    /// Whether pushes reach the device (PCP4).
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

/// Declares an enum whose values are names on the wire; unknown names survive a round trip (RTF1).
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
            /// The value of this name, in upper or lower case; an unknown name becomes `Unknown`.
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
    /// The form of the device (PCD4).
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
    /// The platform of a device (PCD6).
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
        /// Pushes reach it.
        Active = "ACTIVE",
        /// Recent pushes failed.
        Failing = "FAILING",
        /// Pushes do not reach it.
        Failed = "FAILED",
    }
}

/// The subscription of a device, or of all devices of a client, to the pushes of a channel (PCS1).
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
