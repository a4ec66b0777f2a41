//! Arrays of frames: the bodies of comet, which carries frames in HTTP requests and responses.

use std::{fmt, mem};

use bytes::Bytes;

use super::{
    Format,
    json::layout::JsonLayout,
    msgpack::layout::MsgPackLayout,
    salvage::{Layout, each_element},
};

/// The header of an array in MessagePack, with its length in 32 bits.
const HEADER: [u8; 5] = [0xdd, 0, 0, 0, 0];

/// Frames that are being encoded into one array.
///
/// ```
/// use capably_protocol::{ClientFrame, Format, codec::{FrameBatch, encode_client_frame, split_frames}};
///
/// let mut batch = FrameBatch::new(Format::Json);
/// for _ in 0..2 {
///     batch.push_with(|out| encode_client_frame(Format::Json, &ClientFrame::Close, out));
/// }
/// let body = batch.take();
/// assert_eq!(body, "[{\"action\":7},{\"action\":7}]\n");
/// assert_eq!(split_frames(Format::Json, &body).map(|frames| frames.len()), Some(2));
/// ```
pub struct FrameBatch {
    format: Format,
    bytes: Vec<u8>,
    count: u32,
}

impl FrameBatch {
    /// An empty batch, for frames in this format.
    pub fn new(format: Format) -> Self {
        Self { format, bytes: Vec::new(), count: 0 }
    }

    /// Whether there is no frame in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes that the frames take so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a frame, whose encoding `write` appends.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        match (self.format, self.count) {
            (Format::Json, 0) => self.bytes.push(b'['),
            (Format::Json, _) => self.bytes.push(b','),
            (Format::MsgPack, 0) => self.bytes.extend(HEADER),
            (Format::MsgPack, _) => {}
        }
        write(&mut self.bytes);
        self.count += 1;
    }

    /// The array of the frames. In JSON, a line feed follows: it is the end of an array within a stream. The batch is
    /// empty afterwards.
    pub fn take(&mut self) -> Bytes {
        let count = mem::take(&mut self.count);
        let mut bytes = mem::take(&mut self.bytes);
        match self.format {
            Format::Json if count == 0 => bytes.extend(b"[]\n"),
            Format::Json => bytes.extend(b"]\n"),
            Format::MsgPack if count == 0 => bytes.push(0x90),
            Format::MsgPack => bytes[1..HEADER.len()].copy_from_slice(&count.to_be_bytes()),
        }
        bytes.into()
    }
}

impl fmt::Debug for FrameBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBatch")
            .field("format", &self.format)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Splits an array of frames into its frames, which are not decoded yet.
///
/// `None` when the bytes are not one array whose elements are maps, or when it has more than 65,536 of them.
pub fn split_frames(format: Format, bytes: &Bytes) -> Option<Vec<Bytes>> {
    let frames = match format {
        // The decoder of frames checks that each is valid.
        Format::Json => JsonLayout::objects(bytes)?,
        Format::MsgPack => {
            if !MsgPackLayout::is_whole(bytes) {
                return None;
            }
            let frames = each_element::<MsgPackLayout>(bytes, |frame| frame)?;
            let are_maps =
                frames.iter().all(|frame| MsgPackLayout::members(frame, &mut |_, _, _| {}));
            are_maps.then_some(frames)?
        }
    };
    Some(frames.into_iter().map(|frame| bytes.slice_ref(frame)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientFrame, codec};

    #[test]
    fn frames_of_a_batch_are_split_again() {
        for format in [Format::Json, Format::MsgPack] {
            let mut batch = FrameBatch::new(format);
            assert_eq!(split_frames(format, &batch.take()), Some(Vec::new()), "{format:?}");
            for count in [1, 2, 70_000 / 35] {
                let frame = |index: usize| ClientFrame::Heartbeat {
                    id: Some(format!("\"]}},[{{\\ {index}").into()),
                };
                for index in 0..count {
                    batch.push_with(|out| codec::encode_client_frame(format, &frame(index), out));
                }
                let frames = split_frames(format, &batch.take()).expect("it is an array");
                assert!(batch.is_empty() && batch.size() == 0);
                let limits = codec::Limits::default();
                let decode = |bytes| codec::decode_client_frame(format, bytes, &limits);
                let decoded: Vec<_> = frames.iter().map(|bytes| decode(bytes).unwrap()).collect();
                assert_eq!(decoded, (0..count).map(frame).collect::<Vec<_>>(), "{format:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_array_of_maps_are_refused() {
        let json: [&[u8]; 10] =
            [b"", b"{}", b"[", b"[{}", b"[{},]", b"[1]", b"[{}] {}", b"[{]", b"[,{}]", b"]"];
        for bytes in json {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(split_frames(Format::Json, &Bytes::from_static(bytes)), None, "{text}");
        }
        let spaced = Bytes::from_static(b" [ { } ,\n{\"a\":[1,{}]} ]\r\n ");
        let frames = split_frames(Format::Json, &spaced).expect("white space is ignored");
        assert_eq!(frames, ["{ }", "{\"a\":[1,{}]}"]);
        let msgpack: [&[u8]; 5] = [b"", b"\x80", b"\x91", b"\x91\x01", b"\x91\x80\x80"];
        for bytes in msgpack {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(split_frames(Format::MsgPack, &bytes), None, "{bytes:?}");
        }
    }
}
