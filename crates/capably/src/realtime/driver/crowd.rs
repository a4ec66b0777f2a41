//! A moment of patience with listeners whose queues are full.
//!
//! A listener that keeps up may still be a moment late: a flood fills a queue in the time that the system takes to wake a
//! thread. Fetching messages a second time costs more than that moment, so the driver stops reading for it, once for
//! each time a queue fills. A listener that takes nothing meanwhile is behind, and the driver reads on.

use std::{collections::BTreeSet, task::Context, time::Duration};

use capably_core::ChannelId;
use tokio::time::Instant;

/// How long the driver waits at most, beyond one turn of the other tasks.
const PATIENCE: Duration = Duration::from_millis(5);

/// The channels with a listener whose queue is full.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    channels: BTreeSet<ChannelId>,
    patience: Patience,
}

/// The phases of waiting.
///
/// Time alone does not end the patience: the system may stop the driver's thread for longer than that right after a queue
/// has filled, and a listener on the same thread would then never have had a chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Patience {
    /// No queue is waited for.
    #[default]
    Idle,
    /// The driver waits until then.
    Until(Instant),
    /// The time has passed. The driver's task gives the others one turn.
    LastTurn,
    /// The others have had their turn.
    Over,
}

impl Crowd {
    /// A queue on this channel has filled.
    pub(super) fn joined(&mut self, id: ChannelId) {
        self.channels.insert(id);
        if self.patience == Patience::Idle {
            self.patience = Patience::Until(Instant::now() + PATIENCE);
        }
    }

    /// The driver's task runs again: the other tasks of its thread have had a turn.
    pub(super) fn turn_begins(&mut self) {
        if self.patience == Patience::LastTurn {
            self.patience = Patience::Over;
        }
    }

    /// Until when the driver waits, if it does.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.patience {
            Patience::Until(until) => Some(until),
            Patience::Idle | Patience::LastTurn | Patience::Over => None,
        }
    }

    /// Whether there is still something to wait for. The task is woken once there is not.
    pub(super) fn is_waited_for(
        &mut self,
        cx: &mut Context<'_>,
        mut is_full: impl FnMut(ChannelId, &mut Context<'_>) -> bool,
    ) -> bool {
        if self.patience == Patience::Idle {
            return false;
        }
        self.channels.retain(|id| is_full(*id, cx));
        if self.channels.is_empty() || self.patience == Patience::Over {
            *self = Self::default();
            return false;
        }
        if self.until().is_some_and(|until| Instant::now() >= until) {
            self.patience = Patience::LastTurn;
            cx.waker().wake_by_ref();
        }
        true
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
    async fn the_patience_ends_with_its_time_and_one_turn_more() {
        let mut crowd = crowd();
        assert!(waits(&mut crowd, true));
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        crowd.turn_begins();
        assert!(waits(&mut crowd, true));
        assert!(crowd.until().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        // The driver asks more than once in a turn.
        for _ in 0..3 {
            assert!(waits(&mut crowd, true));
            assert_eq!(crowd.until(), None, "a time that has passed would keep the driver busy");
        }
        crowd.turn_begins();
        assert!(!waits(&mut crowd, true));
        assert!(!waits(&mut crowd, true), "the driver waits once for each time a queue fills");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stands_still_takes_no_turn_from_a_listener() {
        let mut crowd = crowd();
        tokio::time::advance(PATIENCE * 100).await;
        assert!(waits(&mut crowd, true));
        crowd.turn_begins();
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
