//! Pages of lists.

use capably_protocol::{Millis, Str};

/// The direction of a page through an ordered list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Newest first.
    #[default]
    Backwards,
    /// Oldest first.
    Forwards,
}

/// Selects a page of a list.
#[derive(Clone, Debug)]
pub(crate) struct PageQuery {
    pub(crate) direction: Direction,
    /// The most items on the page.
    pub(crate) limit: usize,
    /// The earliest time to include, in ms since the epoch.
    pub(crate) start: Option<Millis>,
    /// The latest time to include, in ms since the epoch.
    pub(crate) end: Option<Millis>,
    /// The end of the page before.
    pub(crate) cursor: Option<Str>,
}

impl PageQuery {
    /// Whether the query includes the time.
    pub(crate) fn covers(&self, time: Millis) -> bool {
        self.start.is_none_or(|start| time >= start) && self.end.is_none_or(|end| time <= end)
    }

    /// A page of items that are sorted by their keys. The key of the page's last item is the cursor.
    pub(crate) fn page<T>(&self, items: impl DoubleEndedIterator<Item = (Str, T)>) -> Page<T> {
        let cursor = self.cursor.as_deref();
        match self.direction {
            Direction::Forwards => {
                self.take(items.filter(|(key, _)| cursor.is_none_or(|cursor| **key > *cursor)))
            }
            Direction::Backwards => self
                .take(items.rev().filter(|(key, _)| cursor.is_none_or(|cursor| **key < *cursor))),
        }
    }

    fn take<T>(&self, mut items: impl Iterator<Item = (Str, T)>) -> Page<T> {
        let mut page = Page::default();
        let mut last = None;
        for (key, item) in items.by_ref().take(self.limit) {
            last = Some(key);
            page.items.push(item);
        }
        page.next = last.filter(|_| items.next().is_some());
        page
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// The cursor of the page that follows, if there is one.
    pub(crate) next: Option<Str>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_in_both_directions() {
        let pages = |direction| {
            let mut query = PageQuery { direction, limit: 2, start: None, end: None, cursor: None };
            let mut pages = Vec::new();
            loop {
                let items = (0..4).map(|number| (Str::from(number.to_string()), number));
                let page = query.page(items);
                pages.push(page.items);
                match page.next {
                    Some(next) => query.cursor = Some(next),
                    None => return pages,
                }
            }
        };
        assert_eq!(pages(Direction::Forwards), [[0, 1], [2, 3]]);
        assert_eq!(pages(Direction::Backwards), [[3, 2], [1, 0]]);
    }
}
