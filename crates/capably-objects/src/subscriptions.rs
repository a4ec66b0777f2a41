//! Subscriptions to objects and to paths (RTO24, RTLO4b).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use capably_protocol::{ErrorInfo, Str};

use crate::{
    Change, ObjectsEvent, ObjectsPool, OperationMessage, Path, SubscriptionId, Update, errors,
};

/// The subscriptions of a channel (RTO24a).
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    paths: BTreeMap<SubscriptionId, PathSubscription>,
    objects: BTreeSet<(Str, SubscriptionId)>,
    object_of: BTreeMap<SubscriptionId, Str>,
}

#[derive(Debug)]
struct PathSubscription {
    path: Path,
    /// How many levels of paths it covers, its own included; none for all (RTPO19c1).
    depth: Option<usize>,
}

impl Subscriptions {
    /// RTPO19f
    pub(crate) fn add_path(
        &mut self,
        id: SubscriptionId,
        path: Path,
        depth: Option<usize>,
    ) -> Result<(), ErrorInfo> {
        if depth == Some(0) {
            return Err(errors::depth_is_zero());
        }
        self.paths.insert(id, PathSubscription { path, depth });
        Ok(())
    }

    /// RTLO4b3
    pub(crate) fn add_object(&mut self, id: SubscriptionId, object_id: Str) {
        self.objects.insert((object_id.clone(), id));
        self.object_of.insert(id, object_id);
    }

    /// Ends a subscription; one that has ended stays so.
    pub(crate) fn remove(&mut self, id: SubscriptionId) {
        self.paths.remove(&id);
        if let Some(object_id) = self.object_of.remove(&id) {
            self.objects.remove(&(object_id, id));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.objects.is_empty()
    }

    /// Reports an update to the subscriptions that it concerns (RTLO4b4c3). The paths are those after the update.
    pub(crate) fn dispatch(
        &mut self,
        pool: &ObjectsPool,
        update: Update,
        message: impl FnOnce() -> Option<OperationMessage>,
        out: &mut Vec<ObjectsEvent>,
    ) {
        let subscribed = self.subscribed(&update.object_id);
        let paths = self.event_paths(pool, &update);
        if subscribed.is_empty() && paths.is_empty() {
            return; // Most updates concern no subscription. Their message is not made.
        }
        let (update, message) = (Arc::new(update), message().map(Arc::new));
        // RTLO4b4c3a
        out.extend(subscribed.iter().map(|id| ObjectsEvent::ObjectChanged {
            subscription: *id,
            update: Arc::clone(&update),
            message: message.clone(),
        }));
        // RTLO4b4c3b
        out.extend(paths.into_iter().map(|(id, path)| ObjectsEvent::PathChanged {
            subscription: id,
            path,
            update: Arc::clone(&update),
            message: message.clone(),
        }));
        if update.tombstone {
            // RTLO4b4c3c
            for id in subscribed {
                self.remove(id);
                out.push(ObjectsEvent::SubscriptionEnded(id));
            }
        }
    }

    /// The subscriptions to an object.
    fn subscribed(&self, object_id: &Str) -> Vec<SubscriptionId> {
        if self.objects.is_empty() {
            return Vec::new();
        }
        let from = self.objects.range((object_id.clone(), SubscriptionId::FIRST)..);
        from.take_while(|(own, _)| own == object_id).map(|(_, id)| *id).collect()
    }

    /// The subscriptions to paths that an update concerns, each with the path to report (RTO24b). A subscription appears
    /// once for each path of the object.
    fn event_paths(&self, pool: &ObjectsPool, update: &Update) -> Vec<(SubscriptionId, Path)> {
        let mut found = Vec::new();
        if self.paths.is_empty() {
            return found;
        }
        let Some(place) = pool.place(&update.object_id) else { return found };
        // RTO24b1, RTO24b2
        pool.each_path(place, |keys| {
            for (id, subscription) in &self.paths {
                let event_path = subscription.event_path(keys, &update.change);
                found.extend(event_path.map(|path| (*id, path)));
            }
        });
        found
    }
}

impl PathSubscription {
    /// The path to report for a change of the object at the path of these keys: the first of this path and the paths of the
    /// changed keys that the subscription covers (RTO24b2a, RTO24b2b).
    fn event_path(&self, keys: &[&Str], change: &Change) -> Option<Path> {
        if self.covers(keys) {
            return Some(keys.iter().copied().collect()); // RTO24b2a1
        }
        // A key's path is one longer. It is covered, while that of its map is not, only if it is the subscription's own.
        let Change::Map(changes) = change else { return None };
        let (key, parent) = self.path.keys().split_last()?;
        let is_changed = || changes.iter().any(|(changed, _)| changed == key);
        let is_own = parent.len() == keys.len() && starts_with(keys, parent) && is_changed();
        is_own.then(|| self.path.clone()) // RTO24b2a2
    }

    /// RTO24c1
    fn covers(&self, keys: &[&Str]) -> bool {
        let levels = || keys.len() - self.path.len() + 1;
        starts_with(keys, self.path.keys()) && self.depth.is_none_or(|depth| levels() <= depth)
    }
}

fn starts_with(keys: &[&Str], start: &[Str]) -> bool {
    keys.len() >= start.len() && keys.iter().zip(start).all(|(key, own)| *key == own)
}

#[cfg(test)]
mod tests;
