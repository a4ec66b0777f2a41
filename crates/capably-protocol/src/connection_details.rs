//! Connection details (CD).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Str, lenient};

/// What the service says of a connection in its CONNECTED frame (CD2). Every field is optional: what
/// is absent leaves the client's own default in force (RTN21).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionDetails {
    /// The client's identity; `*` allows any (CD2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// The secret with which to resume (CD2b).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_key: Option<Str>,
    /// Largest publish, in bytes (CD2c).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub max_message_size: Option<u64>,
    /// Largest frame, in bytes (CD2d).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub max_frame_size: Option<u64>,
    /// Most frames a second from the client (CD2e).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub max_inbound_rate: Option<u64>,
    /// How long the service keeps a dropped connection's state, in ms (CD2f).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub connection_state_ttl: Option<u64>,
    /// The server's name, for support (CD2g).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_id: Option<Str>,
    /// Longest silence of the server, in ms; 0 means no limit (CD2h).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub max_idle_interval: Option<u64>,
    /// How long tombstones of objects are kept, in ms (CD2i).
    #[serde(
        rename = "objectsGCGracePeriod",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::integer"
    )]
    pub objects_gc_grace_period: Option<u64>,
    /// The site the client is connected to (CD2j).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_code: Option<Str>,
}

impl fmt::Debug for ConnectionDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionDetails")
            .field("client_id", &self.client_id)
            .field("connection_key", &self.connection_key.as_ref().map(|_| "[redacted]"))
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("max_inbound_rate", &self.max_inbound_rate)
            .field("connection_state_ttl", &self.connection_state_ttl)
            .field("server_id", &self.server_id)
            .field("max_idle_interval", &self.max_idle_interval)
            .field("objects_gc_grace_period", &self.objects_gc_grace_period)
            .field("site_code", &self.site_code)
            .finish()
    }
}
