//! Reads MessagePack values from a frame; text and bytes are slices of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::{DecodeError, Fault, Limits, MAX_DEPTH};
use crate::{
    Data, JsonObject, Str,
    lenient::{FromMap, Integer, MAX_ITEMS, float_to_integer, too_many_items},
    wire::Read,
};

/// A position in a frame, and how much deeper it may go.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    depth_left: usize,
    depth_limit: usize,
}

/// One MessagePack value, or the header of a container.
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(usize),
    Map(usize),
    Ext,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`: the frame itself, or other bytes that are only stepped over.
    pub fn new(frame: &'a Bytes, bytes: &'a [u8], limits: &Limits) -> Self {
        let depth_limit = limits.max_depth.min(MAX_DEPTH);
        Self { frame, rest: bytes, depth_left: depth_limit, depth_limit }
    }

    /// The bytes from here to the end.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The whole of a body: one item or an array of them.
    pub(crate) fn one_or_many<T: Read>(&mut self) -> Result<Vec<T>, Fault> {
        let items = if matches!(self.rest.first(), Some(0x90..=0x9f | 0xdc | 0xdd)) {
            self.items()?
        } else {
            let mut item = T::default();
            item.read(self)?;
            vec![item]
        };
        Ok(items)
    }

    /// After the last value: nothing may follow.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed("more bytes after the value")) }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(ends_early()),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(ends_early()),
        }
    }

    #[inline]
    fn length8(&mut self) -> Result<usize, Fault> {
        Ok(u8::from_be_bytes(self.fixed()?).into())
    }

    #[inline]
    fn length16(&mut self) -> Result<usize, Fault> {
        Ok(u16::from_be_bytes(self.fixed()?).into())
    }

    #[inline]
    fn length32(&mut self) -> Result<usize, Fault> {
        usize::try_from(u32::from_be_bytes(self.fixed()?)).map_err(|_| ends_early())
    }

    /// The next value, or the header of the container that starts here.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let [marker] = self.fixed()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Token::Str(self.take(usize::from(marker & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(malformed("the byte 0xc1 starts no value")),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => Token::Bin({
                let length = self.length8()?;
                self.take(length)?
            }),
            0xc5 => Token::Bin({
                let length = self.length16()?;
                self.take(length)?
            }),
            0xc6 => Token::Bin({
                let length = self.length32()?;
                self.take(length)?
            }),
            0xc7 => self.ext(Self::length8)?,
            0xc8 => self.ext(Self::length16)?,
            0xc9 => self.ext(Self::length32)?,
            0xca => Token::Float(f32::from_be_bytes(self.fixed()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.fixed()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.fixed()?)),
            0xd0 => signed(i8::from_be_bytes(self.fixed()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.fixed()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.fixed()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.fixed()?)),
            0xd4 => self.ext(|_| Ok(1))?,
            0xd5 => self.ext(|_| Ok(2))?,
            0xd6 => self.ext(|_| Ok(4))?,
            0xd7 => self.ext(|_| Ok(8))?,
            0xd8 => self.ext(|_| Ok(16))?,
            0xd9 => Token::Str({
                let length = self.length8()?;
                self.take(length)?
            }),
            0xda => Token::Str({
                let length = self.length16()?;
                self.take(length)?
            }),
            0xdb => Token::Str({
                let length = self.length32()?;
                self.take(length)?
            }),
            0xdc => Token::Array(self.length16()?),
            0xdd => Token::Array(self.length32()?),
            0xde => Token::Map(self.length16()?),
            0xdf => Token::Map(self.length32()?),
            0xe0..=0xff => Token::Negative(i64::from(i8::from_be_bytes([marker]))),
        })
    }

    /// The next value, if it is a string of less than 32 bytes, as every key is. `None` for any other value, and for
    /// a string that ends early: [`token`](Self::token) makes an error of it.
    #[inline(always)]
    fn short_str(&mut self) -> Option<&'a [u8]> {
        let (marker, rest) = self.rest.split_first()?;
        if !matches!(marker, 0xa0..=0xbf) {
            return None;
        }
        let (text, rest) = rest.split_at_checked(usize::from(marker & 0x1f))?;
        self.rest = rest;
        Some(text)
    }

    /// The next value, if it is a string of less than 256 bytes, as most values are.
    #[inline(always)]
    pub(crate) fn medium_str(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = match self.rest {
            [marker @ 0xa0..=0xbf, rest @ ..] => (marker & 0x1f, rest),
            [0xd9, length, rest @ ..] => (*length, rest),
            _ => return None,
        };
        let (text, rest) = rest.split_at_checked(length.into())?;
        self.rest = rest;
        Some(text)
    }

    /// Steps over the type and the bytes of an extension: the protocol uses none.
    fn ext(
        &mut self,
        length: impl FnOnce(&mut Self) -> Result<usize, Fault>,
    ) -> Result<Token<'a>, Fault> {
        let length = length(self)?;
        self.take(1)?;
        self.take(length)?;
        Ok(Token::Ext)
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Fault> {
        match self.depth_left.checked_sub(1) {
            Some(left) => {
                self.depth_left = left;
                Ok(())
            }
            None => Err(too_deep(self.depth_limit)),
        }
    }

    #[inline]
    fn leave(&mut self) {
        self.depth_left += 1;
    }

    /// Steps over one value.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        if self.short_str().is_some() {
            return Ok(());
        }
        self.skip_any()
    }

    // Apart from `skip`: a function with a loop saves registers on each call, and most values are short strings.
    #[inline(never)]
    fn skip_any(&mut self) -> Result<(), Fault> {
        let token = self.token()?;
        self.skip_rest(token)
    }

    fn skip_rest(&mut self, token: Token<'a>) -> Result<(), Fault> {
        let values = match token {
            Token::Array(count) => count,
            // Twice a 32-bit count may not fit; one for each byte that is left is enough to fail.
            Token::Map(count) => count.saturating_mul(2),
            _ => return Ok(()),
        };
        self.enter()?;
        for _ in 0..values {
            self.skip()?;
        }
        self.leave();
        Ok(())
    }

    /// Steps over one value, however deep it is: without recursion.
    pub(crate) fn step_over(&mut self) -> Result<(), Fault> {
        let mut values = 1_usize;
        while values > 0 {
            values -= 1;
            values = values.saturating_add(match self.token()? {
                Token::Array(count) => count,
                Token::Map(count) => count.saturating_mul(2),
                _ => 0,
            });
        }
        Ok(())
    }

    /// Steps over one value as [`step_over`](Self::step_over) does, and returns its bytes.
    pub(crate) fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        self.step_over().ok()?;
        Some(&start[..start.len() - self.rest.len()])
    }

    /// Reads a map field by field; `field` gets each key and must read its value.
    #[inline]
    pub(crate) fn fields(
        &mut self,
        field: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self.optional_fields(field)? {
            true => Ok(()),
            false => Err(malformed("expected a map")),
        }
    }

    /// As [`fields`](Self::fields); false when there is no map but nil.
    #[inline]
    pub(crate) fn optional_fields(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let count = match self.rest.split_first() {
            // Nearly every map has fewer than 16 fields.
            Some((marker @ 0x80..=0x8f, rest)) => {
                self.rest = rest;
                usize::from(marker & 0x0f)
            }
            _ => match self.token()? {
                Token::Map(count) => count,
                Token::Nil | Token::Ext => return Ok(false),
                _ => return Err(malformed("expected a map")),
            },
        };
        self.enter()?;
        for _ in 0..count {
            let key = match self.short_str() {
                Some(key) => key,
                None => self.long_key()?,
            };
            field(self, key)?;
        }
        self.leave();
        Ok(true)
    }

    fn long_key(&mut self) -> Result<&'a [u8], Fault> {
        match self.token()? {
            Token::Str(key) | Token::Bin(key) => Ok(key),
            Token::Array(_) | Token::Map(_) => Err(malformed("a map or array as a key")),
            // A key that is not text names no field of ours; the caller skips its value.
            _ => Ok(b""),
        }
    }

    /// Reads a map of any keys into an empty one; `each` reads a value. Nil is an empty map.
    pub(crate) fn entries<V: Default>(
        &mut self,
        entries: &mut BTreeMap<Str, V>,
        mut each: impl FnMut(&mut Self, &mut V) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let count = match self.token()? {
            Token::Map(count) => count,
            Token::Nil | Token::Ext => return Ok(()),
            _ => return Err(malformed("expected a map")),
        };
        self.enter()?;
        for _ in 0..count {
            let mut key = Str::new();
            if !self.required_str(&mut key)? {
                return Err(malformed("a key that is not text"));
            }
            let mut value = V::default();
            each(self, &mut value)?;
            entries.insert(key, value);
        }
        self.leave();
        Ok(())
    }

    /// An array of items; nil is an empty one.
    pub(crate) fn items<T: Read>(&mut self) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        self.items_into(&mut items)?;
        Ok(items)
    }

    /// As [`items`](Self::items), into an existing array. Each item is read in its place: moving an item costs nearly
    /// as much as reading it.
    pub(crate) fn items_into<T: Read>(&mut self, items: &mut Vec<T>) -> Result<(), Fault> {
        items.clear();
        self.array(items, |r, items| {
            items.resize_with(items.len() + 1, T::default);
            match items.last_mut() {
                Some(item) => item.read(r),
                None => Ok(()),
            }
        })
    }

    /// An array of strings, some of them absent.
    pub(crate) fn strings(&mut self) -> Result<Vec<Option<Str>>, Fault> {
        let mut strings = Vec::new();
        self.array(&mut strings, |r, strings| {
            let mut string = None;
            r.str(&mut string)?;
            strings.push(string);
            Ok(())
        })?;
        Ok(strings)
    }

    fn array<T>(
        &mut self,
        items: &mut Vec<T>,
        mut each: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let count = match self.token()? {
            Token::Array(count) => count,
            Token::Nil | Token::Ext => return Ok(()),
            _ => return Err(malformed("expected an array")),
        };
        if count > MAX_ITEMS {
            return Err(malformed(&too_many_items()));
        }
        self.enter()?;
        // A header may lie: reserve at most a page of items, and no more than there are bytes.
        items.reserve(count.min(self.rest.len()).min(128));
        for _ in 0..count {
            each(self, items)?;
        }
        self.leave();
        Ok(())
    }

    /// A string that may be absent, read in its place.
    #[inline(always)]
    pub(crate) fn str(&mut self, place: &mut Option<Str>) -> Result<(), Fault> {
        match self.medium_str() {
            Some(bytes) => {
                if place.is_none() {
                    *place = Some(Str::new());
                }
                match place {
                    Some(place) => self.set_text(place, bytes),
                    None => Ok(()),
                }
            }
            None => self.any_str(place),
        }
    }

    /// A string, read in its place. Returns false for nil.
    #[inline(always)]
    pub(crate) fn required_str(&mut self, place: &mut Str) -> Result<bool, Fault> {
        match self.medium_str() {
            Some(bytes) => {
                self.set_text(place, bytes)?;
                Ok(true)
            }
            None => {
                let mut text = None;
                self.any_str(&mut text)?;
                let found = text.is_some();
                *place = text.unwrap_or_default();
                Ok(found)
            }
        }
    }

    #[inline(always)]
    pub(crate) fn set_text(&self, place: &mut Str, bytes: &'a [u8]) -> Result<(), Fault> {
        place.set_slice_of(self.frame, bytes).map_err(|_| malformed(NOT_UTF_8))
    }

    #[inline(never)]
    fn any_str(&mut self, place: &mut Option<Str>) -> Result<(), Fault> {
        *place = match self.token()? {
            Token::Str(bytes) | Token::Bin(bytes) => Some(self.text(bytes)?),
            Token::Nil | Token::Ext => None,
            _ => return Err(malformed("expected a string")),
        };
        Ok(())
    }

    /// These bytes of the frame as text.
    pub(crate) fn text(&self, bytes: &'a [u8]) -> Result<Str, Fault> {
        Str::from_slice_of(self.frame, bytes).map_err(|_| malformed(NOT_UTF_8))
    }

    /// These bytes of the frame, shared with it.
    #[inline]
    pub(crate) fn slice(&self, bytes: &'a [u8]) -> Bytes {
        self.frame.slice_ref(bytes)
    }

    /// A payload: a string is text and bytes are binary, whatever is in them (RSL4c).
    pub(crate) fn data(&mut self, place: &mut Data) -> Result<(), Fault> {
        let token = match self.medium_str() {
            Some(bytes) => Token::Str(bytes),
            None => self.token()?,
        };
        match token {
            Token::Nil | Token::Ext => *place = Data::None,
            Token::Str(bytes) => {
                *place = Data::Text(Str::new());
                if let Data::Text(text) = place {
                    self.set_text(text, bytes)?;
                }
            }
            Token::Bin(bytes) => *place = Data::Binary(self.slice(bytes)),
            token => *place = Data::Json(self.json(token)?),
        }
        Ok(())
    }

    /// An integer that may be absent.
    #[inline]
    pub(crate) fn integer<T: Integer>(&mut self) -> Result<Option<T>, Fault> {
        if let [value @ 0x00..=0x7f, rest @ ..] = self.rest {
            // Actions, flags and counts are nearly always below 128: one byte, without a token.
            self.rest = rest;
            return Ok(T::from_wire((*value).into()));
        }
        self.any_integer()
    }

    #[inline(never)]
    fn any_integer<T: Integer>(&mut self) -> Result<Option<T>, Fault> {
        let value = match self.token()? {
            Token::Unsigned(value) => Some(value.into()),
            Token::Negative(value) => Some(value.into()),
            Token::Float(value) => float_to_integer(value),
            Token::Nil | Token::Ext => return Ok(None),
            _ => None,
        };
        match value.and_then(T::from_wire) {
            Some(value) => Ok(Some(value)),
            None => Err(malformed("expected an integer that fits its field")),
        }
    }

    /// A JSON object that may be absent.
    pub(crate) fn object(&mut self) -> Result<Option<JsonObject>, Fault> {
        match self.token()? {
            Token::Map(count) => self.members(count).map(Some),
            Token::Nil | Token::Ext => Ok(None),
            _ => Err(malformed("expected a map")),
        }
    }

    /// The JSON value that starts with this token: bytes become base64 text, floats without a JSON form
    /// null.
    pub(crate) fn json(&mut self, token: Token<'a>) -> Result<Value, Fault> {
        Ok(match token {
            Token::Nil | Token::Ext => Value::Null,
            Token::Bool(value) => value.into(),
            Token::Unsigned(value) => value.into(),
            Token::Negative(value) => value.into(),
            Token::Float(value) => value.into(),
            Token::Str(bytes) => utf8(bytes)?.into(),
            Token::Bin(bytes) => crate::encoding::to_base64(bytes).into(),
            Token::Array(count) => {
                self.enter()?;
                let mut values = Vec::with_capacity(count.min(self.rest.len()).min(64));
                for _ in 0..count {
                    let token = self.token()?;
                    values.push(self.json(token)?);
                }
                self.leave();
                Value::Array(values)
            }
            Token::Map(count) => Value::Object(self.members(count)?),
        })
    }

    fn members(&mut self, count: usize) -> Result<JsonObject, Fault> {
        self.enter()?;
        let mut object = JsonObject::new();
        for _ in 0..count {
            let key = match self.token()? {
                Token::Str(bytes) | Token::Bin(bytes) => utf8(bytes)?.to_owned(),
                Token::Unsigned(number) => number.to_string(),
                Token::Negative(number) => number.to_string(),
                _ => return Err(malformed("a key that is neither text nor a number")),
            };
            let token = self.token()?;
            object.insert(key, self.json(token)?);
        }
        self.leave();
        Ok(object)
    }

    /// A map, read through serde.
    pub(crate) fn by_serde<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let FromMap(value) =
            self.optional_by_serde()?.ok_or_else(|| malformed("expected a map"))?;
        Ok(value)
    }

    /// A value, read through serde; nil is `None`.
    pub(crate) fn optional_by_serde<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        let start = self.rest;
        self.skip()?;
        let value = &start[..start.len() - self.rest.len()];
        rmp_serde::from_slice(value).map_err(|error| malformed(&error.to_string()))
    }
}

fn signed(value: i64) -> Token<'static> {
    u64::try_from(value).map_or(Token::Negative(value), Token::Unsigned)
}

const NOT_UTF_8: &str = "text that is not UTF-8";

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    str::from_utf8(bytes).map_err(|_| malformed(NOT_UTF_8))
}

#[cold]
pub(crate) fn malformed(reason: &str) -> Fault {
    Box::new(DecodeError::Malformed { reason: reason.to_owned() })
}

/// JSON refuses every second field of a name. Here a later one replaces it, except for the action: it would make the
/// frame another than a reader took it for that has seen the first.
#[cold]
pub(crate) fn two_actions() -> Fault {
    malformed("the frame has two actions")
}

#[cold]
fn too_deep(limit: usize) -> Fault {
    Box::new(DecodeError::TooDeep { limit })
}

#[cold]
fn ends_early() -> Fault {
    malformed("the value ends early")
}
