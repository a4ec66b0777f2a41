//! Writes MessagePack, in the shortest form of each value.

use serde::Serialize;
use serde_json::Value;

use crate::{
    Str,
    wire::{Key, Writer},
};

pub(super) struct MsgPackWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

/// A map in progress: where its header is, and how many fields it has.
pub(super) struct MsgPackMap {
    header: usize,
    fields: u8,
}

impl Writer for MsgPackWriter<'_> {
    const FOR_PEOPLE: bool = false;
    type Map = MsgPackMap;

    #[inline(always)]
    fn begin_map(&mut self) -> MsgPackMap {
        let header = self.out.len();
        self.out.push(0x80);
        MsgPackMap { header, fields: 0 }
    }

    #[inline(always)]
    fn key(&mut self, map: &mut MsgPackMap, key: Key) {
        map.fields += 1;
        debug_assert!(key.name.len() < 32, "a key longer than a fixstr");
        self.out.push(0xa0 | key.name.len() as u8);
        self.out.extend_from_slice(key.name.as_bytes());
    }

    #[inline(always)]
    fn end_map(&mut self, map: MsgPackMap) {
        debug_assert!(map.fields < 16, "a map larger than a fixmap");
        self.out[map.header] = 0x80 | map.fields;
    }

    fn array<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        match items.len() {
            length @ 0..16 => self.out.push(0x90 | length as u8),
            length @ 16..0x1_0000 => self.header(0xdc, &(length as u16).to_be_bytes()),
            length => self.header(0xdd, &(length as u32).to_be_bytes()),
        }
        for item in items {
            each(self, item);
        }
    }

    #[inline(always)]
    fn str(&mut self, text: &str) {
        self.str_header(text.len());
        self.out.extend_from_slice(text.as_bytes());
    }

    #[inline(always)]
    fn text(&mut self, text: &Str) {
        let bytes: &[u8] = text.as_ref();
        self.str_header(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    #[inline(always)]
    fn unsigned(&mut self, value: u64) {
        match value {
            0..0x80 => self.out.push(value as u8),
            0x80..0x100 => self.header(0xcc, &[value as u8]),
            0x100..0x1_0000 => self.header(0xcd, &(value as u16).to_be_bytes()),
            0x1_0000..0x1_0000_0000 => self.header(0xce, &(value as u32).to_be_bytes()),
            _ => self.header(0xcf, &value.to_be_bytes()),
        }
    }

    #[inline(always)]
    fn signed(&mut self, value: i64) {
        match value {
            0.. => self.unsigned(value as u64),
            -32..0 => self.out.push(value as u8),
            -0x80..-32 => self.header(0xd0, &[value as u8]),
            -0x8000..-0x80 => self.header(0xd1, &(value as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.header(0xd2, &(value as i32).to_be_bytes()),
            _ => self.header(0xd3, &value.to_be_bytes()),
        }
    }

    fn null(&mut self) {
        self.out.push(0xc0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match bytes.len() {
            length @ 0..0x100 => self.header(0xc4, &[length as u8]),
            length @ 0x100..0x1_0000 => self.header(0xc5, &(length as u16).to_be_bytes()),
            length => self.header(0xc6, &(length as u32).to_be_bytes()),
        }
        self.out.extend_from_slice(bytes);
    }

    fn json_text(&mut self, value: &Value) {
        // The header depends on the length of the text, which is known once it is written. So the text is written
        // behind room for the longest header, and moved down behind its own.
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 5]);
        let written = serde_json::to_writer(&mut *self.out, value);
        debug_assert!(written.is_ok(), "a JSON value without a JSON form");
        let text = start + 5;
        let length = self.out.len() - text;
        self.str_header(length);
        let end = text + length;
        let header = self.out.len() - end;
        self.out.copy_within(end.., start);
        self.out.copy_within(text..end, start + header);
        self.out.truncate(start + header + length);
    }

    fn steps(&mut self, before: &str, last: &'static str) {
        self.str_header(before.len() + 1 + last.len());
        self.out.extend_from_slice(before.as_bytes());
        self.out.push(b'/');
        self.out.extend_from_slice(last.as_bytes());
    }

    fn value(&mut self, value: &impl Serialize) {
        // Fails only for a sequence of unknown length, which no type of ours has.
        let written = rmp_serde::encode::write_named(&mut *self.out, value);
        debug_assert!(written.is_ok(), "a wire type without a MessagePack form");
    }
}

impl MsgPackWriter<'_> {
    #[inline(always)]
    fn header(&mut self, marker: u8, value: &[u8]) {
        self.out.push(marker);
        self.out.extend_from_slice(value);
    }

    #[inline(always)]
    fn str_header(&mut self, length: usize) {
        match length {
            0..32 => self.out.push(0xa0 | length as u8),
            32..0x100 => self.header(0xd9, &[length as u8]),
            0x100..0x1_0000 => self.header(0xda, &(length as u16).to_be_bytes()),
            _ => self.header(0xdb, &(length as u32).to_be_bytes()),
        }
    }
}
