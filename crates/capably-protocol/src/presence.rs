//! Presence messages (TP).

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
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
    /// Fills in what a presence message received lacks from the frame it came in, as its item number
    /// `index` (TP3a, TP3d, TP3g).
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

    /// What tells a member from all others: `connectionId:clientId` (TP3h).
    pub fn member_key(&self) -> String {
        let connection = self.connection_id.as_deref().unwrap_or_default();
        let client = self.client_id.as_deref().unwrap_or_default();
        format!("{connection}:{client}")
    }

    /// The payload as a value of a type: see [`Data::json`].
    ///
    /// # Errors
    /// Code 40013 when the payload is not JSON, or JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorInfo> {
        self.data.json()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_message_takes_from_its_frame_what_it_lacks() {
        let mut presence =
            PresenceMessage { client_id: Some("me".into()), ..PresenceMessage::default() };
        presence.inherit(Some(&"frame".into()), 10, Some(&"conn".into()), Some(7));
        assert_eq!(presence.id.as_deref(), Some("frame:10"));
        assert_eq!(presence.timestamp, Some(7));
        assert_eq!(presence.member_key(), "conn:me");
        presence.inherit(Some(&"later".into()), 0, Some(&"elsewhere".into()), Some(9));
        assert_eq!(presence.id.as_deref(), Some("frame:10"));
        assert_eq!(
            (presence.connection_id.as_deref(), presence.timestamp),
            (Some("conn"), Some(7))
        );
    }

    #[test]
    fn actions_have_the_numbers_of_the_specification() {
        let actions = [
            PresenceAction::Absent,
            PresenceAction::Present,
            PresenceAction::Enter,
            PresenceAction::Leave,
            PresenceAction::Update,
            PresenceAction::Unknown(5),
        ];
        for (number, action) in (0..).zip(actions) {
            assert_eq!((action.number(), PresenceAction::from_number(number)), (number, action));
        }
    }
}
