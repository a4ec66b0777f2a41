//! An open WebSocket over a stream of bytes.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use capably_protocol::{
    ErrorCode, Format,
    websocket::{
        Broken, Decoder, Event, Kind, Sender, write_close, write_message, write_ping, write_pong,
    },
};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{Io, Packet, WebSocket, lost};
use crate::{Error, Result, random, transport::pages::Pages};

/// The least and the most that is read at once, in bytes: an idle client needs little memory, and a burst is read in
/// few calls.
const READ_SIZES: (usize, usize) = (4 * 1024, 64 * 1024);

/// How many bytes are buffered before they are written without a flush.
const WRITE_BUFFER: usize = 64 * 1024;

/// How many PONGs wait to be sent at most.
const MOST_PONGS: usize = 64;

/// A WebSocket with the framing of [`capably_protocol::websocket`].
pub(super) struct FramedSocket {
    stream: Box<dyn Io>,
    decoder: Decoder,
    /// Bytes that were read, and are not a whole frame yet.
    unread: BytesMut,
    /// How many bytes the next read asks for. It follows what the service sends at once.
    read_size: usize,
    pages: Pages,
    unsent: Vec<u8>,
    /// How many bytes of `unsent` were sent.
    sent: usize,
    /// The size of the last packet: the next one is likely to have as many digits in its header.
    packet_size: usize,
    masks: Masks,
    /// The number of PONGs in `unsent` that no flush has sent.
    pongs: usize,
}

impl fmt::Debug for FramedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramedSocket").finish_non_exhaustive()
    }
}

impl FramedSocket {
    /// A socket on a stream whose handshake is over. The bytes in `unread` came behind the handshake.
    pub(super) fn new(stream: Box<dyn Io>, unread: BytesMut, max_frame_size: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Sender::Server, max_frame_size),
            unread,
            read_size: READ_SIZES.0,
            pages: Pages::default(),
            unsent: Vec::new(),
            sent: 0,
            packet_size: 0,
            masks: Masks::new(),
            pongs: 0,
        }
    }
}

impl WebSocket for FramedSocket {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<()>> {
        let before = packets.len();
        loop {
            let received = self.take_packets(packets, before + limit);
            // Peers measure the time until a PONG, so it does not wait for the next flush.
            // A stream that cannot be written may still have frames to read, and then reports its end.
            if self.pongs > 0 && self.poll_flush(cx).is_ready() {
                self.pongs = 0;
            }
            received?;
            if packets.len() > before {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(closed()));
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.unsent.len() < WRITE_BUFFER { Poll::Ready(Ok(())) } else { self.poll_write(cx) }
    }

    fn send(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::Text(text) => {
                check_text(&text)?;
                self.send_with(Format::Json, &mut |out| out.extend_from_slice(&text))
            }
            Packet::Binary(bytes) => {
                self.send_with(Format::MsgPack, &mut |out| out.extend_from_slice(&bytes))
            }
            Packet::Ping => {
                write_ping(Some(self.masks.next()?), &mut self.unsent);
                Ok(())
            }
        }
    }

    fn send_with(&mut self, format: Format, write: &mut dyn FnMut(&mut Vec<u8>)) -> Result<()> {
        let kind = match format {
            Format::Json => Kind::Text,
            Format::MsgPack => Kind::Binary,
        };
        let key = Some(self.masks.next()?);
        let before = self.unsent.len();
        write_message(kind, self.packet_size, key, &mut self.unsent, write);
        self.packet_size = self.unsent.len() - before;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_write(cx))?;
        self.pongs = 0;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(lost)
    }

    fn close(&mut self) {
        self.close_with(None);
    }
}

