//! Writes an object around items that the codec has encoded, in either format.

use capably_protocol::Format;

/// Writes maps and arrays. Both formats need the number of their members first.
pub(super) struct Writer {
    format: Format,
    out: Vec<u8>,
    /// Whether the next value of a JSON array or map needs a comma before it.
    has_member: bool,
    /// Whether the next value belongs to a key.
    after_key: bool,
}

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: Vec::with_capacity(512), has_member: false, after_key: false }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Begins a map with this many members.
    pub(super) fn map(&mut self, members: usize) {
        self.begin(b'{', 0x80, 0xde, members);
    }

    pub(super) fn end_map(&mut self) {
        self.end(b'}');
    }

    /// Begins an array with this many items.
    pub(super) fn array(&mut self, items: usize) {
        self.begin(b'[', 0x90, 0xdc, items);
    }

    pub(super) fn end_array(&mut self) {
        self.end(b']');
    }

    /// The key of the next value.
    pub(super) fn key(&mut self, key: &str) {
        self.separate();
        self.string(key);
        if self.format == Format::Json {
            self.out.push(b':');
        }
        self.after_key = true;
    }

    /// A member that is text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.separate();
        self.string(value);
        self.has_member = true;
    }

    /// A member that is a number.
    pub(super) fn number(&mut self, key: &str, value: i64) {
        self.key(key);
        self.separate();
        match self.format {
            Format::Json => self.out.extend_from_slice(value.to_string().as_bytes()),
            Format::MsgPack => match u8::try_from(value) {
                Ok(small) if small < 0x80 => self.out.push(small),
                _ => {
                    self.out.push(0xd3);
                    self.out.extend_from_slice(&value.to_be_bytes());
                }
            },
        }
        self.has_member = true;
    }

    /// A member that is true or false.
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.separate();
        match self.format {
            Format::Json => self.out.extend_from_slice(value.to_string().as_bytes()),
            Format::MsgPack => self.out.push(if value { 0xc3 } else { 0xc2 }),
        }
        self.has_member = true;
    }

    /// A value that is already encoded.
    pub(super) fn raw(&mut self, value: &[u8]) {
        self.separate();
        self.out.extend_from_slice(value);
        self.has_member = true;
    }

    fn begin(&mut self, json: u8, fixed: u8, sized: u8, members: usize) {
        self.separate();
        match (self.format, u8::try_from(members)) {
            (Format::Json, _) => self.out.push(json),
            (Format::MsgPack, Ok(members)) if members < 16 => self.out.push(fixed | members),
            (Format::MsgPack, _) => {
                // The 32-bit form is the byte after the 16-bit form.
                self.out.push(sized + 1);
                let members = u32::try_from(members).unwrap_or(u32::MAX);
                self.out.extend_from_slice(&members.to_be_bytes());
            }
        }
        self.has_member = false;
    }

    fn end(&mut self, json: u8) {
        if self.format == Format::Json {
            self.out.push(json);
        }
        self.has_member = true;
        self.after_key = false;
    }

    fn separate(&mut self) {
        if self.format == Format::Json && self.has_member && !self.after_key {
            self.out.push(b',');
        }
        self.after_key = false;
    }

    fn string(&mut self, text: &str) {
        match self.format {
            // Only text: writing it to memory cannot fail.
            Format::Json => drop(serde_json::to_writer(&mut self.out, text)),
            Format::MsgPack => {
                let bytes = text.as_bytes();
                match u8::try_from(bytes.len()) {
                    Ok(length) if length < 32 => self.out.push(0xa0 | length),
                    _ => {
                        self.out.push(0xdb);
                        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                        self.out.extend_from_slice(&length.to_be_bytes());
                    }
                }
                self.out.extend_from_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::{Limits, codec};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_formats_have_the_same_values() {
        let long = "x".repeat(300);
        let expected = json!({
            "a": "é\"\n",
            "b": [{"n": 5, "big": 1_700_000_000_000_i64}, {"f": true, "g": false}],
            "long": long,
            "raw": [1, 2],
            "empty": {},
        });
        for format in [Format::Json, Format::MsgPack] {
            let mut out = Writer::new(format);
            out.map(5);
            out.text("a", "é\"\n");
            out.key("b");
            out.array(2);
            out.map(2);
            out.number("n", 5);
            out.number("big", 1_700_000_000_000);
            out.end_map();
            out.map(2);
            out.flag("f", true);
            out.flag("g", false);
            out.end_map();
            out.end_array();
            out.text("long", &long);
            out.key("raw");
            out.raw(&codec::encode_body(format, &json!([1, 2])).unwrap());
            out.key("empty");
            out.map(0);
            out.end_map();
            out.end_map();
            let bytes = out.finish();
            let read: Value = codec::decode_body(format, &bytes, &Limits::default()).unwrap();
            assert_eq!(read, expected, "{format:?}");
        }
    }

    #[test]
    fn a_long_array_has_its_length() {
        let mut out = Writer::new(Format::MsgPack);
        out.array(1000);
        (0..1000).for_each(|_| out.raw(&[7]));
        out.end_array();
        let read: Vec<u8> =
            codec::decode_body(Format::MsgPack, &out.finish(), &Limits::default()).unwrap();
        assert_eq!(read, vec![7; 1000]);
    }
}
