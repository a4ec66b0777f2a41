//! A frame on its way to many transports.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use capably_protocol::{Format, codec};

use super::Entry;
use super::volume::Volume;

/// An entry of a channel's log as it is sent: encoded at most once in each format, by whoever needs it
/// first, and shared by all. The log keeps the entry and not the encodings.
pub(crate) struct Broadcast {
    entry: Arc<Entry>,
    json: OnceLock<Bytes>,
    msgpack: OnceLock<Bytes>,
}

impl Broadcast {
    pub(crate) fn new(entry: Arc<Entry>) -> Arc<Self> {
        Arc::new(Self { entry, json: OnceLock::new(), msgpack: OnceLock::new() })
    }

    /// About how many bytes the frame has.
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

    /// How many items it has, and how many bytes of payload.
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
