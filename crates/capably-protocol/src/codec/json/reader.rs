//! Reads JSON values from a frame in one pass; text is slices of it.
//!
//! [`JsonReader`] reads what frames mostly consist of: maps and arrays of known types, strings and integers. Every
//! other value, such as extras and the values of unknown fields, is read by serde_json where it stands, and the reader
//! goes on behind it. serde_json also words the errors.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, Visitor},
};

use super::{
    super::{DecodeError, Fault, Limits, MAX_DEPTH},
    check_depth,
    escapes::unescape,
    scan::{integer, plain_length},
};
use crate::{
    Data, Str,
    lenient::{Integer, MAX_ITEMS, too_many_items},
    wire::{EntryValue, JsonFields, Key, ReadField},
};

/// A position in a frame, and how much deeper it may go.
#[derive(Debug)]
pub struct JsonReader<'a> {
    frame: &'a ByteString,
    rest: &'a [u8],
    depth_left: usize,
    /// A value was read by serde_json, which does not count levels: the whole frame is measured at its end.
    unmeasured: bool,
    /// Holds a string without its escapes until it is stored.
    unescaped: Vec<u8>,
}

/// Reads a value that must end where the frame ends.
pub(super) fn read_whole<T>(
    frame: &Bytes,
    limits: &Limits,
    read: impl FnOnce(&mut JsonReader<'_>) -> Result<T, Fault>,
) -> Result<T, DecodeError> {
    limits.check_size(frame)?;
    // Checked once as a whole, not string by string.
    let text = &ByteString::try_from(frame.clone())
        .map_err(|_| DecodeError::Malformed { reason: "text that is not UTF-8".to_owned() })?;
    let mut reader = JsonReader {
        frame: text,
        rest: frame,
        depth_left: limits.max_depth.min(MAX_DEPTH),
        unmeasured: false,
        unescaped: Vec::new(),
    };
    let mut value = read(&mut reader);
    // A field is found missing only behind the whole value. Text that follows has its error first.
    if value.as_ref().err().is_none_or(|fault| matches!(**fault, DecodeError::Missing { .. })) {
        value = reader.finish().and(value);
    }
    // Text that nests too deep has an error of its own.
    if value.is_err() || reader.unmeasured {
        check_depth(frame, limits)?;
    }
    value.map_err(|fault| *fault)
}

impl<'a> JsonReader<'a> {
    /// The text from here to the end of the frame.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads a map into a struct.
    pub(crate) fn fields<T: JsonFields>(&mut self, place: &mut T) -> Result<(), Fault> {
        if !self.begin_map()? {
            return Ok(());
        }
        let mut seen = 0;
        while place.read_json_in_order(self, &mut seen)? {
            let escaped: Str;
            let name = match self.plain_string() {
                Some(name) => name,
                None => {
                    escaped = self.key_text()?;
                    escaped.as_ref()
                }
            };
            self.colon()?;
            place.read_json_field(self, name, &mut seen)?;
            if !self.more_members()? {
                break;
            }
        }
        Ok(())
    }

    /// As [`fields`](Self::fields); false when there is no map but null.
    pub(crate) fn optional_fields<T: JsonFields>(&mut self, place: &mut T) -> Result<bool, Fault> {
        if self.null() {
            return Ok(false);
        }
        self.fields(place)?;
        Ok(true)
    }

    /// Records that the field with this number is read. A second value would be read into the first, so it is refused.
    #[inline(always)]
    pub(crate) fn once(
        &self,
        seen: &mut u32,
        number: u32,
        name: &'static str,
    ) -> Result<(), Fault> {
        let bit = 1 << number;
        if *seen & bit != 0 {
            return Err(self.fault(&format!("duplicate field `{name}`")));
        }
        *seen |= bit;
        Ok(())
    }

    /// Steps over one value.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        if self.plain_string().is_some() {
            return Ok(());
        }
        self.by_serde::<IgnoredAny>().map(drop)
    }

    /// Reads an array of maps into an empty vector; null is an empty array.
    pub(crate) fn items<T: JsonFields + Default>(
        &mut self,
        items: &mut Vec<T>,
    ) -> Result<(), Fault> {
        self.elements(items, |r, items| {
            // An item is read in its place: moving it costs nearly as much as reading it.
            items.push(T::default());
            match items.last_mut() {
                Some(item) => r.fields(item),
                None => Ok(()),
            }
        })
    }

    /// An array of strings, some of them absent; null is an empty array.
    pub(crate) fn strings(&mut self) -> Result<Vec<Option<Str>>, Fault> {
        let mut strings = Vec::new();
        self.elements(&mut strings, |r, strings| {
            let mut string = None;
            string.read_json(r)?;
            strings.push(string);
            Ok(())
        })?;
        Ok(strings)
    }

    /// Reads a map of any keys into an empty one; null is an empty map.
    pub(crate) fn entries<V: EntryValue>(
        &mut self,
        entries: &mut BTreeMap<Str, V>,
    ) -> Result<(), Fault> {
        if self.null() || !self.begin_map()? {
            return Ok(());
        }
        loop {
            let key = self.key_text()?;
            self.colon()?;
            let mut value = V::default();
            value.read_json(self)?;
            entries.insert(key, value);
            if !self.more_members()? {
                return Ok(());
            }
        }
    }

    /// Reads a string. Returns false for null.
    #[inline]
    pub(crate) fn text(&mut self, place: &mut Str) -> Result<bool, Fault> {
        match self.plain_string() {
            Some(text) => {
                place.set_part_of(self.frame, text);
                Ok(true)
            }
            None => self.other_text(place, true),
        }
    }

    /// As [`text`](Self::text); null is refused.
    pub(crate) fn required_text(&mut self, place: &mut Str) -> Result<(), Fault> {
        match self.plain_string() {
            Some(text) => {
                place.set_part_of(self.frame, text);
                Ok(())
            }
            None => self.other_text(place, false).map(drop),
        }
    }

    /// A payload: text, or any other value as JSON.
    pub(crate) fn data(&mut self, place: &mut Data) -> Result<(), Fault> {
        if self.next() != Some(b'"') {
            *place = self.by_serde()?;
            return Ok(());
        }
        *place = Data::Text(Str::new());
        match place {
            Data::Text(text) => self.required_text(text),
            Data::None | Data::Binary(_) | Data::Json(_) => Ok(()),
        }
    }

    /// An integer, if the value is one in its plain form. `None` for any other value, and the position stays.
    #[inline]
    pub(crate) fn integer<T: Integer>(&mut self) -> Option<T> {
        let (value, rest) = self.plain_integer()?;
        let value = T::from_wire(value.into())?;
        self.rest = rest;
        Some(value)
    }

    /// A number, if the value is an integer in its plain form.
    pub(crate) fn whole_number(&mut self) -> Option<i64> {
        let (value, rest) = self.plain_integer()?;
        self.rest = rest;
        Some(value)
    }

    #[inline(always)]
    fn plain_integer(&mut self) -> Option<(i64, &'a [u8])> {
        self.next();
        let (value, length) = integer(self.rest)?;
        Some((value, self.rest.get(length..)?))
    }

    /// A boolean, if the value is one.
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        self.word(b"true").map(|()| true).or_else(|| self.word(b"false").map(|()| false))
    }

    /// Steps over null. Returns false, and the position stays, for any other value.
    #[inline]
    pub(crate) fn null(&mut self) -> bool {
        self.next() == Some(b'n') && self.word(b"null").is_some()
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.next();
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// Reads a field by serde.
    pub(crate) fn field_by_serde<F: ReadField>(&mut self, place: &mut F) -> Result<(), Fault> {
        struct Field<F>(F);

        impl<'de, F: ReadField> Deserialize<'de> for Field<F> {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                F::deserialize(d).map(Self)
            }
        }

        let Field(value) = self.by_serde()?;
        *place = value;
        Ok(())
    }

    /// A value, read by serde.
    #[inline(never)]
    fn by_serde<T: Deserialize<'a>>(&mut self) -> Result<T, Fault> {
        if matches!(self.next(), Some(b'{' | b'[')) {
            self.unmeasured = true;
        }
        let mut values = serde_json::Deserializer::from_str(self.rest_text()).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                self.rest = self.rest.get(values.byte_offset()..).unwrap_or_default();
                Ok(value)
            }
            Some(Err(error)) => Err(self.fault_of(&error)),
            None => Err(self.unfinished(None, "a value", "")),
        }
    }
}

