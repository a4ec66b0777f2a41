//! A place in the tree of objects (RTPO).

use std::{fmt, sync::Arc};

use capably_objects::{Compact, LiveValue, Path, ValueRef};
use capably_protocol::{Str, object::ObjectValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Instance, ObjectWrite, SubscribePath,
    view::{self, SharedView},
    write::{Operation, Target},
};
use crate::{Result, typed};

/// A place in the tree of objects, by its path from the root (RTPO1). Cheap to clone.
///
/// Whatever stands at the path when a method is called is read or changed. Nothing needs to stand there.
///
/// # Errors
/// The reading methods fail with code 40024 without the mode `object_subscribe`, and with 90001 on a channel that is
/// detached or failed (RTO25).
#[derive(Clone)]
pub struct PathObject {
    view: SharedView,
    path: Path,
}

impl PathObject {
    pub(super) fn root(view: SharedView) -> Self {
        Self { view, path: Path::root() }
    }

    pub(super) fn with_path(view: SharedView, path: Path) -> Self {
        Self { view, path }
    }

    /// The path from the root. Its text has a dot between keys, and `\.` for a dot in a key (RTPO4).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a key below this one (RTPO5).
    #[must_use]
    pub fn get(&self, key: impl Into<Str>) -> Self {
        Self { view: Arc::clone(&self.view), path: self.path.join(key) }
    }

    /// The place at a path below this one, such as `votes.tea`; a dot in a key is written `\.` (RTPO6).
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { view: Arc::clone(&self.view), path: self.path.at(&Path::parse(path)) }
    }

    /// The leaf or the counter's number at the path; `None` for a map, or if nothing is there (RTPO7).
    pub fn value(&self) -> Result<Option<ObjectValue>> {
        self.read(|value| value.and_then(ValueRef::value))
    }

    /// The value at the path with all that is below it, as a type of the program; `None` if nothing is there. Maps are
    /// read as structs or maps, counters as numbers.
    ///
    /// # Errors
    /// Code 40013 if the value is not of this type.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.compact()?.map(typed::read).transpose()
    }

    /// The object or leaf that stands at the path, to follow it wherever it goes; `None` if nothing is there (RTPO8).
    pub fn instance(&self) -> Result<Option<Instance>> {
        self.read(|value| value.and_then(|value| Instance::new(&self.view, value)))
    }

    /// The keys of the map at the path, each with its place, in the order of the keys; empty if no map is there (RTPO9).
    pub fn entries(&self) -> Result<Vec<(Str, Self)>> {
        let keys = self.keys()?.into_iter();
        Ok(keys.map(|key| (key.clone(), self.get(key))).collect())
    }

    /// The keys of the map at the path, in order; empty if no map is there (RTPO10).
    pub fn keys(&self) -> Result<Vec<Str>> {
        self.read(view::keys)
    }

    /// The places of the keys of the map at the path; empty if no map is there (RTPO11).
    pub fn values(&self) -> Result<Vec<Self>> {
        Ok(self.keys()?.into_iter().map(|key| self.get(key)).collect())
    }

    /// The number of keys of the map at the path; `None` if no map is there (RTPO12).
    pub fn size(&self) -> Result<Option<usize>> {
        self.read(view::size)
    }

    /// The value at the path with all that is below it, at this moment; `None` if nothing is there (RTPO13).
    pub fn compact(&self) -> Result<Option<Compact>> {
        self.read(|value| value.map(ValueRef::compact))
    }

    /// The value at the path with all that is below it, as JSON: bytes as base64, and a map in a cycle as its `objectId`
    /// (RTPO14).
    pub fn compact_json(&self) -> Result<Option<Value>> {
        self.read(|value| value.map(ValueRef::compact_json))
    }

    /// Sets a key of the map at the path when awaited (RTPO15). A [`LiveMap`](super::LiveMap) or
    /// [`LiveCounter`](super::LiveCounter) makes a new object.
    pub fn set(&self, key: impl Into<Str>, value: impl Into<LiveValue>) -> ObjectWrite {
        self.write(Operation::Set(key.into(), value.into()))
    }

    /// Removes a key of the map at the path when awaited (RTPO16).
    pub fn remove(&self, key: impl Into<Str>) -> ObjectWrite {
        self.write(Operation::Remove(key.into()))
    }

    /// Removes every key of the map at the path when awaited.
    pub fn clear(&self) -> ObjectWrite {
        self.write(Operation::Clear)
    }

    /// Adds to the counter at the path when awaited (RTPO17).
    pub fn increment(&self, amount: impl Into<f64>) -> ObjectWrite {
        self.write(Operation::Increment(amount.into()))
    }

    /// Subtracts from the counter at the path when awaited (RTPO18).
    pub fn decrement(&self, amount: impl Into<f64>) -> ObjectWrite {
        self.write(Operation::Increment(-amount.into()))
    }

    /// Subscribes to changes at the path and below it when awaited (RTPO19).
    pub fn subscribe(&self) -> SubscribePath {
        SubscribePath::new(Arc::clone(&self.view), self.path.clone())
    }

    fn read<T>(&self, read: impl FnOnce(Option<ValueRef<'_>>) -> T) -> Result<T> {
        let objects = self.view.access()?;
        Ok(read(objects.pool().resolve(&self.path)))
    }

    fn write(&self, operation: Operation) -> ObjectWrite {
        ObjectWrite::new(Arc::clone(&self.view), Target::Path(self.path.clone()), operation)
    }
}

impl fmt::Debug for PathObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathObject")
            .field("channel", self.view.channel.name())
            .field("path", &self.path.to_string())
            .finish_non_exhaustive()
    }
}
