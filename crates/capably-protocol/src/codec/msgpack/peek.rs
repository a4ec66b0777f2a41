//! Reads a frame's action and serial without the rest of it.

use bytes::Bytes;

use super::super::{Limits, Peek};
use super::reader::Reader;

pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    let empty = Bytes::new();
    let limits = Limits::default();
    let mut reader = Reader::new(&empty, bytes, &limits);
    let (mut action, mut msg_serial) = (None, None);
    reader
        .fields(|r, key| {
            match key {
                b"action" => action = r.integer()?,
                b"msgSerial" => {
                    let from = r.rest();
                    r.skip()?;
                    // A delivery has no serial, so its decoder does not mind a value that is none.
                    let serial = Reader::new(&empty, from, &limits).integer();
                    msg_serial = serial.unwrap_or_default();
                }
                _ => r.skip()?,
            }
            Ok(())
        })
        .ok()?;
    Some(Peek { action: action?, msg_serial })
}
