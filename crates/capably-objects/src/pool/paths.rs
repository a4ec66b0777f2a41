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

    pub(crate) fn paths_of(&self, place: Place) -> Vec<Path> {
        if place == Place::ROOT {
            return vec![Path::root()];
        }
        let mut paths = Vec::new();
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
                let rest = way.iter().rev().filter_map(|step| step.key);
                paths.push(std::iter::once(key).chain(rest).cloned().collect());
            } else if on_way.insert(*parent) {
                way.push(step(*parent, Some(key)));
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests;
