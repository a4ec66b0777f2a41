//! The collection of deleted objects on channels without operations (RTO10).
//!
//! Nodes must collect at the same place among the operations: an operation on a deleted object is ignored, and one on a
//! collected object makes a new object. So a collection is an entry: operations that are none. Every node with the channel
//! in memory proposes it when the grace period is over. The proposals have the same id, so the engine commits one.

use std::{collections::BTreeSet, time::Duration};

use capably_protocol::{Millis, Str};

use super::{Channels, objects_stored::millis};
use crate::hub::{
    Now, Turn,
    log::proposal::{Body, Items, Operations},
    message::publish::Receipt,
};

/// The time after which a collection that was proposed is checked: the engine may have failed.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Channels with deleted objects, by the time at which they may be due for a collection.
#[derive(Debug, Default)]
pub(crate) struct Collections(BTreeSet<(Duration, Str)>);

impl Channels {
    /// Plans the next collection of a channel, unless it is planned.
    pub(super) fn plan_collection(&mut self, name: &Str, now: Now, grace: Duration) {
        let Some(channel) = self.map.get_mut(&**name) else { return };
        let Some(objects) = &mut channel.objects else { return };
        let Some(due) = objects.collectable_at(millis(grace)) else { return };
        if !std::mem::replace(&mut objects.is_collection_planned, true) {
            self.collections.0.insert((steady(due, now), channel.name.clone()));
        }
    }

    /// Proposes the collections that are due.
    pub(crate) fn handle_collections(&mut self, turn: &mut Turn<'_>) {
        let (now, grace) = (turn.now, turn.settings.objects_grace_period);
        while let Some((due, _)) = self.collections.0.first()
            && *due <= now.steady
        {
            let Some((_, name)) = self.collections.0.pop_first() else { return };
            let Some(channel) = self.map.get_mut(&*name) else { continue };
            let Some(objects) = &mut channel.objects else { continue };
            objects.is_collection_planned = false;
            let Some(at) = objects.collectable_at(millis(grace)) else { continue };
            if at > now.wall {
                self.plan_collection(&name, now, grace);
                continue;
            }
            objects.is_collection_planned = true;
            self.collections.0.insert((now.steady + RETRY_AFTER, name.clone()));
            let frame =
                Items { id: Some(at.to_string().into()), connection: None, items: Vec::new() };
            // It is proposed again if it fails.
            let body = Body::Objects(Operations { frame, grace });
            let _ = self.propose(&name, body, Receipt::default(), turn);
        }
    }

    /// The time of the next collection.
    pub(crate) fn next_collection(&self) -> Option<Duration> {
        self.collections.0.first().map(|(due, _)| *due)
    }
}

/// The time of the steady clock at this time, in ms since the epoch.
fn steady(at: Millis, now: Now) -> Duration {
    let wait = u64::try_from(at.saturating_sub(now.wall)).unwrap_or(0);
    now.steady.saturating_add(Duration::from_millis(wait))
}
