//! Virtual time: events in the order of their times, with random delays.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::hub::Now;

/// The events of a world that have not happened yet.
#[derive(Debug)]
pub(in crate::hub::tests) struct Agenda<E> {
    queue: BTreeMap<(Duration, u64), E>,
    next: u64,
}

impl<E> Agenda<E> {
    pub(in crate::hub::tests) fn new() -> Self {
        Self { queue: BTreeMap::new(), next: 0 }
    }

    pub(in crate::hub::tests) fn retain(&mut self, mut keep: impl FnMut(&E) -> bool) {
        self.queue.retain(|_, event| keep(event));
    }

    fn add(&mut self, at: Duration, event: E) {
        self.next += 1;
        self.queue.insert((at, self.next), event);
    }

    /// The next event up to a time.
    fn take(&mut self, until: Duration) -> Option<(Duration, E)> {
        let ((at, _), _) = self.queue.first_key_value()?;
        if *at > until {
            return None;
        }
        self.queue.pop_first().map(|((at, _), event)| (at, event))
    }
}

/// A world in which everything happens at a virtual time.
pub(in crate::hub::tests) trait VirtualTime {
    type Event;

    fn time(&mut self) -> (&mut Agenda<Self::Event>, &mut Rng, &mut Now);

    fn handle(&mut self, event: Self::Event);

    fn schedule(&mut self, at: Duration, event: Self::Event) {
        self.time().0.add(at, event);
    }

    /// Schedules an event at most so many ms later.
    fn soon(&mut self, most: u64, event: Self::Event) {
        let at = self.time().2.steady + self.delay(most);
        self.schedule(at, event);
    }

    /// A random time of at most so many ms.
    fn delay(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.time().1.u64(..=most * 1000))
    }

    /// Lets everything happen that happens within a time.
    fn pass(&mut self, time: Duration) {
        let until = self.time().2.steady + time;
        while let Some((at, event)) = self.time().0.take(until) {
            advance(self.time().2, at);
            self.handle(event);
        }
        advance(self.time().2, until);
    }
}

fn advance(now: &mut Now, to: Duration) {
    let start = now.wall - now.steady.as_millis() as i64;
    *now = Now { steady: to, wall: start + to.as_millis() as i64 };
}

/// The time for which a timer is set.
#[derive(Debug, Default)]
pub(in crate::hub::tests) struct Alarm(Option<Duration>);

impl Alarm {
    /// Sets the timer, unless it is set for an earlier time. Returns the time to schedule.
    pub(in crate::hub::tests) fn set(
        &mut self,
        next: Option<Duration>,
        now: Duration,
    ) -> Option<Duration> {
        let next = next.filter(|next| self.0.is_none_or(|armed| *next < armed))?;
        self.0 = Some(next);
        Some(next.max(now))
    }

    /// Whether the time has come. The timer is then not set any more.
    pub(in crate::hub::tests) fn is_due(&mut self, now: Duration) -> bool {
        self.0.take_if(|armed| *armed <= now).is_some()
    }
}
