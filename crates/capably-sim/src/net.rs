//! The network: the byte streams of WebSockets, which can be cut at any byte.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use capably_protocol::{
    Format,
    websocket::{Decoder, Event, Kind, Sender, write_message, write_ping},
};

/// The mask of all clients. A real one is random; decoders do not care.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0xe8];

/// The largest message that either side reads.
const MAX_SIZE: usize = 16 * 1024 * 1024;

/// Bytes in one direction.
#[derive(Debug)]
pub(crate) struct Stream {
    sender: Sender,
    /// The bytes on their way, with the times of their arrival.
    flying: VecDeque<(Duration, Vec<u8>)>,
    /// The time of the last arrival: bytes arrive in their order.
    last: Duration,
    received: BytesMut,
    decoder: Decoder,
    /// Nothing is written any more.
    is_cut: bool,
    /// Nothing arrives any more.
    is_dead: bool,
}

impl Stream {
    pub(crate) fn new(sender: Sender) -> Self {
        Self {
            sender,
            flying: VecDeque::new(),
            last: Duration::ZERO,
            received: BytesMut::new(),
            decoder: Decoder::new(sender, MAX_SIZE),
            is_cut: false,
            is_dead: false,
        }
    }

    /// Writes payloads, each as a message. Returns the time of their arrival.
    pub(crate) fn write(&mut self, format: Format, payloads: &[Bytes], at: Duration) -> Duration {
        let mask = (self.sender == Sender::Client).then_some(MASK);
        let kind = match format {
            Format::Json => Kind::Text,
            Format::MsgPack => Kind::Binary,
        };
        let mut bytes = Vec::new();
        for payload in payloads {
            write_message(kind, payload.len(), mask, &mut bytes, |out| {
                out.extend_from_slice(payload);
            });
        }
        self.send(bytes, at)
    }

    /// Writes a ping.
    pub(crate) fn ping(&mut self, at: Duration) -> Duration {
        let mut bytes = Vec::new();
        write_ping((self.sender == Sender::Client).then_some(MASK), &mut bytes);
        self.send(bytes, at)
    }

    fn send(&mut self, bytes: Vec<u8>, at: Duration) -> Duration {
        self.last = self.last.max(at);
        if !self.is_cut && !self.is_dead {
            self.flying.push_back((self.last, bytes));
        }
        self.last
    }

    /// The messages that have arrived by now. Pings are `None`.
    ///
    /// # Panics
    /// When the bytes are no WebSocket.
    pub(crate) fn arrive(&mut self, now: Duration) -> Vec<Option<Bytes>> {
        while let Some((at, _)) = self.flying.front()
            && *at <= now
            && let Some((_, bytes)) = self.flying.pop_front()
        {
            self.received.extend_from_slice(&bytes);
        }
        let mut messages = Vec::new();
        while let Some(event) = self.decoder.next(&mut self.received).expect("a WebSocket") {
            match event {
                Event::Message(_, payload) => messages.push(Some(payload)),
                Event::Ping(_) => messages.push(None),
                Event::Pong(_) | Event::Close(_) => {}
            }
        }
        messages
    }

    /// Cuts the stream: so many per mille of the bytes on their way arrive. Returns the time after the last of them.
    pub(crate) fn cut(&mut self, per_mille: u64, now: Duration) -> Duration {
        self.is_cut = true;
        let flying: usize = self.flying.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut kept = flying * usize::try_from(per_mille).unwrap_or(0) / 1000;
        for (_, bytes) in &mut self.flying {
            bytes.truncate(kept);
            kept -= bytes.len();
        }
        self.flying.retain(|(_, bytes)| !bytes.is_empty());
        self.flying.back().map_or(now, |(at, _)| *at)
    }

    /// The bytes of the stream vanish from now on.
    pub(crate) fn die(&mut self) {
        self.is_dead = true;
        self.flying.clear();
    }
}
