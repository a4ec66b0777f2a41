//! Room: limits on the number of channels, and on the memory of their logs.

use std::time::Duration;

use capably_protocol::{ErrorInfo, Str};

use super::{Channel, Channels};
use crate::hub::{
    Turn, error,
    log::{meter::Meter, position::Position},
};

/// The approximate size of a channel without its log, in bytes.
const CHANNEL_SIZE: usize = 1024;

/// The shortest time between two searches for unused channels.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// The limits of the channels of an app.
#[derive(Debug)]
pub(crate) struct Room {
    max_channels: Option<usize>,
    max_bytes: usize,
    pub(crate) meter: Meter,
    /// The size above which entries are dropped. It exceeds `max_bytes` after a search that could drop too little, so
    /// that not every publish searches again in vain.
    threshold: usize,
    /// The time of the last search for unused channels.
    reclaimed: Option<Duration>,
}

impl Room {
    pub(crate) fn new(max_channels: Option<usize>, max_bytes: usize) -> Self {
        let (meter, reclaimed) = (Meter::default(), None);
        Self { max_channels, max_bytes, meter, threshold: max_bytes, reclaimed }
    }

    /// Lets the next publish search again for entries to drop.
    pub(crate) fn reconsider(&mut self) {
        self.threshold = self.max_bytes;
    }
}

impl Channels {
    /// Checks that the channel exists or may be created. At the limit, unused channels are dropped first.
    ///
    /// # Errors
    /// Code 40114 when the app has the maximum number of channels.
    pub(crate) fn require_room(
        &mut self,
        name: &str,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorInfo> {
        let Some(max) = self.room.max_channels else { return Ok(()) };
        if self.has_room(name) {
            return Ok(());
        }
        let now = turn.now.steady;
        let due = |at: Duration| now.saturating_sub(at) >= RECLAIM_INTERVAL;
        if self.room.reclaimed.is_none_or(due) {
            self.room.reclaimed = Some(now);
            self.drop_channels(|channel| {
                channel.expire(now);
                channel.is_unused()
            });
        }
        if self.map.len() + self.recent.len() < max {
            Ok(())
        } else {
            Err(error::too_many_channels(max))
        }
    }

    /// Whether the channel exists, or one more may be created.
    pub(super) fn has_room(&self, name: &str) -> bool {
        let is_known = self.map.contains_key(name) || self.recent.contains_key(name);
        let used = self.map.len() + self.recent.len();
        is_known || self.room.max_channels.is_none_or(|max| used < max)
    }

    /// Drops the oldest entries of the least recently used channels, if all logs together exceed their limit. An engine
    /// still has the entries.
    pub(crate) fn make_room(&mut self) {
        if self.held() <= self.room.threshold {
            return;
        }
        // A tenth more than necessary is dropped, since each search reads every channel.
        let max = self.room.max_bytes;
        let goal = max - max / 10;
        let mut by_use: Vec<(Position, Str)> =
            self.map.values().map(|channel| (channel.used_at(), channel.name.clone())).collect();
        by_use.sort_unstable();
        let newest = by_use.len().saturating_sub(1);
        for (index, (_, name)) in by_use.into_iter().enumerate() {
            let Some(excess) = self.held().checked_sub(goal).filter(|excess| *excess > 0) else {
                break;
            };
            let Some(channel) = self.map.get_mut(&name) else { continue };
            // The newest entry of the app stays: its publisher may just have received the acknowledgement.
            channel.evict(excess, usize::from(index == newest));
            if channel.is_unused() {
                self.drop_channel(&name);
            }
        }
        let held = self.held();
        self.room.threshold =
            if held <= goal { max } else { held.max(max).saturating_add(max / 10) };
    }

    /// The approximate size of all channels and their logs, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.room.meter.total() + self.map.len() * CHANNEL_SIZE
    }

    fn drop_channel(&mut self, name: &str) {
        if let Some(channel) = self.map.remove(name) {
            self.left(&channel);
        }
    }

    /// Drops the channels for which `is_dropped` returns true.
    pub(crate) fn drop_channels(&mut self, mut is_dropped: impl FnMut(&mut Channel) -> bool) {
        let mut map = std::mem::take(&mut self.map);
        for (_, channel) in map.extract_if(|_, channel| is_dropped(channel)) {
            self.left(&channel);
        }
        self.map = map;
    }

    /// A channel has left the memory.
    fn left(&mut self, channel: &Channel) {
        self.forgotten = self.forgotten.max(channel.log.floor());
        self.events.closed(&channel.name);
        if channel.reached().is_some() {
            self.presence.forget_channel(&channel.name);
            self.dropped.push(channel.name.clone());
        }
    }
}

impl Channel {
    /// The position of the last publish or attach.
    fn used_at(&self) -> Position {
        self.log.last().max(self.attached_at)
    }

    /// Whether the channel has no attachments, no entries and no objects, except those that an engine has.
    pub(crate) fn is_unused(&self) -> bool {
        let is_empty = self.stored.is_some() || (self.log.is_empty() && self.objects.is_none());
        self.used.connections == 0 && is_empty && !self.is_kept()
    }

    /// Drops the oldest entries of the log, by about `excess` bytes, except the newest `keep`.
    fn evict(&mut self, excess: usize, keep: usize) {
        let mut evicted = 0;
        while evicted < excess && self.log.len() > keep {
            let Some(entry) = self.log.pop_oldest() else { break };
            self.forget(&entry);
            evicted += entry.size();
        }
    }
}
