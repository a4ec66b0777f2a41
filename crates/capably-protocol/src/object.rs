//! Object messages (OM).

use serde::{Deserialize, Serialize};

use crate::{JsonObject, Millis, Str, lenient};

/// An object message (OM2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMessage {
    /// Unique id (OM2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Str>,
    /// The publisher's client id (OM2b).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// The publisher's connection (OM2c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<Str>,
    /// Metadata (OM2d).
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::optional_object"
    )]
    pub extras: Option<JsonObject>,
    /// When it was published, in ms since the epoch (OM2e).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub timestamp: Option<Millis>,
}
