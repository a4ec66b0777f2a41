//! The wall clock.

use std::{fmt, sync::Arc, time::SystemTime};

use capably_protocol::Millis;

/// Returns the time of day, from the operating system or from a test.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time, in ms since the epoch.
    pub(crate) fn now(&self) -> Millis {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| {
            // A clock before 1970, or too far in the future for a number, counts as 1970.
            let elapsed = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            Millis::try_from(elapsed.as_millis()).unwrap_or_default()
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
