//! The messages through a channel, counted.

use super::Channel;
use crate::hub::log::Entry;

/// The messages, presence events, annotations and operations through a channel since it is in memory.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) published: u64,
    /// Those sent to attachments as they were published. Replays do not count.
    pub(super) delivered: u64,
}

impl Channel {
    /// Counts an entry that was published.
    pub(super) fn count_published(&mut self, entry: &Entry) {
        self.flow.published += entry.volume().count;
    }

    /// Counts an entry that was sent to so many attachments.
    pub(super) fn count_delivered(&mut self, entry: &Entry, attachments: usize) {
        self.flow.delivered += entry.volume().count * attachments as u64;
    }
}
