//! The objects of a channel, and the operations that wait for them (RTO).

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use capably_objects::{
    DEFAULT_GRACE_PERIOD, Objects, ObjectsEvent, Path, PublishId, SubscriptionId, SyncState,
};
use capably_protocol::{
    ErrorInfo, Millis, ObjectMessage, PublishResult, Str,
    frame::{Delivery, Publish},
};

use crate::{
    ChannelId, ChannelState, ConnectionState, Event, Instant, OpId, Outcome, Timer, context::Cx,
    errors,
};

mod access;

pub(crate) use access::check_mode;
pub use access::{check_objects_access, check_objects_write};

/// How often deleted objects whose grace period has passed are forgotten (RTO10a).
const COLLECTION_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// For how many realtime request timeouts an operation waits for a sync whose pages continue to arrive.
const LONGEST_SYNC: u32 = 12;

/// The objects of a channel, shared between the client, which applies operations to them, and their readers.
///
/// A clone refers to the same objects. The client locks them while it applies a frame, so a reader must not hold its lock
/// for long, nor while it waits for the client.
#[derive(Clone, Debug)]
pub struct SharedObjects(Arc<RwLock<Objects>>);

impl SharedObjects {
    fn new(channel: &Str) -> Self {
        Self(Arc::new(RwLock::new(Objects::new(channel))))
    }

    /// The objects, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, Objects> {
        // A panic of another holder leaves the objects as they are: reads change nothing, and the client's changes panic
        // only by a bug.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to a path; see [`Objects::subscribe_path`]. From here on, changes are events of the client.
    ///
    /// # Errors
    /// Code 40003 if the depth is 0.
    pub fn subscribe_path(
        &self,
        id: SubscriptionId,
        path: Path,
        depth: Option<usize>,
    ) -> Result<(), ErrorInfo> {
        self.write().subscribe_path(id, path, depth)
    }

    /// Subscribes to an object; see [`Objects::subscribe_object`].
    ///
    /// # Errors
    /// Code 92004 if it does not exist.
    pub fn subscribe_object(&self, id: SubscriptionId, object_id: &Str) -> Result<(), ErrorInfo> {
        self.write().subscribe_object(id, object_id)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, id: SubscriptionId) {
        self.write().unsubscribe(id);
    }
}

/// The objects of one channel, with the operations that wait for them.
#[derive(Debug)]
pub(crate) struct ChannelObjects {
    channel: ChannelId,
    objects: SharedObjects,
    /// Calls that attach the channel first (RTO23e).
    attaching: BTreeSet<OpId>,
    /// Calls that wait for the objects to be in sync, and since when (RTO23c).
    waiting: Vec<(OpId, Instant)>,
    /// Publishes that the service acknowledged and that are not applied yet (RTO20e).
    applying: Vec<Applying>,
    next_publish: u64,
}

/// An acknowledged publish.
#[derive(Debug)]
struct Applying {
    id: PublishId,
    op: OpId,
    result: PublishResult,
    since: Instant,
}

impl ChannelObjects {
    /// The objects of a channel of which no ATTACHED is known.
    pub(crate) fn new(channel: ChannelId, name: &Str) -> Self {
        Self {
            channel,
            objects: SharedObjects::new(name),
            attaching: BTreeSet::new(),
            waiting: Vec::new(),
            applying: Vec::new(),
            next_publish: 0,
        }
    }

    pub(crate) fn shared(&self) -> &SharedObjects {
        &self.objects
    }

    /// Stores a call until its attach has ended.
    pub(crate) fn await_attach(&mut self, op: OpId) {
        self.attaching.insert(op);
    }

    /// Whether the attach of this operation was made for objects.
    pub(crate) fn is_attaching(&self, op: OpId) -> bool {
        self.attaching.contains(&op)
    }

    /// The attach of a call has ended.
    pub(crate) fn attach_done(&mut self, op: OpId) {
        self.attaching.remove(&op);
    }

    /// Ends a call of an attached channel: at once, or when the objects are in sync (RTO23c).
    pub(crate) fn await_sync(&mut self, op: OpId, cx: &mut Cx<'_>) {
        if self.is_synced() {
            cx.done(op, Ok(Outcome::Done));
        } else {
            self.waiting.push((op, cx.now.instant));
            self.begin_to_wait(cx);
        }
    }

