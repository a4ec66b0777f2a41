//! The objects of a channel in a client: syncs, operations and publishes (RTO4 to RTO9, RTO17, RTO20).

use std::{collections::BTreeSet, sync::Arc};

use capably_protocol::{ErrorCode, ErrorInfo, Millis, ObjectMessage, Str};

use crate::{
    Ignored, ObjectsPool, OperationMessage, Path, ROOT, Source, Update,
    subscriptions::Subscriptions, sync::SyncPages,
};

/// A subscription to a path or an object, by a number that the caller chooses and does not use again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

impl SubscriptionId {
    pub(crate) const FIRST: Self = Self(0);
}

/// A publish of operations, by a number that the caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId(pub u64);

/// Whether the objects are those of the service (RTO17a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// No sync has begun (RTO17a1).
    Initialized,
    /// A sync is under way (RTO17a2).
    Syncing,
    /// The objects are in sync (RTO17a3).
    Synced,
}

/// An event of [`Objects`].
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectsEvent {
    /// The sync state changed; never to `Initialized` (RTO17b, RTO18b).
    Sync(SyncState),
    /// A value at or below a subscribed path changed (RTPO19e).
    PathChanged {
        /// The subscription.
        subscription: SubscriptionId,
        /// The path of the change (RTPO19e1).
        path: Path,
        /// The change of the object at the path, or of the map that has the path's last key.
        update: Arc<Update>,
        /// The operation; none if a sync brought the change (RTPO19e2).
        message: Option<Arc<OperationMessage>>,
    },
    /// A subscribed object changed (RTINS16e).
    ObjectChanged {
        /// The subscription.
        subscription: SubscriptionId,
        /// The change.
        update: Arc<Update>,
        /// The operation; none if a sync brought the change (RTINS16e2).
        message: Option<Arc<OperationMessage>>,
    },
    /// The subscribed object was deleted. The subscription is removed (RTLO4b4c3c).
    SubscriptionEnded(SubscriptionId),
    /// An acknowledged publish was applied, or will be when its echo arrives (RTO20).
    Published(PublishId),
    /// An acknowledged publish could not be applied, with code 92008 (RTO20e1).
    NotApplied(PublishId, ErrorInfo),
}

/// The objects of one channel, as a client keeps them.
///
/// A driver calls a method for each frame of the channel. The method leaves its events, in order, in the vector that it is
/// given; it does not clear the vector. `now` is in ms since the epoch and dates deletions that come without a time.
///
/// ```
/// use capably_objects::{Objects, ObjectsEvent, SyncState};
///
/// let mut objects = Objects::new("todo");
/// let mut events = Vec::new();
/// // ATTACHED without HAS_OBJECTS: there are none.
/// objects.attached(false, 0, &mut events);
/// assert_eq!(events, [ObjectsEvent::Sync(SyncState::Syncing), ObjectsEvent::Sync(SyncState::Synced)]);
/// assert!(objects.pool().root().is_empty());
/// ```
#[derive(Debug)]
pub struct Objects {
    channel: Str,
    pool: ObjectsPool,
    state: SyncState,
    sync: SyncPages,
    /// Operations that arrived while the objects were not in sync (RTO7a).
    buffered: Vec<ObjectMessage>,
    /// The serials of operations that were applied on their ACK, and whose echo is to come (RTO7b).
    applied_on_ack: BTreeSet<Str>,
    /// Acknowledged publishes that wait for the objects to be in sync (RTO20e).
    waiting: Vec<(PublishId, Vec<ObjectMessage>)>,
    subscriptions: Subscriptions,
}

