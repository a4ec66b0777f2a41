//! Detects that the machine slept, as laptops do.
//!
//! The monotonic clock, which timers follow, stands still during a sleep; the wall clock does not.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use capably_protocol::Millis;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::auth::Clock;

/// How often the clocks are compared. A sleep is detected at most this long after it.
const INTERVAL: Duration = Duration::from_secs(1);

/// A smaller difference of the clocks may be an adjustment of the wall clock.
const MIN_SLEEP: Duration = Duration::from_secs(2);

/// Compares the monotonic clock with the wall clock.
pub(super) struct SleepDetector {
    wall: Clock,
    /// The last readings; `None` while a sleep does not matter.
    last: Option<(Instant, Millis)>,
    next: Pin<Box<Sleep>>,
}

impl SleepDetector {
    pub(super) fn new(wall: Clock, now: Instant) -> Self {
        Self { wall, last: None, next: Box::pin(sleep_until(now)) }
    }

    /// Forgets the last readings, so that a sleep until the next poll is not reported.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }

    /// How long the machine slept, if it did.
    pub(super) fn poll_slept(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        loop {
            if self.next.as_mut().poll(cx) == Poll::Pending {
                return None;
            }
            let (now, wall) = (Instant::now(), self.wall.now());
            self.next.as_mut().reset(now + INTERVAL);
            let Some((before, wall_before)) = self.last.replace((now, wall)) else { continue };
            let elapsed = wall.saturating_sub(wall_before).try_into().unwrap_or_default();
            let slept = Duration::from_millis(elapsed).saturating_sub(now - before);
            if slept >= MIN_SLEEP {
                return Some(slept);
            }
        }
    }
}
