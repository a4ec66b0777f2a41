//! The ids of transports, connections and nodes.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use capably_protocol::Str;

/// The id of a transport, which is one WebSocket. Ids are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransportId(pub(crate) u64);

/// Hashes transport ids. They count up, and clients do not choose them: a multiplication spreads them well enough.
pub(crate) type TransportHash = BuildHasherDefault<TransportHasher>;

/// The state of a [`TransportHash`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransportHasher(u64);

impl Hasher for TransportHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // The map takes both the highest and the lowest bits of a hash.
        let product = u128::from(self.0 ^ id) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

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

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn transports_are_spread_over_a_map() {
        let hashes: Vec<_> =
            (0..1024).map(|id| TransportHash::default().hash_one(TransportId(id))).collect();
        let places = |of: fn(&u64) -> u64| hashes.iter().map(of).collect::<HashSet<_>>().len();
        // A map chooses the slot by the low bits, and tells neighbours apart by the seven highest.
        assert!(places(|hash| hash % 1024) > 500, "{}", places(|hash| hash % 1024));
        assert_eq!(places(|hash| hash >> 57), 128);
    }
}
