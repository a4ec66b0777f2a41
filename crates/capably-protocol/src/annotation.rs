//! Annotations of messages (TAN).

use serde::de::DeserializeOwned;

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
    data::json_size,
    wire::{number_field, numbered, wire},
};

wire! {
    /// An annotation, to publish or received (TAN2).
    #[derive(Clone, Default, PartialEq)]
    pub struct Annotation: Direct {
        /// Unique id (TAN2a).
        pub id: Option<Str> = "id";
        /// Made or removed (TAN2b).
        pub action: Option<AnnotationAction> = "action";
        /// The annotator's client id (TAN2c).
        pub client_id: Option<Str> = "clientId";
        /// The annotator's connection.
        pub connection_id: Option<Str> = "connectionId";
        /// Its name, such as 👍 (TAN2d).
        pub name: Option<Str> = "name";
        /// Its weight in a count (TAN2e).
        pub count: Option<u64> = "count";
        /// Payload (TAN2f).
        pub data: Data = "data";
        /// Encoding steps still applied to `data` (TAN2g).
        pub encoding: Option<Str> = "encoding", steps_of(data);
        /// When it was made, in ms since the epoch (TAN2h).
        pub timestamp: Option<Millis> = "timestamp";
        /// Identifies the annotation (TAN2i).
        pub serial: Option<Str> = "serial";
        /// The message it belongs to (TAN2j).
        pub message_serial: Option<Str> = "messageSerial";
        /// Its type, such as `reaction:distinct.v1` (TAN2k).
        pub annotation_type: Option<Str> = "type";
        /// Metadata (TAN2l).
        pub extras: Option<JsonObject> = "extras";
    }

    /// Completes a received annotation, item number `index` of its frame, from that frame.
    fn inherit(id, connection_id, timestamp);
}

impl Annotation {
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

numbered! {
    /// Whether an annotation was made or removed (TAN2b).
    pub enum AnnotationAction {
        /// Made (0).
        Create = 0,
        /// Removed (1).
        Delete = 1;
        /// One this version does not know (RTF1), by its number.
        Unknown(u32),
    }
    /// The action with this number; an unknown number is kept.
    pub fn from_number;
}

number_field!(AnnotationAction);