/// The structure of the text.
impl<'a> JsonReader<'a> {
    /// The next byte behind any space; the position is then at this byte.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.next_behind_space(),
        }
    }

    #[inline(never)]
    fn next_behind_space(&mut self) -> Option<u8> {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    /// Steps over this byte, if it comes next.
    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.next() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    #[inline(always)]
    fn step(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// After the last value: nothing may follow.
    fn finish(&mut self) -> Result<(), Fault> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.fault("trailing characters")),
        }
    }

    /// Steps into a map. Returns false for an empty one, and steps over it.
    #[inline(always)]
    fn begin_map(&mut self) -> Result<bool, Fault> {
        if !self.eat(b'{') {
            return Err(self.refuse("a map"));
        }
        self.enter()?;
        let is_empty = self.eat(b'}');
        if is_empty {
            self.depth_left += 1;
        }
        Ok(!is_empty)
    }

    /// Behind a member: whether another follows. The position is then at its key, otherwise behind the map.
    #[inline(always)]
    pub(crate) fn more_members(&mut self) -> Result<bool, Fault> {
        match self.next() {
            Some(b',') => {
                self.step();
                self.next();
                Ok(true)
            }
            Some(b'}') => {
                self.step();
                self.depth_left += 1;
                Ok(false)
            }
            found => Err(self.unfinished(found, "an object", "expected `,` or `}`")),
        }
    }

    /// Steps over this key and its colon, if they come next, without space and escapes.
    #[inline(always)]
    pub(crate) fn eat_key(&mut self, key: Key) -> bool {
        // The key begins with the comma before it.
        match self.rest.strip_prefix(&key.json.as_bytes()[1..]) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads the elements of an array; null is an empty one. `each` must read an element into the vector.
    #[inline(always)]
    fn elements<T>(
        &mut self,
        items: &mut Vec<T>,
        mut each: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if !self.eat(b'[') {
            return if self.null() { Ok(()) } else { Err(self.refuse("an array")) };
        }
        self.enter()?;
        if !self.eat(b']') {
            let all = self.rest.len();
            // Most arrays have one element.
            items.reserve_exact(1);
            loop {
                each(self, items)?;
                match self.next() {
                    Some(b',') => self.step(),
                    Some(b']') => break self.step(),
                    found => return Err(self.unfinished(found, "a list", "expected `,` or `]`")),
                }
                if items.len() >= MAX_ITEMS {
                    return Err(self.fault(&too_many_items()));
                }
                if items.len() == 1 {
                    // As many as would fit if all were as long as the first.
                    let first = (all - self.rest.len()).max(1);
                    items.reserve((self.rest.len() / first).min(128));
                }
            }
        }
        self.depth_left += 1;
        Ok(())
    }

    #[inline(always)]
    fn enter(&mut self) -> Result<(), Fault> {
        match self.depth_left.checked_sub(1) {
            Some(left) => {
                self.depth_left = left;
                Ok(())
            }
            None => Err(self.fault("nested too deep")),
        }
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), Fault> {
        if self.eat(b':') {
            return Ok(());
        }
        let found = self.next();
        Err(self.unfinished(found, "an object", "expected `:`"))
    }

    /// The next value, if it is a string without escapes.
    #[inline(always)]
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        if self.next() != Some(b'"') {
            return None;
        }
        let text = self.rest.get(1..)?;
        let (text, rest) = text.split_at_checked(plain_length(text))?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// The key that comes next.
    fn key_text(&mut self) -> Result<Str, Fault> {
        match self.next() {
            Some(b'"') => {
                let mut key = Str::new();
                self.required_text(&mut key)?;
                Ok(key)
            }
            Some(b'}') => Err(self.fault("trailing comma")),
            found => Err(self.unfinished(found, "an object", "key must be a string")),
        }
    }

    /// Reads a string with escapes, or null. Any other value is refused.
    #[inline(never)]
    fn other_text(&mut self, place: &mut Str, or_null: bool) -> Result<bool, Fault> {
        if or_null && self.null() {
            return Ok(false);
        }
        if self.next() == Some(b'"') {
            let string = self.rest.get(1..).unwrap_or_default();
            // The text is UTF-8, as the frame is.
            if let Some((text, length)) = unescape(string, &mut self.unescaped)
                && let Ok(text) = str::from_utf8(text)
            {
                *place = text.into();
                self.rest = self.rest.get(1 + length..).unwrap_or_default();
                return Ok(true);
            }
        }
        Err(self.refuse("a string"))
    }
}

