//! Messages (TM).

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
    data::json_size,
    wire::{number_field, numbered, wire},
};

wire! {
    /// A message, to publish or received (TM).
    ///
    /// Fields that the sender leaves out are `None`, and absent on the wire (RSL1e).
    #[derive(Clone, Default, PartialEq)]
    pub struct Message: Direct {
        /// Unique id (TM2a).
        pub id: Option<Str> = "id";
        /// Event name (TM2g).
        pub name: Option<Str> = "name";
        /// Payload (TM2d).
        pub data: Data = "data";
        /// Encoding steps still applied to `data`, outermost last (TM2e); absent once all are undone.
        pub encoding: Option<Str> = "encoding", steps_of(data);
        /// The publisher's client id (TM2b).
        pub client_id: Option<Str> = "clientId";
        /// The publisher's connection (TM2c).
        pub connection_id: Option<Str> = "connectionId";
        /// Connection to publish on behalf of (TM2h); never set on a message received.
        pub connection_key: Option<Str> = "connectionKey", secret;
        /// When it was published, in ms since the epoch (TM2f).
        pub timestamp: Option<Millis> = "timestamp";
        /// Metadata: `headers`, `ref`, `push`, `delta`, … (TM2i).
        pub extras: Option<JsonObject> = "extras";
        /// The change that the message stands for (TM2j).
        pub action: Option<MessageAction> = "action";
        /// Identifies the message across its versions (TM2r).
        pub serial: Option<Str> = "serial";
        /// The latest version as received, possibly incomplete; [`version`](Self::version) completes it (TM2s).
        pub version: Option<Box<MessageVersion>> = "version";
        /// Summaries of its annotations as received; see [`summary`](Self::summary) (TM2u).
        pub annotations: Option<Box<MessageAnnotations>> = "annotations";
    }

    /// Completes a received message, item number `index` of its frame, from that frame (TM2a, TM2c, TM2f).
    fn inherit(id, connection_id, timestamp);
}

impl Message {
    /// A message with a name and a payload (TM4).
    pub fn new(name: impl Into<Str>, data: impl Into<Data>) -> Self {
        Self { name: Some(name.into()), data: data.into(), ..Self::default() }
    }

    /// A message with a payload and no name (TM4).
    pub fn unnamed(data: impl Into<Data>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// A message with a name and, as its payload, a value's JSON form.
    ///
    /// # Errors
    /// Code 40013 when the value has no JSON form, or one that is neither object nor array (RSL4a).
    pub fn from_json<T: Serialize + ?Sized>(
        name: impl Into<Str>,
        value: &T,
    ) -> Result<Self, ErrorInfo> {
        Ok(Self::new(name, Data::from_json(value)?))
    }

    /// The payload as a value of a type: see [`Data::json`].
    ///
    /// # Errors
    /// Code 40013 when the payload is not JSON, or JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorInfo> {
        self.data.json()
    }

    /// The summaries of the message's annotations, by type; empty when it has none (TM2u, TM8a).
    pub fn summary(&self) -> &BTreeMap<String, Value> {
        static NONE: BTreeMap<String, Value> = BTreeMap::new();
        self.annotations.as_ref().map_or(&NONE, |annotations| &annotations.summary)
    }

    /// The latest version of a received message. Serial and timestamp default to those of the message (TM2s1, TM2s2).
    pub fn version(&self) -> MessageVersion {
        let mut version = self.version.as_deref().cloned().unwrap_or_default();
        if version.serial.is_none() {
            version.serial.clone_from(&self.serial);
        }
        version.timestamp = version.timestamp.or(self.timestamp);
        version
    }

    /// The size that counts against `maxMessageSize`, in bytes (TM6).
    pub fn size(&self) -> usize {
        self.name.as_ref().map_or(0, |name| name.len())
            + self.data.size()
            + self.client_id.as_ref().map_or(0, |id| id.len())
            + self.extras.as_ref().map_or(0, json_size)
    }
}

numbered! {
    /// The change that a message stands for (TM5).
    pub enum MessageAction {
        /// Published (0).
        Create = 0,
        /// Updated (1).
        Update = 1,
        /// Deleted (2).
        Delete = 2,
        /// Carries information about the channel, not from a publisher (3).
        Meta = 3,
        /// Its annotation summary changed (4).
        Summary = 4,
        /// Data was appended (5).
        Append = 5;
        /// One this version does not know (RTF1), by its number.
        Unknown(u32),
    }
    /// The action with this number; an unknown number is kept.
    pub fn from_number;
}

number_field!(MessageAction);

wire! {
    /// A version of a message (TM2s).
    #[derive(Clone, Default, PartialEq)]
    pub struct MessageVersion: Direct {
        /// Identifies this version (TM2s1).
        pub serial: Option<Str> = "serial";
        /// When it was made, in ms since the epoch (TM2s2).
        pub timestamp: Option<Millis> = "timestamp";
        /// The client that made the change (TM2s3).
        pub client_id: Option<Str> = "clientId";
        /// The reason of the change (TM2s4).
        pub description: Option<Str> = "description";
        /// Further details (TM2s5).
        pub metadata: Option<BTreeMap<String, String>> = "metadata";
    }
}

