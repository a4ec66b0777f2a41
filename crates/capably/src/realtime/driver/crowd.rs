//! A moment of patience with listeners whose queues are full.
//!
//! A listener that keeps up may still be a moment late: a flood fills a queue in the time that the system takes to wake a
//! thread. Fetching messages a second time costs more than that moment, so the driver stops reading for it, once for
//! each time a queue fills. A listener that takes nothing meanwhile is behind, and nobody waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::Context,
    time::Duration,
};

use capably_core::ChannelId;
use tokio::time::Instant;

use super::entry::Entry;

/// How long the driver waits at most.
const PATIENCE: Duration = Duration::from_millis(5);

/// The channels with a listener whose queue is full.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    channels: BTreeSet<ChannelId>,
    until: Option<Instant>,
}

impl Crowd {
    /// A queue on this channel has filled.
    pub(super) fn joined(&mut self, id: ChannelId) {
        self.channels.insert(id);
        self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
    }

    /// Until when the driver waits, if it does.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether there is still something to wait for. The task is woken once there is not.
    pub(super) fn is_waited_for(
        &mut self,
        channels: &BTreeMap<ChannelId, Entry>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(until) = self.until else { return false };
        self.channels
            .retain(|id| channels.get(id).is_some_and(|entry| entry.poll_ready(cx).is_pending()));
        let waits = !self.channels.is_empty() && Instant::now() < until;
        if !waits {
            *self = Self::default();
        }
        waits
    }
}
