//! The pieces of which frames and items consist, as a format writes them.

use serde::Serialize;
use serde_json::Value;

use crate::Str;

/// The name of a field, as [`key!`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name alone.
    pub name: &'static str,
    /// The name as JSON has it between two fields, in one piece: a copy each for comma, quotes and colon takes longer
    /// than the text of most fields.
    pub json: &'static str,
}

/// The [`Key`] of a name.
macro_rules! key {
    ($name:literal) => {
        $crate::wire::Key { name: $name, json: concat!(",\"", $name, "\":") }
    };
}
pub(crate) use key;

/// A format's way of writing.
pub trait Writer {
    /// Whether people read the format. Such a format has no bytes: they become base64 text (RSL4d1).
    const FOR_PEOPLE: bool;
    /// A map that is being written.
    type Map;

    /// Starts a map of at most 15 fields.
    fn begin_map(&mut self) -> Self::Map;
    /// Writes the name of the field whose value comes next.
    fn key(&mut self, map: &mut Self::Map, key: Key);
    /// Ends the map.
    fn end_map(&mut self, map: Self::Map);
    /// Writes every item with `each`, as an array.
    fn array<T>(&mut self, items: &[T], each: impl FnMut(&mut Self, &T));
    /// Writes a string.
    fn str(&mut self, text: &str);
    /// Writes a string. A format that has no use for its characters takes the bytes, which saves a check of them.
    #[inline(always)]
    fn text(&mut self, text: &Str) {
        self.str(text);
    }
    /// Writes an integer.
    fn unsigned(&mut self, value: u64);
    /// Writes an integer.
    fn signed(&mut self, value: i64);
    /// Writes the absence of a value.
    fn null(&mut self);
    /// Writes the bytes of a payload.
    fn bytes(&mut self, bytes: &[u8]);
    /// Writes the JSON text of a payload, as a string.
    fn json_text(&mut self, value: &Value);
    /// Writes an encoding of several steps, as a string: those before the last, a slash, and the last.
    fn steps(&mut self, before: &str, last: &'static str);
    /// Writes a value through serde.
    fn value(&mut self, value: &impl Serialize);
}