    /// The channel is attached, perhaps once more (RTO4).
    pub(crate) fn channel_attached(&mut self, has_objects: bool, cx: &mut Cx<'_>) {
        self.act(cx, |objects, now, out| objects.attached(has_objects, now, out));
        self.sync_continues(cx);
        if !cx.timers.is_set(Timer::CollectObjects(self.channel)) {
            self.plan_collection(cx);
        }
    }

    /// OBJECT arrived (RTO8).
    pub(crate) fn receive(&mut self, delivery: Delivery<ObjectMessage>, cx: &mut Cx<'_>) {
        let items = inherited(delivery);
        self.act(cx, |objects, now, out| objects.object_frame(items, now, out));
    }

    /// OBJECT_SYNC arrived (RTO5).
    pub(crate) fn receive_sync(&mut self, mut delivery: Delivery<ObjectMessage>, cx: &mut Cx<'_>) {
        let serial = delivery.channel_serial.take();
        let items = inherited(delivery);
        self.act(cx, |objects, now, out| {
            objects.sync_frame(serial.as_deref(), items, now, out);
        });
        self.sync_continues(cx);
    }

    /// The service acknowledged operations: they are applied, at once or after the sync under way (RTO20c to RTO20f).
    pub(crate) fn acknowledged(
        &mut self,
        op: OpId,
        publish: &Publish<ObjectMessage>,
        result: PublishResult,
        cx: &mut Cx<'_>,
    ) {
        let id = PublishId(self.next_publish);
        self.next_publish += 1;
        let serials = result.serials.clone();
        self.applying.push(Applying { id, op, result, since: cx.now.instant });
        let site_code = cx.connection.details.site_code.as_ref();
        self.act(cx, |objects, now, out| {
            objects.acknowledged(id, publish.items.to_vec(), &serials, site_code, now, out);
        });
        if !self.applying.is_empty() {
            self.begin_to_wait(cx);
        }
    }

    /// The channel entered a state without an attachment (RTO20e1).
    pub(crate) fn channel_left(
        &mut self,
        state: ChannelState,
        reason: Option<&ErrorInfo>,
        cx: &mut Cx<'_>,
    ) {
        cx.timers.clear(Timer::ObjectsSync(self.channel));
        // The next attachment replaces the objects: only one that lasts has something to collect.
        cx.timers.clear(Timer::CollectObjects(self.channel));
        let name = state.to_string();
        self.act(cx, |objects, _, out| objects.channel_left(&name, reason, out));
        for (op, _) in mem::take(&mut self.waiting) {
            cx.done(op, Err(errors::channel_state(state, reason)));
        }
    }

