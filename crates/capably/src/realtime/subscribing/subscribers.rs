//! The driver's side of subscriptions: the listeners of a feed, and how far each has come.
//!
//! A listener whose queue is full falls *behind*: it receives nothing that arrives, and delays no other listener. Once
//! its queue has room, the client has the channel replayed from the listener's position
//! ([`capably_core::Client::replay`]).

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{Batch, Place, ReplayEnd, ReplayOutcome};
use capably_protocol::{Annotation, ErrorInfo, Message, Millis, PresenceMessage, Str};

use super::{FeedItem, Gap, Selection, SubscriberId};
use crate::{
    Error,
    auth::Clock,
    realtime::{
        driver::gone,
        queue::{Bounds, Items, Origin, Pushed, Queue, too_slow},
    },
};

/// The listeners of one feed of one channel.
pub(crate) struct Subscribers<T: FeedItem>(Vec<Subscriber<T>>);

/// The driver's side of one listener.
#[derive(Debug)]
pub(crate) struct Subscriber<T: FeedItem> {
    id: SubscriberId,
    selection: T::Selection,
    queue: Arc<Queue<T, Gap>>,
    /// Whether its implicit attach is pending. If that fails, the attach gives the reason, and the listener
    /// stays registered (RTL7g, RTP6d, RTAN4d).
    attaching: bool,
    /// Whether the channel has been attached since the listener was registered. From then on the listener
    /// misses nothing, or receives a gap.
    continuous: bool,
    /// Set while its queue has refused items that the service still has.
    behind: Option<Behind<T>>,
}

/// The position of a listener that is behind.
#[derive(Debug)]
struct Behind<T> {
    /// The channel serial up to which it has received everything.
    after: Str,
    /// Members from a sync that arrived meanwhile. A replay does not repeat them, so they are delivered after it.
    synced: Vec<T>,
    /// Whether items arrived meanwhile that the service does not send again.
    missed: bool,
    /// Whether the current replay has brought it items.
    received: bool,
    /// Whether the current replay is of no use to it: the replay starts after its position, or its queue had no
    /// room for a batch of it. Later batches would leave a hole.
    excluded: bool,
}

/// A subscriber of any feed.
#[derive(Debug)]
pub(crate) enum AnySubscriber {
    Messages(Subscriber<Message>),
    Presence(Subscriber<PresenceMessage>),
    Annotations(Subscriber<Annotation>),
}

impl AnySubscriber {
    pub(crate) fn id(&self) -> SubscriberId {
        match self {
            Self::Messages(subscriber) => subscriber.id,
            Self::Presence(subscriber) => subscriber.id,
            Self::Annotations(subscriber) => subscriber.id,
        }
    }

    /// Ends the listener before it was added to its feed.
    pub(crate) fn end(self, reason: Error) {
        match self {
            Self::Messages(subscriber) => subscriber.queue.end(reason),
            Self::Presence(subscriber) => subscriber.queue.end(reason),
            Self::Annotations(subscriber) => subscriber.queue.end(reason),
        }
    }
}

/// The effect of a delivery on the queues of the listeners.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// A queue is full.
    pub(crate) filled: bool,
    /// A listener fell behind.
    pub(crate) fell_behind: bool,
}

impl<T: FeedItem> Subscribers<T> {
    /// Adds a listener; `continuous` is whether the channel is attached with continuity.
    pub(crate) fn add(&mut self, mut subscriber: Subscriber<T>, continuous: bool) {
        subscriber.continuous = continuous;
        self.0.push(subscriber);
    }

    /// Delivers a batch to every listener that selects its items.
    pub(crate) fn deliver(&mut self, batch: Batch<T>, clock: &Clock) -> Delivered {
        let Batch { items, missing, place } = batch;
        if !missing.is_empty() {
            return self.deliver_damaged(&items, missing, &place, clock);
        }
        if place.repeated {
            self.deliver_repeated(&items, &place);
            return Delivered::default();
        }
        let mut items = Items::from(items);
        let mut delivered = Delivered::default();
        let last = self.0.len().saturating_sub(1);
        for (index, subscriber) in self.0.iter_mut().enumerate() {
            if subscriber.behind.is_some() {
                subscriber.skip(&items, &place);
                continue;
            }
            // The last listener takes the batch itself: with a single listener no item is cloned.
            let selected = match subscriber.selection.is_all() {
                true if index == last => std::mem::take(&mut items),
                true => items.share(),
                false => subscriber.select(&items).into(),
            };
            // A batch without a place has the members of a sync. The service does not send it again, so the queue
            // accepts it beyond its bound in items.
            let origin = if place.serial.is_some() { Origin::Live } else { Origin::Unplaced };
            if selected.is_empty() {
                continue;
            }
            match subscriber.queue.push(selected, origin) {
                Pushed::Queued | Pushed::Ended => {}
                Pushed::Filled => delivered.filled = true,
                Pushed::Refused => delivered.fell_behind |= subscriber.refused(&place, clock.now()),
            }
        }
        delivered
    }