impl FramedSocket {
    /// Moves whole frames from the read buffer to `packets`, until those are `enough`.
    fn take_packets(&mut self, packets: &mut Vec<Packet>, enough: usize) -> Result<()> {
        while packets.len() < enough {
            let pages = &mut self.pages;
            let event =
                self.decoder.next_with(&mut self.unread, |buffer, size| pages.take(buffer, size));
            packets.push(match event {
                Ok(None) => break,
                Ok(Some(Event::Message(Kind::Binary, bytes))) => Packet::Binary(bytes),
                Ok(Some(Event::Message(Kind::Text, text))) => match check_text(&text) {
                    Ok(()) => Packet::Text(text),
                    Err(error) => {
                        self.close_with(Some(NOT_UTF_8));
                        return Err(error);
                    }
                },
                Ok(Some(Event::Ping(payload))) => {
                    // A peer that sends PINGs and reads nothing must not fill the memory.
                    if self.pongs < MOST_PONGS {
                        write_pong(&payload, Some(self.masks.next()?), &mut self.unsent);
                        self.pongs += 1;
                    }
                    Packet::Ping
                }
                Ok(Some(Event::Pong(_))) => Packet::Ping,
                Ok(Some(Event::Close(code))) => {
                    self.close_with(code);
                    return Err(closed());
                }
                Err(broken) => {
                    self.close_with(Some(broken.close_code()));
                    return Err(violated(&broken));
                }
            });
        }
        Ok(())
    }

    /// Reads more bytes into the buffer. Returns their number, which is 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        // A service that announces a large frame gets room as its bytes arrive.
        let missing = self.decoder.missing(&self.unread);
        let (least, most) = READ_SIZES;
        self.unread.reserve(missing.max(self.read_size).min(most));
        let room = self.unread.capacity() - self.unread.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.unread)).poll(cx)).map_err(lost)?;
        if read == room {
            self.read_size = (self.read_size * 4).min(most);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(least);
        }
        Poll::Ready(Ok(read))
    }

    /// Writes the buffered bytes to the stream.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.sent < self.unsent.len() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]);
            match ready!(written).map_err(lost)? {
                0 => return Poll::Ready(Err(lost(std::io::ErrorKind::WriteZero.into()))),
                written => self.sent += written,
            }
        }
        self.unsent.clear();
        // A large packet must not keep its memory for the rest of the connection.
        self.unsent.shrink_to(2 * WRITE_BUFFER);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends a close frame, if that is possible at once. A peer that does not take it notices the closed socket.
    fn close_with(&mut self, code: Option<u16>) {
        let Ok(key) = self.masks.next() else { return };
        write_close(code, Some(key), &mut self.unsent);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Ok(())) = self.poll_write(cx) {
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
    }
}

/// The keys that mask frames. They are unpredictable (RFC 6455, 10.3), and fetched from the system by the dozen.
struct Masks {
    bytes: [u8; 256],
    used: usize,
}

impl Masks {
    fn new() -> Self {
        Self { bytes: [0; 256], used: 256 }
    }

    #[inline]
    fn next(&mut self) -> Result<[u8; 4]> {
        if let Some(key) = self.bytes.get(self.used..).and_then(|rest| rest.first_chunk()) {
            self.used += key.len();
            return Ok(*key);
        }
        self.bytes = random::bytes()?;
        self.used = 4;
        let [a, b, c, d, ..] = self.bytes;
        Ok([a, b, c, d])
    }
}

/// The code of a close frame after text that is not UTF-8 (RFC 6455, 7.4.1).
const NOT_UTF_8: u16 = 1007;

fn check_text(text: &[u8]) -> Result<()> {
    match str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(protocol_error("a text frame must be UTF-8".to_owned())),
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::CONNECTION_DISCONNECTED, 0, "the server closed the socket")
}

fn violated(broken: &Broken) -> Error {
    protocol_error(match broken {
        Broken::TooLarge { limit } => format!("a frame has more bytes than the limit of {limit}"),
        Broken::Protocol(reason) => {
            format!("the peer violated the WebSocket protocol: {reason}")
        }
    })
}

