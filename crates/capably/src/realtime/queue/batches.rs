//! The contents of a queue, in the batches in which they were pushed.

use std::{collections::VecDeque, convert::Infallible, mem};

use super::{Bounds, Items, Weigh, items::Unread};

/// Something that stands between two items. It takes no room, and is not dropped with the items around it.
pub(crate) trait Notice {
    /// Merges a later notice into this one. No item stands between the two.
    fn merge(&mut self, later: Self);
}

impl Notice for Infallible {
    fn merge(&mut self, later: Self) {
        match later {}
    }
}

/// Batches of items, and the notices between them. Moving a batch does not move its items.
#[derive(Debug)]
pub(super) struct Batches<T, N> {
    first: Unread<T>,
    rest: VecDeque<Segment<T, N>>,
    /// The number of items.
    len: usize,
}

#[derive(Debug)]
enum Segment<T, N> {
    Items(Items<T>),
    Notice(N),
}

impl<T, N> Batches<T, N> {
    pub(super) fn new() -> Self {
        Self { first: Unread::default(), rest: VecDeque::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && self.rest.is_empty()
    }

    pub(super) fn push(&mut self, batch: Items<T>) {
        self.len += batch.len();
        self.rest.push_back(Segment::Items(batch));
    }

    /// The next item, unless a notice comes first.
    #[inline(always)]
    pub(super) fn next_item(&mut self) -> Option<T> {
        if self.first.len() == 0 {
            self.next_batch();
        }
        let item = self.first.next();
        self.len -= usize::from(item.is_some());
        item
    }

    /// Goes on to the next batch with an item, unless a notice comes first.
    #[inline(never)]
    fn next_batch(&mut self) {
        while self.first.len() == 0
            && let Some(Segment::Items(items)) = self.rest.front_mut()
        {
            self.first = mem::take(items).into_unread();
            self.rest.pop_front();
        }
    }

    /// The next notice, unless an item comes first.
    pub(super) fn next_notice(&mut self) -> Option<N> {
        match (self.first.len(), self.rest.pop_front()?) {
            (0, Segment::Notice(notice)) => Some(notice),
            (_, other) => {
                self.rest.push_front(other);
                None
            }
        }
    }
}

impl<T, N: Notice> Batches<T, N> {
    pub(super) fn push_notice(&mut self, notice: N) {
        match self.rest.back_mut() {
            Some(Segment::Notice(before)) => before.merge(notice),
            Some(Segment::Items(_)) | None => self.rest.push_back(Segment::Notice(notice)),
        }
    }
}

impl<T: Weigh, N: Notice> Batches<T, N> {
    /// Drops the oldest items until the remaining ones are within the bounds. Merges the notices among the
    /// dropped items into one, and puts it in front of the remaining items.
    pub(super) fn drop_first(&mut self, bytes: &mut usize, bounds: Bounds) {
        let mut passed: Option<N> = None;
        loop {
            // The newest item stays even when it alone exceeds the bound in bytes: otherwise a listener would
            // never receive a large message.
            while (self.len > bounds.items || (*bytes > bounds.bytes && self.len > 1))
                && let Some(item) = self.next_item()
            {
                *bytes = bytes.saturating_sub(item.weight());
            }
            self.first.own();
            let Some(notice) = self.next_notice() else { break };
            match &mut passed {
                Some(passed) => passed.merge(notice),
                None => passed = Some(notice),
            }
        }
        if let Some(notice) = passed {
            let Self { first, .. } = self;
            let rest: Vec<T> = std::iter::from_fn(|| first.next()).collect();
            if !rest.is_empty() {
                self.rest.push_front(Segment::Items(rest.into()));
            }
            self.rest.push_front(Segment::Notice(notice));
        }
    }
}