    /// Delivers the readable items of a batch, with gaps in place of the others.
    fn deliver_damaged(
        &mut self,
        items: &[T],
        missing: Vec<(usize, capably_core::Gap)>,
        place: &Place,
        clock: &Clock,
    ) -> Delivered {
        let missing: Vec<_> =
            missing.into_iter().map(|(before, gap)| (before, Gap::from(gap))).collect();
        let mut delivered = Delivered::default();
        for subscriber in &mut self.0 {
            // During a replay the gap starts at the listener's position: the channel's is further on.
            let gap_start = subscriber.behind.as_ref().map(|behind| behind.after.clone());
            let origin = match (&subscriber.behind, &place.serial) {
                (Some(behind), Some(serial)) if place.repeated => {
                    if behind.excluded || *serial <= behind.after {
                        continue;
                    }
                    Origin::Replay
                }
                (None, _) if place.repeated => continue,
                (Some(_), _) => {
                    subscriber.skip(items, place);
                    continue;
                }
                (None, Some(_)) => Origin::Live,
                (None, None) => Origin::Unplaced,
            };
            // An empty push finds out whether there is room for the whole batch: a replay repeats whole batches,
            // so a part of one would be delivered twice.
            let pushed = subscriber.queue.push(Vec::new(), origin);
            if matches!(pushed, Pushed::Queued | Pushed::Filled) {
                subscriber.push_with_gaps(items, &missing, gap_start);
            }
            match (&mut subscriber.behind, pushed) {
                (None, Pushed::Refused) => {
                    delivered.fell_behind |= subscriber.refused(place, clock.now());
                }
                (None, Pushed::Queued | Pushed::Filled | Pushed::Ended) => {}
                (Some(behind), Pushed::Queued | Pushed::Filled) => {
                    behind.received = true;
                    if let Some(serial) = &place.serial {
                        behind.after = serial.clone();
                    }
                }
                (Some(behind), Pushed::Refused | Pushed::Ended) => behind.excluded = true,
            }
        }
        delivered
    }

    /// Delivers a batch of a replay to the listeners that lack it.
    fn deliver_repeated(&mut self, items: &[T], place: &Place) {
        let Some(serial) = &place.serial else { return };
        for subscriber in &mut self.0 {
            let Some(behind) = &subscriber.behind else { continue };
            if behind.excluded || *serial <= behind.after {
                continue;
            }
            let selected = subscriber.select(items);
            let pushed = match selected.is_empty() {
                true => Pushed::Queued,
                false => subscriber.queue.push(selected, Origin::Replay),
            };
            if let Some(behind) = &mut subscriber.behind {
                match pushed {
                    Pushed::Queued | Pushed::Filled => {
                        behind.after = serial.clone();
                        behind.received = true;
                    }
                    Pushed::Refused | Pushed::Ended => behind.excluded = true,
                }
            }
        }
    }
}

/// Operations on the listeners of a feed that do not depend on its items.
pub(crate) trait SubscriberSet {
    fn remove(&mut self, id: SubscriberId);

    /// The implicit attach of a listener is done.
    fn attach_done(&mut self, id: SubscriberId);

    /// The channel was attached. From this moment no listener misses anything without a gap.
    fn attached(&mut self);

    /// Continuity was lost: listeners that have seen the channel attached receive a gap.
    fn continuity_lost(&mut self, gap: &Gap);

    /// The channel has failed: ends every listener whose implicit attach is not pending.
    fn failed(&mut self, reason: &Error, clock: &Clock);

    /// Ends every listener.
    fn end(&mut self, reason: &Error, clock: &Clock);

