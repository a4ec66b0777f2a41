//! JSON: our own reader and writer for frames and items, serde_json for cold types.

mod escapes;
mod frame;
pub(super) mod layout;
pub(crate) mod reader;
mod scan;

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    DecodeError, Limits, MAX_DEPTH, Peek,
    delivery::{self, ReadFrame},
    frame::FrameIn,
};
use crate::{
    ServerFrame, Str,
    lenient::{self, FromMap},
    wire::{JsonFields, Key, Write, Writer},
};
use escapes::escape_to;

/// Appends a value's JSON text to `out`.
pub(super) fn write(value: &impl Write, out: &mut Vec<u8>) {
    value.write(&mut JsonWriter { out });
}

/// Appends an array's JSON text to `out`.
pub(super) fn write_array(items: &[impl Write], out: &mut Vec<u8>) {
    JsonWriter { out }.array(items, |w, item| item.write(w));
}

/// Reads a value from JSON text.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, DecodeError> {
    limits.check_size(bytes)?;
    check_depth(bytes, limits)?;
    serde_json::from_slice(bytes)
        .map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

/// Reads a frame's fields.
pub(super) fn read_frame(bytes: &Bytes, limits: &Limits) -> Result<FrameIn, DecodeError> {
    reader::read_whole(bytes, limits, |r| r.flat())
}

/// Reads a frame that a service sent into `frame`.
pub(super) fn read_server_frame(
    bytes: &Bytes,
    limits: &Limits,
    frame: &mut ServerFrame,
) -> Result<(), DecodeError> {
    reader::read_whole(bytes, limits, |r| delivery::read_server_frame(r, frame))
}

/// Reads a frame's action and serial, each in any form in which [`read_frame`] accepts it.
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        #[serde(default, deserialize_with = "lenient::integer")]
        action: Option<u32>,
        #[serde(default, deserialize_with = "lenient::integer")]
        msg_serial: Option<u64>,
    }

    let FromMap(Fields { action, msg_serial }) = serde_json::from_slice(bytes).ok()?;
    Some(Peek { action: action?, msg_serial })
}

/// Reads one item or an array of them.
pub(super) fn read_items<T: JsonFields + Default>(
    bytes: &Bytes,
    limits: &Limits,
) -> Result<Vec<T>, DecodeError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let mut items = Vec::new();
    // Not by trying both: a failed array would be parsed a second time, and its error would name an object.
    if first == Some(&b'[') {
        reader::read_whole(bytes, limits, |r| r.items(&mut items))?;
    } else {
        let mut item = T::default();
        reader::read_whole(bytes, limits, |r| r.fields(&mut item))?;
        items.push(item);
    }
    Ok(items)
}

/// Refuses text that nests deeper than the limit, before anything recurses into it.
fn check_depth(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let limit = limits.max_depth.min(MAX_DEPTH);
    // Most text has fewer brackets than the limit has levels, and counting brackets is several times faster than
    // following them.
    let brackets = |chunk: &[u8]| -> u8 {
        chunk.iter().map(|byte| u8::from(matches!(byte, b'[' | b'{'))).sum()
    };
    if bytes.chunks(128).map(|chunk| usize::from(brackets(chunk))).sum::<usize>() <= limit {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(DecodeError::TooDeep { limit });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl JsonWriter<'_> {
    /// Writes text, which is UTF-8, as a string.
    fn escaped(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        escape_to(self.out, text);
        self.out.push(b'"');
    }
}

/// A map in progress: whether a field is written already.
#[derive(Default)]
struct JsonMap {
    started: bool,
}

impl Writer for JsonWriter<'_> {
    const FOR_PEOPLE: bool = true;
    type Map = JsonMap;

    #[inline(always)]
    fn begin_map(&mut self) -> JsonMap {
        self.out.push(b'{');
        JsonMap::default()
    }

    #[inline(always)]
    fn key(&mut self, map: &mut JsonMap, key: Key) {
        let text = key.json.as_bytes();
        // The first field has no comma before it.
        self.out.extend_from_slice(if map.started { text } else { &text[1..] });
        map.started = true;
    }

    #[inline(always)]
    fn end_map(&mut self, _map: JsonMap) {
        self.out.push(b'}');
    }

    fn array<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            each(self, item);
        }
        self.out.push(b']');
    }

    #[inline(always)]
    fn str(&mut self, text: &str) {
        self.escaped(text.as_bytes());
    }

    #[inline(always)]
    fn text(&mut self, text: &Str) {
        self.escaped(text.as_ref());
    }

    #[inline(always)]
    fn unsigned(&mut self, value: u64) {
        self.value(&value);
    }

    #[inline(always)]
    fn signed(&mut self, value: i64) {
        self.value(&value);
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        // Encoded in place: a string of its own would be copied once more.
        let start = self.out.len();
        let length =
            base64::encoded_len(bytes.len(), true).expect("a payload in memory has a length");
        self.out.resize(start + length, 0);
        BASE64
            .encode_slice(bytes, &mut self.out[start..])
            .expect("the slice has the text's length");
        self.out.push(b'"');
    }

    fn json_text(&mut self, value: &Value) {
        self.out.push(b'"');
        write_to(Escaped(self.out), value);
        self.out.push(b'"');
    }

    fn steps(&mut self, before: &str, last: &'static str) {
        self.str(before);
        // The last step goes before the closing quote; it has nothing to escape.
        self.out.pop();
        self.out.push(b'/');
        self.out.extend_from_slice(last.as_bytes());
        self.out.push(b'"');
    }

    fn value(&mut self, value: &impl Serialize) {
        write_to(&mut *self.out, value);
    }
}

/// Escapes JSON text on its way into a JSON string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl io::Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        escape_to(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_to(out: impl io::Write, value: &impl Serialize) {
    // Fails only for a map whose keys are not strings, which no type of ours has.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "a wire type without a JSON form");
}
