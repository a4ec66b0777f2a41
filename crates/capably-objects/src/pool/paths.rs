//! The paths from the root to an object (RTLO4f).

use std::collections::BTreeSet;

use capably_protocol::Str;

use super::ObjectsPool;
use crate::{Path, entry::Place, sorted};

/// The most work for the paths of one object, as references that are followed and keys that are copied. The number of paths
/// in a graph that is made for it grows faster than exponentially. No tree comes near the limit.
const MOST_WORK: usize = 1 << 18;

/// A map on the way up, with those of its parents that were not visited yet.
struct Step<'a> {
    place: Place,
    /// The key that leads from this object to the one before it on the way.
    key: Option<&'a Str>,
    parents: sorted::Iter<'a, (Place, Str), ()>,
}

impl ObjectsPool {
    /// The paths from the root to an object, each of which visits no object twice (RTLO4f2). None if the object is not
    /// reachable, or does not exist.
    ///
    /// The search ends after some 260,000 references and keys, so that no graph can stop a client.
    pub fn paths(&self, object_id: &str) -> Vec<Path> {
        self.place(object_id).map(|place| self.paths_of(place)).unwrap_or_default()
    }

    fn paths_of(&self, place: Place) -> Vec<Path> {
        let mut paths = Vec::new();
        self.each_path(place, |keys| paths.push(keys.iter().copied().collect()));
        paths
    }

    /// Calls a function with the keys of each path to an object, from the root on: see [`paths`](Self::paths).
    pub(crate) fn each_path<'a>(&'a self, place: Place, mut each: impl FnMut(&[&'a Str])) {
        let mut keys = Vec::new();
        if self.only_path(place, &mut keys) {
            return each(&keys);
        }
        let step = |place, key| Step { place, key, parents: self.node(place).parents.iter() };
        let mut way = vec![step(place, None)];
        let mut on_way = BTreeSet::from([place]);
        let mut work = 0;
        while let Some(last) = way.last_mut() {
            let Some(((parent, key), ())) = last.parents.next() else {
                on_way.remove(&last.place);
                way.pop();
                continue;
            };
            work += 1;
            if work > MOST_WORK {
                tracing::warn!(object = %self.id(place), "an object has too many paths; some get no events");
                break;
            }
            if *parent == Place::ROOT {
                work += way.len();
                keys.clear();
                keys.push(key);
                keys.extend(way.iter().rev().filter_map(|step| step.key));
                each(&keys);
            } else if on_way.insert(*parent) {
                way.push(step(*parent, Some(key)));
            }
        }
    }

    /// The keys of the path to an object, if every object on it has one parent. Nearly all paths are of this kind, and each
    /// change of an object asks for its paths.
    fn only_path<'a>(&'a self, place: Place, keys: &mut Vec<&'a Str>) -> bool {
        let mut at = place;
        // In a cycle of such objects none has a path.
        while at != Place::ROOT && keys.len() < self.nodes.len() {
            let mut parents = self.node(at).parents.iter();
            let (Some(((parent, key), ())), None) = (parents.next(), parents.next()) else {
                return false;
            };
            keys.push(key);
            at = *parent;
        }
        keys.reverse();
        at == Place::ROOT
    }
}

#[cfg(test)]
mod tests;