    /// Whether a listener is behind.
    fn is_behind(&self) -> bool;

    /// Whether the current replay is still of use to a listener.
    fn needs_replay(&self) -> bool;

    /// The earliest position of the listeners that are behind and have room; the driver is woken when another
    /// one has room.
    fn poll_room(&self, cx: &mut Context<'_>) -> Option<&Str>;

    /// Ready when every listener that is not behind has room; otherwise the driver is woken when one has.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// A replay starts after this serial.
    fn replay_started(&mut self, after: &Str);

    /// A replay has ended. Listeners that received everything continue with live items; listeners that cannot
    /// receive the rest get a gap.
    fn replay_ended(&mut self, end: &ReplayEnd, clock: &Clock);
}

impl<T: FeedItem> SubscriberSet for Subscribers<T> {
    fn remove(&mut self, id: SubscriberId) {
        self.0.retain(|own| own.id != id);
    }

    fn attach_done(&mut self, id: SubscriberId) {
        if let Some(subscriber) = self.0.iter_mut().find(|own| own.id == id) {
            subscriber.attaching = false;
        }
    }

    fn attached(&mut self) {
        for subscriber in &mut self.0 {
            subscriber.continuous = true;
        }
    }

    fn continuity_lost(&mut self, gap: &Gap) {
        for subscriber in self.0.iter_mut().filter(|own| own.continuous || T::RESYNCED) {
            if subscriber.behind.is_some() {
                subscriber.lost(gap.reason.clone(), gap.until.clone(), gap.time);
            } else if !T::RESYNCED {
                subscriber.queue.push_notice(gap.clone());
            }
        }
    }

    fn failed(&mut self, reason: &Error, clock: &Clock) {
        for subscriber in self.0.iter_mut().filter(|own| !own.attaching) {
            subscriber.end(reason, clock);
        }
    }

    fn end(&mut self, reason: &Error, clock: &Clock) {
        for subscriber in &mut self.0 {
            subscriber.end(reason, clock);
        }
    }

    fn is_behind(&self) -> bool {
        self.0.iter().any(|subscriber| subscriber.behind.is_some())
    }

    fn needs_replay(&self) -> bool {
        self.0.iter().any(|own| own.behind.as_ref().is_some_and(|behind| !behind.excluded))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Option<&Str> {
        let behind = self.0.iter().filter_map(|own| Some((own, own.behind.as_ref()?)));
        let with_room = behind.filter(|(own, _)| own.queue.poll_room(cx) == Poll::Ready(()));
        with_room.map(|(_, behind)| &behind.after).min()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let in_step = self.0.iter().filter(|own| own.behind.is_none());
        // Polls every queue, also after a full one: each must know the waker.
        let full = in_step.filter(|own| own.queue.poll_ready(cx).is_pending()).count();
        if full > 0 { Poll::Pending } else { Poll::Ready(()) }
    }

    fn replay_started(&mut self, after: &Str) {
        for behind in self.0.iter_mut().filter_map(|own| own.behind.as_mut()) {
            behind.received = false;
            // A listener with an earlier position waits for a replay of its own.
            behind.excluded = behind.after < *after;
        }
    }

    fn replay_ended(&mut self, end: &ReplayEnd, clock: &Clock) {
        let until = end.until.as_ref();
        for subscriber in &mut self.0 {
            let Some(behind) = &subscriber.behind else { continue };
            match &end.outcome {
                ReplayOutcome::Stopped => {}
                ReplayOutcome::Lost { after, reason } if behind.after <= *after => {
                    subscriber.lost(Some(reason.clone()), until.cloned(), clock.now());
                }
                ReplayOutcome::Lost { .. } => {}
                ReplayOutcome::Complete | ReplayOutcome::Silent if behind.excluded => {}
                ReplayOutcome::Complete | ReplayOutcome::Silent if behind.received => {
                    subscriber.caught_up(until, clock);
                }
                // The listener lacks items, and the replay brought none: the next replay would bring none either.
                ReplayOutcome::Complete | ReplayOutcome::Silent => {
                    subscriber.lost(Some(too_slow().into_info()), until.cloned(), clock.now());
                }
            }
        }
    }
}

impl<T: FeedItem> Subscriber<T> {
    pub(super) fn new(
        id: SubscriberId,
        selection: T::Selection,
        queue: Arc<Queue<T, Gap>>,
        attaching: bool,
    ) -> Self {
        // The driver sets `continuous` when it adds the subscriber.
        Self { id, selection, queue, attaching, continuous: false, behind: None }
    }

