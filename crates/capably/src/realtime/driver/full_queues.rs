//! A short wait for listeners whose queues are full.
//!
//! A listener that keeps up may still be a moment late: a burst fills a queue in the time that the system takes to
//! wake a thread. Replaying messages costs more than that moment, so the driver stops reading the socket for it, once
//! for each time a queue fills. A listener that takes nothing meanwhile falls behind, and the driver continues.

use std::{collections::BTreeSet, task::Context, time::Duration};

use capably_core::ChannelId;
use tokio::time::Instant;

/// How long the driver waits for room.
const MAX_WAIT: Duration = Duration::from_millis(4);

/// How long the driver waits after that, in another turn of its task.
const LAST_TURN: Duration = Duration::from_millis(1);

/// The channels with a full queue that the driver waits for.
#[derive(Debug, Default)]
pub(super) struct FullQueues {
    channels: BTreeSet<ChannelId>,
    phase: WaitPhase,
}

/// The phases of a wait.
///
/// Time alone does not end a wait: the system may stop the driver's thread for longer than the wait right after a queue
/// has filled, and a listener on the same thread would then never have had a chance. A task that wakes itself may run
/// again before the listener does, so the last phase sleeps, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WaitPhase {
    /// The driver does not wait.
    #[default]
    Idle,
    /// The driver waits until this time.
    Until(Instant),
    /// The time has passed. The driver waits until this later time, and for a turn of its task that has begun since.
    LastTurn { until: Instant, begun: bool },
}

impl FullQueues {
    /// A queue of this channel has filled.
    pub(super) fn add(&mut self, id: ChannelId) {
        self.channels.insert(id);
        if self.phase == WaitPhase::Idle {
            self.phase = WaitPhase::Until(Instant::now() + MAX_WAIT);
        }
    }

    /// A turn of the driver's task begins.
    pub(super) fn begin_turn(&mut self) {
        if let WaitPhase::LastTurn { begun, .. } = &mut self.phase {
            *begun = true;
        }
    }

    /// When the current phase of the wait ends at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            WaitPhase::Until(until) | WaitPhase::LastTurn { until, .. } => Some(until),
            WaitPhase::Idle => None,
        }
    }

    /// Whether to wait on. The task is woken when the queues have room, and must run again at the
    /// [`deadline`](Self::deadline).
    pub(super) fn must_wait(
        &mut self,
        cx: &mut Context<'_>,
        mut is_full: impl FnMut(ChannelId, &mut Context<'_>) -> bool,
    ) -> bool {
        let Some(deadline) = self.deadline() else { return false };
        self.channels.retain(|id| is_full(*id, cx));
        let now = Instant::now();
        self.phase = match self.phase {
            _ if self.channels.is_empty() => WaitPhase::Idle,
            phase if now < deadline => phase,
            WaitPhase::Until(_) | WaitPhase::LastTurn { begun: false, .. } => {
                WaitPhase::LastTurn { until: now + LAST_TURN, begun: false }
            }
            WaitPhase::LastTurn { begun: true, .. } | WaitPhase::Idle => WaitPhase::Idle,
        };
        let waits = self.phase != WaitPhase::Idle;
        if !waits {
            self.channels.clear();
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const FULL: ChannelId = ChannelId(1);

    fn full_queues() -> FullQueues {
        let mut queues = FullQueues::default();
        queues.add(FULL);
        queues
    }

    fn waits(queues: &mut FullQueues, full: bool) -> bool {
        queues.must_wait(&mut Context::from_waker(Waker::noop()), |id, _| {
            assert_eq!(id, FULL);
            full
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_time_and_another_turn() {
        let mut queues = full_queues();
        let start = Instant::now();
        while waits(&mut queues, true) {
            let deadline = queues.deadline().unwrap();
            assert!(deadline > Instant::now(), "a time that has passed would keep the driver busy");
            tokio::time::sleep_until(deadline).await;
            queues.begin_turn();
        }
        assert_eq!(start.elapsed(), Duration::from_millis(5));
        assert!(!waits(&mut queues, true), "the driver waits once for each time a queue fills");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stands_still_takes_no_turn_from_a_listener() {
        let mut queues = full_queues();
        // The driver asks more than once in a turn.
        for _ in 0..5 {
            tokio::time::advance(MAX_WAIT * 100).await;
            assert!(waits(&mut queues, true));
            assert_eq!(queues.deadline(), Some(Instant::now() + LAST_TURN));
        }
        queues.begin_turn();
        assert!(waits(&mut queues, true), "the turn has begun before its time");
        assert!(!waits(&mut queues, false), "the listener has made room");
        queues.add(FULL);
        assert!(waits(&mut queues, true), "the next time, the driver waits again");
    }

    #[tokio::test(start_paused = true)]
    async fn room_ends_a_wait() {
        let mut queues = full_queues();
        assert!(waits(&mut queues, true));
        assert!(!waits(&mut queues, false));
        assert_eq!(queues.deadline(), None);
    }
}
