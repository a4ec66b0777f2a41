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

/// Reads a frame's fields.
pub(super) fn read_frame(bytes: &Bytes, limits: &Limits) -> Result<FrameIn, DecodeError> {
    let mut reader = Reader::new(bytes, limits)?;
    let frame = FrameIn::read(&mut reader)?;
    reader.finish()?;
    Ok(frame)
}

/// Reads one item or an array of them.
pub(super) fn read_items<T: Read>(bytes: &Bytes, limits: &Limits) -> Result<Vec<T>, DecodeError> {
    let mut reader = Reader::new(bytes, limits)?;
    let items = if reader.at_array() { reader.items()? } else { vec![T::read(&mut reader)?] };
    reader.finish()?;
    Ok(items)
}

/// Refuses bytes that are too many, too deep, or not one whole value, before rmp-serde sees them.
pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let empty = Bytes::new();
    let mut reader = Reader::over(&empty, bytes, limits)?;
    reader.skip()?;
    reader.finish()
}

/// Reads a frame's action and serial, and nothing else.
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    peek::peek(bytes)
}
