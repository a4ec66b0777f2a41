//! A sorted map that is small when it has few entries.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, btree_map},
    fmt,
    iter::FusedIterator,
    mem, slice,
};

/// The most entries that are held in a vector. Beyond it, moving them at each insertion costs more than a tree does.
const FEW: usize = 16;

/// A sorted map. Up to [`FEW`] entries it is a vector without spare room, because most objects have one parent, one or
/// two sites and a few keys: a node of a B-tree has room for eleven, a hash table for three. A tree in order gives
/// outputs that do not differ from run to run, and no attacker can make its keys collide.
#[derive(Clone, PartialEq)]
pub(crate) enum SortedMap<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(entries) => entries.len(),
            Self::Many(entries) => entries.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(entries) => position(entries, key).ok().map(|at| &entries[at].1),
            Self::Many(entries) => entries.get(key),
        }
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(entries) => position(entries, key).ok().map(|at| &mut entries[at].1),
            Self::Many(entries) => entries.get_mut(key),
        }
    }

    /// Adds an entry, or replaces its value, which is returned.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Self::Few(entries) = self {
            match position(entries, &key) {
                Ok(at) => return Some(mem::replace(&mut entries[at].1, value)),
                Err(at) if entries.len() < FEW => {
                    if entries.len() == entries.capacity() {
                        entries.reserve_exact(entries.len().max(1));
                    }
                    entries.insert(at, (key, value));
                    return None;
                }
                Err(_) => *self = Self::Many(mem::take(entries).into_iter().collect()),
            }
        }
        match self {
            Self::Many(entries) => entries.insert(key, value),
            Self::Few(_) => None,
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(entries) => position(entries, key).ok().map(|at| entries.remove(at).1),
            Self::Many(entries) => entries.remove(key),
        }
    }

    /// Removes the entries for which `keep` is false, and passes them to `removed` in order.
    pub(crate) fn extract(
        &mut self,
        mut keep: impl FnMut(&K, &V) -> bool,
        mut removed: impl FnMut(K, V),
    ) {
        // Most calls remove nothing. They must not move every entry.
        if self.iter().all(|(key, value)| keep(key, value)) {
            return;
        }
        *self = mem::take(self)
            .into_iter()
            .filter_map(|(key, value)| {
                if keep(&key, &value) {
                    Some((key, value))
                } else {
                    removed(key, value);
                    None
                }
            })
            .collect();
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        match self {
            Self::Few(entries) => Iter::Few(entries.iter()),
            Self::Many(entries) => Iter::Many(entries.iter()),
        }
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        let (few, many) = match self {
            Self::Few(entries) => (entries, BTreeMap::new()),
            Self::Many(entries) => (Vec::new(), entries),
        };
        few.into_iter().chain(many)
    }
}

fn position<K: Borrow<Q>, V, Q: Ord + ?Sized>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    /// Collects entries whose keys are in order, each once.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let source = entries.into_iter();
        // `collect` would make room for four at least.
        let mut entries = Vec::with_capacity(source.size_hint().0);
        entries.extend(source);
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        if entries.len() > FEW {
            return Self::Many(entries.into_iter().collect());
        }
        entries.shrink_to_fit();
        Self::Few(entries)
    }
}

impl<K: fmt::Debug + Ord, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The entries of a [`SortedMap`], in order.
pub(crate) enum Iter<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many(btree_map::Iter<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(entries) => entries.next().map(|(key, value)| (key, value)),
            Self::Many(entries) => entries.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(entries) => entries.size_hint(),
            Self::Many(entries) => entries.size_hint(),
        }
    }
}

impl<K, V> FusedIterator for Iter<'_, K, V> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_btree_map(steps in prop::collection::vec((0..4_u8, 0..40_u8, any::<u16>()), 0..200)) {
            let mut ours = SortedMap::default();
            let mut model = BTreeMap::new();
            for (step, key, value) in steps {
                match step {
                    0 | 1 => prop_assert_eq!(ours.insert(key, value), model.insert(key, value)),
                    2 => prop_assert_eq!(ours.remove(&key), model.remove(&key)),
                    _ => {
                        let mut gone = Vec::new();
                        ours.extract(|k, _| k % 5 != key % 5, |k, v| gone.push((k, v)));
                        let taken: Vec<_> = model.iter().filter(|(k, _)| *k % 5 == key % 5).map(|(k, v)| (*k, *v)).collect();
                        model.retain(|k, _| k % 5 != key % 5);
                        prop_assert_eq!(gone, taken);
                    }
                }
                prop_assert_eq!(ours.get(&key), model.get(&key));
                prop_assert_eq!(ours.len(), model.len());
                prop_assert!(ours.iter().eq(model.iter()));
            }
            let sorted: Vec<_> = ours.into_iter().collect();
            prop_assert_eq!(sorted, Vec::from_iter(model));
        }
    }
}
