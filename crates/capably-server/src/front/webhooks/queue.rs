//! The events of a rule that wait for its endpoint, and those that were given up.
//!
//! Events wait in lanes: one for each channel, or one for all if the rule sends batches. A lane has one request at a time, so
//! its events stay in their order.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, Str};
use tokio::time::Instant;

use super::event::Event;
use crate::{engine::Position, webhooks::RequestMode};

/// The most events in a request.
const MAX_BATCH: usize = 1000;

/// About the most bytes of events in a request; the first event may be larger.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// The most dead letters, and about their most bytes.
const MAX_DEAD: (usize, usize) = (1000, 4 * 1024 * 1024);

/// The most events that wait, and about their most bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// An event that was given up.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) event: Event,
    /// In ms since the epoch.
    pub(super) time: Millis,
    pub(super) attempts: u32,
    pub(super) error: ErrorInfo,
}

/// The counts of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events that wait, those of requests under way among them.
    pub(super) waiting: usize,
    /// About their bytes.
    pub(super) bytes: usize,
    pub(super) delivered: u64,
    /// Events that were given up.
    pub(super) dead: u64,
}

/// Events that are sent in one request.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) lane: Str,
    pub(super) events: Vec<Event>,
    /// The requests so far that were to deliver the first of the events.
    pub(super) attempts: u32,
}

#[derive(Debug)]
pub(super) struct Queue {
    mode: RequestMode,
    /// The mode that is used once no request is under way.
    new_mode: Option<RequestMode>,
    bounds: Bounds,
    lanes: HashMap<Str, Lane>,
    /// The lanes that may be sent now.
    ready: VecDeque<Str>,
    /// The lanes by the numbers of their events, to find the oldest. It may have numbers of events that are gone.
    order: VecDeque<(u64, Str)>,
    next: u64,
    counts: Counts,
    dead: VecDeque<DeadLetter>,
    dead_bytes: usize,
    /// How many events wait of each entry of the log, which is at a position of a channel.
    positions: BTreeMap<(Str, Position), usize>,
    /// Channels whose entries another node delivers. A request that is under way may have some.
    left: HashSet<Str>,
}

#[derive(Debug, Default)]
struct Lane {
    events: VecDeque<(u64, Event)>,
    /// The requests so far that were to deliver the first event.
    attempts: u32,
    /// Whether the lane is in `ready`, has a request under way, or waits to repeat one.
    is_busy: bool,
    /// The numbers of the events that a request has.
    under_way: Vec<u64>,
}

impl Queue {
    pub(super) fn new(mode: RequestMode, bounds: Bounds) -> Self {
        Self {
            mode,
            new_mode: None,
            bounds,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            order: VecDeque::new(),
            next: 0,
            counts: Counts::default(),
            dead: VecDeque::new(),
            dead_bytes: 0,
            positions: BTreeMap::new(),
            left: HashSet::new(),
        }
    }

    /// The mode in use.
    pub(super) fn mode(&self) -> RequestMode {
        self.mode
    }

    /// Requests are to have another number of events. No request begins until [`use_new_mode`](Self::use_new_mode): the events
    /// of a channel would overtake those of a request under way.
    pub(super) fn change_mode(&mut self, mode: RequestMode) {
        self.new_mode = (mode != self.mode).then_some(mode);
    }

    /// Uses the new mode, if there is one: puts the events that wait into their lanes. No request is under way. Returns whether
    /// there was a new mode.
    pub(super) fn use_new_mode(&mut self) -> bool {
        let Some(mode) = self.new_mode.take() else { return false };
        self.mode = mode;
        let lanes = std::mem::take(&mut self.lanes);
        let mut events: Vec<_> = lanes.into_values().flat_map(|lane| lane.events).collect();
        events.sort_by_key(|(number, _)| *number);
        self.ready.clear();
        self.order.clear();
        self.positions.clear();
        self.counts = Counts { waiting: 0, bytes: 0, ..self.counts };
        for (_, event) in events {
            event.into_mode(mode).into_iter().for_each(|event| self.add(event));
        }
        true
    }

