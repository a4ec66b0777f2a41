//! Reads JSON text in place: serde_json finds the values, and each is stored where it belongs.
//!
//! serde's derived code makes a struct of local variables, and moves it several times on its way into a frame. Here a
//! struct is made empty in its place, as [`Reader`](crate::codec::msgpack::reader::Reader) does it for MessagePack.
//! Text without escapes is a slice of the frame.

use std::{cell::Cell, collections::BTreeMap, fmt, marker::PhantomData};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

use super::{
    super::{DecodeError, Limits, MAX_DEPTH},
    check_depth,
};
use crate::{
    Str,
    lenient::{MAX_ITEMS, too_many_items},
    wire::{EntryValue, JsonFields, ReadField},
};

/// The frame that is read, and how much deeper its values may nest.
#[derive(Clone, Copy, Debug)]
pub struct JsonReader<'a> {
    frame: &'a ByteString,
    depth_left: usize,
    /// Set once a value was read of which the depth is not known.
    unmeasured: &'a Cell<bool>,
}

/// Reads a value that must end where the frame ends.
pub(super) fn read_whole<T>(
    frame: &Bytes,
    limits: &Limits,
    read: impl FnOnce(&mut FrameDeserializer<'_>, JsonReader<'_>) -> serde_json::Result<T>,
) -> Result<T, DecodeError> {
    limits.check_size(frame)?;
    // Checked once as a whole: serde_json would check each string, and `Str` would do it again.
    let frame = &ByteString::try_from(frame.clone())
        .map_err(|_| DecodeError::Malformed { reason: "text that is not UTF-8".to_owned() })?;
    let unmeasured = Cell::new(false);
    let depth_left = limits.max_depth.min(MAX_DEPTH);
    let reader = JsonReader { frame, depth_left, unmeasured: &unmeasured };
    let mut deserializer = serde_json::Deserializer::from_str(frame);
    let value = read(&mut deserializer, reader)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| DecodeError::Malformed { reason: error.to_string() });
    // Text that nests too deep has an error of its own. serde_json itself goes 128 levels deep at most.
    if value.is_err() || unmeasured.get() {
        check_depth(frame.as_bytes(), limits)?;
    }
    value
}

type FrameDeserializer<'a> = serde_json::Deserializer<serde_json::de::StrRead<'a>>;

impl<'a> JsonReader<'a> {
    /// Reads a map into a struct.
    pub(crate) fn fields<'de, T: JsonFields, D: Deserializer<'de>>(
        self,
        place: &mut T,
        json: D,
    ) -> Result<(), D::Error> {
        json.deserialize_any(MapVisitor { place, reader: self, or_null: false }).map(drop)
    }

    /// As [`fields`](Self::fields); false when there is no map but null.
    pub(crate) fn optional_fields<'de, T: JsonFields, D: Deserializer<'de>>(
        self,
        place: &mut T,
        json: D,
    ) -> Result<bool, D::Error> {
        json.deserialize_any(MapVisitor { place, reader: self, or_null: true })
    }

    /// Reads the value of a field.
    #[inline]
    pub(crate) fn field<'de, F: ReadField, A: MapAccess<'de>>(
        self,
        place: &mut F,
        map: &mut A,
    ) -> Result<(), A::Error> {
        map.next_value_seed(FieldSeed(place, self))
    }

    /// Steps over the value of an unknown field (RTF1).
    pub(crate) fn skip<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<(), A::Error> {
        self.leave_unmeasured();
        map.next_value::<IgnoredAny>().map(drop)
    }

    /// Reads an array of maps into an empty vector; null is an empty array.
    pub(crate) fn items<'de, T: JsonFields, D: Deserializer<'de>>(
        self,
        items: &mut Vec<T>,
        json: D,
    ) -> Result<(), D::Error> {
        json.deserialize_any(ItemsVisitor(items, self))
    }

    /// Reads a map of any keys into an empty one; null is an empty map.
    pub(crate) fn entries<'de, V: EntryValue, D: Deserializer<'de>>(
        self,
        entries: &mut BTreeMap<Str, V>,
        json: D,
    ) -> Result<(), D::Error> {
        json.deserialize_any(EntriesVisitor(entries, self))
    }

    /// Reads a string. Returns false for null.
    #[inline]
    pub(crate) fn text<'de, D: Deserializer<'de>>(
        self,
        place: &mut Str,
        json: D,
    ) -> Result<bool, D::Error> {
        json.deserialize_any(TextVisitor { place, reader: self, or_null: true })
    }

