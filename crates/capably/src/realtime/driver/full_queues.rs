//! A moment of patience with listeners whose queues are full.
//!
//! A listener that keeps up may still be a moment late: a flood fills a queue in the time that the system takes to wake a
//! thread. Fetching messages a second time costs more than that moment, so the driver stops reading for it, once for
//! each time a queue fills. A listener that takes nothing meanwhile is behind, and the driver reads on.

use std::{collections::BTreeSet, task::Context, time::Duration};

use capably_core::ChannelId;
use tokio::time::Instant;

/// How long the driver waits for room.
const PATIENCE: Duration = Duration::from_millis(4);

/// How long it waits after that, in another turn of its task.
const LAST_TURN: Duration = Duration::from_millis(1);

/// The channels with a listener whose queue is full.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    channels: BTreeSet<ChannelId>,
    patience: Patience,
}

/// The phases of waiting.
///
/// Time alone does not end the patience: the system may stop the driver's thread for longer than that right after a queue
/// has filled, and a listener on the same thread would then never have had a chance. A task that wakes itself may run
/// again before the listener does, so the last phase sleeps, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Patience {
    /// No queue is waited for.
    #[default]
    Idle,
    /// The driver waits until then.
    Until(Instant),
    /// The time has passed. The driver waits until then, and for a turn that has begun since.
    LastTurn { until: Instant, begun: bool },
}

impl Crowd {
    /// A queue on this channel has filled.
    pub(super) fn joined(&mut self, id: ChannelId) {
        self.channels.insert(id);
        if self.patience == Patience::Idle {
            self.patience = Patience::Until(Instant::now() + PATIENCE);
        }
    }

    /// The driver's task runs again.
    pub(super) fn turn_begins(&mut self) {
        if let Patience::LastTurn { begun, .. } = &mut self.patience {
            *begun = true;
        }
    }

    /// Until when the driver waits, if it does.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.patience {
            Patience::Until(until) | Patience::LastTurn { until, .. } => Some(until),
            Patience::Idle => None,
        }
    }

    /// Whether there is still something to wait for. The task is woken once there is room, and has to run again at
    /// [`until`](Self::until).
    pub(super) fn is_waited_for(
        &mut self,
        cx: &mut Context<'_>,
        mut is_full: impl FnMut(ChannelId, &mut Context<'_>) -> bool,
    ) -> bool {
        let Some(until) = self.until() else { return false };
        self.channels.retain(|id| is_full(*id, cx));
        let now = Instant::now();
        self.patience = match self.patience {
            _ if self.channels.is_empty() => Patience::Idle,
            patience if now < until => patience,
            Patience::Until(_) | Patience::LastTurn { begun: false, .. } => {
                Patience::LastTurn { until: now + LAST_TURN, begun: false }
            }
            Patience::LastTurn { begun: true, .. } | Patience::Idle => Patience::Idle,
        };
        let waits = self.patience != Patience::Idle;
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

    fn crowd() -> Crowd {
        let mut crowd = Crowd::default();
        crowd.joined(FULL);
        crowd
    }

    fn waits(crowd: &mut Crowd, full: bool) -> bool {
        crowd.is_waited_for(&mut Context::from_waker(Waker::noop()), |id, _| {
            assert_eq!(id, FULL);
            full
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_patience_ends_with_its_time_and_another_turn() {
        let mut crowd = crowd();
        let start = Instant::now();
        while waits(&mut crowd, true) {
            let until = crowd.until().unwrap();
            assert!(until > Instant::now(), "a time that has passed would keep the driver busy");
            tokio::time::sleep_until(until).await;
            crowd.turn_begins();
        }
        assert_eq!(start.elapsed(), Duration::from_millis(5));
        assert!(!waits(&mut crowd, true), "the driver waits once for each time a queue fills");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stands_still_takes_no_turn_from_a_listener() {
        let mut crowd = crowd();
        // The driver asks more than once in a turn.
        for _ in 0..5 {
            tokio::time::advance(PATIENCE * 100).await;
            assert!(waits(&mut crowd, true));
            assert_eq!(crowd.until(), Some(Instant::now() + LAST_TURN));
        }
        crowd.turn_begins();
        assert!(waits(&mut crowd, true), "the turn has begun before its time");
        assert!(!waits(&mut crowd, false), "the listener has made room");
        crowd.joined(FULL);
        assert!(waits(&mut crowd, true), "the next time, the driver waits anew");
    }

    #[tokio::test(start_paused = true)]
    async fn room_ends_the_patience() {
        let mut crowd = crowd();
        assert!(waits(&mut crowd, true));
        assert!(!waits(&mut crowd, false));
        assert_eq!(crowd.until(), None);
    }
}
