//! Messages to bytes.

use super::{Kind, MAX_CONTROL, Opcode, mask};

/// Appends a message, whose payload `write` appends. A client gives a random key for the mask, a server none.
///
/// The payload is written in place. It is moved only when it has not about the `expected` number of bytes, so that the
/// length before it takes another number of bytes.
pub fn write_message(
    kind: Kind,
    expected: usize,
    key: Option<[u8; 4]>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let reserved = Header::new(Opcode::Data(kind), expected, key);
    out.reserve(reserved.bytes().len() + expected);
    out.extend_from_slice(reserved.bytes());
    let payload = out.len();
    write(out);
    let header = Header::new(Opcode::Data(kind), out.len() - payload, key);
    let payload = start + header.bytes().len();
    if header.size == reserved.size {
        out[start..payload].copy_from_slice(header.bytes());
    } else {
        out.splice(start..start + reserved.bytes().len(), header.bytes().iter().copied());
    }
    if let Some(key) = key {
        mask(&mut out[payload..], key);
    }
}

/// Appends the answer to a PING with this payload, of which only the first 125 bytes count.
pub fn write_pong(payload: &[u8], key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    write_control(Opcode::Pong, payload, key, out);
}

/// Appends a PING without a payload.
pub fn write_ping(key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    write_control(Opcode::Ping, &[], key, out);
}

/// Appends a close frame, with a code or without.
pub fn write_close(code: Option<u16>, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let bytes = code.map(u16::to_be_bytes);
    write_control(Opcode::Close, bytes.as_ref().map_or(&[], |code| code), key, out);
}

fn write_control(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    out.extend_from_slice(Header::new(opcode, payload.len(), key).bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key);
    }
}

/// The beginning of a frame that is a whole message.
struct Header {
    size: usize,
    bytes: [u8; 14],
}

impl Header {
    fn new(opcode: Opcode, length: usize, key: Option<[u8; 4]>) -> Self {
        let mut header = Self { size: 0, bytes: [0; 14] };
        let masked = if key.is_some() { 0x80 } else { 0 };
        let (short, long) = match length {
            0..=125 => (length as u8, &[][..]),
            126..=0xffff => (126, &(length as u16).to_be_bytes()[..]),
            _ => (127, &(length as u64).to_be_bytes()[..]),
        };
        header.put(&[0x80 | opcode.number(), masked | short]);
        header.put(long);
        header.put(key.as_ref().map_or(&[], |key| key));
        header
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.size..][..bytes.len()].copy_from_slice(bytes);
        self.size += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}
