//! The listeners of a channel, and how far each has come.
//!
//! A listener whose queue is full is *behind*: it gets nothing of what arrives, and holds up nobody. Once its queue has
//! room, the channel is replayed from where the listener was ([`capably_core::Client::replay`]).

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{Batch, Place, ReplayEnd, ReplayOutcome};
use capably_protocol::{
    Annotation, ErrorInfo, Message, Millis, PresenceAction, PresenceMessage, Str,
};

use crate::Error;
use crate::realtime::{
    Gap,
    driver::command::gone,
    subscribing::filter::Wanted,
    subscribing::queue::{Bounds, Push, Pushed, Queue, Weigh, too_slow},
};

/// Which items a listener wants.
pub(crate) trait Wants<T> {
    fn wants(&self, item: &T) -> bool;

    fn wants_all(&self) -> bool;
}

impl Wants<Message> for Wanted {
    fn wants(&self, message: &Message) -> bool {
        self.contains(message)
    }

    fn wants_all(&self) -> bool {
        self.is_all()
    }
}

/// Presence by action (RTP6a, RTP6b): none means all.
impl Wants<PresenceMessage> for Vec<PresenceAction> {
    fn wants(&self, message: &PresenceMessage) -> bool {
        self.is_empty() || message.action.is_some_and(|action| self.contains(&action))
    }

    fn wants_all(&self) -> bool {
        self.is_empty()
    }
}

/// Annotations by type (RTAN4c): none means all.
impl Wants<Annotation> for Vec<Str> {
    fn wants(&self, annotation: &Annotation) -> bool {
        self.is_empty() || annotation.annotation_type.as_ref().is_some_and(|own| self.contains(own))
    }

    fn wants_all(&self) -> bool {
        self.is_empty()
    }
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Subscriber<T, W> {
    pub(crate) id: u64,
    pub(crate) wanted: W,
    pub(crate) queue: Arc<Queue<T, Gap>>,
    /// Its implicit attach is under way. If that fails, it learns so from there, and goes on listening
    /// (RTL7g, RTP6d, RTAN4d).
    pub(crate) attaching: bool,
    /// Whether it is to miss nothing from now on, and to be told if it may have.
    pub(crate) continuous: bool,
    /// Set while its queue has refused a batch that the service still has.
    behind: Option<Behind<T>>,
}

/// Where a listener is that is behind.
#[derive(Debug)]
struct Behind<T> {
    /// The channel serial up to which it has everything.
    after: Str,
    /// What a sync told of members meanwhile: it comes after what is replayed, and is not replayed itself.
    synced: Vec<T>,
    /// Something arrived meanwhile that the service does not send again.
    missed: bool,
    /// The replay under way brought it something.
    heard: bool,
    /// The replay under way is not for it: it begins after its position, or its queue had no room for all of it. What
    /// follows would leave a hole.
    full: bool,
}

impl<T, W> Subscriber<T, W> {
    pub(crate) fn new(id: u64, wanted: W, queue: Arc<Queue<T, Gap>>, attaching: bool) -> Self {
        // The driver knows whether it is to be continuous.
        Self { id, wanted, queue, attaching, continuous: false, behind: None }
    }
}

impl<T, W> Drop for Subscriber<T, W> {
    fn drop(&mut self) {
        // Nobody fills the queue any more, be it that the client has ended before it came to this.
        self.queue.end(gone());
    }
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// A queue is full now.
    pub(crate) filled: bool,
    /// A listener fell behind.
    pub(crate) fell_behind: bool,
}

/// All listeners of one kind on one channel.
pub(crate) struct Subscribers<T, W>(Vec<Subscriber<T, W>>);

impl<T, W> Default for Subscribers<T, W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Weigh + Clone, W: Wants<T>> Subscribers<T, W> {
    pub(crate) fn add(&mut self, subscriber: Subscriber<T, W>) {
        self.0.push(subscriber);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.0.retain(|own| own.id != id);
    }

