//! Reads a frame's action and serial without the rest of it.

use bytes::Bytes;

use super::super::{Limits, Peek};
use super::reader::Reader;

pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    let empty = Bytes::new();
    let mut reader = Reader::new(&empty, bytes, &Limits::default());
    let (mut action, mut msg_serial) = (None, None);
    reader
        .fields(|r, key| {
            match key {
                b"action" => action = r.integer()?,
                b"msgSerial" => msg_serial = r.integer()?,
                _ => r.skip()?,
            }
            Ok(())
        })
        .ok()?;
    Some(Peek { action: action?, msg_serial })
}
