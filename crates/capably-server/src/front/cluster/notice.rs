//! Notices: the content of announcements between the nodes of a cluster.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_protocol::{Millis, Str};
use serde::{Deserialize, Serialize};

use crate::{
    engine::Bucket,
    front::webhooks::News,
    hub::{self, Occupancy, Position},
};

/// A notice of a node to the others. A node ignores notices of types that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum Notice {
    /// The node is new, or was cut off: the others are to tell their occupancy.
    Hello,
    /// A client has resumed the connection at the node.
    Resumed { app: Str, connection: Str },
    /// A client that has resumed the connection at the node is still connected.
    Serving { app: Str, connection: Str },
    /// The connection has ended at the node.
    Ended { app: Str, connection: Str },
    /// Messages that are in no log.
    Ephemeral { app: Str, channel: Str, position: u64, time: Millis, record: String },
    /// The counts of channels at the node. With `all`, it has no others.
    Occupancy { app: Str, all: bool, counts: Vec<(Str, Occupancy)> },
    /// The node has committed entries that webhooks report.
    Events { app: Str, channels: Vec<(Str, News)> },
    /// Facts have changed. The others are to apply them, and then to reply with [`Seen`](Self::Seen).
    Facts { request: u64, facts: Vec<(u8, String)> },
    /// The node `to` has the reply to its request.
    Seen { to: String, request: u64 },
}

impl Notice {
    /// The notice of an app's hub.
    pub(super) fn of_hub(app: &str, notice: hub::Notice) -> Self {
        let app = Str::from(app);
        match notice {
            hub::Notice::Resumed(connection) => Self::Resumed { app, connection },
            hub::Notice::Serving(connection) => Self::Serving { app, connection },
            hub::Notice::Ended(connection) => Self::Ended { app, connection },
            hub::Notice::Ephemeral { channel, position, time, record } => {
                let record = STANDARD.encode(record);
                Self::Ephemeral { app, channel, position: position.0, time, record }
            }
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // Only strings and numbers: writing them to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads a notice. `None` if this node does not know its type.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// The place and the record of ephemeral messages.
pub(super) fn ephemeral(position: u64, record: &str) -> Option<(Position, Bytes)> {
    Some((Position(position), STANDARD.decode(record).ok()?.into()))
}

/// The bucket with this number, if this node knows it.
pub(super) fn bucket(number: u8) -> Option<Bucket> {
    Bucket::ALL.into_iter().find(|bucket| *bucket as u8 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back_and_unknown_ones_are_ignored() {
        let app = Str::from("app-id");
        let counts = vec![("a".into(), Occupancy { connections: 3, ..Occupancy::default() })];
        for notice in [
            Notice::Hello,
            Notice::Resumed { app: app.clone(), connection: "c".into() },
            Notice::Serving { app: app.clone(), connection: "c".into() },
            Notice::Ended { app: app.clone(), connection: "c".into() },
            Notice::of_hub(
                "app-id",
                hub::Notice::Ephemeral {
                    channel: "a".into(),
                    position: Position(7),
                    time: -1,
                    record: Bytes::from_static(&[0, 255]),
                },
            ),
            Notice::Occupancy { app: app.clone(), all: true, counts },
            Notice::Events { app, channels: vec![("a".into(), News { position: 7, time: -1 })] },
            Notice::Facts { request: u64::MAX, facts: vec![(Bucket::Push as u8, "k".into())] },
            Notice::Seen { to: "n".into(), request: 1 },
        ] {
            assert_eq!(Notice::decode(&notice.encode()), Some(notice));
        }
        for unknown in ["", "{}", r#"{"type":"later","x":1}"#, "[1]"] {
            assert_eq!(Notice::decode(unknown.as_bytes()), None, "{unknown}");
        }
        assert_eq!(bucket(Bucket::Revocations as u8), Some(Bucket::Revocations));
        assert_eq!(bucket(200), None);
        assert_eq!(ephemeral(1, "?"), None);
    }
}