/// Errors.
impl<'a> JsonReader<'a> {
    /// The text from here to the end of the frame.
    fn rest_text(&self) -> &'a str {
        self.frame.get(self.frame.len() - self.rest.len()..).unwrap_or_default()
    }

    /// The error of a structure that is not complete: the text ends, or goes on otherwise than expected.
    #[cold]
    fn unfinished(&self, found: Option<u8>, structure: &str, expected: &str) -> Fault {
        match found {
            Some(_) => self.fault(expected),
            None => self.fault_at(&format!("EOF while parsing {structure}"), 1, 0),
        }
    }

    /// The error of the value that comes next, which is not valid, or not what was expected.
    #[cold]
    fn refuse(&mut self, expected: &'static str) -> Fault {
        struct Refused(&'static str);

        impl Visitor<'_> for Refused {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        self.next();
        let mut json = serde_json::Deserializer::from_str(self.rest_text());
        match json.deserialize_any(Refused(expected)) {
            Err(error) => self.fault_of(&error),
            Ok(()) => self.fault(&format!("expected {expected}")),
        }
    }

    /// An error here, with its line and column.
    #[cold]
    pub(crate) fn fault(&self, reason: &str) -> Fault {
        self.fault_at(reason, 1, 1)
    }

    /// The error of serde_json in the text that starts here.
    #[cold]
    fn fault_of(&self, error: &serde_json::Error) -> Fault {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let place = format!(" at line {line} column {column}");
        self.fault_at(text.strip_suffix(&place).unwrap_or(&text), line, column)
    }

    /// An error at this line and column of the text that starts here, both from 1.
    #[cold]
    fn fault_at(&self, reason: &str, line: usize, column: usize) -> Fault {
        let before = &self.frame[..self.frame.len() - self.rest.len()];
        let lines = before.matches('\n').count();
        let in_line = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
        let column = if line <= 1 { in_line + column } else { column };
        let reason = format!("{reason} at line {} column {column}", lines + line.max(1));
        Box::new(DecodeError::Malformed { reason })
    }
}
