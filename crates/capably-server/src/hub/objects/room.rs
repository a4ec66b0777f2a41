//! The limits of a channel's objects: their number, and their size.
//!
//! Operations of clients are checked before they are proposed, and not when they are applied: nodes that check at the same
//! time may exceed a limit by what they propose then.

use std::{collections::BTreeSet, time::Duration};

use capably_objects::{ObjectsPool, ValueRef};
use capably_protocol::{ErrorInfo, ObjectMessage, Str, object::ObjectData};

use super::{ChannelObjects, sync};
use crate::hub::{Turn, error};

/// The shortest time between two measurements of a channel that is full: each reads all its objects.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

/// How much a channel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    /// The number of objects beside the root, those among them that are deleted and not collected.
    objects: usize,
    /// The approximate size, in bytes.
    bytes: usize,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// # Errors
    /// Code 92001 when a limit is exceeded.
    fn require_within(self, limits: Self) -> Result<(), ErrorInfo> {
        if self.objects > limits.objects {
            return Err(error::too_many_objects(limits.objects));
        }
        if self.bytes > limits.bytes {
            return Err(error::objects_too_large(limits.bytes));
        }
        Ok(())
    }

    /// An eighth more.
    fn with_slack(self) -> Self {
        let more = |it: usize| it.saturating_add(it / 8);
        Self { objects: more(self.objects), bytes: more(self.bytes) }
    }
}

/// The estimated amount of a channel. Values that are removed are still counted until the channel is measured again.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    amount: Amount,
    measured: Option<Duration>,
}

impl Estimate {
    /// Counts an operation that is applied next.
    pub(super) fn grow(&mut self, pool: &ObjectsPool, operation: &ObjectMessage) {
        self.amount.add(growth(pool, std::slice::from_ref(operation)));
    }
}

impl ChannelObjects {
    /// Checks that the channel has room for operations. If they may be repeated, the first copy may have taken the last room, and
    /// is to be acknowledged again: the limits are an eighth higher.
    ///
    /// # Errors
    /// Code 92001 when the channel would have too many objects, or too large ones.
    pub(crate) fn require_room(
        &mut self,
        operations: &[ObjectMessage],
        may_repeat: bool,
        turn: &Turn<'_>,
    ) -> Result<(), ErrorInfo> {
        let (settings, now) = (turn.settings, turn.now.steady);
        let limits = Amount { objects: settings.max_objects, bytes: settings.max_objects_bytes };
        let limits = if may_repeat { limits.with_slack() } else { limits };
        let growth = growth(&self.pool, operations);
        if growth == Amount::default() {
            return Ok(());
        }
        let mut after = self.estimate.amount;
        after.add(growth);
        let Err(error) = after.require_within(limits) else { return Ok(()) };
        let is_recent = |at: Duration| now.saturating_sub(at) < MEASURE_INTERVAL;
        if self.estimate.measured.is_some_and(is_recent) {
            return Err(error);
        }
        let amount = measure(&self.pool);
        self.estimate = Estimate { amount, measured: Some(now) };
        let mut after = amount;
        after.add(growth);
        after.require_within(limits)
    }

    /// Sets the estimate to the objects as they are, which were restored.
    pub(super) fn measured(mut self) -> Self {
        self.estimate.amount = measure(&self.pool);
        self
    }
}

fn measure(pool: &ObjectsPool) -> Amount {
    let mut amount = Amount::default();
    for state in pool.states().filter_map(|message| message.object) {
        amount.add(Amount { objects: 1, bytes: sync::state_size(&state) });
    }
    Amount { objects: amount.objects.saturating_sub(1), ..amount }
}

/// What operations add at most. Those that only remove add nothing, so that a full channel can be emptied.
fn growth(pool: &ObjectsPool, operations: &[ObjectMessage]) -> Amount {
    let mut bytes = 0;
    let mut new = BTreeSet::new();
    let mut refer = |id: &Option<Str>| {
        new.extend(id.clone().filter(|id| pool.object(id).is_none()));
    };
    let data = |data: &ObjectData| sync::OVERHEAD + data.size();
    for operation in operations.iter().filter_map(|message| message.operation.as_deref()) {
        refer(&operation.object_id);
        let map = operation.object_id.as_ref().and_then(|id| pool.object(id)?.as_map());
        if let Some(set) = &operation.map_set {
            refer(&set.value.object_id);
            let before = map.and_then(|map| map.get(&set.key));
            bytes += match before.map(size) {
                Some(before) => set.value.size().saturating_sub(before),
                None => set.key.len() + data(&set.value),
            };
        }
        if let Some(remove) = &operation.map_remove {
            // A key is remembered when it is removed, though it was never set.
            let is_set = map.is_some_and(|map| map.get(&remove.key).is_some());
            bytes += if is_set { 0 } else { sync::OVERHEAD + remove.key.len() };
        }
        for (key, entry) in operation.map_create.iter().flat_map(|create| &create.entries) {
            entry.data.iter().for_each(|value| refer(&value.object_id));
            bytes += key.len() + entry.data.as_ref().map_or(0, data);
        }
    }
    let objects = new.len();
    Amount { objects, bytes: bytes + objects * sync::OVERHEAD }
}

/// The size of a value, in bytes.
fn size(value: ValueRef<'_>) -> usize {
    match (value.object_id(), value.value()) {
        (Some(id), _) => id.len(),
        (None, Some(leaf)) => ObjectData::from(leaf).size(),
        (None, None) => 0,
    }
}
