//! The WebSocket of one client, over its stream.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use capably_protocol::websocket::{
    Broken, Decoder, Event, Kind, Sender, write_close, write_message, write_ping, write_pong,
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    time::timeout,
};

use super::closing::{LINGER, end_stream};
use crate::service::Stream;

/// The least and the most that is read at once.
const READ_SIZES: (usize, usize) = (1024, 32 * 1024);

/// Frames are collected up to this size before they are written.
const WRITE_SIZE: usize = 32 * 1024;

/// The WebSocket of a client. It has buffers only while bytes are in them: most clients of a large server are idle.
#[derive(Debug)]
pub(in crate::front) struct WebSocket {
    stream: Stream,
    decoder: Decoder,
    /// Bytes that were read, and are not a whole frame yet.
    unread: BytesMut,
    /// How much the next read asks for. It follows what the client sends at once, so that one system call reads it all.
    read_size: usize,
    unsent: Vec<u8>,
    /// The room that `unsent` gets: the size of the last batch that was sent, at most [`WRITE_SIZE`].
    batch_size: usize,
    /// How many bytes of `unsent` were sent.
    sent: usize,
    /// The payload of the last PING, until it is answered. Earlier ones need no answer (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    ending: Ending,
}

/// How far the WebSocket is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    /// The client has sent a close frame, with this code.
    ClosedByClient(Option<u16>),
    /// The client has broken the protocol: it gets this code, and nothing from it is read.
    Broken(u16),
}

/// What a client has sent.
#[derive(Debug)]
pub(in crate::front) enum Received {
    Message(Kind, Bytes),
    /// A PING, which is answered by itself, or a PONG.
    Control,
    /// The client has closed the WebSocket or the stream, or the stream has failed.
    End,
    Broken(Broken),
}

