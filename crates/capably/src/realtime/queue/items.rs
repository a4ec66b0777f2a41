//! The items of one push, which several queues may share.

use std::{fmt, ops::Deref, sync::Arc, vec};

use super::Weigh;

/// Items that are pushed together, and their weight.
///
/// Queues that get the same items share them. A copy for each would cost more memory than the listeners read.
pub(crate) struct Items<T> {
    held: Held<T>,
    /// Computed once for all queues.
    weight: usize,
}

enum Held<T> {
    Own(Vec<T>),
    Shared(Arc<dyn Shared<T>>),
}

impl<T: Clone + Send + Sync + 'static> Items<T> {
    /// The same items for another queue.
    pub(crate) fn share(&mut self) -> Self {
        let shared = match &mut self.held {
            Held::Own(items) => Arc::new(std::mem::take(items)) as Arc<dyn Shared<T>>,
            Held::Shared(items) => Arc::clone(items),
        };
        self.held = Held::Shared(Arc::clone(&shared));
        Self { held: Held::Shared(shared), weight: self.weight }
    }
}

impl<T> Items<T> {
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Begins to read the items.
    pub(super) fn into_unread(self) -> Unread<T> {
        match self.held {
            Held::Own(items) => Unread::Own(items.into_iter()),
            Held::Shared(items) => match items.take() {
                Ok(items) => Unread::Own(items.into_iter()),
                Err(items) => Unread::Shared { items, read: 0 },
            },
        }
    }
}

/// Items that several queues have. A queue holds items of any type; only a type that is shared must be one that several
/// threads can read, and clone.
pub(super) trait Shared<T>: Send + Sync {
    fn items(&self) -> &[T];

    fn get(&self, index: usize) -> Option<T>;

    /// The items themselves, if no other queue has them any more.
    fn take(self: Arc<Self>) -> Result<Vec<T>, Arc<dyn Shared<T>>>;
}

impl<T: Clone + Send + Sync + 'static> Shared<T> for Vec<T> {
    fn items(&self) -> &[T] {
        self
    }

    fn get(&self, index: usize) -> Option<T> {
        self.as_slice().get(index).cloned()
    }

    fn take(self: Arc<Self>) -> Result<Self, Arc<dyn Shared<T>>> {
        Arc::try_unwrap(self).map_err(|items| items as Arc<dyn Shared<T>>)
    }
}

/// The items of a push that were not read yet.
pub(super) enum Unread<T> {
    Own(vec::IntoIter<T>),
    /// Items that other queues have, too. They are cloned as they are read.
    Shared {
        items: Arc<dyn Shared<T>>,
        read: usize,
    },
}

impl<T> Unread<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Own(items) => items.len(),
            Self::Shared { items, read } => items.items().len() - read,
        }
    }

    /// The next item.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<T> {
        match self {
            Self::Own(items) => items.next(),
            Self::Shared { .. } => self.next_shared(),
        }
    }

    #[inline(never)]
    fn next_shared(&mut self) -> Option<T> {
        let Self::Shared { items, read } = self else { return None };
        let item = items.get(*read);
        *read += 1;
        // A listener that waits for its next item must not keep these in memory, nor from the last listener.
        if *read >= items.items().len() {
            *self = Self::default();
        }
        item
    }

    /// Copies items that are shared: a queue that drops some of them must not keep them in memory.
    pub(super) fn own(&mut self) {
        if let Self::Shared { .. } = self {
            let unread: Vec<T> = std::iter::from_fn(|| self.next_shared()).collect();
            *self = Self::Own(unread.into_iter());
        }
    }
}

impl<T> Default for Unread<T> {
    fn default() -> Self {
        Self::Own(Vec::new().into_iter())
    }
}

impl<T: Weigh> Items<T> {
    /// Drops the items after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len() {
            let mut unread = std::mem::take(self).into_unread();
            *self = std::iter::from_fn(|| unread.next()).take(len).collect::<Vec<T>>().into();
        }
    }
}

impl<T: Weigh> From<Vec<T>> for Items<T> {
    fn from(items: Vec<T>) -> Self {
        let weight = items.iter().map(T::weight).sum();
        Self { held: Held::Own(items), weight }
    }
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { held: Held::Own(Vec::new()), weight: 0 }
    }
}