    /// Hands what arrived to every listener that wants it.
    pub(crate) fn deliver(&mut self, batch: Batch<T>, wall: impl Fn() -> Millis) -> Delivered {
        let Batch { mut items, missing, place } = batch;
        if !missing.is_empty() {
            return self.deliver_damaged(&items, missing, &place, wall);
        }
        if place.repeated {
            self.repeat(&items, &place);
            return Delivered::default();
        }
        let mut delivered = Delivered::default();
        let last = self.0.len().saturating_sub(1);
        for (index, subscriber) in self.0.iter_mut().enumerate() {
            if subscriber.behind.is_some() {
                subscriber.pass(&items, &place);
                continue;
            }
            let all = subscriber.wanted.wants_all();
            let wanted = if all && index == last {
                std::mem::take(&mut items)
            } else {
                subscriber.select(&items)
            };
            // The service does not send a second time what has no place; members that a sync found are few enough.
            let push = if place.serial.is_some() { Push::Live } else { Push::Unplaced };
            if wanted.is_empty() {
                continue;
            }
            match subscriber.queue.push(wanted, push) {
                Pushed::Taken | Pushed::Ended => {}
                Pushed::Filled => delivered.filled = true,
                Pushed::Refused => delivered.fell_behind |= subscriber.refused(&place, &wall),
            }
        }
        delivered
    }

    /// Hands on what can be read of a batch, and tells where the rest is missing.
    fn deliver_damaged(
        &mut self,
        items: &[T],
        missing: Vec<(usize, capably_core::Gap)>,
        place: &Place,
        wall: impl Fn() -> Millis,
    ) -> Delivered {
        let missing: Vec<_> =
            missing.into_iter().map(|(before, gap)| (before, Gap::from(gap))).collect();
        let mut delivered = Delivered::default();
        for subscriber in &mut self.0 {
            // In a replay, the gap begins where the listener is, and the channel is further on.
            let begins = subscriber.behind.as_ref().map(|behind| behind.after.clone());
            let push = match (&subscriber.behind, &place.serial) {
                (Some(behind), Some(serial)) if place.repeated => {
                    if behind.full || *serial <= behind.after {
                        continue;
                    }
                    Push::Repeated
                }
                (None, _) if place.repeated => continue,
                (Some(_), _) => {
                    subscriber.pass(items, place);
                    continue;
                }
                (None, Some(_)) => Push::Live,
                (None, None) => Push::Unplaced,
            };
            // The queue takes all of it or nothing: what comes again comes as a whole.
            let pushed = subscriber.queue.push(Vec::new(), push);
            if matches!(pushed, Pushed::Taken | Pushed::Filled) {
                subscriber.push_around(items, &missing, begins);
            }
            match (&mut subscriber.behind, pushed) {
                (None, Pushed::Refused) => {
                    delivered.fell_behind |= subscriber.refused(place, &wall);
                }
                (None, Pushed::Taken | Pushed::Filled | Pushed::Ended) => {}
                (Some(behind), Pushed::Taken | Pushed::Filled) => {
                    behind.heard = true;
                    if let Some(serial) = &place.serial {
                        behind.after = serial.clone();
                    }
                }
                (Some(behind), Pushed::Refused | Pushed::Ended) => behind.full = true,
            }
        }
        delivered
    }

    /// Hands a batch of a replay to those that lack it.
    fn repeat(&mut self, items: &[T], place: &Place) {
        let Some(serial) = &place.serial else { return };
        for subscriber in &mut self.0 {
            let Some(behind) = &subscriber.behind else { continue };
            if behind.full || *serial <= behind.after {
                continue;
            }
            let wanted = subscriber.select(items);
            let pushed = match wanted.is_empty() {
                true => Pushed::Taken,
                false => subscriber.queue.push(wanted, Push::Repeated),
            };
            if let Some(behind) = &mut subscriber.behind {
                match pushed {
                    Pushed::Taken | Pushed::Filled => {
                        behind.after = serial.clone();
                        behind.heard = true;
                    }
                    Pushed::Refused | Pushed::Ended => behind.full = true,
                }
            }
        }
    }

