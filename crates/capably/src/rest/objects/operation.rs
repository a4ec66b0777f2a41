//! Changes of objects, and the operations of a request that make them.

use capably_objects::{LiveValue, increment, remove};
use capably_protocol::{
    ErrorCode, ObjectMessage, Str,
    object::{MapSet, ObjectOperation},
};
use serde::Serialize;

use super::{
    GeneratedObject, NewObject, ObjectsPath, RestInstance,
    generate::{NewObjects, plain},
};
use crate::{Error, Result, rest::query::wrong};

/// The object that a change is made to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// None: the change makes an object that stands nowhere.
    Nothing,
    Path(ObjectsPath),
    Object(Str),
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(NewObject),
    CreateWithId(GeneratedObject),
    Set(Str, RestObjectValue),
    Remove(Str),
    Increment(f64),
}

/// A value for a key of a map: all that is a [`LiveValue`], which includes leaves and new objects, or an object that exists.
///
/// ```
/// use capably::rest::objects::{LiveCounter, RestObjectValue};
///
/// let leaf: RestObjectValue = "text".into();
/// let new: RestObjectValue = LiveCounter::new(1.0).into();
/// let existing = RestObjectValue::reference("counter:J7x6mAF8X5Ha60VBZb6GtXSgnKJQagNLgadUlgICjkk@1734628392000");
/// ```
///
/// A [`RestInstance`] and a [`GeneratedObject`] stand for the object, too, by reference: `map.set("key", &instance)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestObjectValue(pub(super) Content);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Live(LiveValue),
    Reference(Str),
}

impl RestObjectValue {
    /// The object with this id.
    pub fn reference(object_id: impl Into<Str>) -> Self {
        Self(Content::Reference(object_id.into()))
    }

    pub(super) fn makes_objects(&self) -> bool {
        matches!(self.0, Content::Live(LiveValue::Map(_) | LiveValue::Counter(_)))
    }
}

impl<T: Into<LiveValue>> From<T> for RestObjectValue {
    fn from(value: T) -> Self {
        Self(Content::Live(value.into()))
    }
}

impl From<&RestInstance> for RestObjectValue {
    fn from(instance: &RestInstance) -> Self {
        Self::reference(instance.id().clone())
    }
}

impl From<&GeneratedObject> for RestObjectValue {
    fn from(object: &GeneratedObject) -> Self {
        Self::reference(object.object_id().clone())
    }
}

/// An operation of a request. It has no action: its payload says what it does.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RestOperation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(flatten)]
    pub(super) operation: ObjectOperation,
}

impl RestOperation {
    pub(super) fn new(operation: ObjectOperation) -> Self {
        Self { id: None, path: None, operation: ObjectOperation { action: None, ..operation } }
    }

    /// The operation of a message.
    pub(super) fn of(message: ObjectMessage) -> Self {
        Self::new(message.operation.map(|operation| *operation).unwrap_or_default())
    }

    fn at(self, target: &Target) -> Result<Self> {
        let (object_id, path) = match target {
            Target::Nothing => (None, None),
            Target::Path(path) => (None, Some(path.as_str().to_owned())),
            Target::Object(id) if id.is_empty() => return Err(empty_id()),
            Target::Object(id) => (Some(id.clone()), None),
        };
        let operation = ObjectOperation { object_id, ..self.operation };
        Ok(Self { path, operation, ..self })
    }
}

impl Change {
    /// Whether the change makes objects whose ids contain the service's time.
    pub(super) fn needs_time(&self) -> bool {
        match self {
            Self::Create(object) => object.has_objects(),
            Self::Set(_, value) => value.makes_objects(),
            Self::CreateWithId(_) | Self::Remove(_) | Self::Increment(_) => false,
        }
    }

    /// Appends the operations of the change. Those that make the objects within it come first.
    ///
    /// # Errors
    /// Code 40003 for an empty id, and for a number that is not finite; 40013 for a value that cannot be stored.
    pub(super) fn operations(
        &self,
        target: &Target,
        new: &mut NewObjects,
        to: &mut Vec<RestOperation>,
    ) -> Result<()> {
        let operation = match self {
            Self::Create(object) => plain(object, new, to)?,
            Self::CreateWithId(object) => {
                // The operations have their ids already.
                to.extend_from_slice(object.operations());
                return Ok(());
            }
            Self::Set(key, value) => {
                let value = new.data(key, value, to)?;
                let map_set = Some(MapSet { key: key.clone(), value });
                RestOperation::new(ObjectOperation { map_set, ..ObjectOperation::default() })
            }
            Self::Remove(key) => RestOperation::of(remove("", key.clone())),
            Self::Increment(amount) => RestOperation::of(increment("", *amount)?),
        };
        to.push(operation.at(target)?);
        Ok(())
    }
}

/// Adds what to do about an error of the service, which depends on the change.
pub(super) fn explain(error: Error, change: Option<&Change>) -> Error {
    if error.remediation().is_some() {
        return error;
    }
    let remedy = match (error.code(), change) {
        (ErrorCode::NO_OBJECTS_AT_PATH, _) => {
            r"check the path: it begins below the root, each map on it must exist, and a dot within a key is written `\.`"
        }
        (ErrorCode::OBJECT_NOT_FOUND, _) => {
            "check the id: the full form of a reply has ids; the value of a key is found by its path"
        }
        (ErrorCode::OBJECT_OPERATION_PATH_NOT_PROCESSABLE, Some(Change::Increment(_))) => {
            "increment a counter: a number to which a key was set is a value, and not a counter"
        }
        (ErrorCode::OBJECT_OPERATION_PATH_NOT_PROCESSABLE, Some(Change::Create(_))) => {
            "create an object at a key of a map: the last key of the path is the new one"
        }
        (ErrorCode::OBJECT_OPERATION_PATH_NOT_PROCESSABLE, Some(_)) => {
            "use the path of a map: the key to set or remove is not part of it"
        }
        _ => return error,
    };
    error.with_remedy(remedy)
}

pub(super) fn empty_id() -> Error {
    wrong("the id of an object must not be empty")
        .with_remedy("use `root` for the root, or the id from the full form of a reply")
}

/// The error for a batch that cannot be published.
pub(super) fn nothing_to_publish() -> Error {
    Error::new(ErrorCode::INVALID_PUBLISH_REQUEST, 400, "there is no change to publish")
}
