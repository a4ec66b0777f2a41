//! What to read or change: the value at a path, or an object by its id.

use std::fmt;

use capably_objects::Path;
use capably_protocol::Str;

use super::{
    NewObject, RestObjectValue, RestObjectWrite, RestObjectsGet,
    operation::{Change, Target},
};
use crate::rest::channel::RestChannel;

/// The text of a path of objects, as requests have it. The [module](crate::rest::objects) describes its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsPath(String);

impl ObjectsPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ObjectsPath {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for ObjectsPath {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&String> for ObjectsPath {
    fn from(text: &String) -> Self {
        Self(text.clone())
    }
}

impl From<&Path> for ObjectsPath {
    /// A path whose key `*` is an asterisk, and no wildcard.
    fn from(path: &Path) -> Self {
        let keys = path.keys().iter().map(|key| match &**key {
            "*" => Str::from_static(r"\*"),
            _ => key.clone(),
        });
        Self(Path::from_iter(keys).to_string())
    }
}

impl From<Path> for ObjectsPath {
    fn from(path: Path) -> Self {
        Self::from(&path)
    }
}

/// A place in the tree of objects, by its path from the root. A path with a wildcard is several places.
///
/// Whatever stands there when the service receives a request is read or changed.
#[derive(Clone)]
pub struct RestPathObject {
    channel: RestChannel,
    path: ObjectsPath,
}

/// An object by its id, wherever it stands in the tree.
#[derive(Clone)]
pub struct RestInstance {
    channel: RestChannel,
    object_id: Str,
}

impl RestPathObject {
    pub(super) fn new(channel: RestChannel, path: ObjectsPath) -> Self {
        Self { channel, path }
    }

    /// The path from the root.
    pub fn path(&self) -> &ObjectsPath {
        &self.path
    }

    /// Reads the value at the path when awaited. The path must have no wildcard.
    pub fn get(&self) -> RestObjectsGet {
        RestObjectsGet::new(self.channel.clone(), None).path(self.path.clone())
    }

    /// Makes an object at the path when awaited, in place of what stands there. The map that contains it must exist.
    ///
    /// At a path with a wildcard each place gets an object of its own; objects within it are one for all places.
    pub fn create(&self, object: impl Into<NewObject>) -> RestObjectWrite {
        self.write(Change::Create(object.into()))
    }

    fn write(&self, change: Change) -> RestObjectWrite {
        RestObjectWrite::new(&self.channel, Target::Path(self.path.clone()), change)
    }
}

impl RestInstance {
    pub(super) fn new(channel: RestChannel, object_id: Str) -> Self {
        Self { channel, object_id }
    }

    /// The id of the object.
    pub fn id(&self) -> &Str {
        &self.object_id
    }

    /// Reads the object when awaited, or the value at a [path](RestObjectsGet::path) from it.
    pub fn get(&self) -> RestObjectsGet {
        RestObjectsGet::new(self.channel.clone(), Some(self.object_id.clone()))
    }

    fn write(&self, change: Change) -> RestObjectWrite {
        RestObjectWrite::new(&self.channel, Target::Object(self.object_id.clone()), change)
    }
}

/// Implements the changes that both have in common.
macro_rules! changes {
    ($place:ident) => {
        impl $place {
            /// Sets a key of the map when awaited: to a leaf, to a new [`LiveMap`](super::LiveMap) or
            /// [`LiveCounter`](super::LiveCounter), or to an object that exists (see [`RestObjectValue`]).
            pub fn set(
                &self,
                key: impl Into<Str>,
                value: impl Into<RestObjectValue>,
            ) -> RestObjectWrite {
                self.write(Change::Set(key.into(), value.into()))
            }

            /// Removes a key of the map when awaited.
            pub fn remove(&self, key: impl Into<Str>) -> RestObjectWrite {
                self.write(Change::Remove(key.into()))
            }

            /// Adds to the counter when awaited.
            pub fn increment(&self, amount: impl Into<f64>) -> RestObjectWrite {
                self.write(Change::Increment(amount.into()))
            }

            /// Subtracts from the counter when awaited.
            pub fn decrement(&self, amount: impl Into<f64>) -> RestObjectWrite {
                self.write(Change::Increment(-amount.into()))
            }
        }
    };
}

changes!(RestPathObject);
changes!(RestInstance);

impl fmt::Debug for RestPathObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestPathObject")
            .field("channel", &self.channel.name())
            .field("path", &self.path.as_str())
            .finish()
    }
}

impl fmt::Debug for RestInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestInstance")
            .field("channel", &self.channel.name())
            .field("object_id", &self.object_id)
            .finish()
    }
}
