//! Status and occupancy of a channel (CHD, CHS, CHO, CHM).

use serde::{Deserialize, Serialize};

use crate::{Str, lenient};

/// A channel's identifier and status (CHD1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelDetails {
    /// The channel's identifier: its name (CHD2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel_id: Str,
    /// Its status (CHD2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub status: ChannelStatus,
}

/// Activity and occupancy of a channel (CHS1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelStatus {
    /// Whether the channel is active; the request itself activates it (CHS2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub is_active: bool,
    /// Its occupancy (CHS2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub occupancy: ChannelOccupancy,
}

/// The occupancy of a channel (CHO1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelOccupancy {
    /// The counts (CHO2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub metrics: ChannelMetrics,
}

/// Counts of connections and members on a channel; 0 for a count that the service left out (CHM1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelMetrics {
    /// Attached connections (CHM2a).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub connections: u64,
    /// Attached connections that may enter presence (CHM2b).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub presence_connections: u64,
    /// Members present (CHM2c).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub presence_members: u64,
    /// Attached connections that receive presence messages (CHM2d).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub presence_subscribers: u64,
    /// Attached connections that may publish (CHM2e).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub publishers: u64,
    /// Attached connections that receive messages (CHM2f).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub subscribers: u64,
    /// Attached connections that may publish object messages (CHM2g).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub object_publishers: u64,
    /// Attached connections that receive object messages (CHM2h).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub object_subscribers: u64,
}
