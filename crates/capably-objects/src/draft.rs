//! Operations that are being made, on top of a pool: how a batch finds the objects that it makes itself.

use std::collections::{BTreeMap, BTreeSet};

use capably_protocol::{
    ErrorInfo, ObjectMessage, Str,
    object::{ObjectData, ObjectOperation, ObjectValue},
};

use crate::{
    ObjectType, ObjectsPool, Path, ValueRef,
    entry::reference_of,
    errors::{self, Place},
};

/// A pool, with operations that are to be published together and are not applied yet.
///
/// The service applies the operations of a frame in their order. So an operation can be on an object that one before it
/// makes, and whose id is known before it exists.
///
/// ```
/// use capably_objects::{Draft, LiveCounter, LiveMap, NewIds, ObjectsPool, Path, increment, set};
///
/// let pool = ObjectsPool::new();
/// let mut draft = Draft::new(&pool);
/// let mut ids = NewIds::new(1_700_000_000_000, || [7; 16]);
/// let root = draft.map(&Path::root())?;
/// draft.add(set(root, "poll", LiveMap::new().with("tea", LiveCounter::default()), &mut ids)?);
/// let tea = draft.counter(&Path::parse("poll.tea"))?;
/// draft.add([increment(tea, 1.0)?]);
/// assert_eq!(draft.into_messages().len(), 4);
/// # Ok::<(), capably_protocol::ErrorInfo>(())
/// ```
#[derive(Debug)]
pub struct Draft<'a> {
    pool: &'a ObjectsPool,
    messages: Vec<ObjectMessage>,
    /// The values that the operations give to keys, by map and key; none for a removed key.
    values: BTreeMap<(Str, Str), Option<Drafted>>,
    /// The maps whose other keys are gone.
    cleared: BTreeSet<Str>,
}

/// The value that an operation of the draft gives to a key.
#[derive(Debug)]
enum Drafted {
    Object(Str),
    Leaf(&'static str),
}

/// The value at a path.
enum Found<'a> {
    Stored(ValueRef<'a>),
    /// An object by its id. It may not exist yet.
    Object(ObjectType, &'a Str),
    /// A leaf of this kind.
    Leaf(&'static str),
}

impl Found<'_> {
    /// The kind, for errors.
    fn kind(&self) -> &'static str {
        match self {
            Found::Stored(value) => value.kind(),
            Found::Object(object_type, _) => object_type.name(),
            Found::Leaf(kind) => kind,
        }
    }
}

impl<'a> Draft<'a> {
    /// A draft without operations.
    pub fn new(pool: &'a ObjectsPool) -> Self {
        Self { pool, messages: Vec::new(), values: BTreeMap::new(), cleared: BTreeSet::new() }
    }

    /// The id of the map at a path.
    ///
    /// # Errors
    /// Code 92005 if nothing is at the path (RTPO3c2), 92007 if it is no map (RTPO15e).
    pub fn map(&self, path: &Path) -> Result<Str, ErrorInfo> {
        match self.require(path)? {
            Found::Stored(ValueRef::Map(map)) => Ok(map.id().clone()),
            Found::Object(ObjectType::Map, id) => Ok(id.clone()),
            other => Err(errors::not_a("map", other.kind(), Place::Path(path))),
        }
    }

    /// The id of the counter at a path.
    ///
    /// # Errors
    /// Code 92005 if nothing is at the path (RTPO3c2), 92007 if it is no counter (RTPO17e).
    pub fn counter(&self, path: &Path) -> Result<Str, ErrorInfo> {
        match self.require(path)? {
            Found::Stored(ValueRef::Counter(counter)) => Ok(counter.id().clone()),
            Found::Object(ObjectType::Counter, id) => Ok(id.clone()),
            other => Err(errors::not_a("counter", other.kind(), Place::Path(path))),
        }
    }

    /// Adds operations.
    pub fn add(&mut self, messages: impl IntoIterator<Item = ObjectMessage>) {
        for message in messages {
            if let Some(operation) = &message.operation {
                self.record(operation);
            }
            self.messages.push(message);
        }
    }

    /// The messages of the operations, in order.
    pub fn into_messages(self) -> Vec<ObjectMessage> {
        self.messages
    }

    fn record(&mut self, operation: &ObjectOperation) {
        let Some(map) = &operation.object_id else { return };
        if let Some(set) = &operation.map_set {
            self.values.insert((map.clone(), set.key.clone()), Some(Drafted::of(&set.value)));
        } else if let Some(remove) = &operation.map_remove {
            self.values.insert((map.clone(), remove.key.clone()), None);
        } else if operation.map_clear.is_some() {
            self.values.retain(|(other, _), _| other != map);
            self.cleared.insert(map.clone());
        } else if let Some(create) = &operation.map_create_with_object_id
            && let Some(initial) = &create.source
        {
            for (key, entry) in &initial.entries {
                let value = entry.data.as_ref().map(Drafted::of);
                self.values.insert((map.clone(), key.clone()), value);
            }
        }
    }

    fn require(&self, path: &Path) -> Result<Found<'_>, ErrorInfo> {
        let mut found = Found::Stored(ValueRef::Map(self.pool.root()));
        for key in path.keys() {
            found = self.get(&found, key).ok_or_else(|| errors::no_value_at(path))?;
        }
        Ok(found)
    }

