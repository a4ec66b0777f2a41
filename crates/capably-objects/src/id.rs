//! Object ids (RTO14): `type:base64url(sha256(initialValue ":" nonce))@ms`.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{ErrorCode, ErrorInfo, Millis, Str};
use sha2::{Digest, Sha256};

/// The id of the map that every channel has (RTO3b).
pub const ROOT: &str = "root";

/// The kind of an object, as its id states it (RTO6b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectType {
    /// A map from keys to values.
    Map,
    /// A number that is only added to.
    Counter,
}

impl ObjectType {
    /// The type that an object id begins with; `root` is a map. The rest of the id is not checked, because
    /// it is opaque to a client (RTO6b1).
    pub fn of(object_id: &str) -> Option<Self> {
        if object_id == ROOT {
            return Some(Self::Map);
        }
        match object_id.split_once(':')?.0 {
            "map" => Some(Self::Map),
            "counter" => Some(Self::Counter),
            _ => None,
        }
    }

    /// The name in an object id.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Counter => "counter",
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A complete object id, in its parts. The server checks the ids of new objects with it.
///
/// ```
/// use capably_objects::{ObjectId, ObjectType};
///
/// let id = ObjectId::generate(ObjectType::Counter, r#"{"count":1}"#, "a-nonce-of-16-chars", 1_700_000_000_000);
/// let text = id.to_string();
/// assert!(text.starts_with("counter:") && text.ends_with("@1700000000000"));
/// let read: ObjectId = text.parse()?;
/// read.verify(r#"{"count":1}"#, "a-nonce-of-16-chars")?;
/// assert!(read.verify(r#"{"count":2}"#, "a-nonce-of-16-chars").is_err());
/// # Ok::<(), capably_objects::ObjectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// The kind of the object.
    pub object_type: ObjectType,
    /// The SHA-256 digest of the initial value, a colon and the nonce.
    pub hash: [u8; 32],
    /// When the id was made, in ms since the epoch.
    pub timestamp: Millis,
}

impl ObjectId {
    /// The id of a new object (RTO14). `initial_value` is the JSON text of its first value, `nonce` a random text, `now` the
    /// server's time in ms since the epoch.
    pub fn generate(
        object_type: ObjectType,
        initial_value: &str,
        nonce: &str,
        now: Millis,
    ) -> Self {
        Self { object_type, hash: digest(initial_value, nonce), timestamp: now }
    }

    /// Checks that the id was made from this initial value and nonce.
    ///
    /// # Errors
    /// [`ObjectIdError::Mismatch`] if it was not.
    pub fn verify(&self, initial_value: &str, nonce: &str) -> Result<(), ObjectIdError> {
        // RTO14b: the hash protects an id against a second create with another content.
        if digest(initial_value, nonce) == self.hash {
            Ok(())
        } else {
            Err(ObjectIdError::Mismatch)
        }
    }
}

fn digest(initial_value: &str, nonce: &str) -> [u8; 32] {
    let hash = Sha256::new();
    let hash = hash.chain_update(initial_value).chain_update(":").chain_update(nonce);
    hash.finalize().into()
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = URL_SAFE_NO_PAD.encode(self.hash);
        write!(f, "{}:{hash}@{}", self.object_type, self.timestamp)
    }
}

impl From<&ObjectId> for Str {
    fn from(id: &ObjectId) -> Self {
        id.to_string().into()
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, ObjectIdError> {
        let (name, rest) = text.split_once(':').ok_or(ObjectIdError::NoType)?;
        let object_type = match name {
            "map" => ObjectType::Map,
            "counter" => ObjectType::Counter,
            _ => return Err(ObjectIdError::UnknownType),
        };
        let (hash, timestamp) = rest.split_once('@').ok_or(ObjectIdError::NoTimestamp)?;
        // Some clients pad the hash. A padded id is another id, but its hash is as good.
        let hash = URL_SAFE_NO_PAD.decode(hash.trim_end_matches('='));
        let hash = hash.map_err(|_| ObjectIdError::BadHash)?;
        let hash = hash.try_into().map_err(|_| ObjectIdError::BadHash)?;
        if timestamp.is_empty() || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ObjectIdError::BadTimestamp);
        }
        let timestamp = timestamp.parse().map_err(|_| ObjectIdError::BadTimestamp)?;
        Ok(Self { object_type, hash, timestamp })
    }
}

