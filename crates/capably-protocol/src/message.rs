//! Messages (TM).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Data, JsonObject, Millis, Str,
    data::json_size,
    lenient::{self, numbered},
};

/// A message, to publish or received (TM).
///
/// Fields that the sender leaves out are `None`, and absent on the wire (RSL1e).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    /// Unique id (TM2a).
    pub id: Option<Str>,
    /// Event name (TM2g).
    pub name: Option<Str>,
    /// Payload (TM2d).
    pub data: Data,
    /// Encoding steps still applied to `data`, outermost last (TM2e); absent once all are undone.
    pub encoding: Option<Str>,
    /// The publisher's client id (TM2b).
    pub client_id: Option<Str>,
    /// The publisher's connection (TM2c).
    pub connection_id: Option<Str>,
    /// Connection to publish on behalf of (TM2h); never set on a message received.
    pub connection_key: Option<Str>,
    /// When it was published, in ms since the epoch (TM2f).
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: Option<Millis>,
    /// Metadata: `headers`, `ref`, `push`, `delta`, … (TM2i).
    #[serde(deserialize_with = "lenient::optional_object")]
    pub extras: Option<JsonObject>,
    /// What happened to the message (TM2j).
    pub action: Option<MessageAction>,
    /// Identifies the message across its versions (TM2r).
    pub serial: Option<Str>,
    /// The latest version (TM2s).
    pub version: Option<Box<MessageVersion>>,
    /// Summaries of its annotations (TM2u).
    pub annotations: Option<Box<MessageAnnotations>>,
}

impl Message {
    /// A message with a name and a payload (TM4).
    pub fn new(name: impl Into<Str>, data: impl Into<Data>) -> Self {
        Self { name: Some(name.into()), data: data.into(), ..Self::default() }
    }

    /// The size that counts against `maxMessageSize`, in bytes (TM6).
    pub fn size(&self) -> usize {
        self.name.as_ref().map_or(0, |name| name.len())
            + self.data.size()
            + self.client_id.as_ref().map_or(0, |id| id.len())
            + self.extras.as_ref().map_or(0, json_size)
    }
}

/// What happened to a message (TM5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageAction {
    /// Published (0).
    Create,
    /// Updated (1).
    Update,
    /// Deleted (2).
    Delete,
    /// Carries information about the channel, not from a publisher (3).
    Meta,
    /// Its annotation summary changed (4).
    Summary,
    /// Data was appended (5).
    Append,
    /// One this version does not know (RTF1), by its number.
    Unknown(u32),
}

numbered!(MessageAction);

impl MessageAction {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Create => 0,
            Self::Update => 1,
            Self::Delete => 2,
            Self::Meta => 3,
            Self::Summary => 4,
            Self::Append => 5,
            Self::Unknown(number) => number,
        }
    }

    /// The action with this number; an unknown number is kept.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Create,
            1 => Self::Update,
            2 => Self::Delete,
            3 => Self::Meta,
            4 => Self::Summary,
            5 => Self::Append,
            other => Self::Unknown(other),
        }
    }
}

/// A version of a message (TM2s).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageVersion {
    /// Identifies this version (TM2s1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Str>,
    /// When it was made, in ms since the epoch (TM2s2).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub timestamp: Option<Millis>,
    /// Who made it (TM2s3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// Why, in words (TM2s4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Str>,
    /// Further details (TM2s5).
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::optional_string_map"
    )]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The annotations of a message (TM8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageAnnotations {
    /// The aggregated summary of each annotation type (TM8a).
    #[serde(deserialize_with = "lenient::value_map")]
    pub summary: BTreeMap<String, Value>,
}

/// What a successful publish returns (PBR).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishResult {
    /// The serial of each message published, in order (PBR2a); `None` for one that was discarded by
    /// conflation.
    #[serde(deserialize_with = "lenient::items")]
    pub serials: Vec<Option<Str>>,
}

impl PublishResult {
    /// The result with these serials.
    pub fn new(serials: Vec<Option<Str>>) -> Self {
        Self { serials }
    }
}
