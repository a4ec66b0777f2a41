//! Whole values: a map with all that is below it (RTPO13, RTPO14).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, slice,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use capably_protocol::{Str, object::ObjectValue};
use serde_json::{Map, Number, Value};

use crate::{MapRef, ValueRef, entry::Place};

/// The most maps within each other that [`Compact::to_json`] writes out. Below, a map is written as its id, as in a
/// cycle: most readers of JSON refuse deeper nesting, and dropping it would overflow the stack.
const DEEPEST_JSON: usize = 1024;

/// A value with all that is below it, at one moment (RTPO13).
///
/// Maps that are reached by several ways are shared. A cycle of references is a cycle here, so a walk that follows every
/// key may not end (RTPO13c5).
///
/// ```
/// use capably_objects::ObjectsPool;
///
/// let pool = ObjectsPool::new();
/// let root = capably_objects::ValueRef::Map(pool.root()).compact();
/// assert!(root.is_map() && root.get("name").is_none());
/// assert_eq!(root.to_json(), serde_json::json!({}));
/// ```
#[derive(Clone)]
pub struct Compact {
    nodes: Arc<[Node]>,
    at: usize,
}

/// A value of a [`Compact`]. Maps refer to their values by number, so that cycles need no pointers.
enum Node {
    Leaf(ObjectValue),
    Map { id: Str, entries: Vec<(Str, usize)> },
}

impl Compact {
    /// Collects a value and all that is below it, without recursion.
    pub(crate) fn of(value: ValueRef<'_>) -> Self {
        let mut collected = Collected::default();
        let at = collected.add(value);
        while let Some((at, map)) = collected.open.pop() {
            // RTPO13c1
            let entries = map.entries().filter_map(|(key, value)| Some((key, value?)));
            let entries = entries.map(|(key, value)| (key.clone(), collected.add(value))).collect();
            collected.nodes[at] = Node::Map { id: map.id().clone(), entries };
        }
        Self { nodes: collected.nodes.into(), at }
    }

    fn node(&self) -> &Node {
        &self.nodes[self.at]
    }

    /// The leaf, or the number of a counter; none for a map.
    pub fn value(&self) -> Option<&ObjectValue> {
        match self.node() {
            Node::Leaf(value) => Some(value),
            Node::Map { .. } => None,
        }
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        self.value().is_none()
    }

    /// The object id of a map.
    pub fn object_id(&self) -> Option<&Str> {
        match self.node() {
            Node::Map { id, .. } => Some(id),
            Node::Leaf(_) => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<Self> {
        let at = self.map_entries().binary_search_by(|(other, _)| other.as_str().cmp(key)).ok()?;
        Some(self.with(self.map_entries()[at].1))
    }

    /// The keys and values of a map, in the order of the keys; nothing for a leaf.
    pub fn entries(&self) -> impl Iterator<Item = (&Str, Self)> {
        self.map_entries().iter().map(|(key, at)| (key, self.with(*at)))
    }

    /// Whether both are the same map of one [`compact`](ValueRef::compact), as at the ends of a cycle (RTPO13c5).
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes) && self.at == other.at
    }

    fn map_entries(&self) -> &[(Str, usize)] {
        match self.node() {
            Node::Map { entries, .. } => entries,
            Node::Leaf(_) => &[],
        }
    }

    fn with(&self, at: usize) -> Self {
        Self { nodes: Arc::clone(&self.nodes), at }
    }

    /// The value as JSON (RTPO14). Bytes become base64 (RTPO14b1). A map that was written before becomes an object with its
    /// `objectId` only (RTPO14b2), and so does one that is more than 1,024 maps deep. A number that JSON cannot write
    /// becomes null.
    pub fn to_json(&self) -> Value {
        let mut written = BTreeSet::new();
        let mut open: Vec<OpenMap<'_>> = Vec::new();
        let mut next = Some(self.at);
        loop {
            // A value is complete, or a map was opened.
            let complete = match next.take().map(|at| (at, &self.nodes[at])) {
                Some((_, Node::Leaf(leaf))) => Some(leaf_json(leaf)),
                Some((at, Node::Map { id, entries })) => {
                    if open.len() < DEEPEST_JSON && written.insert(at) {
                        open.push(OpenMap { json: Map::new(), rest: entries.iter(), key: None });
                        None
                    } else {
                        Some(Value::Object(Map::from_iter([(
                            "objectId".into(),
                            id.as_str().into(),
                        )])))
                    }
                }
                None => open.pop().map(|map| Value::Object(map.json)),
            };
            let Some(map) = open.last_mut() else { return complete.unwrap_or_default() };
            if let (Some(value), Some(key)) = (complete, map.key.take()) {
                map.json.insert(key.as_str().to_owned(), value);
            }
            if let Some((key, at)) = map.rest.next() {
                map.key = Some(key);
                next = Some(*at);
            }
        }
    }
}

/// A map of which the JSON is being written.
struct OpenMap<'a> {
    json: Map<String, Value>,
    rest: slice::Iter<'a, (Str, usize)>,
    /// The key whose value comes next.
    key: Option<&'a Str>,
}

/// The values found so far, and the maps whose entries were not read yet.
#[derive(Default)]
struct Collected<'a> {
    nodes: Vec<Node>,
    maps: BTreeMap<Place, usize>,
    open: Vec<(usize, MapRef<'a>)>,
}

impl<'a> Collected<'a> {
    fn add(&mut self, value: ValueRef<'a>) -> usize {
        let at = self.nodes.len();
        let node = match (value.as_map(), value.value()) {
            (Some(map), _) => {
                // RTPO13c5
                if let Some(at) = self.maps.get(&map.place) {
                    return *at;
                }
                self.maps.insert(map.place, at);
                self.open.push((at, map));
                Node::Map { id: map.id().clone(), entries: Vec::new() }
            }
            (None, value) => Node::Leaf(value.unwrap_or(ObjectValue::Boolean(false))),
        };
        self.nodes.push(node);
        at
    }
}

/// The JSON of a leaf.
fn leaf_json(leaf: &ObjectValue) -> Value {
    match leaf {
        ObjectValue::Boolean(value) => Value::Bool(*value),
        ObjectValue::Number(number) => number_json(*number),
        ObjectValue::String(text) => text.as_str().into(),
        ObjectValue::Bytes(bytes) => BASE64.encode(bytes).into(),
        ObjectValue::Json(value) => value.clone(),
    }
}

/// A number as JSON has it: without a fraction if it is whole.
fn number_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

#[cfg(test)]
mod tests;
