//! The ids of transports and connections.

use capably_protocol::Str;

/// The id of a transport, which is one WebSocket. Ids are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransportId(pub(crate) u64);

/// The id of a connection, as `connectionId` in frames.
pub(crate) type ConnectionId = Str;