    /// Adds an event. If there are too many, the oldest are given up for the reason `full`.
    pub(super) fn push(&mut self, event: Event, full: &dyn Fn() -> (Millis, ErrorInfo)) {
        self.add(event);
        while self.counts.waiting > self.bounds.events || self.counts.bytes > self.bounds.bytes {
            if !self.drop_oldest(full) {
                break;
            }
        }
        // Numbers of events that were delivered since are dropped before they are many.
        if self.order.len() > 64 + 4 * self.counts.waiting {
            let lanes = &self.lanes;
            let waits = |(number, lane): &(u64, Str)| {
                let first = lanes.get(lane).and_then(|lane| lane.events.front());
                first.is_some_and(|(first, _)| first <= number)
            };
            self.order.retain(waits);
        }
    }

    fn add(&mut self, event: Event) {
        if event.position.is_some() {
            self.left.remove(&event.channel);
        }
        let lane = match self.mode {
            RequestMode::Single => event.channel.clone(),
            RequestMode::Batch => Str::new(),
        };
        self.counts.waiting += 1;
        self.counts.bytes += event.size;
        if let Some(position) = event.position {
            *self.positions.entry((event.channel.clone(), position)).or_default() += 1;
        }
        let number = self.next;
        self.next += 1;
        self.order.push_back((number, lane.clone()));
        let found = self.lanes.entry(lane.clone()).or_default();
        found.events.push_back((number, event));
        if !found.is_busy {
            found.is_busy = true;
            self.ready.push_back(lane);
        }
    }

    /// Gives up the oldest event that no request has. Returns whether there was one.
    fn drop_oldest(&mut self, full: &dyn Fn() -> (Millis, ErrorInfo)) -> bool {
        while let Some((number, name)) = self.order.pop_front() {
            let Some(lane) = self.lanes.get_mut(&name) else { continue };
            if lane.events.front().is_none_or(|(first, _)| *first != number) {
                continue;
            }
            let Some((_, event)) = lane.events.pop_front() else { continue };
            let attempts = std::mem::take(&mut lane.attempts);
            let (time, error) = full();
            self.give_up(DeadLetter { event, time, attempts, error });
            return true;
        }
        false
    }

