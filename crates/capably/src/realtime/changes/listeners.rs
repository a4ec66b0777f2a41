//! Who listens to changes of state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::realtime::{
    Changes, Overflow,
    driver::command::gone,
    subscribing::queue::{Bounds, Push, Queue, Weigh},
};

/// How many changes a listener may leave unread; of more, it misses the oldest.
const UNREAD_CHANGES: usize = 1024;

/// The listeners to one kind of change.
#[derive(Debug)]
pub(crate) struct Listeners<T> {
    /// `None` once there will be no more changes.
    queues: Mutex<Option<Vec<Arc<Queue<T>>>>>,
}

impl<T: Clone + Weigh> Listeners<T> {
    pub(crate) fn new() -> Self {
        Self { queues: Mutex::new(Some(Vec::new())) }
    }

    /// A new listener, to every change from now on.
    pub(crate) fn listen(&self) -> Changes<T> {
        let bounds = Bounds { items: UNREAD_CHANGES, ..Bounds::default() };
        let queue = Arc::new(Queue::new(bounds, Overflow::DropOldest));
        match &mut *self.lock() {
            Some(queues) => queues.push(Arc::clone(&queue)),
            None => queue.end(gone()),
        }
        Changes::new(queue)
    }

    /// Tells every listener that is still there.
    pub(crate) fn tell(&self, change: &T) {
        if let Some(queues) = &mut *self.lock() {
            queues.retain(|queue| {
                let listening = Arc::strong_count(queue) > 1;
                if listening {
                    queue.push(vec![change.clone()], Push::Live);
                }
                listening
            });
        }
    }

    /// Ends every listener, also those to come.
    pub(crate) fn end(&self) {
        for queue in self.lock().take().into_iter().flatten() {
            queue.end(gone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Queue<T>>>>> {
        // Whoever held the lock left a whole value behind.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