    /// The channel is released. Returns the operations to end, without those that attach the channel.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) -> Vec<OpId> {
        cx.timers.clear(Timer::ObjectsSync(self.channel));
        cx.timers.clear(Timer::CollectObjects(self.channel));
        let waiting = mem::take(&mut self.waiting).into_iter().map(|(op, _)| op);
        let applying = mem::take(&mut self.applying).into_iter().map(|applying| applying.op);
        waiting.chain(applying).collect()
    }

    /// The connection was lost, and the sync starts again on the next one. Operations that have waited for too long end.
    pub(crate) fn connection_lost(&mut self, cx: &mut Cx<'_>) {
        let overdue = self.take_waiting(|since| cx.is_overdue(since));
        overdue.end(cx);
    }

    /// No page of the sync has arrived in time.
    pub(crate) fn sync_timed_out(&mut self, cx: &mut Cx<'_>) {
        let state = cx.connection.state();
        if matches!(state, ConnectionState::Connecting | ConnectionState::Disconnected) {
            // The sync starts again with the next connection. Without one the connection is suspended, and the wait ends.
            return cx.await_answer(Timer::ObjectsSync(self.channel));
        }
        self.take_waiting(|_| true).end(cx);
    }

    /// Forgets what was deleted a grace period ago (RTO10b, RTO10c).
    pub(crate) fn collect(&mut self, cx: &mut Cx<'_>) {
        // RTO10b1, RTO10b2, RTO10b3
        let stated = cx.connection.details.objects_gc_grace_period;
        let stated = stated.and_then(|period| Millis::try_from(period).ok());
        let grace_period = stated.unwrap_or(DEFAULT_GRACE_PERIOD);
        self.objects.write().collect(cx.now.wall, grace_period);
        self.plan_collection(cx);
    }

    fn plan_collection(&self, cx: &mut Cx<'_>) {
        cx.timers.set(Timer::CollectObjects(self.channel), cx.now.instant + COLLECTION_INTERVAL);
    }

    fn is_synced(&self) -> bool {
        self.objects.read().state() == SyncState::Synced
    }

    /// Lets the objects act, and carries out their events in order.
    fn act(
        &mut self,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Objects, Millis, &mut Vec<ObjectsEvent>),
    ) {
        let mut events = Vec::new();
        // The lock is free before any event reaches a reader.
        act(&mut self.objects.write(), cx.now.wall, &mut events);
        for event in events {
            match event {
                ObjectsEvent::Published(id) => self.finish(id, None, cx),
                ObjectsEvent::NotApplied(id, error) => self.finish(id, Some(error), cx),
                ObjectsEvent::Sync(SyncState::Synced) => {
                    cx.timers.clear(Timer::ObjectsSync(self.channel));
                    cx.emit(Event::Objects(self.channel, event));
                    for (op, _) in mem::take(&mut self.waiting) {
                        cx.done(op, Ok(Outcome::Done));
                    }
                }
                ObjectsEvent::Sync(SyncState::Initialized | SyncState::Syncing)
                | ObjectsEvent::PathChanged { .. }
                | ObjectsEvent::ObjectChanged { .. }
                | ObjectsEvent::SubscriptionEnded(_) => {
                    cx.emit(Event::Objects(self.channel, event));
                }
            }
        }
    }

    /// A publish was applied, or cannot be. Its operation may have ended before, by a deadline.
    fn finish(&mut self, id: PublishId, error: Option<ErrorInfo>, cx: &mut Cx<'_>) {
        let at = self.applying.iter().position(|applying| applying.id == id);
        if let Some(Applying { op, result, .. }) = at.map(|at| self.applying.remove(at)) {
            let outcome = match error {
                None => Ok(Outcome::Published(result)),
                Some(error) => Err(error),
            };
            cx.done(op, outcome);
        }
    }

    /// Sets the deadline for the next page of the sync. One timer serves all operations: each page sets it again, so an
    /// operation that joins must not.
    fn begin_to_wait(&self, cx: &mut Cx<'_>) {
        let timer = Timer::ObjectsSync(self.channel);
        if !cx.timers.is_set(timer) {
            cx.await_answer(timer);
        }
    }

    /// The service has begun or continued a sync. Operations wait on, but not for ever.
    fn sync_continues(&mut self, cx: &mut Cx<'_>) {
        let longest = cx.config.realtime_request_timeout.saturating_mul(LONGEST_SYNC);
        let now = cx.now.instant;
        self.take_waiting(|since| now.since(since) >= longest).end(cx);
        let timer = Timer::ObjectsSync(self.channel);
        if self.waiting.is_empty() && self.applying.is_empty() {
            cx.timers.clear(timer);
        } else {
            cx.await_answer(timer);
        }
    }

    /// Removes the operations that have waited for too long.
    fn take_waiting(&mut self, is_over: impl Fn(Instant) -> bool) -> TimedOut {
        let waiting = self.waiting.extract_if(.., |(_, since)| is_over(*since));
        let waiting = waiting.map(|(op, _)| op).collect();
        let applying = self.applying.extract_if(.., |applying| is_over(applying.since));
        TimedOut { waiting, applying: applying.map(|applying| applying.op).collect() }
    }
}

/// Operations for which the sync came too late.
struct TimedOut {
    waiting: Vec<OpId>,
    applying: Vec<OpId>,
}

impl TimedOut {
    fn end(self, cx: &mut Cx<'_>) {
        for op in self.waiting {
            cx.done(op, Err(errors::objects_sync_timed_out()));
        }
        for op in self.applying {
            cx.done(op, Err(errors::objects_not_applied()));
        }
    }
}

/// The items of a frame, completed from it (OM2a, OM2c, OM2e).
fn inherited(delivery: Delivery<ObjectMessage>) -> Vec<ObjectMessage> {
    let Delivery { id, connection_id, timestamp, mut items, .. } = delivery;
    for (index, item) in items.iter_mut().enumerate() {
        item.inherit(id.as_ref(), index, connection_id.as_ref(), timestamp);
    }
    items
}
