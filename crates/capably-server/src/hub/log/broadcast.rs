//! Broadcasts: one frame for many transports.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use capably_protocol::{Format, codec};

use super::Entry;
use super::volume::Volume;

/// An entry on its way to transports. It is encoded at most once in each format, and all transports share the bytes. The
/// log has the entry only: encodings would double its memory.
pub(crate) struct Broadcast {
    entry: Arc<Entry>,
    json: OnceLock<Bytes>,
    msgpack: OnceLock<Bytes>,
}

impl Broadcast {
    pub(crate) fn new(entry: Arc<Entry>) -> Arc<Self> {
        Arc::new(Self { entry, json: OnceLock::new(), msgpack: OnceLock::new() })
    }

    /// The approximate size of the frame, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.entry.size()
    }

    /// The frame in this format.
    pub(crate) fn encoded(&self, format: Format) -> Bytes {
        let cell = match format {
            Format::Json => &self.json,
            Format::MsgPack => &self.msgpack,
        };
        cell.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.size());
            codec::encode_server_frame(format, self.entry.frame(), &mut bytes);
            bytes.into()
        })
        .clone()
    }

    /// The number of items, and the size of their payloads.
    pub(crate) fn volume(&self) -> Volume {
        self.entry.volume()
    }

    /// The frame itself.
    pub(crate) fn frame(&self) -> &capably_protocol::ServerFrame {
        self.entry.frame()
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("size", &self.size()).finish_non_exhaustive()
    }
}
