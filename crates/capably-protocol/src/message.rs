//! Messages (TM).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
    data::json_size,
    lenient::{self, numbered},
};

/// A message, to publish or received (TM).
///
/// Fields that the sender leaves out are `None`, and absent on the wire (RSL1e).
#[derive(Clone, Default, PartialEq, Deserialize)]
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
    /// The latest version, as it came; see [`version`](Self::version) for what it means (TM2s).
    pub version: Option<Box<MessageVersion>>,
    /// Summaries of its annotations, as they came; see [`summary`](Self::summary) (TM2u).
    pub annotations: Option<Box<MessageAnnotations>>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("data", &self.data)
            .field("encoding", &self.encoding)
            .field("client_id", &self.client_id)
            .field("connection_id", &self.connection_id)
            .field("connection_key", &self.connection_key.as_ref().map(|_| "[redacted]"))
            .field("timestamp", &self.timestamp)
            .field("extras", &self.extras)
            .field("action", &self.action)
            .field("serial", &self.serial)
            .field("version", &self.version)
            .field("annotations", &self.annotations)
            .finish()
    }
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

    /// The latest version of a message received: what came with it, and the message's own serial and
    /// timestamp where that lacks them (TM2s1, TM2s2).
    pub fn version(&self) -> MessageVersion {
        let mut version = self.version.as_deref().cloned().unwrap_or_default();
        if version.serial.is_none() {
            version.serial.clone_from(&self.serial);
        }
        version.timestamp = version.timestamp.or(self.timestamp);
        version
    }

    /// Fills in what a message received lacks from the frame it came in, as its item number `index`
    /// (TM2a, TM2c, TM2f).
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
