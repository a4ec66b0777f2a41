//! Broadcasts: one frame for many transports.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use capably_protocol::{Format, ServerFrame, codec};

use super::Entry;
use super::volume::Volume;

/// An entry on its way to transports. It is encoded at most once in each format, and all transports share the bytes. The
/// log has the entry only: encodings would double its memory.
pub(crate) struct Broadcast {
    entry: Arc<Entry>,
    /// The size of the entry. Here, so that a session that takes the broadcast need not fetch the entry from another
    /// processor's cache for it.
    size: usize,
    json: OnceLock<Vec<u8>>,
    msgpack: OnceLock<Vec<u8>>,
    /// The items in another form, one text each.
    rendered: OnceLock<Vec<String>>,
}

impl Broadcast {
    pub(crate) fn new(entry: Arc<Entry>) -> Arc<Self> {
        let size = entry.size();
        Arc::new(Self {
            entry,
            size,
            json: OnceLock::new(),
            msgpack: OnceLock::new(),
            rendered: OnceLock::new(),
        })
    }

    /// The approximate size of the frame, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The frame in this format, to share with other transports. `None` if no other transport wants it, and none has: then
    /// [`write`](Self::write) it where it is sent from.
    pub(crate) fn encoded(self: &Arc<Self>, format: Format) -> Option<&[u8]> {
        let cell = match format {
            Format::Json => &self.json,
            Format::MsgPack => &self.msgpack,
        };
        if Arc::strong_count(self) == 1 {
            return cell.get().map(|bytes| &**bytes);
        }
        Some(cell.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.size());
            self.write(format, &mut bytes);
            bytes
        }))
    }

    /// Appends the frame in this format.
    pub(crate) fn write(&self, format: Format, out: &mut Vec<u8>) {
        codec::encode_server_frame(format, self.entry.frame(), out);
    }

    /// The items as `render` makes them from the frame, one text each. They are made once, and all transports share them.
    pub(crate) fn rendered(&self, render: impl FnOnce(&ServerFrame) -> Vec<String>) -> &[String] {
        self.rendered.get_or_init(|| render(self.frame()))
    }

    /// The number of items, and the size of their payloads.
    pub(crate) fn volume(&self) -> Volume {
        self.entry.volume()
    }

    /// The frame itself.
    pub(crate) fn frame(&self) -> &ServerFrame {
        self.entry.frame()
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("size", &self.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capably_protocol::{Message, frame::Delivery};

    use super::*;
    use crate::hub::log::position::Position;

    #[test]
    fn transports_share_the_bytes_and_the_last_one_needs_none() {
        for format in [Format::Json, Format::MsgPack] {
            let delivery = Delivery::new("a", vec![Message::new("n", "text")]);
            let broadcast = Broadcast::new(Entry::new(Position(1), Duration::ZERO, delivery));
            assert_eq!(broadcast.encoded(format), None, "nobody else wants the bytes");
            let mut written = Vec::new();
            broadcast.write(format, &mut written);

            let other = Arc::clone(&broadcast);
            let first = other.encoded(format).unwrap();
            let second = broadcast.encoded(format).unwrap();
            assert_eq!(first, written, "{format:?}");
            assert_eq!(first.as_ptr(), second.as_ptr(), "encoded once");
            drop(other);
            assert_eq!(broadcast.encoded(format), Some(&*written), "the bytes are there already");
        }
    }
}
