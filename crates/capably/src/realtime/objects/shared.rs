//! The part of a channel's objects that the driver writes and handles read: subscribers and the sync state.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capably_objects::{ObjectsEvent, OperationMessage, Path, SubscriptionId, SyncState, Update};
use tokio::runtime::Handle;

use crate::{
    Error,
    realtime::{
        Changes, Overflow,
        changes::ChangeSender,
        queue::{Bounds, Intake, Origin, Queue, Weigh},
    },
    sync::lock,
};

static NEXT_SUBSCRIPTION: AtomicU64 = AtomicU64::new(0);

/// A change for one subscriber, as the driver queues it.
#[derive(Clone, Debug)]
pub(super) struct QueuedChange {
    /// The path of the change; none for a subscription to an object.
    pub(super) path: Option<Path>,
    pub(super) update: Arc<Update>,
    pub(super) message: Option<Arc<OperationMessage>>,
}

/// The subscribers of a channel's objects.
#[derive(Debug)]
pub(crate) struct ObjectsShared {
    sync: ChangeSender<SyncState>,
    subscribers: Mutex<BTreeMap<SubscriptionId, Arc<Queue<QueuedChange>>>>,
}

impl ObjectsShared {
    pub(crate) fn new() -> Self {
        Self { sync: ChangeSender::new(), subscribers: Mutex::default() }
    }

    pub(super) fn sync_changes(&self, runtime: &Handle) -> Changes<SyncState> {
        self.sync.listen(runtime)
    }

    /// Registers a subscriber, before it subscribes at the objects: the first change must find its queue.
    pub(super) fn add(&self, capacity: usize) -> (SubscriptionId, Intake<QueuedChange>) {
        let id = SubscriptionId(NEXT_SUBSCRIPTION.fetch_add(1, Ordering::Relaxed));
        let bounds = Bounds { items: capacity, ..Bounds::default() };
        // The objects have the result of dropped changes, so dropping the oldest loses no data.
        let queue = Arc::new(Queue::new(bounds, Overflow::DropOldest));
        lock(&self.subscribers).insert(id, Arc::clone(&queue));
        (id, Intake::new(queue))
    }

    pub(super) fn remove(&self, id: SubscriptionId) {
        lock(&self.subscribers).remove(&id);
    }

    /// Dispatches an event of the core.
    pub(crate) fn dispatch(&self, event: ObjectsEvent) {
        match event {
            ObjectsEvent::Sync(state) => self.sync.send(&state),
            ObjectsEvent::PathChanged { subscription, path, update, message } => {
                self.push(subscription, QueuedChange { path: Some(path), update, message });
            }
            ObjectsEvent::ObjectChanged { subscription, update, message } => {
                self.push(subscription, QueuedChange { path: None, update, message });
            }
            ObjectsEvent::SubscriptionEnded(subscription) => {
                if let Some(queue) = lock(&self.subscribers).remove(&subscription) {
                    queue.end(deleted());
                }
            }
            // The core turns these into the ends of operations.
            ObjectsEvent::Published(_) | ObjectsEvent::NotApplied(..) => {}
        }
    }

    fn push(&self, subscription: SubscriptionId, change: QueuedChange) {
        let queue = lock(&self.subscribers).get(&subscription).cloned();
        if let Some(queue) = queue {
            queue.push(vec![change], Origin::Live);
        }
    }

    /// Ends every subscription to changes of objects.
    pub(crate) fn end_subscriptions(&self, reason: &Error) {
        for (_, queue) in std::mem::take(&mut *lock(&self.subscribers)) {
            queue.end(reason.clone());
        }
    }

    /// The channel was released, or the client has ended.
    pub(crate) fn end(&self) {
        self.sync.end();
    }
}

impl Weigh for QueuedChange {
    fn weight(&self) -> usize {
        let operation = self.message.as_ref().map_or(0, |message| message.operation.size());
        size_of::<Self>() + size_of::<OperationMessage>() + operation
    }
}

impl Weigh for SyncState {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

fn deleted() -> Error {
    Error::new(capably_protocol::ErrorCode::OBJECT_NOT_FOUND, 404, "the object was deleted")
        .with_remedy("subscribe to the path, which outlasts the objects that stand there")
}
