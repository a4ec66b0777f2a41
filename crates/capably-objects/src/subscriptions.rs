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
        let subscribed: Vec<SubscriptionId> = (self.objects)
            .range((update.object_id.clone(), SubscriptionId::FIRST)..)
            .take_while(|(object_id, _)| *object_id == update.object_id)
            .map(|(_, id)| *id)
            .collect();
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

    /// The subscriptions to paths that an update concerns, each with the path to report (RTO24b). A subscription appears
    /// once for each path of the object.
    fn event_paths(&self, pool: &ObjectsPool, update: &Update) -> Vec<(SubscriptionId, Path)> {
        let mut found = Vec::new();
        if self.paths.is_empty() {
            return found;
        }
        let place = pool.place(&update.object_id);
        // RTO24b1, RTO24b2
        for path in place.map(|place| pool.paths_of(place)).unwrap_or_default() {
            for (id, subscription) in &self.paths {
                let event_path = subscription.event_path(&path, &update.change);
                found.extend(event_path.map(|path| (*id, path.clone())));
            }
        }
        found
    }
}

impl PathSubscription {
    /// The path to report for a change of the object at `path`: the first of `path` and the paths of the changed keys that the
    /// subscription covers (RTO24b2a, RTO24b2b).
    fn event_path<'a>(&'a self, path: &'a Path, change: &Change) -> Option<&'a Path> {
        if self.covers(path) {
            return Some(path); // RTO24b2a1
        }
        // A key's path is one longer. It is covered, while that of its map is not, only if it is the subscription's own.
        let Change::Map(keys) = change else { return None };
        let (key, parent) = self.path.keys().split_last()?;
        let changed = keys.iter().any(|(changed, _)| changed == key);
        (parent == path.keys() && changed).then_some(&self.path) // RTO24b2a2
    }

    /// RTO24c1
    fn covers(&self, path: &Path) -> bool {
        let levels = || path.len() - self.path.len() + 1;
        self.path.is_prefix_of(path) && self.depth.is_none_or(|depth| levels() <= depth)
    }
}

#[cfg(test)]
mod tests;
