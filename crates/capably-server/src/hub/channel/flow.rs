//! The messages through a channel, counted for the console. Without the console, nothing is counted.

use super::Channel;
use crate::hub::log::Entry;

/// The messages, presence events, annotations and operations through a channel since it is in memory.
#[derive(Debug, Default)]
pub(super) struct Flow {
    #[cfg(feature = "console")]
    pub(super) published: u64,
    /// Those sent to attachments as they were published. Replays do not count.
    #[cfg(feature = "console")]
    pub(super) delivered: u64,
}

#[cfg(feature = "console")]
impl Channel {
    /// Counts an entry that was published.
    pub(super) fn count_published(&mut self, entry: &Entry) {
        self.flow.published += entry.count() as u64;
    }

    /// Counts an entry that was sent to so many attachments.
    pub(super) fn count_delivered(&mut self, entry: &Entry, attachments: usize) {
        self.flow.delivered += (entry.count() * attachments) as u64;
    }
}

#[cfg(not(feature = "console"))]
impl Channel {
    pub(super) fn count_published(&mut self, _: &Entry) {}

    pub(super) fn count_delivered(&mut self, _: &Entry, _: usize) {}
}
