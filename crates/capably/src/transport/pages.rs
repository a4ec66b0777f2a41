//! Memory for frames that were read.

use bytes::{Buf, Bytes, BytesMut};

/// Small frames are copied out of the read buffer into pages of this size, in bytes, so that a message keeps at most a
/// page alive.
pub(super) const PAGE: usize = 4 * 1024;

/// The shortest frame that is a slice of the read buffer, in bytes. A shorter one would keep many times its size alive.
const SHARED: usize = 16 * 1024;

/// The memory of small frames.
#[derive(Default)]
pub(super) struct Pages {
    /// The free rest of the current page.
    free: BytesMut,
}

impl Pages {
    /// Takes a frame of this size from the front of a buffer.
    #[inline]
    pub(super) fn take(&mut self, buffer: &mut BytesMut, size: usize) -> Bytes {
        if size >= SHARED {
            return buffer.split_to(size).freeze();
        }
        let copy = self.copy(&buffer[..size]);
        buffer.advance(size);
        copy
    }

    /// A frame that is a slice of a buffer, as a copy if it is small.
    pub(super) fn own(&mut self, frame: Bytes) -> Bytes {
        if frame.len() >= SHARED { frame } else { self.copy(&frame) }
    }

    #[inline]
    fn copy(&mut self, frame: &[u8]) -> Bytes {
        if frame.len() > PAGE / 2 {
            return Bytes::copy_from_slice(frame);
        }
        if self.free.capacity() < frame.len() {
            self.free = BytesMut::with_capacity(PAGE);
        }
        self.free.extend_from_slice(frame);
        self.free.split().freeze()
    }
}
