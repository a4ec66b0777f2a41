//! How much of an app may be in memory: channels, and the entries of their logs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably_protocol::{ErrorInfo, Str};

use super::position::Position;
use crate::hub::{
    Output,
    channel::{Channel, Channels},
    error,
};

/// About how many bytes a channel takes besides its log.
const CHANNEL_SIZE: usize = 1024;

/// How often channels are looked through for one whose place another may have.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// How many bytes the entries of all logs of an app have. Each log adds and takes away its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How much room there is for the channels of an app.
#[derive(Debug)]
pub(crate) struct Room {
    max_channels: Option<usize>,
    max_bytes: usize,
    pub(crate) meter: Meter,
    /// Above so many bytes, entries are dropped: the highest number, or more while nothing can be dropped.
    threshold: usize,
    /// When channels were last looked through because there were too many.
    reclaimed: Option<Duration>,
}

impl Room {
    pub(crate) fn new(max_channels: Option<usize>, max_bytes: usize) -> Self {
        let (meter, reclaimed) = (Meter::default(), None);
        Self { max_channels, max_bytes, meter, threshold: max_bytes, reclaimed }
    }

    /// Bytes are counted anew: what could not be dropped before may be now.
    pub(crate) fn reconsider(&mut self) {
        self.threshold = self.max_bytes;
    }
}

impl Channels {
    /// Checks that there is room for the channel, or that it is there. Channels that nobody uses and that hold nothing
    /// make room.
    ///
    /// # Errors
    /// Code 40114 when the app has as many channels as it may.
    pub(crate) fn require_room(
        &mut self,
        name: &str,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ErrorInfo> {
        let Some(max) = self.room.max_channels else { return Ok(()) };
        if self.map.len() < max || self.map.contains_key(name) {
            return Ok(());
        }
        let due = |at: Duration| now.saturating_sub(at) >= RECLAIM_INTERVAL;
        if self.room.reclaimed.is_none_or(due) {
            self.room.reclaimed = Some(now);
            self.drop_channels(outputs, |channel| {
                channel.expire(now);
                channel.is_unused()
            });
        }
        if self.map.len() < max { Ok(()) } else { Err(error::too_many_channels(max)) }
    }

    /// Drops the oldest entries of the channels that were used least recently, if all logs together have more than
    /// they may. What is stored stays.
    pub(crate) fn make_room(&mut self, outputs: &mut Vec<Output>) {
        if self.held() <= self.room.threshold {
            return;
        }
        // Somewhat more is dropped than must be, since this looks at every channel.
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
            // The newest of all is what somebody may just have been told of.
            channel.evict(excess, usize::from(index == newest));
            if channel.is_unused() {
                self.drop_channel(&name, outputs);
            }
        }
        let held = self.held();
        self.room.threshold =
            if held <= goal { max } else { held.max(max).saturating_add(max / 10) };
    }

    /// About how many bytes the channels and their logs take.
    pub(crate) fn held(&self) -> usize {
        self.room.meter.total() + self.map.len() * CHANNEL_SIZE
    }

    fn drop_channel(&mut self, name: &str, outputs: &mut Vec<Output>) {
        if let Some(channel) = self.map.remove(name) {
            channel.forget_kept(outputs);
            self.forgotten = self.forgotten.max(channel.log.floor());
        }
    }

    /// Drops the channels that are to be dropped.
    pub(crate) fn drop_channels(
        &mut self,
        outputs: &mut Vec<Output>,
        mut is_to_be: impl FnMut(&mut Channel) -> bool,
    ) {
        let mut forgotten = self.forgotten;
        self.map.retain(|_, channel| {
            let dropped = is_to_be(channel);
            if dropped {
                channel.forget_kept(outputs);
                forgotten = forgotten.max(channel.log.floor());
            }
            !dropped
        });
        self.forgotten = forgotten;
    }
}

impl Channel {
    /// When it was last published to or attached.
    fn used_at(&self) -> Position {
        self.log.last().max(self.attached_at)
    }

    /// Whether nobody is attached and nothing is kept of it, in memory or elsewhere.
    pub(crate) fn is_unused(&self) -> bool {
        let evicted = self.kept.as_ref().is_some_and(|kept| kept.evicted.is_some());
        self.used.connections == 0 && self.log.is_empty() && !evicted
    }

    /// Drops the oldest entries of its log, by about so many bytes, but leaves the newest `keep`. What is stored of them
    /// stays for as long as it would have.
    fn evict(&mut self, excess: usize, keep: usize) {
        let mut evicted = 0;
        while evicted < excess && self.log.len() > keep {
            let floor = self.log.floor();
            let Some(entry) = self.log.pop_oldest() else { break };
            if let Some(kept) = &mut self.kept {
                kept.evict(floor, &entry);
            }
            self.forget(&entry);
            evicted += entry.size();
        }
    }
}