impl<T> Deref for Items<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.held {
            Held::Own(items) => items,
            Held::Shared(items) => items.items(),
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.len())
    }
}

impl<T> fmt::Debug for Unread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} unread items", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use capably_protocol::Message;

    use super::*;
    use crate::realtime::{
        Gap, Overflow,
        queue::{Bounds, Intake, Next, Origin, Pushed, Queue},
    };

    struct Listener {
        queue: Arc<Queue<Message, Gap>>,
        intake: Intake<Message, Gap>,
    }

    impl Listener {
        fn new(overflow: Overflow, items: usize) -> Self {
            let bounds = Bounds { items, ..Bounds::default() };
            let queue = Arc::new(Queue::new(bounds, overflow));
            Self { intake: Intake::new(Arc::clone(&queue)), queue }
        }

        /// Reads at most this many items. Returns their names, and `-` for anything else.
        fn read(&mut self, at_most: usize) -> String {
            let mut names = String::new();
            for _ in 0..at_most {
                match self.intake.poll_next(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(Next::Item(message))) => {
                        names.push_str(&message.name.unwrap_or_default());
                    }
                    Poll::Ready(_) => names.push('-'),
                    Poll::Pending => break,
                }
            }
            names
        }
    }

    fn items(names: &str) -> Items<Message> {
        let message = |name: char| Message::new(name.to_string(), "data");
        names.chars().map(message).collect::<Vec<_>>().into()
    }

    #[test]
    fn each_queue_yields_every_item_of_a_shared_push() {
        let mut listeners = [(); 3].map(|()| Listener::new(Overflow::Replay, 100));
        for names in ["abc", "d", "ef"] {
            let mut shared = items(names);
            for listener in &listeners {
                let pushed = listener.queue.push(shared.share(), Origin::Live);
                assert_eq!(pushed, Pushed::Queued);
            }
        }
        assert_eq!(listeners[0].read(2), "ab");
        assert_eq!(listeners[1].read(100), "abcdef");
        assert_eq!(listeners[0].read(100), "cdef");
        assert_eq!(listeners[2].read(100), "abcdef");
    }

    #[test]
    fn the_last_queue_gets_the_items_without_a_copy() {
        let mut shared = items("ab");
        let first = shared.share();
        assert!(matches!(shared.into_unread(), Unread::Shared { .. }));
        assert!(matches!(first.into_unread(), Unread::Own(_)));
    }

    #[test]
    fn a_listener_that_has_read_everything_keeps_nothing() {
        let mut listener = Listener::new(Overflow::Replay, 100);
        let mut shared = items("ab");
        listener.queue.push(shared.share(), Origin::Live);
        assert_eq!(listener.read(2), "ab");
        assert!(matches!(shared.into_unread(), Unread::Own(_)));
    }

    #[test]
    fn a_queue_that_drops_items_leaves_those_of_other_queues() {
        let [mut dropping, mut other] = [(Overflow::DropOldest, 2), (Overflow::Replay, 100)]
            .map(|(overflow, items)| Listener::new(overflow, items));
        for names in ["abc", "def"] {
            let mut shared = items(names);
            dropping.queue.push(shared.share(), Origin::Live);
            other.queue.push(shared, Origin::Live);
        }
        assert_eq!(dropping.read(100), "-ef");
        assert_eq!(other.read(100), "abcdef");
    }

    #[test]
    fn a_queue_that_ends_keeps_the_items_it_has_room_for() {
        let [mut ending, mut other] = [(Overflow::End, 2), (Overflow::Replay, 100)]
            .map(|(overflow, items)| Listener::new(overflow, items));
        let mut shared = items("abc");
        assert_eq!(ending.queue.push(shared.share(), Origin::Live), Pushed::Ended);
        other.queue.push(shared, Origin::Live);
        assert_eq!(ending.read(3), "ab-");
        assert_eq!(other.read(100), "abc");
    }

    #[test]
    fn the_weight_is_that_of_the_items() {
        let mut shared = items("abc");
        let weight = Message::new("a", "data").weight();
        assert_eq!((shared.share().weight(), shared.weight()), (3 * weight, 3 * weight));
        shared.truncate(2);
        assert_eq!((shared.len(), shared.weight()), (2, 2 * weight));
    }
}