impl WebSocket {
    /// The WebSocket of a stream on which the handshake is over. These bytes behind the handshake were read with it.
    pub(super) fn new(stream: Stream, already_read: &Bytes, max_size: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Sender::Client, max_size),
            // A copy: the slice would pin the whole buffer of HTTP.
            unread: BytesMut::from(&already_read[..]),
            read_size: READ_SIZES.0,
            unsent: Vec::new(),
            batch_size: 0,
            sent: 0,
            pong: None,
            ending: Ending::Open,
        }
    }

    /// The address of the client.
    #[cfg(feature = "console")]
    pub(super) fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// The next message of the client.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            if self.ending != Ending::Open {
                return Poll::Ready(Received::End);
            }
            match self.decoder.next(&mut self.unread) {
                Ok(Some(event)) => return Poll::Ready(self.received(event)),
                Ok(None) => {}
                Err(broken) => {
                    self.ending = Ending::Broken(broken.close_code());
                    return Poll::Ready(Received::Broken(broken));
                }
            }
            if !matches!(ready!(self.poll_read(cx)), Ok(1..)) {
                return Poll::Ready(Received::End);
            }
        }
    }

    fn received(&mut self, event: Event) -> Received {
        match event {
            Event::Message(kind, payload) => return Received::Message(kind, payload),
            Event::Ping(payload) => self.pong = Some(Bytes::copy_from_slice(&payload)),
            Event::Pong(_) => {}
            Event::Close(code) => {
                self.ending = Ending::ClosedByClient(code);
                return Received::End;
            }
        }
        Received::Control
    }

    /// Reads more bytes into the buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() && self.stream.poll_read_ready(cx).is_pending() {
            self.unread = BytesMut::new();
            return Poll::Pending;
        }
        // A client that announces a large frame gets room as its bytes arrive.
        let missing = self.decoder.missing(&self.unread);
        let wanted = missing.max(self.read_size).min(READ_SIZES.1);
        self.unread.reserve(wanted);
        let room = self.unread.capacity() - self.unread.len();
        let read = pin!(self.stream.read_buf(&mut self.unread)).poll(cx);
        if read.is_pending() && self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        if let Poll::Ready(Ok(length)) = read {
            let (least, most) = READ_SIZES;
            if length == room {
                self.read_size = (self.read_size * 4).min(most);
            } else if length < self.read_size / 4 {
                self.read_size = (self.read_size / 2).max(least);
            }
        }
        read
    }

    /// Ready when a message can be queued: the client has read enough of those before.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.len() < WRITE_SIZE { Poll::Ready(Ok(())) } else { self.poll_write(cx) }
    }

    /// Queues a message, whose payload `write` appends. It has about the `expected` number of bytes. Returns how many
    /// it has.
    pub(super) fn send(
        &mut self,
        kind: Kind,
        expected: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        if self.unsent.capacity() == 0 {
            self.unsent.reserve(self.batch_size);
        }
        let mut size = 0;
        write_message(kind, expected, None, &mut self.unsent, |out| {
            let before = out.len();
            write(out);
            size = out.len() - before;
        });
        size
    }

    /// Queues a PING.
    pub(super) fn ping(&mut self) {
        write_ping(None, &mut self.unsent);
    }

    /// Whether all that was queued is sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.pong.is_none()
    }

    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.len() >= WRITE_SIZE {
            ready!(self.poll_write(cx))?;
        }
        if let Some(payload) = self.pong.take() {
            write_pong(&payload, None, &mut self.unsent);
        }
        self.poll_write(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        // TLS has a buffer of its own.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.batch_size = self.unsent.len().min(WRITE_SIZE);
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Closes the WebSocket so that the client receives all messages that were queued.
    ///
    /// What the client sends is read and discarded until it closes, too.
    pub(super) async fn close(mut self) {
        let closing = async {
            let code = match self.ending {
                Ending::Open => None,
                Ending::ClosedByClient(code) => code,
                Ending::Broken(code) => Some(code),
            };
            write_close(code, None, &mut self.unsent);
            poll_fn(|cx| self.poll_write(cx)).await?;
            while !matches!(
                poll_fn(|cx| self.poll_receive(cx)).await,
                Received::End | Received::Broken(_)
            ) {}
            end_stream(self.stream).await
        };
        // The client gets no more, whether that has failed or takes too long.
        let _ = timeout(LINGER, closing).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    async fn pair(already_read: &[u8]) -> (TcpStream, WebSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        (client, WebSocket::new(server.into(), &Bytes::copy_from_slice(already_read), 100_000))
    }

    async fn receive(socket: &mut WebSocket) -> Received {
        poll_fn(|cx| socket.poll_receive(cx)).await
    }

    async fn flush(socket: &mut WebSocket) {
        poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_message(Kind::Binary, payload.len(), KEY, &mut out, |out| out.extend(payload));
        out
    }

    /// What the client receives until the stream ends.
    async fn rest(client: &mut TcpStream) -> Vec<u8> {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn every_message_is_received_once_and_in_order() {
        let payload = |index: usize| vec![index as u8; index * index % 40_000];
        let sent: Vec<u8> = (0..400).flat_map(|index| message(&payload(index))).collect();
        let (first, later) = sent.split_at(3000);
        let (mut client, mut socket) = pair(first).await;
        let write = async {
            client.write_all(later).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let read = async {
            for index in 0..400 {
                match receive(&mut socket).await {
                    Received::Message(Kind::Binary, found) => {
                        assert!(found == payload(index), "message {index}");
                    }
                    other => panic!("message {index} is {other:?}"),
                }
            }
            assert!(matches!(receive(&mut socket).await, Received::End));
        };
        tokio::join!(write, read);
    }

    #[tokio::test]
    async fn an_idle_client_has_no_buffers() {
        let (mut client, mut socket) = pair(&[]).await;
        for size in [10, 50_000, 10] {
            client.write_all(&message(&vec![7; size])).await.unwrap();
            assert!(matches!(receive(&mut socket).await, Received::Message(..)));
            poll_fn(|cx| {
                assert!(socket.poll_receive(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(socket.unread.capacity(), 0, "after {size} bytes");
        }
        let read = tokio::spawn(async move { rest(&mut client).await.len() });
        for size in [10, 90_000] {
            socket.send(Kind::Binary, size, |out| out.resize(out.len() + size, 7));
            flush(&mut socket).await;
            assert_eq!(socket.unsent.capacity(), 0, "after {size} bytes");
        }
        socket.send(Kind::Binary, 10, |out| out.extend([7; 10]));
        assert!(socket.unsent.capacity() <= 2 * WRITE_SIZE, "a long message needs no room again");
        flush(&mut socket).await;
        drop(socket);
        assert_eq!(read.await.unwrap(), 2 + 10 + 10 + 90_000 + 2 + 10);
    }

    #[tokio::test]
    async fn reads_follow_what_the_client_sends_at_once() {
        let (mut client, mut socket) = pair(&[]).await;
        let burst = message(&[7; 100]).repeat(1500);
        client.write_all(&burst).await.unwrap();
        for _ in 0..1500 {
            assert!(matches!(receive(&mut socket).await, Received::Message(..)));
        }
        assert!(
            socket.read_size > READ_SIZES.0,
            "a client that sends much is read in large pieces"
        );
        for _ in 0..20 {
            client.write_all(&message(&[7; 100])).await.unwrap();
            assert!(matches!(receive(&mut socket).await, Received::Message(..)));
        }
        assert_eq!(socket.read_size, READ_SIZES.0);
    }

    /// The length in a header costs a client nothing, so it reserves nothing.
    #[tokio::test]
    async fn a_frame_that_is_only_announced_takes_little_memory() {
        let (mut client, mut socket) = pair(&[]).await;
        client.write_all(&message(&[7; 99_000])[..20]).await.unwrap();
        poll_fn(|cx| {
            assert!(socket.poll_receive(cx).is_pending());
            if socket.unread.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        assert!(socket.unread.capacity() <= 2 * READ_SIZES.1, "{}", socket.unread.capacity());
    }

    #[tokio::test]
    async fn the_last_ping_is_answered() {
        let (mut client, mut socket) = pair(&[]).await;
        let ping = |byte: u8| [0x89, 0x81, 0, 0, 0, 0, byte];
        client.write_all(&[ping(b'a'), ping(b'b')].concat()).await.unwrap();
        assert!(matches!(receive(&mut socket).await, Received::Control));
        assert!(matches!(receive(&mut socket).await, Received::Control));
        assert!(!socket.is_flushed());
        flush(&mut socket).await;
        assert!(socket.is_flushed());
        drop(socket);
        assert_eq!(rest(&mut client).await, b"\x8a\x01b");
    }

    #[tokio::test]
    async fn a_client_receives_all_before_the_close_frame_and_the_code_it_gave() {
        let (mut client, mut socket) = pair(&[]).await;
        client.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
        assert!(matches!(receive(&mut socket).await, Received::End));
        socket.send(Kind::Text, 2, |out| out.extend(b"hi"));
        let (closed, received) = tokio::join!(socket.close(), async {
            let mut received = [0; 8];
            client.read_exact(&mut received).await.unwrap();
            drop(client);
            received
        });
        let () = closed;
        assert_eq!(&received, b"\x81\x02hi\x88\x02\x03\xe8");
    }

    #[tokio::test]
    async fn a_client_that_breaks_the_protocol_is_told_the_code() {
        let table: [(&[u8], u16); 3] = [
            (b"\x81\x02hi", 1002),
            (b"\xf1\x80\0\0\0\0", 1002),
            (b"\x82\xff\0\0\0\0\0\x02\0\0\0\0\0\0", 1009),
        ];
        for (sent, code) in table {
            let (mut client, mut socket) = pair(sent).await;
            assert!(matches!(receive(&mut socket).await, Received::Broken(_)), "{sent:?}");
            assert!(
                matches!(receive(&mut socket).await, Received::End),
                "nothing is read any more"
            );
            let closing = socket.close();
            let read = async {
                let mut received = [0; 4];
                client.read_exact(&mut received).await.unwrap();
                drop(client);
                received
            };
            let ((), received) = tokio::join!(closing, read);
            assert_eq!(received[..2], [0x88, 2]);
            assert_eq!(received[2..], code.to_be_bytes());
        }
    }
}