    /// The events of the next request, if a lane may be sent.
    pub(super) fn take(&mut self) -> Option<Taken> {
        if self.new_mode.is_some() {
            return None;
        }
        while let Some(name) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&name) else { continue };
            let most = match self.mode {
                RequestMode::Single => 1,
                RequestMode::Batch => MAX_BATCH,
            };
            let mut bytes = 0;
            let mut events = Vec::new();
            while let Some((_, event)) = lane.events.front() {
                bytes += event.size;
                let is_full = events.len() >= most || bytes > MAX_BATCH_BYTES;
                if is_full && !events.is_empty() {
                    break;
                }
                if let Some((number, event)) = lane.events.pop_front() {
                    lane.under_way.push(number);
                    events.push(event);
                }
            }
            if events.is_empty() {
                // All were given up meanwhile.
                self.lanes.remove(&name);
                continue;
            }
            return Some(Taken { lane: name, events, attempts: lane.attempts });
        }
        None
    }

    /// The endpoint has accepted the events.
    pub(super) fn delivered(&mut self, taken: Taken) {
        self.counts.delivered += taken.events.len() as u64;
        for event in &taken.events {
            self.forget(event);
        }
        self.release(&taken.lane);
    }

    /// The endpoint has not accepted the events, and no request repeats them.
    pub(super) fn failed(&mut self, taken: Taken, time: Millis, error: &ErrorInfo) {
        let attempts = taken.attempts + 1;
        for event in taken.events {
            self.give_up(DeadLetter { event, time, attempts, error: error.clone() });
        }
        self.release(&taken.lane);
    }

    /// The endpoint has not accepted the events, and they are sent again once [`resume`](Self::resume) is called. Events that
    /// have waited for longer than `most` are given up. Returns whether there are any to send again.
    pub(super) fn put_back(
        &mut self,
        taken: Taken,
        most: Option<Duration>,
        time: Millis,
        error: &ErrorInfo,
    ) -> bool {
        let Taken { lane: name, events, attempts } = taken;
        let attempts = attempts + 1;
        let now = Instant::now();
        let is_old = |event: &Event| most.is_some_and(|most| now >= event.since + most);
        let under_way = match self.lanes.get_mut(&name) {
            Some(lane) => std::mem::take(&mut lane.under_way),
            None => return false,
        };
        let (mut kept, mut old) = (Vec::new(), Vec::new());
        for (number, event) in under_way.into_iter().zip(events) {
            if event.position.is_some() && self.left.contains(&event.channel) {
                self.forget(&event);
            } else if is_old(&event) {
                old.push(event);
            } else {
                kept.push((number, event));
            }
        }
        for event in old {
            self.give_up(DeadLetter { event, time, attempts, error: error.clone() });
        }
        let Some(lane) = self.lanes.get_mut(&name) else { return false };
        if kept.is_empty() {
            self.release(&name);
            return false;
        }
        lane.attempts = attempts;
        for (number, event) in kept.into_iter().rev() {
            lane.events.push_front((number, event));
            self.order.push_front((number, name.clone()));
        }
        true
    }

    /// The lane may be sent again.
    pub(super) fn resume(&mut self, lane: Str) {
        if self.lanes.contains_key(&lane) {
            self.ready.push_back(lane);
        }
    }

    /// A request of the lane has ended, and does not have to be repeated.
    fn release(&mut self, name: &Str) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.attempts = 0;
        lane.under_way.clear();
        if lane.events.is_empty() {
            self.lanes.remove(name);
        } else {
            self.ready.push_back(name.clone());
        }
    }

    fn give_up(&mut self, letter: DeadLetter) {
        self.forget(&letter.event);
        self.counts.dead += 1;
        self.dead_bytes += letter.event.size;
        self.dead.push_back(letter);
        let (most, most_bytes) = MAX_DEAD;
        while self.dead.len() > most || (self.dead_bytes > most_bytes && self.dead.len() > 1) {
            let Some(oldest) = self.dead.pop_front() else { break };
            self.dead_bytes -= oldest.event.size;
        }
    }

    /// An event waits no longer.
    fn forget(&mut self, event: &Event) {
        self.counts.waiting -= 1;
        if self.counts.waiting == 0 {
            self.left.clear();
        }
        self.counts.bytes -= event.size;
        let Some(position) = event.position else { return };
        let entry = (event.channel.clone(), position);
        if let Some(count) = self.positions.get_mut(&entry) {
            *count -= 1;
            if *count == 0 {
                self.positions.remove(&entry);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The events that were given up, the newest first.
    pub(super) fn dead(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead.iter().rev()
    }

    /// Empties the list of dead letters, and its count.
    pub(super) fn clear_dead(&mut self) {
        self.dead.clear();
        self.dead_bytes = 0;
        self.counts.dead = 0;
    }

    /// The position of the oldest entry of the log that waits.
    pub(super) fn oldest(&self) -> Option<Position> {
        self.positions.keys().map(|(_, position)| *position).min()
    }

    /// The position of the oldest entry of a channel that waits.
    pub(super) fn oldest_of(&self, channel: &Str) -> Option<Position> {
        let (first, last) = (Position(0), Position(u64::MAX));
        let mut waiting = self.positions.range((channel.clone(), first)..=(channel.clone(), last));
        waiting.next().map(|((_, position), _)| *position)
    }

    /// Drops the entries that wait of these channels, those of requests under way once these fail: another node delivers them.
    pub(super) fn leave(&mut self, channels: &HashSet<Str>) {
        let is_left = |event: &Event| event.position.is_some() && channels.contains(&event.channel);
        let mut left = Vec::new();
        for lane in self.lanes.values_mut() {
            let events = std::mem::take(&mut lane.events);
            for (number, event) in events {
                if is_left(&event) {
                    left.push(event)
                } else {
                    lane.events.push_back((number, event))
                }
            }
        }
        left.iter().for_each(|event| self.forget(event));
        if self.counts.waiting > 0 {
            self.left.extend(channels.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::ErrorCode;

    use super::*;
    use crate::hub::Occupancy;

    fn event(channel: &str, number: u64) -> Event {
        let mut event = Event::occupancy(channel.into(), 0, Occupancy::default());
        event.serial = number.to_string().into();
        event.position = Some(Position(number));
        event.size = 100;
        event
    }

    fn error() -> ErrorInfo {
        ErrorInfo::new(ErrorCode(70001), 503, "gone")
    }

    fn full() -> (Millis, ErrorInfo) {
        (7, error())
    }

    fn queue(mode: RequestMode, events: usize) -> Queue {
        Queue::new(mode, Bounds { events, bytes: 1_000_000 })
    }

    fn numbers(taken: &Taken) -> Vec<&str> {
        taken.events.iter().map(|event| &*event.serial).collect()
    }

    fn dead(queue: &Queue) -> Vec<&str> {
        queue.dead().map(|letter| &*letter.event.serial).collect()
    }

    #[test]
    fn a_channel_has_one_request_at_a_time_and_others_do_not_wait_for_it() {
        let mut queue = queue(RequestMode::Single, 100);
        for (channel, number) in [("a", 1), ("a", 2), ("b", 3)] {
            queue.push(event(channel, number), &full);
        }
        let first = queue.take().unwrap();
        let second = queue.take().unwrap();
        assert_eq!((numbers(&first), numbers(&second)), (vec!["1"], vec!["3"]));
        assert!(queue.take().is_none(), "both channels have a request");
        queue.delivered(first);
        assert_eq!(numbers(&queue.take().unwrap()), ["2"]);
    }

    #[test]
    fn channels_that_another_node_delivers_are_dropped_and_come_back() {
        let mut queue = queue(RequestMode::Batch, 100);
        for (channel, number) in [("a", 1), ("b", 1), ("a", 2)] {
            queue.push(event(channel, number), &full);
        }
        let taken = queue.take().unwrap();
        for (channel, number) in [("b", 2), ("a", 3), ("b", 3)] {
            queue.push(event(channel, number), &full);
        }
        let mut other = event("a", 0);
        other.position = None;
        queue.push(other, &full);
        let oldest = |queue: &Queue| ["a", "b"].map(|name| queue.oldest_of(&name.into()));
        assert_eq!(oldest(&queue), [Some(Position(1)); 2]);
        queue.leave(&HashSet::from(["a".into()]));
        assert_eq!(queue.counts().waiting, 6, "a request has two of the three");
        assert!(queue.put_back(taken, None, 0, &error()));
        assert_eq!(oldest(&queue), [None, Some(Position(1))]);
        queue.resume(Str::new());
        let taken = queue.take().unwrap();
        assert_eq!(numbers(&taken), ["1", "2", "3", "0"], "b, and what no other node has");
        queue.delivered(taken);
        queue.push(event("a", 4), &full);
        let taken = queue.take().unwrap();
        assert!(queue.put_back(taken, None, 0, &error()), "the channel has come back");
        assert_eq!((oldest(&queue), queue.counts().waiting), ([Some(Position(4)), None], 1));
    }

    #[test]
    fn another_mode_waits_for_requests_under_way_and_keeps_the_order() {
        let mut queue = queue(RequestMode::Single, 100);
        for (channel, number) in [("a", 1), ("b", 2), ("a", 3)] {
            queue.push(event(channel, number), &full);
        }
        let taken = queue.take().unwrap();
        queue.change_mode(RequestMode::Batch);
        assert!(queue.take().is_none(), "a request is under way");
        assert!(queue.put_back(taken, None, 0, &error()));
        queue.push(event("b", 4), &full);
        assert!(queue.use_new_mode());
        assert!(!queue.use_new_mode());
        assert_eq!((queue.counts().waiting, queue.oldest()), (4, Some(Position(1))));
        let taken = queue.take().unwrap();
        assert_eq!(numbers(&taken), ["1", "2", "3", "4"]);
        queue.delivered(taken);
        assert_eq!((queue.counts().waiting, queue.counts().bytes, queue.oldest()), (0, 0, None));
        queue.change_mode(RequestMode::Single);
        queue.change_mode(RequestMode::Batch);
        queue.push(event("a", 5), &full);
        assert_eq!(numbers(&queue.take().unwrap()), ["5"], "the mode was changed back");
    }

    #[test]
    fn a_repeated_event_stays_before_those_behind_it() {
        let mut queue = queue(RequestMode::Single, 100);
        queue.push(event("a", 1), &full);
        queue.push(event("a", 2), &full);
        let taken = queue.take().unwrap();
        assert_eq!(taken.attempts, 0);
        assert!(queue.put_back(taken, None, 0, &error()));
        assert!(queue.take().is_none(), "it waits until it is repeated");
        queue.resume("a".into());
        let taken = queue.take().unwrap();
        assert_eq!((numbers(&taken), taken.attempts), (vec!["1"], 1));
        queue.failed(taken, 5, &error());
        let taken = queue.take().unwrap();
        assert_eq!((numbers(&taken), taken.attempts), (vec!["2"], 0));
        let letter = queue.dead().next().unwrap();
        assert_eq!((letter.time, letter.attempts, letter.error.code.0), (5, 2, 70001));
    }

    #[test]
    fn a_batch_has_all_that_waits_up_to_its_bounds() {
        let mut queue = queue(RequestMode::Batch, 5000);
        (0..1500).for_each(|number| queue.push(event(&format!("c{}", number % 7), number), &full));
        let taken = queue.take().unwrap();
        assert_eq!(taken.events.len(), MAX_BATCH);
        assert!(queue.take().is_none(), "there is one request at a time");
        queue.put_back(taken, None, 0, &error());
        queue.push(event("new", 1500), &full);
        queue.resume(Str::new());
        let again = queue.take().unwrap();
        let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(numbers(&again), expected, "in the order in which they came");
        queue.delivered(again);
        assert_eq!(queue.take().unwrap().events.len(), 501);
        let mut large = self::queue(RequestMode::Batch, 100);
        for number in 0..3 {
            large.push(Event { size: MAX_BATCH_BYTES / 2, ..event("a", number) }, &full);
        }
        large.bounds.bytes = usize::MAX;
        assert!(large.take().is_some_and(|taken| taken.events.len() <= 2));
    }

    #[test]
    fn beyond_its_bounds_the_oldest_events_are_given_up() {
        let mut queue = queue(RequestMode::Single, 3);
        for (channel, number) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)] {
            queue.push(event(channel, number), &full);
        }
        assert_eq!(dead(&queue), ["2", "1"]);
        assert_eq!(queue.counts(), Counts { waiting: 3, bytes: 300, delivered: 0, dead: 2 });
        assert_eq!(queue.oldest(), Some(Position(3)));
        let left = [queue.take().unwrap(), queue.take().unwrap()];
        assert_eq!([numbers(&left[0]), numbers(&left[1])], [["3"], ["4"]]);
        // What a request has is not given up.
        (6..9).for_each(|number| queue.push(event("c", number), &full));
        assert_eq!(dead(&queue), ["7", "6", "5", "2", "1"]);
        for taken in left {
            queue.delivered(taken);
        }
        assert_eq!(numbers(&queue.take().unwrap()), ["8"]);
        assert!(queue.take().is_none());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = Queue::new(RequestMode::Batch, Bounds { events: 100, bytes: 250 });
        (0..4).for_each(|number| queue.push(event("a", number), &full));
        assert_eq!(dead(&queue), ["1", "0"]);
        assert_eq!(queue.counts().bytes, 200);
    }

    #[test]
    fn the_list_of_dead_letters_is_bounded_and_counts_all() {
        let mut queue = queue(RequestMode::Batch, 1);
        (0..1500).for_each(|number| queue.push(event("a", number), &full));
        assert_eq!((queue.dead().count(), queue.counts().dead), (1000, 1499));
        assert_eq!(queue.dead().next().unwrap().event.serial, "1498");
        queue.clear_dead();
        assert_eq!((queue.dead().count(), queue.counts().dead), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_have_waited_for_too_long_are_given_up() {
        let mut queue = queue(RequestMode::Batch, 100);
        queue.push(event("a", 1), &full);
        tokio::time::advance(Duration::from_secs(10)).await;
        queue.push(event("a", 2), &full);
        let taken = queue.take().unwrap();
        assert!(queue.put_back(taken, Some(Duration::from_secs(10)), 0, &error()));
        assert_eq!(dead(&queue), ["1"]);
        queue.resume(Str::new());
        let taken = queue.take().unwrap();
        assert_eq!(numbers(&taken), ["2"]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!queue.put_back(taken, Some(Duration::from_secs(10)), 0, &error()));
        assert_eq!(queue.counts(), Counts { dead: 2, ..Counts::default() });
        queue.push(event("a", 3), &full);
        assert_eq!(numbers(&queue.take().unwrap()), ["3"], "the lane begins anew");
    }

    #[test]
    fn what_is_delivered_takes_no_memory() {
        let mut queue = queue(RequestMode::Single, 100);
        for number in 0..10_000 {
            queue.push(event(&format!("c{number}"), number), &full);
            let taken = queue.take().unwrap();
            queue.delivered(taken);
        }
        assert_eq!(queue.counts(), Counts { delivered: 10_000, ..Counts::default() });
        assert_eq!((queue.lanes.len(), queue.positions.len()), (0, 0));
        assert!(queue.order.len() < 200 && queue.ready.is_empty(), "{}", queue.order.len());
    }
}
