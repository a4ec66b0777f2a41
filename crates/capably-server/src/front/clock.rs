//! The clock of a server: the hub is pure, and gets the time as an input.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capably_protocol::Millis;
use tokio::time::Instant;

use crate::hub::Now;

/// The steady clock starts here and not at zero: entries from the storage are older than the server, and need a time, too.
const BEFORE: Duration = Duration::from_secs(100 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    last_wall: AtomicI64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), last_wall: AtomicI64::new(0) }
    }

    pub(super) fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX);
        // Timestamps must not go back when the system's clock is set.
        let last = self.last_wall.fetch_max(wall, Ordering::Relaxed);
        Now { steady: BEFORE + self.start.elapsed(), wall: wall.max(last) }
    }
}
