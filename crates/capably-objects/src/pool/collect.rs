//! The removal of what was deleted a while ago (RTO10, RTLM19).

use capably_protocol::Millis;

use super::ObjectsPool;
use crate::{
    entry::{EntryData, Place},
    object::Value,
};

/// How long deleted objects and entries are kept unless the service says otherwise, in ms: 24 hours (RTO10b3).
pub const DEFAULT_GRACE_PERIOD: Millis = 86_400_000;

impl ObjectsPool {
    /// Removes the objects and entries that were deleted at least a grace period ago (RTO10c). Both are in ms, `now` since the
    /// epoch.
    ///
    /// Deleted objects and entries are kept for that long, so that an operation that arrives late does not bring them back.
    pub fn collect(&mut self, now: Millis, grace_period: Millis) {
        let is_over = |at: Millis| now.saturating_sub(at) >= grace_period;
        for at in 0..self.nodes.len() {
            let place = Place(u32::try_from(at).unwrap_or(u32::MAX));
            let Some(object) = self.get_mut(place) else { continue };
            // RTO10c1b. The root is never deleted (RTO10c1b1).
            if object.tombstoned_at.is_some_and(is_over) {
                self.node_mut(place).object = None;
                self.release(place);
                continue;
            }
            // RTO10c1a, RTLM19a1
            if let Value::Map(map) = &mut object.value {
                let expired =
                    |data: &EntryData| matches!(data, EntryData::Removed(at) if is_over(*at));
                map.entries.extract(|_, entry| !expired(&entry.data), |_, _| {});
            }
        }
    }
}