    /// The value of a key.
    fn get<'b>(&'b self, map: &Found<'b>, key: &Str) -> Option<Found<'b>> {
        let id = match map {
            Found::Stored(value) => value.as_map()?.id(),
            Found::Object(ObjectType::Map, id) => id,
            Found::Object(ObjectType::Counter, _) | Found::Leaf(_) => return None,
        };
        match self.values.get(&(id.clone(), key.clone())) {
            Some(Some(Drafted::Leaf(kind))) => Some(Found::Leaf(kind)),
            Some(Some(Drafted::Object(id))) => match self.pool.object(id) {
                Some(stored) => Some(Found::Stored(stored)),
                None => Some(Found::Object(ObjectType::of(id)?, id)),
            },
            Some(None) => None,
            None if self.cleared.contains(id) => None,
            None => self.pool.object(id)?.as_map()?.get(key).map(Found::Stored),
        }
    }
}

impl Drafted {
    fn of(data: &ObjectData) -> Self {
        if let Some(id) = reference_of(data) {
            return Self::Object(id.clone());
        }
        Self::Leaf(match &data.value {
            None => "value of an unknown kind",
            Some(ObjectValue::Boolean(_)) => "boolean",
            Some(ObjectValue::Number(_)) => "number",
            Some(ObjectValue::String(_)) => "string",
            Some(ObjectValue::Bytes(_)) => "value of bytes",
            Some(ObjectValue::Json(_)) => "JSON value",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        LiveCounter, LiveMap, NewIds, ROOT, Source, clear, increment, remove, set, test_pool::*,
    };

    const SCORE: &str = "counter:score@1000";

    /// The id of the map or the code at a path, and the same of the counter.
    fn at(draft: &Draft<'_>, path: &str) -> (Result<Str, u32>, Result<Str, u32>) {
        let path = Path::parse(path);
        let code = |error: ErrorInfo| error.code.0;
        (draft.map(&path).map_err(code), draft.counter(&path).map_err(code))
    }

    /// Adds the operations that set a key of a map to new objects.
    fn make(draft: &mut Draft<'_>, map: &str, key: &str, value: LiveMap) {
        let mut ids = NewIds::new(NOW, || [draft.messages.len() as u8; 16]);
        let messages = set(map, key, value, &mut ids).expect("a value");
        draft.add(messages);
    }

    #[test]
    fn without_operations_it_is_the_pool() {
        let pool = standard_pool();
        let draft = Draft::new(&pool);
        assert_eq!(at(&draft, ""), (Ok(ROOT.into()), Err(92007)));
        assert_eq!(at(&draft, "profile.prefs"), (Ok("map:prefs@1000".into()), Err(92007)));
        assert_eq!(at(&draft, "score"), (Err(92007), Ok(SCORE.into())));
        assert_eq!(at(&draft, "name"), (Err(92007), Err(92007)));
        for path in ["nothing", "score.deep", "name.deep", "nothing.deep"] {
            assert_eq!(at(&draft, path), (Err(92005), Err(92005)), "{path}");
        }
    }

    #[test]
    fn errors_name_the_path() {
        let pool = standard_pool();
        let draft = Draft::new(&pool);
        let message =
            |path: &str| draft.counter(&Path::parse(path)).expect_err("no counter").message;
        assert_eq!(
            message("profile.prefs"),
            "the operation needs a counter, and at the path `profile.prefs` is a map"
        );
        let nothing = "there is no value at the path `score.deep`; set its parent's key first";
        assert_eq!(message("score.deep"), nothing);
    }

    #[test]
    fn operations_change_what_is_at_their_paths() {
        let pool = standard_pool();
        let mut draft = Draft::new(&pool);
        let new = LiveMap::new().with("count", LiveCounter::default()).with("leaf", true);
        make(&mut draft, ROOT, "new", new);
        let (new, counter) = (at(&draft, "new").0.expect("a map"), at(&draft, "new.count").1);
        assert!(new.starts_with("map:") && counter.is_ok_and(|id| id.starts_with("counter:")));
        assert_eq!(at(&draft, "new.leaf"), (Err(92007), Err(92007)));
        assert_eq!(at(&draft, "new.other"), (Err(92005), Err(92005)));
        assert_eq!(at(&draft, "new.count.deep"), (Err(92005), Err(92005)));
        // A further object in the new one, and an object of the pool at another key.
        make(&mut draft, &new, "inner", LiveMap::new());
        assert!(at(&draft, "new.inner").0.is_ok());
        draft.add([map_set(ROOT, "again", ObjectData::reference("map:profile@1000"), "")]);
        assert_eq!(at(&draft, "again.prefs").0, Ok("map:prefs@1000".into()));
        draft.add([remove(ROOT, "score"), map_set(ROOT, "name", number(1.0), "")]);
        assert_eq!(at(&draft, "score"), (Err(92005), Err(92005)));
        assert_eq!(at(&draft, "name"), (Err(92007), Err(92007)));
        // A clear comes after the keys before it, and before those after it.
        draft.add([clear(ROOT)]);
        for path in ["new", "again", "profile", "data"] {
            assert_eq!(at(&draft, path), (Err(92005), Err(92005)), "{path}");
        }
        make(&mut draft, ROOT, "last", LiveMap::new());
        assert!(at(&draft, "last").0.is_ok());
    }

    #[test]
    fn the_operations_apply_in_their_order() {
        let mut pool = standard_pool();
        let mut draft = Draft::new(&pool);
        make(&mut draft, ROOT, "poll", LiveMap::new().with("tea", LiveCounter::new(2.0)));
        let tea = draft.counter(&Path::parse("poll.tea")).expect("a counter");
        draft.add([increment(tea, 3.0).expect("a number")]);
        for (at, message) in draft.into_messages().into_iter().enumerate() {
            let (serial, site_code) = (Some(format!("t:1:{at}").into()), Some("own".into()));
            let message = ObjectMessage { serial, site_code, ..message };
            pool.apply(&message, Source::Local, NOW).expect("applied");
        }
        assert_eq!(json_of(&pool, ROOT)["poll"], serde_json::json!({ "tea": 5 }));
    }
}
