//! The MessagePack side: a reader and a writer of its own for what is on the hot path, rmp-serde for
//! cold types.

mod fields;
mod peek;
mod reader;
mod writer;

use bytes::Bytes;

use super::{
    DecodeError, Limits, Peek,
    wire::FrameIn,
    writer::{Write, Writer},
};
pub(super) use fields::Read;
use reader::Reader;
use writer::MsgPackWriter;

/// Appends a value to `out`.
pub(super) fn write(value: &impl Write, out: &mut Vec<u8>) {
    value.write(&mut MsgPackWriter { out });
}

/// Appends an array to `out`.
pub(super) fn write_array(items: &[impl Write], out: &mut Vec<u8>) {
    MsgPackWriter { out }.array(items, |w, item| item.write(w));
}

/// Reads a frame's fields into `frame`, an empty one.
pub(super) fn read_frame(
    bytes: &Bytes,
    limits: &Limits,
    frame: &mut FrameIn,
) -> Result<(), DecodeError> {
    limits.check_size(bytes)?;
    let mut reader = Reader::new(bytes, bytes, limits);
    frame.read(&mut reader).and_then(|()| reader.finish()).map_err(|fault| *fault)
}

/// Reads one item or an array of them.
pub(super) fn read_items<T: Read>(bytes: &Bytes, limits: &Limits) -> Result<Vec<T>, DecodeError> {
    limits.check_size(bytes)?;
    let mut reader = Reader::new(bytes, bytes, limits);
    reader.one_or_many().map_err(|fault| *fault)
}

/// Refuses bytes that are too many, too deep, or not one whole value, before rmp-serde sees them.
pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    limits.check_size(bytes)?;
    let empty = Bytes::new();
    let mut reader = Reader::new(&empty, bytes, limits);
    reader.skip().and_then(|()| reader.finish()).map_err(|fault| *fault)
}

/// Reads a frame's action and serial, and nothing else.
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    peek::peek(bytes)
}