impl Objects {
    /// The objects of a channel that is not attached.
    pub fn new(channel: impl Into<Str>) -> Self {
        Self {
            channel: channel.into(),
            pool: ObjectsPool::new(),
            state: SyncState::Initialized,
            sync: SyncPages::default(),
            buffered: Vec::new(),
            applied_on_ack: BTreeSet::new(),
            waiting: Vec::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    /// The objects.
    pub fn pool(&self) -> &ObjectsPool {
        &self.pool
    }

    /// Whether the objects are in sync (RTO17).
    pub fn state(&self) -> SyncState {
        self.state
    }

    /// The channel was attached, or the service sent ATTACHED again (RTO4). `has_objects` is the flag HAS_OBJECTS.
    pub fn attached(&mut self, has_objects: bool, now: Millis, out: &mut Vec<ObjectsEvent>) {
        self.become_state(SyncState::Syncing, out); // RTO4c
        self.buffered.clear(); // RTO4d
        if has_objects {
            return; // RTO4a
        }
        let change = self.pool.clear(); // RTO4b1, RTO4b2
        let object_id = Str::from(ROOT);
        self.report(Update { object_id, change, tombstone: false }, None, out); // RTO4b2a
        self.sync = SyncPages::default(); // RTO4b3
        self.synced(now, out); // RTO4b4
    }

    /// An OBJECT_SYNC frame (RTO5), with its `channelSerial` and items.
    pub fn sync_frame(
        &mut self,
        channel_serial: Option<&str>,
        states: impl IntoIterator<Item = ObjectMessage>,
        now: Millis,
        out: &mut Vec<ObjectsEvent>,
    ) {
        self.become_state(SyncState::Syncing, out); // RTO5e
        let is_last = self.sync.begin_page(channel_serial);
        states.into_iter().for_each(|message| self.sync.add(message));
        if is_last {
            // RTO5c1 to RTO5c4
            let updates = self.pool.replace(self.sync.take(), now);
            updates.into_iter().for_each(|update| self.report(update, None, out)); // RTO5c7
            self.synced(now, out);
        }
    }

    /// An OBJECT frame, with its items (RTO8).
    pub fn object_frame(
        &mut self,
        messages: impl IntoIterator<Item = ObjectMessage>,
        now: Millis,
        out: &mut Vec<ObjectsEvent>,
    ) {
        if self.state == SyncState::Synced {
            messages.into_iter().for_each(|message| self.apply(message, Source::Channel, now, out)); // RTO8b
        } else {
            self.buffered.extend(messages); // RTO8a
        }
    }

    /// The service acknowledged a publish of these messages, with a serial for each (RTO20b to RTO20f). `site_code` is that of
    /// the connection.
    ///
    /// [`ObjectsEvent::Published`] follows once the operations are applied, or [`ObjectsEvent::NotApplied`].
    pub fn acknowledged(
        &mut self,
        publish: PublishId,
        messages: Vec<ObjectMessage>,
        serials: &[Option<Str>],
        site_code: Option<&Str>,
        now: Millis,
        out: &mut Vec<ObjectsEvent>,
    ) {
        let Some(site_code) = site_code else {
            // RTO20c1
            tracing::error!(
                "the service stated no site code; operations are applied when their echo arrives"
            );
            out.push(ObjectsEvent::Published(publish));
            return;
        };
        if serials.len() != messages.len() {
            // RTO20c2
            tracing::error!(
                "the ACK has another number of serials than operations; these are applied when their echo arrives"
            );
            out.push(ObjectsEvent::Published(publish));
            return;
        }
        // RTO20d. An operation without a serial was merged into another one (RTO20d1).
        let inbound = messages.into_iter().zip(serials).filter_map(|(message, serial)| {
            let (serial, site_code) = (Some(serial.clone()?), Some(site_code.clone()));
            Some(ObjectMessage { serial, site_code, ..message })
        });
        let inbound = inbound.collect();
        if self.state == SyncState::Synced {
            self.apply_published(publish, inbound, now, out);
        } else {
            self.waiting.push((publish, inbound)); // RTO20e
        }
    }

    /// The channel became detached, suspended or failed: publishes that wait for a sync end with an error (RTO20e1). `state` is
    /// the name of the channel's new state, `reason` its errorReason.
    pub fn channel_left(
        &mut self,
        state: &str,
        reason: Option<&ErrorInfo>,
        out: &mut Vec<ObjectsEvent>,
    ) {
        for (publish, _) in self.waiting.drain(..) {
            let message = format!(
                "the operations were published, but could not be applied here: the channel became {state} while \
                 they waited for the objects to be in sync; attach the channel to see their effect"
            );
            let error = ErrorInfo::new(ErrorCode::OBJECTS_SYNC_DID_NOT_COMPLETE, 400, message);
            let error = match reason {
                Some(reason) => error.with_cause(reason.clone()),
                None => error,
            };
            out.push(ObjectsEvent::NotApplied(publish, error));
        }
    }

    /// Removes what was deleted at least a grace period ago (RTO10). Both are in ms. Call it every few minutes, with the
    /// period that the service stated, or [`DEFAULT_GRACE_PERIOD`](crate::DEFAULT_GRACE_PERIOD).
    pub fn collect(&mut self, now: Millis, grace_period: Millis) {
        self.pool.collect(now, grace_period);
    }

    /// Subscribes to the values at a path and below it (RTPO19). `depth` limits it to so many levels: 1 for the path alone, 2 for
    /// the keys of its map too (RTPO19c1).
    ///
    /// # Errors
    /// Code 40003 if the depth is 0 (RTPO19c1a).
    pub fn subscribe_path(
        &mut self,
        id: SubscriptionId,
        path: Path,
        depth: Option<usize>,
    ) -> Result<(), ErrorInfo> {
        self.subscriptions.add_path(id, path, depth)
    }

    /// Subscribes to an object, wherever it is in the tree (RTINS16).
    ///
    /// # Errors
    /// Code 92004 if it does not exist.
    pub fn subscribe_object(
        &mut self,
        id: SubscriptionId,
        object_id: &Str,
    ) -> Result<(), ErrorInfo> {
        self.pool.require_object(object_id)?;
        self.subscriptions.add_object(id, object_id.clone());
        Ok(())
    }

    /// Ends a subscription. Without one of this number nothing happens.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        self.subscriptions.remove(id);
    }

    /// RTO17b
    fn become_state(&mut self, state: SyncState, out: &mut Vec<ObjectsEvent>) {
        if self.state != state {
            self.state = state;
            out.push(ObjectsEvent::Sync(state));
        }
    }

    /// The pool was replaced. The operations that waited for it follow (RTO5c).
    fn synced(&mut self, now: Millis, out: &mut Vec<ObjectsEvent>) {
        // RTO5c9. The serials are forgotten before RTO5c6, not after it: an operation that was applied on its ACK before the
        // states replaced it, and whose echo is buffered, would be lost. If the states include it, their serials show that.
        self.applied_on_ack.clear();
        // RTO5c6, RTO5c5
        for message in std::mem::take(&mut self.buffered) {
            self.apply(message, Source::Channel, now, out);
        }
        self.become_state(SyncState::Synced, out); // RTO5c8
        for (publish, messages) in std::mem::take(&mut self.waiting) {
            self.apply_published(publish, messages, now, out);
        }
    }

    /// RTO20f
    fn apply_published(
        &mut self,
        publish: PublishId,
        messages: Vec<ObjectMessage>,
        now: Millis,
        out: &mut Vec<ObjectsEvent>,
    ) {
        messages.into_iter().for_each(|message| self.apply(message, Source::Local, now, out));
        out.push(ObjectsEvent::Published(publish));
    }

    /// Applies an operation, and reports what it changed (RTO9a).
    fn apply(
        &mut self,
        message: ObjectMessage,
        source: Source,
        now: Millis,
        out: &mut Vec<ObjectsEvent>,
    ) {
        if let Some(serial) = &message.serial
            && message.operation.is_some()
            && self.applied_on_ack.remove(serial.as_str())
        {
            return; // RTO9a3
        }
        match self.pool.apply(&message, source, now) {
            Ok(update) => {
                if source == Source::Local {
                    self.applied_on_ack.extend(message.serial.as_ref().map(Str::from)); // RTO9a2a4
                }
                // RTLO4b4c1
                if let Some(update) = update {
                    self.report(update, Some(&message), out);
                }
            }
            Err(reason @ (Ignored::NotNewer | Ignored::Tombstone)) => {
                tracing::trace!(channel = %self.channel, %reason, "ignored an operation on an object");
            }
            Err(reason) => {
                tracing::warn!(channel = %self.channel, %reason, "ignored an operation on an object");
            }
        }
    }

    /// RTLO4b4c
    fn report(
        &mut self,
        update: Update,
        message: Option<&ObjectMessage>,
        out: &mut Vec<ObjectsEvent>,
    ) {
        if self.subscriptions.is_empty() {
            return;
        }
        let message = || message.and_then(|message| OperationMessage::new(&self.channel, message));
        self.subscriptions.dispatch(&self.pool, update, message, out);
    }
}

#[cfg(test)]
mod tests;
