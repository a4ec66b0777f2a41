//! Presence messages (TP).

use serde::de::DeserializeOwned;

use crate::{
    Data, ErrorInfo, JsonObject, Millis, Str,
    data::json_size,
    wire::{number_field, numbered, wire},
};

wire! {
    /// A presence message, to send or received (TP3).
    #[derive(Clone, Default, PartialEq)]
    pub struct PresenceMessage: Direct {
        /// Unique id (TP3a).
        pub id: Option<Str> = "id";
        /// The action of the member (TP3b).
        pub action: Option<PresenceAction> = "action";
        /// The member's client id (TP3c).
        pub client_id: Option<Str> = "clientId";
        /// The member's connection (TP3d).
        pub connection_id: Option<Str> = "connectionId";
        /// Payload (TP3e).
        pub data: Data = "data";
        /// Encoding steps still applied to `data` (TP3f).
        pub encoding: Option<Str> = "encoding", steps_of(data);
        /// When it was sent, in ms since the epoch (TP3g).
        pub timestamp: Option<Millis> = "timestamp";
        /// Metadata (TP3i).
        pub extras: Option<JsonObject> = "extras";
    }

    /// Completes a received presence message, item number `index` of its frame, from that frame (TP3a, TP3d, TP3g).
    fn inherit(id, connection_id, timestamp);
}

impl PresenceMessage {
    /// The key that is unique to a member: `connectionId:clientId` (TP3h).
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

numbered! {
    /// The action of a member (TP2).
    pub enum PresenceAction {
        /// Not present (0); only ever seen inside a client.
        Absent = 0,
        /// Already present when asked (1).
        Present = 1,
        /// Entered (2).
        Enter = 2,
        /// Left (3).
        Leave = 3,
        /// Changed its data (4).
        Update = 4;
        /// One this version does not know (RTF1), by its number.
        Unknown(u32),
    }
    /// The action with this number; an unknown number is kept.
    pub fn from_number;
}

number_field!(PresenceAction);

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