fn protocol_error(message: String) -> Error {
    Error::new(ErrorCode::PROTOCOL_ERROR, 400, message)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::transport::pages::PAGE;

    const MAX_FRAME_SIZE: usize = 100_000;

    fn pair(unread: &[u8]) -> (DuplexStream, FramedSocket) {
        let (peer, stream) = duplex(200_000);
        (peer, FramedSocket::new(Box::new(stream), BytesMut::from(unread), MAX_FRAME_SIZE))
    }

    /// A frame of the peer, which masks nothing.
    fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_message(kind, payload.len(), None, &mut out, |out| out.extend_from_slice(payload));
        out
    }

    /// The packets until `count` have arrived or the socket has ended.
    async fn receive(
        socket: &mut FramedSocket,
        count: usize,
    ) -> (Vec<Packet>, Option<(u32, String)>) {
        let mut packets = Vec::new();
        while packets.len() < count {
            let limit = count - packets.len();
            let received = poll_fn(|cx| socket.poll_receive(cx, &mut packets, limit)).await;
            if let Err(error) = received {
                return (packets, Some((error.code().0, error.to_string())));
            }
        }
        (packets, None)
    }

    /// What the peer receives, unmasked.
    async fn sent_to(peer: &mut DuplexStream, count: usize) -> Vec<Event> {
        let mut decoder = Decoder::new(Sender::Client, MAX_FRAME_SIZE);
        let (mut buffer, mut events) = (BytesMut::new(), Vec::new());
        while events.len() < count {
            match decoder.next(&mut buffer).unwrap() {
                Some(event) => events.push(event),
                None => assert_ne!(peer.read_buf(&mut buffer).await.unwrap(), 0),
            }
        }
        events
    }

    #[tokio::test]
    async fn packets_of_any_size_arrive_in_order() {
        let payloads: Vec<Vec<u8>> =
            (0..300_usize).map(|index| vec![index as u8; index * index % 40_000]).collect();
        let bytes: Vec<u8> =
            payloads.iter().flat_map(|payload| frame(Kind::Binary, payload)).collect();
        let (mut peer, mut socket) = pair(&bytes[..1000]);
        let write = async {
            peer.write_all(&bytes[1000..]).await.unwrap();
            drop(peer);
        };
        let (_, (packets, end)) = tokio::join!(write, receive(&mut socket, usize::MAX));
        let expected: Vec<_> =
            payloads.into_iter().map(|payload| Packet::Binary(payload.into())).collect();
        assert!(packets == expected);
        assert_eq!(end.map(|(code, _)| code), Some(80003));
    }

    #[tokio::test]
    async fn a_batch_has_at_most_as_many_packets_as_are_asked_for() {
        let (_peer, mut socket) = pair(&frame(Kind::Text, b"a").repeat(5));
        for expected in [2, 2, 1] {
            let mut packets = Vec::new();
            poll_fn(|cx| socket.poll_receive(cx, &mut packets, 2)).await.unwrap();
            assert_eq!(packets, vec![Packet::Text("a".into()); expected]);
        }
    }

    #[tokio::test]
    async fn a_packet_in_fragments_arrives_whole() {
        let bytes = b"\x01\x03hel\x89\x01p\x00\x01l\x80\x01o";
        let (mut peer, mut socket) = pair(bytes);
        let (packets, _) = receive(&mut socket, 2).await;
        assert_eq!(packets, [Packet::Ping, Packet::Text("hello".into())]);
        assert_eq!(sent_to(&mut peer, 1).await, [Event::Pong("p".into())]);
    }

    #[tokio::test]
    async fn pings_of_a_peer_that_does_not_read_do_not_fill_the_memory() {
        let (mut peer, stream) = duplex(100);
        let pings = b"\x89\x04ping".repeat(10_000);
        let mut socket = FramedSocket::new(Box::new(stream), pings[..].into(), MAX_FRAME_SIZE);
        let (packets, _) = receive(&mut socket, 10_000).await;
        assert_eq!(packets.len(), 10_000);
        assert!(socket.unsent.len() < 2000, "{} bytes", socket.unsent.len());
        let flush = poll_fn(|cx| socket.poll_flush(cx));
        let (flushed, events) = tokio::join!(flush, sent_to(&mut peer, MOST_PONGS));
        flushed.unwrap();
        assert_eq!(events, vec![Event::Pong("ping".into()); MOST_PONGS]);
    }

    /// A stored message must not keep a read buffer alive.
    #[tokio::test]
    async fn small_packets_share_pages_and_not_the_read_buffer() {
        let (_peer, mut socket) = pair(&frame(Kind::Binary, &[7; 300]).repeat(40));
        let (packets, _) = receive(&mut socket, 40).await;
        let starts: Vec<usize> = packets
            .iter()
            .map(|packet| match packet {
                Packet::Binary(bytes) => bytes.as_ptr() as usize,
                other => panic!("not binary: {other:?}"),
            })
            .collect();
        let pages = starts.windows(2).filter(|pair| pair[1] != pair[0] + 300).count() + 1;
        assert_eq!(pages, 40_usize.div_ceil(PAGE / 300));
        assert!(socket.unread.is_empty());
        assert!(socket.unread.try_reclaim(READ_SIZES.0), "no packet shares the read buffer");
    }

    #[tokio::test]
    async fn packets_are_sent_masked_and_in_order() {
        let (mut peer, mut socket) = pair(&[]);
        socket.send(Packet::Text("{}".into())).unwrap();
        // Keys are fetched by the dozen.
        for size in 0..200_usize {
            socket
                .send_with(Format::MsgPack, &mut |out| out.resize(out.len() + size * size, 7))
                .unwrap();
        }
        socket.send(Packet::Ping).unwrap();
        let flush = async {
            poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
        };
        let (_, events) = tokio::join!(flush, sent_to(&mut peer, 202));
        assert_eq!(events[0], Event::Message(Kind::Text, "{}".into()));
        for size in 0..200_usize {
            let payload = vec![7; size * size];
            assert!(events[size + 1] == Event::Message(Kind::Binary, payload.into()), "{size}");
        }
        assert_eq!(events[201], Event::Ping(Bytes::new()));
    }

    #[test]
    fn masks_do_not_repeat() {
        let mut masks = Masks::new();
        let keys: Vec<_> = (0..130).map(|_| masks.next().unwrap()).collect();
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert!(different.len() > 120, "{keys:?}");
    }

    #[tokio::test]
    async fn there_is_room_until_the_buffer_is_full() {
        let (mut peer, stream) = duplex(1000);
        let mut socket = FramedSocket::new(Box::new(stream), BytesMut::new(), MAX_FRAME_SIZE);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut packets = 0;
        while socket.poll_ready(cx).is_ready() {
            socket.send(Packet::Binary(vec![7; 10_000].into())).unwrap();
            packets += 1;
        }
        assert_eq!(packets, 7);
        let flush = poll_fn(|cx| socket.poll_flush(cx));
        let (flushed, events) = tokio::join!(flush, sent_to(&mut peer, packets));
        flushed.unwrap();
        assert_eq!(events.len(), packets);
        assert!(socket.poll_ready(cx).is_ready());
    }

    #[tokio::test]
    async fn an_end_has_its_error_and_its_close_frame() {
        let table: [(&[u8], u32, &str, Option<u16>); 6] = [
            (b"\x88\x02\x03\xe8", 80003, "closed the socket", Some(1000)),
            (b"\x88\x00", 80003, "closed the socket", None),
            (b"\x81\x01\xff", 80013, "UTF-8", Some(1007)),
            (b"\xc1\x00", 80013, "violated the WebSocket protocol", Some(1002)),
            (b"\x81\x80\0\0\0\0", 80013, "violated the WebSocket protocol", Some(1002)),
            (b"\x82\x7f\0\0\0\0\0\x02\0\0", 80013, "limit of 100000", Some(1009)),
        ];
        for (bytes, code, text, close) in table {
            let before = frame(Kind::Binary, b"before");
            let (mut peer, mut socket) = pair(&[&before, bytes].concat());
            let (packets, end) = receive(&mut socket, 2).await;
            assert_eq!(packets, [Packet::Binary("before".into())], "{bytes:x?}");
            let end = end.unwrap();
            assert_eq!(end.0, code, "{bytes:x?}");
            assert!(end.1.contains(text), "{end:?}");
            assert_eq!(sent_to(&mut peer, 1).await, [Event::Close(close)], "{bytes:x?}");
        }
    }
}
