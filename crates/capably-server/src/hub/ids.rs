//! The ids of transports, connections and nodes.

use std::fmt;

use capably_protocol::Str;

/// The id of a transport, which is one WebSocket. Ids are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransportId(pub(crate) u64);

/// The id of a connection, as `connectionId` in frames.
pub(crate) type ConnectionId = Str;

/// The id of a node of a cluster. Each start of a server is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u64);

impl NodeId {
    /// The id in the form in which it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?.map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
