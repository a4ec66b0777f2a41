//! Connection details (CD).

use crate::{Str, wire::wire};

wire! {
    /// Identity, key and limits of a connection, from the CONNECTED frame (CD2). Every field is optional: the client's
    /// own default stays in force for an absent field (RTN21).
    #[derive(Clone, Default, PartialEq, Eq)]
    pub struct ConnectionDetails: Serde {
        /// The client's identity; `*` allows any (CD2a).
        pub client_id: Option<Str> = "clientId";
        /// The secret to resume the connection with (CD2b).
        pub connection_key: Option<Str> = "connectionKey", secret;
        /// Largest publish, in bytes (CD2c).
        pub max_message_size: Option<u64> = "maxMessageSize";
        /// Largest frame, in bytes (CD2d).
        pub max_frame_size: Option<u64> = "maxFrameSize";
        /// Most frames a second from the client (CD2e).
        pub max_inbound_rate: Option<u64> = "maxInboundRate";
        /// How long the service keeps a dropped connection's state, in ms (CD2f).
        pub connection_state_ttl: Option<u64> = "connectionStateTtl";
        /// The server's name, for support (CD2g).
        pub server_id: Option<Str> = "serverId";
        /// Longest silence of the server, in ms; 0 means no limit (CD2h).
        pub max_idle_interval: Option<u64> = "maxIdleInterval";
        /// How long tombstones of objects are kept, in ms (CD2i).
        pub objects_gc_grace_period: Option<u64> = "objectsGCGracePeriod";
        /// The site the client is connected to (CD2j).
        pub site_code: Option<Str> = "siteCode";
    }
}
