//! Presence messages (TP).

use serde::Deserialize;

use crate::{
    Data, JsonObject, Millis, Str,
    data::json_size,
    lenient::{self, numbered},
};

/// A presence message, to send or received (TP3).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PresenceMessage {
    /// Unique id (TP3a).
    pub id: Option<Str>,
    /// What the member did (TP3b).
    pub action: Option<PresenceAction>,
    /// The member's client id (TP3c).
    pub client_id: Option<Str>,
    /// The member's connection (TP3d).
    pub connection_id: Option<Str>,
    /// Payload (TP3e).
    pub data: Data,
    /// Encoding steps still applied to `data` (TP3f).
    pub encoding: Option<Str>,
    /// When it was sent, in ms since the epoch (TP3g).
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: Option<Millis>,
    /// Metadata (TP3i).
    #[serde(deserialize_with = "lenient::optional_object")]
    pub extras: Option<JsonObject>,
}

impl PresenceMessage {
    /// The size that counts against `maxMessageSize`, in bytes (TP5).
    pub fn size(&self) -> usize {
        self.data.size()
            + self.client_id.as_ref().map_or(0, |id| id.len())
            + self.extras.as_ref().map_or(0, json_size)
    }
}

/// What a member did (TP2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PresenceAction {
    /// Not present (0); only ever seen inside a client.
    Absent,
    /// Already present when asked (1).
    Present,
    /// Entered (2).
    Enter,
    /// Left (3).
    Leave,
    /// Changed its data (4).
    Update,
    /// One this version does not know (RTF1), by its number.
    Unknown(u32),
}

numbered!(PresenceAction);

impl PresenceAction {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Present => 1,
            Self::Enter => 2,
            Self::Leave => 3,
            Self::Update => 4,
            Self::Unknown(number) => number,
        }
    }

    /// The action with this number; an unknown number is kept.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Absent,
            1 => Self::Present,
            2 => Self::Enter,
            3 => Self::Leave,
            4 => Self::Update,
            other => Self::Unknown(other),
        }
    }
}