    fn select(&self, items: &[T]) -> Vec<T> {
        items.iter().filter(|item| self.selection.includes(item)).cloned().collect()
    }

    /// Queues items with the gaps between them.
    fn push_with_gaps(&self, items: &[T], missing: &[(usize, Gap)], gap_start: Option<Str>) {
        let mut rest = items;
        let mut queued = 0;
        for (before, gap) in missing {
            let (piece, remaining) = rest.split_at((before - queued).min(rest.len()));
            self.queue.push(self.select(piece), Origin::Continued);
            let after = gap_start.clone().or_else(|| gap.after.clone());
            self.queue.push_notice(Gap { after, ..gap.clone() });
            (rest, queued) = (remaining, *before);
        }
        self.queue.push(self.select(rest), Origin::Continued);
    }

    /// The queue refused a batch: the listener falls behind, or receives a gap if the service cannot send the
    /// batch again. Returns whether it fell behind.
    fn refused(&mut self, place: &Place, time: Millis) -> bool {
        match (&place.after, &place.serial) {
            // A replay starts after a serial, so it can only bring a batch that advances the channel's position.
            (Some(after), Some(serial)) if after < serial => {
                self.behind = Some(Behind {
                    after: after.clone(),
                    synced: Vec::new(),
                    missed: false,
                    received: false,
                    // A replay that is already running is for the position of another listener.
                    excluded: true,
                });
            }
            _ => {
                let reason = Some(too_slow().into_info());
                let (after, until) = (place.after.clone(), place.after.clone());
                let gap = Gap { reason, after, until, time, unfilled: None };
                self.queue.push_notice(gap);
            }
        }
        self.behind.is_some()
    }

    /// A batch arrives while the listener is behind. A replay brings it later, unless it has no place in the
    /// channel.
    fn skip(&mut self, items: &[T], place: &Place) {
        if place.serial.is_some() {
            return;
        }
        let mut selected = self.select(items);
        let Some(behind) = &mut self.behind else { return };
        if *place != Place::default() {
            behind.missed |= !selected.is_empty();
            return;
        }
        behind.synced.append(&mut selected);
        // Memory stays bounded for a listener that never reads.
        let bytes: usize = behind.synced.iter().map(T::weight).sum();
        if bytes > Bounds::default().bytes {
            behind.synced = Vec::new();
            behind.missed = true;
        }
    }

    /// The listener has everything up to this serial, and continues with live items.
    fn caught_up(&mut self, until: Option<&Str>, clock: &Clock) {
        let Some(Behind { after, synced, missed, .. }) = self.behind.take() else { return };
        if missed {
            let (reason, until) = (Some(too_slow().into_info()), until.cloned());
            let time = clock.now();
            let gap = Gap { reason, after: Some(after), until, time, unfilled: None };
            self.queue.push_notice(gap);
        }
        self.deliver_synced(synced, clock.now());
    }

    /// If the listener is behind, it continues from here with a gap.
    fn lost(&mut self, reason: Option<ErrorInfo>, until: Option<Str>, time: Millis) {
        if let Some(Behind { after, synced, .. }) = self.behind.take() {
            let gap = Gap { reason, after: Some(after), until, time, unfilled: None };
            self.queue.push_notice(gap);
            self.deliver_synced(synced, time);
        }
    }

    fn deliver_synced(&mut self, synced: Vec<T>, time: Millis) {
        if !synced.is_empty() && self.queue.push(synced, Origin::Unplaced) == Pushed::Refused {
            self.refused(&Place::default(), time);
        }
    }

    fn end(&mut self, reason: &Error, clock: &Clock) {
        if self.behind.is_some() {
            self.lost(Some(reason.clone().into_info()), None, clock.now());
        }
        self.queue.end(reason.clone());
    }
}

impl<T: FeedItem> Drop for Subscriber<T> {
    fn drop(&mut self) {
        // Without a driver's side the listener would wait for ever. This also covers a command that the driver
        // never receives, because the client has ended.
        self.queue.end(gone());
    }
}

impl<T: FeedItem> Default for Subscribers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FeedItem> fmt::Debug for Subscribers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} subscribers", self.0.len())
    }
}