    /// As [`text`](Self::text); null is refused.
    pub(crate) fn required_text<'de, D: Deserializer<'de>>(
        self,
        place: &mut Str,
        json: D,
    ) -> Result<(), D::Error> {
        json.deserialize_any(TextVisitor { place, reader: self, or_null: false }).map(drop)
    }

    /// Stores text of the frame, shared with it when it is long.
    #[inline]
    pub(crate) fn set_text(self, place: &mut Str, text: &str) {
        place.set_part_of(self.frame, text);
    }

    /// A value is read by other code, which does not count levels: the whole frame is measured at its end.
    pub(crate) fn leave_unmeasured(self) {
        self.unmeasured.set(true);
    }

    /// Inside of an array or a map.
    pub(crate) fn inside<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

struct FieldSeed<'p, 'a, F>(&'p mut F, JsonReader<'a>);

impl<'de, F: ReadField> DeserializeSeed<'de> for FieldSeed<'_, '_, F> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.read_json(json, self.1)
    }
}

/// The name of a field, as its position among the fields of the struct.
struct NameSeed<T>(PhantomData<T>);

impl<'de, T: JsonFields> DeserializeSeed<'de> for NameSeed<T> {
    type Value = usize;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl<T: JsonFields> Visitor<'_> for NameSeed<T> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<usize, E> {
        Ok(T::position(name))
    }
}

struct MapVisitor<'p, 'a, T> {
    place: &'p mut T,
    reader: JsonReader<'a>,
    or_null: bool,
}

impl<'de, T: JsonFields> Visitor<'de> for MapVisitor<'_, '_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let reader = self.reader.inside()?;
        let mut seen = 0_u32;
        while let Some(position) = map.next_key_seed(NameSeed::<T>(PhantomData))? {
            if let Some(name) = T::NAMES.get(position) {
                // As in serde's derived code. A second value would be read into the first.
                if seen & (1 << position) != 0 {
                    return Err(A::Error::duplicate_field(name));
                }
                seen |= 1 << position;
            }
            self.place.read_json_field(position, &mut map, reader)?;
        }
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.or_null { Ok(false) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }
}

struct ItemsVisitor<'p, 'a, T>(&'p mut Vec<T>, JsonReader<'a>);

impl<'de, T: JsonFields> Visitor<'de> for ItemsVisitor<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(items, reader) = self;
        let reader = reader.inside()?;
        // An item is made before it is known whether there is one: only its place is moved into.
        loop {
            items.push(T::default());
            let Some(place) = items.last_mut() else { return Ok(()) };
            if seq.next_element_seed(ItemSeed(place, reader))?.is_none() {
                items.pop();
                return Ok(());
            }
            if items.len() > MAX_ITEMS {
                return Err(A::Error::custom(too_many_items()));
            }
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

struct ItemSeed<'p, 'a, T>(&'p mut T, JsonReader<'a>);

impl<'de, T: JsonFields> DeserializeSeed<'de> for ItemSeed<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.1.fields(self.0, json)
    }
}

struct EntriesVisitor<'p, 'a, V>(&'p mut BTreeMap<Str, V>, JsonReader<'a>);

impl<'de, V: EntryValue> Visitor<'de> for EntriesVisitor<'_, '_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(entries, reader) = self;
        let reader = reader.inside()?;
        let mut key = Str::new();
        while map.next_key_seed(KeySeed(&mut key, reader))?.is_some() {
            let mut value = V::default();
            map.next_value_seed(EntrySeed(&mut value, reader))?;
            entries.insert(std::mem::take(&mut key), value);
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

struct KeySeed<'p, 'a>(&'p mut Str, JsonReader<'a>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.1.required_text(self.0, json)
    }
}

struct EntrySeed<'p, 'a, V>(&'p mut V, JsonReader<'a>);

impl<'de, V: EntryValue> DeserializeSeed<'de> for EntrySeed<'_, '_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.read_json(json, self.1)
    }
}

struct TextVisitor<'p, 'a> {
    place: &'p mut Str,
    reader: JsonReader<'a>,
    or_null: bool,
}

impl<'de> Visitor<'de> for TextVisitor<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<bool, E> {
        self.reader.set_text(self.place, text);
        Ok(true)
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        *self.place = text.into();
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.or_null { Ok(false) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }
}
