//! Positions of members and elements in JSON text, for salvage.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{
    super::{
        DecodeError, Limits,
        frame::FrameIn,
        salvage::{EachMember, Layout, Member},
    },
    read_frame,
};
use crate::lenient::MAX_ITEMS;

/// JSON text, for [`Layout`].
pub(in crate::codec) struct JsonLayout;

impl Layout for JsonLayout {
    const EMPTY_MAP: &'static [u8] = b"{}";

    fn is_whole(bytes: &[u8]) -> bool {
        // Values that are ignored are stepped over without recursion.
        serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
    }

    fn members<'a>(map: &'a [u8], each: &mut EachMember<'_, 'a>) -> bool {
        let mut text = Text { rest: map };
        if !text.eat(b'{') {
            return false;
        }
        while !text.eat(b'}') {
            let key = text.value();
            let colon = text.eat(b':');
            let value = text.value();
            text.eat(b',');
            if !colon || key.is_empty() || value.is_empty() {
                return true;
            }
            let name: Cow<'_, str> = match key {
                [b'"', name @ .., b'"'] if !name.contains(&b'\\') => String::from_utf8_lossy(name),
                _ => serde_json::from_slice::<String>(key).unwrap_or_default().into(),
            };
            each(&name, key, value);
        }
        true
    }

    fn elements<'a>(array: &'a [u8], each: &mut dyn FnMut(&'a [u8])) -> bool {
        let mut text = Text { rest: array };
        if !text.eat(b'[') {
            return false;
        }
        while !text.eat(b']') {
            let element = text.value();
            text.eat(b',');
            if element.is_empty() {
                return true;
            }
            each(element);
        }
        true
    }

    fn map(members: &[Member<'_>]) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        [b"[", &*elements.join(&b','), b"]"].concat()
    }

    fn read(bytes: Vec<u8>, limits: &Limits) -> Result<FrameIn, DecodeError> {
        read_frame(&bytes.into(), limits)
    }
}

impl JsonLayout {
    /// The elements of an array of objects. They are not checked further: an object that is not valid JSON is an
    /// element, too, if its braces and quotes match.
    ///
    /// `None` when the bytes are not one array, when an element is no object, and for more than [`MAX_ITEMS`].
    pub(in crate::codec) fn objects(array: &[u8]) -> Option<Vec<&[u8]>> {
        let mut text = Text { rest: array };
        let mut objects = Vec::new();
        if !text.eat(b'[') {
            return None;
        }
        if !text.eat(b']') {
            loop {
                let object = text.value();
                if !object.starts_with(b"{")
                    || !object.ends_with(b"}")
                    || objects.len() == MAX_ITEMS
                {
                    return None;
                }
                objects.push(object);
                if text.eat(b']') {
                    break;
                }
                if !text.eat(b',') {
                    return None;
                }
            }
        }
        text.rest.trim_ascii().is_empty().then_some(objects)
    }
}

/// A position in text that is valid JSON.
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// Steps over this byte, if it comes next.
    fn eat(&mut self, byte: u8) -> bool {
        self.rest = self.rest.trim_ascii_start();
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// Steps over the value that comes next, and returns it.
    fn value(&mut self) -> &'a [u8] {
        let text = self.rest;
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        let end = text.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' | b',' | b':' if depth == 0 => return true,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            false
        });
        let (value, rest) = text.split_at(end.unwrap_or(text.len()));
        self.rest = rest;
        value.trim_ascii()
    }
}