    /// Whether anyone is behind.
    pub(crate) fn is_behind(&self) -> bool {
        self.0.iter().any(|subscriber| subscriber.behind.is_some())
    }

    /// Whether the replay under way can bring anyone more.
    pub(crate) fn has_room(&self) -> bool {
        self.0.iter().any(|own| own.behind.as_ref().is_some_and(|behind| !behind.full))
    }

    /// The earliest serial from which a listener with room needs a replay. The task is woken when there is more room.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Option<&Str> {
        let behind = self.0.iter().filter_map(|own| Some((own, own.behind.as_ref()?)));
        let with_room = behind.filter(|(own, _)| own.queue.poll_room(cx) == Poll::Ready(()));
        with_room.map(|(_, behind)| &behind.after).min()
    }

    /// Whether every listener that is not behind has room; if not, the task is woken once one has.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let in_step = self.0.iter().filter(|own| own.behind.is_none());
        let full = in_step.filter(|own| own.queue.poll_ready(cx).is_pending()).count();
        if full > 0 { Poll::Pending } else { Poll::Ready(()) }
    }

    /// A replay begins after this serial.
    pub(crate) fn replay_begins(&mut self, after: &Str) {
        for behind in self.0.iter_mut().filter_map(|own| own.behind.as_mut()) {
            behind.heard = false;
            // Whoever lacks something from before it waits for another replay.
            behind.full = behind.after < *after;
        }
    }

    /// A replay has ended. Whoever has everything goes on with what arrives; whoever cannot get it is told.
    pub(crate) fn replay_ended(&mut self, end: &ReplayEnd, wall: impl Fn() -> Millis) {
        let until = end.until.as_ref();
        for subscriber in &mut self.0 {
            let Some(behind) = &subscriber.behind else { continue };
            match &end.outcome {
                ReplayOutcome::Stopped => {}
                ReplayOutcome::Lost { after, reason } if behind.after <= *after => {
                    subscriber.lost(Some(reason.clone()), until.cloned(), wall());
                }
                ReplayOutcome::Lost { .. } => {}
                ReplayOutcome::Complete | ReplayOutcome::Silent if behind.full => {}
                ReplayOutcome::Complete | ReplayOutcome::Silent if behind.heard => {
                    subscriber.caught_up(until, &wall);
                }
                // Something is there that it did not get: the next replay would bring no more.
                ReplayOutcome::Complete | ReplayOutcome::Silent => {
                    subscriber.lost(Some(too_slow().into_info()), until.cloned(), wall());
                }
            }
        }
    }

    /// The attach that a listener caused is over.
    pub(crate) fn attach_over(&mut self, id: u64) {
        if let Some(subscriber) = self.0.iter_mut().find(|own| own.id == id) {
            subscriber.attaching = false;
        }
    }

    /// The channel is attached: from now on every listener is to miss nothing.
    pub(crate) fn attached(&mut self) {
        for subscriber in &mut self.0 {
            subscriber.continuous = true;
        }
    }

    /// Continuity was lost: tells those who were to miss nothing that they may have.
    pub(crate) fn tell_gap(&mut self, gap: &Gap) {
        for subscriber in self.0.iter_mut().filter(|subscriber| subscriber.continuous) {
            if subscriber.behind.is_some() {
                subscriber.lost(gap.reason.clone(), gap.until.clone(), gap.time);
            } else {
                subscriber.queue.push_notice(gap.clone());
            }
        }
    }

    /// Continuity was lost: tells those who are behind that they do not get what they lack.
    pub(crate) fn settle(&mut self, gap: &Gap) {
        for subscriber in &mut self.0 {
            subscriber.lost(gap.reason.clone(), gap.until.clone(), gap.time);
        }
    }

    /// Ends all but those whose attach is under way.
    pub(crate) fn failed(&mut self, reason: &Error, wall: impl Fn() -> Millis) {
        for subscriber in self.0.iter_mut().filter(|own| !own.attaching) {
            subscriber.end(reason, &wall);
        }
    }

    pub(crate) fn end(&mut self, reason: &Error, wall: impl Fn() -> Millis) {
        for subscriber in &mut self.0 {
            subscriber.end(reason, &wall);
        }
    }
}

