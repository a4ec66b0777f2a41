//! The time as an input of the hub.

use std::time::Duration;

use capably_protocol::Millis;

/// The time, as an input: a steady clock for deadlines and the wall clock for timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since an arbitrary start. It never goes back.
    pub(crate) steady: Duration,
    /// Since the Unix epoch, in ms.
    pub(crate) wall: Millis,
}

impl Now {
    /// The time of the steady clock at this time of the wall clock.
    pub(crate) fn steady_at(&self, wall: Millis) -> Duration {
        let ago = u64::try_from(self.wall.saturating_sub(wall)).unwrap_or(0);
        self.steady.saturating_sub(Duration::from_millis(ago))
    }
}
