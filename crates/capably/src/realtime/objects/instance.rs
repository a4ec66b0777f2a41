//! An object or leaf by its identity (RTINS).

use std::{fmt, sync::Arc};

use capably_objects::{Compact, LiveValue, ObjectsPool, ValueRef};
use capably_protocol::{ErrorInfo, Str, object::ObjectValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ObjectWrite, SubscribeInstance,
    view::{self, SharedView},
    write::{Operation, Target},
};
use crate::{Result, typed};

/// A map or counter that is followed wherever it stands in the tree, or a leaf as it was (RTINS1). Cheap to clone.
///
/// An object that was deleted reads as an empty map or as 0, and as nothing once its grace period has passed.
///
/// # Errors
/// The reading methods fail with code 40024 without the mode `object_subscribe`, and with 90001 on a channel that is
/// detached or failed (RTO25).
#[derive(Clone)]
pub struct Instance {
    view: SharedView,
    item: InstanceItem,
}

/// What an instance refers to.
#[derive(Clone, Debug)]
pub(super) enum InstanceItem {
    Object(Str),
    Leaf(ObjectValue),
}

impl InstanceItem {
    /// The value, for an operation on it.
    ///
    /// # Errors
    /// Code 92004 if it is an object that does not exist.
    pub(super) fn require<'a>(&'a self, pool: &'a ObjectsPool) -> Result<ValueRef<'a>, ErrorInfo> {
        match self {
            Self::Object(id) => pool.require_object(id),
            Self::Leaf(value) => Ok(view::leaf(value)),
        }
    }
}

impl Instance {
    /// The instance of a value.
    pub(super) fn new(view: &SharedView, value: ValueRef<'_>) -> Option<Self> {
        let item = match value.object_id() {
            Some(id) => InstanceItem::Object(id.clone()),
            None => InstanceItem::Leaf(value.value()?),
        };
        Some(Self { view: Arc::clone(view), item })
    }

    pub(super) fn of_object(view: SharedView, id: Str) -> Self {
        Self { view, item: InstanceItem::Object(id) }
    }

    /// The object id; `None` for a leaf (RTINS3).
    pub fn id(&self) -> Option<&Str> {
        match &self.item {
            InstanceItem::Object(id) => Some(id),
            InstanceItem::Leaf(_) => None,
        }
    }

    /// The leaf or the counter's number; `None` for a map (RTINS4).
    pub fn value(&self) -> Result<Option<ObjectValue>> {
        self.read(|value| value.and_then(ValueRef::value))
    }

    /// The value with all that is below it, as a type of the program; see [`PathObject::read_as`](super::PathObject::read_as).
    ///
    /// # Errors
    /// Code 40013 if the value is not of this type.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.compact()?.map(typed::read).transpose()
    }

    /// The value of a key; `None` if there is none, or this is no map (RTINS5).
    pub fn get(&self, key: &str) -> Result<Option<Self>> {
        self.read(|value| {
            let value = value.and_then(ValueRef::as_map)?.get(key)?;
            Self::new(&self.view, value)
        })
    }

    /// The keys with their values, in the order of the keys; empty if this is no map (RTINS6).
    pub fn entries(&self) -> Result<Vec<(Str, Self)>> {
        self.read(|value| {
            let entries =
                value.and_then(ValueRef::as_map).into_iter().flat_map(|map| map.entries());
            let entries = entries
                .filter_map(|(key, value)| Some((key.clone(), Self::new(&self.view, value?)?)));
            entries.collect()
        })
    }

    /// The keys, in order; empty if this is no map (RTINS7).
    pub fn keys(&self) -> Result<Vec<Str>> {
        self.read(view::keys)
    }

    /// The values of the keys; empty if this is no map (RTINS8).
    pub fn values(&self) -> Result<Vec<Self>> {
        Ok(self.entries()?.into_iter().map(|(_, value)| value).collect())
    }

    /// The number of keys; `None` if this is no map (RTINS9).
    pub fn size(&self) -> Result<Option<usize>> {
        self.read(view::size)
    }

    /// The value with all that is below it, at this moment (RTINS10).
    pub fn compact(&self) -> Result<Option<Compact>> {
        self.read(|value| value.map(ValueRef::compact))
    }

    /// The value with all that is below it, as JSON (RTINS11).
    pub fn compact_json(&self) -> Result<Option<Value>> {
        self.read(|value| value.map(ValueRef::compact_json))
    }

    /// Sets a key of the map when awaited (RTINS12).
    pub fn set(&self, key: impl Into<Str>, value: impl Into<LiveValue>) -> ObjectWrite {
        self.write(Operation::Set(key.into(), value.into()))
    }

    /// Removes a key of the map when awaited (RTINS13).
    pub fn remove(&self, key: impl Into<Str>) -> ObjectWrite {
        self.write(Operation::Remove(key.into()))
    }

    /// Removes every key of the map when awaited.
    pub fn clear(&self) -> ObjectWrite {
        self.write(Operation::Clear)
    }

    /// Adds to the counter when awaited (RTINS14).
    pub fn increment(&self, amount: impl Into<f64>) -> ObjectWrite {
        self.write(Operation::Increment(amount.into()))
    }

    /// Subtracts from the counter when awaited (RTINS15).
    pub fn decrement(&self, amount: impl Into<f64>) -> ObjectWrite {
        self.write(Operation::Increment(-amount.into()))
    }

    /// Subscribes to changes of the object itself when awaited (RTINS16).
    pub fn subscribe(&self) -> SubscribeInstance {
        SubscribeInstance::new(Arc::clone(&self.view), self.item.clone())
    }

    fn read<T>(&self, read: impl FnOnce(Option<ValueRef<'_>>) -> T) -> Result<T> {
        let objects = self.view.access()?;
        Ok(read(match &self.item {
            InstanceItem::Object(id) => objects.pool().object(id),
            InstanceItem::Leaf(value) => Some(view::leaf(value)),
        }))
    }

    fn write(&self, operation: Operation) -> ObjectWrite {
        let target = Target::Instance(self.item.clone());
        ObjectWrite::new(Arc::clone(&self.view), target, operation)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("channel", self.view.channel.name())
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}