/// The reason why an object id is refused. As an [`ErrorInfo`] it has the code 92000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIdError {
    /// It has no colon after a type.
    NoType,
    /// Its type is neither `map` nor `counter`.
    UnknownType,
    /// Its hash is not the base64url form of 32 bytes.
    BadHash,
    /// It has no `@` before a timestamp.
    NoTimestamp,
    /// Its timestamp is not a number of milliseconds.
    BadTimestamp,
    /// It was not made from the initial value and nonce that came with it.
    Mismatch,
}

impl fmt::Display for ObjectIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoType => "the object id has no type; its form is `type:hash@milliseconds`",
            Self::UnknownType => "the type of the object id is unknown; use `map` or `counter`",
            Self::BadHash => "the hash of the object id is not the base64url form of 32 bytes",
            Self::NoTimestamp => "the object id has no `@` with a timestamp in milliseconds",
            Self::BadTimestamp => "the timestamp of the object id is not a number of milliseconds",
            Self::Mismatch => {
                "the object id does not hash to its initial value and nonce; make the id from the \
                 values that are sent"
            }
        })
    }
}

impl std::error::Error for ObjectIdError {}

impl From<ObjectIdError> for ErrorInfo {
    fn from(error: ObjectIdError) -> Self {
        Self::new(ErrorCode::INVALID_OBJECT_MESSAGE, 400, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: RTO14, RTO14a, RTO14b, RTO14b1, RTO14b2, RTO14c, RTO14a1, RTO14a2, RTO14a3, RTO14a4
    #[test]
    fn an_id_has_the_hash_of_its_initial_value_and_nonce() {
        // The digest comes from `printf '{"count":42}:nonce-0123456789' | sha256sum`.
        let id = ObjectId::generate(ObjectType::Counter, r#"{"count":42}"#, "nonce-0123456789", 7);
        assert_eq!(id.to_string(), "counter:rFOTJ3yFMs5Ht6LKY87j4sMyA5EEUnseluaGx5yKrk8@7");
        let map = ObjectId { object_type: ObjectType::Map, hash: [0xff; 32], timestamp: 1 };
        assert_eq!(map.to_string(), format!("map:{}8@1", "_".repeat(42)), "not standard base64");
        assert_eq!(map.to_string().parse(), Ok(map));
    }

    #[test]
    fn broken_ids_are_refused_with_the_reason() {
        let good =
            ObjectId { object_type: ObjectType::Map, hash: [1; 32], timestamp: 5 }.to_string();
        let hash = &good[4..47];
        for (text, error) in [
            (String::new(), ObjectIdError::NoType),
            ("root".into(), ObjectIdError::NoType),
            (format!("list:{hash}@5"), ObjectIdError::UnknownType),
            (format!("map:{hash}"), ObjectIdError::NoTimestamp),
            ("map:AAAA@5".into(), ObjectIdError::BadHash),
            (format!("map:{}@5", hash.replace(&hash[..1], "*")), ObjectIdError::BadHash),
            (format!("map:{hash}@"), ObjectIdError::BadTimestamp),
            (format!("map:{hash}@-5"), ObjectIdError::BadTimestamp),
            (format!("map:{hash}@99999999999999999999"), ObjectIdError::BadTimestamp),
        ] {
            assert_eq!(text.parse::<ObjectId>(), Err(error), "{text}");
        }
        assert_eq!(good.replace('@', "=@").parse::<ObjectId>().map(|id| id.timestamp), Ok(5));
    }

    #[test]
    fn an_id_of_another_value_or_nonce_is_refused() {
        let id = ObjectId::generate(ObjectType::Map, "{}", "nonce", 0);
        assert_eq!(id.verify("{}", "nonce"), Ok(()));
        assert_eq!(id.verify("{ }", "nonce"), Err(ObjectIdError::Mismatch));
        assert_eq!(id.verify("{}", "other"), Err(ObjectIdError::Mismatch));
        let error = ErrorInfo::from(ObjectIdError::Mismatch);
        assert_eq!((error.code.0, error.status_code), (92000, 400));
    }

    // Spec: RTO6b, RTO6b1
    #[test]
    fn the_type_of_an_object_is_in_its_id() {
        for (id, object_type) in [
            ("root", Some(ObjectType::Map)),
            ("map:x@1", Some(ObjectType::Map)),
            ("counter:x@1", Some(ObjectType::Counter)),
            ("list:x@1", None),
            ("map", None),
            ("", None),
        ] {
            assert_eq!(ObjectType::of(id), object_type, "{id}");
        }
    }
}