wire! {
    /// The annotations of a message (TM8).
    #[derive(Clone, Default, PartialEq)]
    pub struct MessageAnnotations: Direct {
        /// The aggregated summary of each annotation type (TM8a).
        pub summary: BTreeMap<String, Value> = "summary";
    }
}

wire! {
    /// The result of a successful publish (PBR).
    #[derive(Clone, Default, PartialEq, Eq)]
    pub struct PublishResult: Direct {
        /// The serial of each message published, in order (PBR2a); `None` for one that was discarded by
        /// conflation.
        pub serials: Vec<Option<Str>> = "serials";
    }
}

impl PublishResult {
    /// The result with these serials.
    pub fn new(serials: Vec<Option<Str>>) -> Self {
        Self { serials }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_takes_from_its_frame_what_it_lacks() {
        let connection = Str::from("conn");
        let mut message = Message { serial: Some("s".into()), ..Message::default() };
        message.inherit(Some(&"frame:1".into()), 12, Some(&connection), Some(7));
        assert_eq!(message.id.as_deref(), Some("frame:1:12"));
        assert_eq!(message.connection_id, Some(connection));
        assert_eq!(message.timestamp, Some(7));
        let version = message.version();
        assert_eq!((version.serial.as_deref(), version.timestamp), (Some("s"), Some(7)));
        assert!(message.summary().is_empty());
    }

    #[test]
    fn a_message_keeps_what_it_has() {
        let version = MessageVersion {
            serial: Some("v".into()),
            timestamp: Some(3),
            ..MessageVersion::default()
        };
        let full = Message {
            id: Some("own".into()),
            connection_id: Some("other".into()),
            timestamp: Some(1),
            serial: Some("s".into()),
            version: Some(Box::new(version)),
            ..Message::default()
        };
        let mut message = full.clone();
        message.inherit(Some(&"frame".into()), 0, Some(&"conn".into()), Some(7));
        assert_eq!(message, full);
    }

    #[test]
    fn half_a_version_is_completed() {
        let version = MessageVersion { serial: Some("v".into()), ..MessageVersion::default() };
        let mut message = Message {
            serial: Some("s".into()),
            version: Some(Box::new(version)),
            ..Message::default()
        };
        message.inherit(None, 0, None, Some(7));
        let version = message.version();
        assert_eq!((version.serial.as_deref(), version.timestamp), (Some("v"), Some(7)));
        assert_eq!(message.id, None);
    }

    #[test]
    fn nothing_to_take_makes_no_version() {
        let mut message = Message::default();
        message.inherit(Some(&"frame".into()), 3, None, None);
        assert_eq!(message, Message { id: Some("frame:3".into()), ..Message::default() });
    }

    // Spec: TM6, TM6a, TM6b, TM6c, TM6d, TM6e, TM6f
    #[test]
    fn sizes_count_bytes_of_name_data_client_and_extras() {
        let extras = json!({ "a": 1 }).as_object().cloned();
        let message =
            Message { client_id: Some("é".into()), extras, ..Message::new("name", "data") };
        assert_eq!(message.size(), 4 + 4 + 2 + r#"{"a":1}"#.len());
        assert_eq!(Message::new("", vec![0; 10]).size(), 10);
        assert_eq!(Message::new("", json!({ "a": [1, 2] })).size(), r#"{"a":[1,2]}"#.len());
        assert_eq!(Message::default().size(), 0);
    }

    #[test]
    fn typed_payloads_go_and_come_as_json() {
        let message = Message::from_json("point", &BTreeMap::from([("x", 1)])).unwrap();
        assert_eq!(message.data, Data::Json(json!({ "x": 1 })));
        assert_eq!(message.json::<BTreeMap<String, i32>>().unwrap()["x"], 1);
        assert_eq!(Message::new("n", "[1,2]").json::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(Message::default().json::<Option<u8>>().unwrap(), None);
        let refused = [
            Message::from_json("n", &5).unwrap_err(),
            Message::from_json("n", "text").unwrap_err(),
            Message::from_json("n", &BTreeMap::from([((1, 2), 3)])).unwrap_err(),
            message.json::<Vec<u8>>().unwrap_err(),
            Message::new("n", "text").json::<Value>().unwrap_err(),
            Message::new("n", vec![b'1']).json::<u8>().unwrap_err(),
            Message::default().json::<u8>().unwrap_err(),
        ];
        assert_eq!(refused.map(|error| error.code.0), [40013; 7]);
    }

    #[test]
    fn actions_have_the_numbers_of_the_specification() {
        let actions = [
            MessageAction::Create,
            MessageAction::Update,
            MessageAction::Delete,
            MessageAction::Meta,
            MessageAction::Summary,
            MessageAction::Append,
            MessageAction::Unknown(6),
        ];
        for (number, action) in (0..).zip(actions) {
            assert_eq!((action.number(), MessageAction::from_number(number)), (number, action));
        }
    }
}