impl<T: Weigh + Clone, W: Wants<T>> Subscriber<T, W> {
    fn select(&self, items: &[T]) -> Vec<T> {
        items.iter().filter(|item| self.wanted.wants(item)).cloned().collect()
    }

    /// Queues items with the gaps between them.
    fn push_around(&self, items: &[T], missing: &[(usize, Gap)], begins: Option<Str>) {
        let mut rest = items;
        let mut queued = 0;
        for (before, gap) in missing {
            let (piece, behind) = rest.split_at((before - queued).min(rest.len()));
            self.queue.push(self.select(piece), Push::Rest);
            let after = begins.clone().or_else(|| gap.after.clone());
            self.queue.push_notice(Gap { after, ..gap.clone() });
            (rest, queued) = (behind, *before);
        }
        self.queue.push(self.select(rest), Push::Rest);
    }

    /// Its queue refused a batch. Returns whether the service can send that again.
    fn refused(&mut self, place: &Place, wall: impl Fn() -> Millis) -> bool {
        match (&place.after, &place.serial) {
            (Some(after), Some(serial)) if after < serial => {
                self.behind = Some(Behind {
                    after: after.clone(),
                    synced: Vec::new(),
                    missed: false,
                    heard: false,
                    full: true,
                });
            }
            _ => {
                let reason = Some(too_slow().into_info());
                let (after, until) = (place.after.clone(), place.after.clone());
                let gap = Gap { reason, after, until, time: wall(), unfilled: None };
                self.queue.push_notice(gap);
            }
        }
        self.behind.is_some()
    }

    /// It is behind, and this is not for it until it has caught up.
    fn pass(&mut self, items: &[T], place: &Place) {
        if place.serial.is_some() {
            return;
        }
        let mut wanted = self.select(items);
        let Some(behind) = &mut self.behind else { return };
        if *place != Place::default() {
            behind.missed |= !wanted.is_empty();
            return;
        }
        behind.synced.append(&mut wanted);
        let bytes: usize = behind.synced.iter().map(T::weight).sum();
        if bytes > Bounds::default().bytes {
            behind.synced = Vec::new();
            behind.missed = true;
        }
    }

    /// It has everything up to this serial, and goes on with what arrives.
    fn caught_up(&mut self, until: Option<&Str>, wall: impl Fn() -> Millis) {
        let Some(Behind { after, synced, missed, .. }) = self.behind.take() else { return };
        if missed {
            let (reason, until) = (Some(too_slow().into_info()), until.cloned());
            let gap = Gap { reason, after: Some(after), until, time: wall(), unfilled: None };
            self.queue.push_notice(gap);
        }
        self.add_synced(synced, &wall);
    }

    /// If it is behind, it goes on from here with a gap.
    fn lost(&mut self, reason: Option<ErrorInfo>, until: Option<Str>, time: Millis) {
        if let Some(Behind { after, synced, .. }) = self.behind.take() {
            let gap = Gap { reason, after: Some(after), until, time, unfilled: None };
            self.queue.push_notice(gap);
            self.add_synced(synced, || time);
        }
    }

    fn add_synced(&mut self, synced: Vec<T>, wall: impl Fn() -> Millis) {
        if !synced.is_empty() && self.queue.push(synced, Push::Unplaced) == Pushed::Refused {
            self.refused(&Place::default(), wall);
        }
    }

    fn end(&mut self, reason: &Error, wall: impl Fn() -> Millis) {
        if self.behind.is_some() {
            self.lost(Some(reason.clone().into_info()), None, wall());
        }
        self.queue.end(reason.clone());
    }
}

impl<T, W> fmt::Debug for Subscribers<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} subscribers", self.0.len())
    }
}
