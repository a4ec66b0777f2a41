//! Notices that the machine slept, as laptops do.
//!
//! The monotonic clock, which timers follow, stands still meanwhile; the wall clock does not.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use capably_protocol::Millis;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::auth::Clock;

/// How often the clocks are compared, and so the most that it takes to notice.
const INTERVAL: Duration = Duration::from_secs(1);

/// Less than this may be an adjustment of the wall clock.
const SLEEP: Duration = Duration::from_secs(2);

/// Compares the clocks.
pub(crate) struct Awake {
    wall: Clock,
    /// What they said last; `None` before it matters.
    last: Option<(Instant, Millis)>,
    next: Pin<Box<Sleep>>,
}

impl Awake {
    pub(crate) fn new(wall: Clock, now: Instant) -> Self {
        Self { wall, last: None, next: Box::pin(sleep_until(now)) }
    }

    /// Forgets what the clocks said: a sleep does not matter for now.
    pub(crate) fn look_away(&mut self) {
        self.last = None;
    }

    /// For how long the machine slept, if it did.
    pub(crate) fn poll_slept(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        loop {
            if self.next.as_mut().poll(cx) == Poll::Pending {
                return None;
            }
            let (now, wall) = (Instant::now(), self.wall.now());
            self.next.as_mut().reset(now + INTERVAL);
            let Some((before, wall_before)) = self.last.replace((now, wall)) else { continue };
            let gone = wall.saturating_sub(wall_before).try_into().unwrap_or_default();
            let slept = Duration::from_millis(gone).saturating_sub(now - before);
            if slept >= SLEEP {
                return Some(slept);
            }
        }
    }
}
