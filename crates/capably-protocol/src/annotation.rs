//! Annotations of messages (TAN).

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
    data::json_size,
    lenient::{self, numbered},
};

/// An annotation, to publish or received (TAN2).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotation {
    /// Unique id (TAN2a).
    pub id: Option<Str>,
    /// Made or removed (TAN2b).
    pub action: Option<AnnotationAction>,
    /// The annotator's client id (TAN2c).
    pub client_id: Option<Str>,
    /// The annotator's connection.
    pub connection_id: Option<Str>,
    /// What it is about, such as 👍 (TAN2d).
    pub name: Option<Str>,
    /// How much it counts (TAN2e).
    #[serde(deserialize_with = "lenient::integer")]
    pub count: Option<u64>,
    /// Payload (TAN2f).
    pub data: Data,
    /// Encoding steps still applied to `data` (TAN2g).
    pub encoding: Option<Str>,
    /// When it was made, in ms since the epoch (TAN2h).
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: Option<Millis>,
    /// Identifies the annotation (TAN2i).
    pub serial: Option<Str>,
    /// The message it belongs to (TAN2j).
    pub message_serial: Option<Str>,
    /// Its type, such as `reaction:distinct.v1` (TAN2k).
    #[serde(rename = "type")]
    pub annotation_type: Option<Str>,
    /// Metadata (TAN2l).
    #[serde(deserialize_with = "lenient::optional_object")]
    pub extras: Option<JsonObject>,
}

impl Annotation {
    /// Fills in what an annotation received lacks from the frame it came in, as its item number `index`.
    pub fn inherit(
        &mut self,
        frame_id: Option<&Str>,
        index: usize,
        connection_id: Option<&Str>,
        timestamp: Option<Millis>,
    ) {
        if self.id.is_none()
            && let Some(frame_id) = frame_id
        {
            Str::put_numbered(&mut self.id, frame_id, index);
        }
        if self.connection_id.is_none() {
            self.connection_id = connection_id.cloned();
        }
        self.timestamp = self.timestamp.or(timestamp);
    }

    /// The payload as a value of a type: see [`Data::json`].
    ///
    /// # Errors
    /// Code 40013 when the payload is not JSON, or JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorInfo> {
        self.data.json()
    }

    /// The size that counts against `maxMessageSize`, in bytes, as that of a message (TM6).
    pub fn size(&self) -> usize {
        self.name.as_ref().map_or(0, |name| name.len())
            + self.data.size()
            + self.client_id.as_ref().map_or(0, |id| id.len())
            + self.extras.as_ref().map_or(0, json_size)
    }
}

/// Whether an annotation was made or removed (TAN2b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnnotationAction {
    /// Made (0).
    Create,
    /// Removed (1).
    Delete,
    /// One this version does not know (RTF1), by its number.
    Unknown(u32),
}

numbered!(AnnotationAction);

impl AnnotationAction {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Create => 0,
            Self::Delete => 1,
            Self::Unknown(number) => number,
        }
    }

    /// The action with this number; an unknown number is kept.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Create,
            1 => Self::Delete,
            other => Self::Unknown(other),
        }
    }
}
