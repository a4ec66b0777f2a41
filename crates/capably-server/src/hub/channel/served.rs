//! The connections that nodes of the cluster serve after a resume: their members stay, though their owner is another node.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::hub::ids::ConnectionId;

/// How long a notice is stored. Members stay for a shorter time.
const STORED: Duration = Duration::from_secs(10 * 60);

/// The times of the last notices about connections that were resumed at any node.
///
/// A node can adopt members only when it has loaded their channel, which takes as long as the engine needs. Until then its
/// notices tell the others that the client is connected.
#[derive(Debug, Default)]
pub(super) struct Served {
    last: BTreeMap<ConnectionId, Duration>,
    /// The notices in their order, to forget them.
    by_time: VecDeque<(Duration, ConnectionId)>,
}

impl Served {
    /// A node serves the connection.
    pub(super) fn add(&mut self, connection: &ConnectionId, now: Duration) {
        while let Some((time, _)) = self.by_time.front()
            && *time + STORED <= now
            && let Some((time, old)) = self.by_time.pop_front()
        {
            if self.last.get(&old) == Some(&time) {
                self.last.remove(&old);
            }
        }
        self.last.insert(connection.clone(), now);
        self.by_time.push_back((now, connection.clone()));
    }

    /// The connection has ended.
    pub(super) fn remove(&mut self, connection: &ConnectionId) {
        self.last.remove(connection);
    }

    /// The time of the last notice about the connection.
    pub(super) fn last(&self, connection: &ConnectionId) -> Option<Duration> {
        self.last.get(connection).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_notices_are_forgotten() {
        let mut served = Served::default();
        let (ada, bo) = (ConnectionId::from("ada"), ConnectionId::from("bo"));
        served.add(&ada, Duration::ZERO);
        served.add(&bo, Duration::from_secs(1));
        served.add(&ada, Duration::from_secs(2));
        served.add(&ada, STORED + Duration::from_secs(1));
        assert_eq!(served.last(&bo), None);
        assert_eq!(served.last(&ada), Some(STORED + Duration::from_secs(1)));
        assert_eq!((served.last.len(), served.by_time.len()), (1, 2));
        served.remove(&ada);
        assert_eq!(served.last(&ada), None);
    }
}
