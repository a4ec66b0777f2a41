//! Paths of requests, which may have wildcards.

use std::collections::BTreeSet;

use capably_objects::{ObjectsPool, Path, ValueRef};
use capably_protocol::{ErrorInfo, Str};

use crate::hub::{error, log::position::MAX_ITEMS};

/// The keys that lead from an object to values; `*` stands for every key of a map. Written as a path of the SDK, and a key
/// that is an asterisk as `\*`.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Segment {
    Key(Str),
    Any,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Self {
        let path = Path::parse(text);
        let segments = path.keys().iter().map(|key| match &**key {
            "*" => Segment::Any,
            r"\*" => Segment::Key("*".into()),
            _ => Segment::Key(key.clone()),
        });
        Self(segments.collect())
    }

    pub(super) fn has_wildcard(&self) -> bool {
        self.0.contains(&Segment::Any)
    }

    /// The last key, and the pattern of its map. None for the pattern of the object itself.
    pub(super) fn split_last(mut self) -> Option<(Self, Segment)> {
        let last = self.0.pop()?;
        Some((self, last))
    }

    /// The values that the pattern leads to.
    ///
    /// # Errors
    /// Code 40034 for more values than an operation may change.
    pub(super) fn find<'a>(&self, start: ValueRef<'a>) -> Result<Vec<ValueRef<'a>>, ErrorInfo> {
        let mut found = vec![start];
        for segment in &self.0 {
            let maps = found.into_iter().filter_map(ValueRef::as_map);
            found = match segment {
                Segment::Key(key) => maps.filter_map(|map| map.get(key)).collect(),
                Segment::Any => {
                    let values = maps.flat_map(|map| map.entries()).filter_map(|(_, value)| value);
                    values.take(MAX_ITEMS + 1).collect()
                }
            };
            // Several ways may lead to an object, and a cycle to many.
            let mut seen = BTreeSet::new();
            found.retain(|value| value.object_id().is_none_or(|id| seen.insert(id)));
            if found.len() > MAX_ITEMS {
                return Err(error::too_many_messages(MAX_ITEMS));
            }
        }
        Ok(found)
    }
}

/// The object with this id, or the root.
///
/// # Errors
/// Code 92004 when it does not exist, or is deleted.
pub(super) fn object<'a>(
    pool: &'a ObjectsPool,
    id: Option<&str>,
) -> Result<ValueRef<'a>, ErrorInfo> {
    let Some(id) = id else { return Ok(ValueRef::Map(pool.root())) };
    let found = pool.object(id).filter(|_| pool.tombstoned_at(id).is_none());
    found.ok_or_else(|| error::unknown_object(id))
}
