//! The TCP stream under a WebSocket, which reads ahead while the client sends much.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How much is read at once from a client that sends much.
const AHEAD: usize = 16 * 1024;

/// The stream of a client.
///
/// The buffer of a WebSocket exists for as long as the WebSocket, so it is small. Reading through it alone would take a
/// system call for every few frames. This stream has a large buffer while the client fills the small one, and none while
/// the client is idle.
#[derive(Debug)]
pub(super) struct ClientStream {
    tcp: TcpStream,
    /// Bytes that were read from the socket, and not yet by the WebSocket.
    ahead: BytesMut,
    /// Whether the last read filled the buffer it was given, so that more is likely to wait.
    is_busy: bool,
}

impl ClientStream {
    /// The stream of a socket from which these bytes were read before.
    pub(super) fn new(tcp: TcpStream, already_read: &Bytes) -> Self {
        // A copy: the slice would pin the whole buffer of HTTP.
        Self { tcp, ahead: BytesMut::from(&already_read[..]), is_busy: false }
    }

    /// Reads from the socket into the large buffer.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(AHEAD);
        let read = pin!(self.tcp.read_buf(&mut self.ahead)).poll(cx);
        self.is_busy = matches!(read, Poll::Ready(Ok(1..)));
        if !self.is_busy {
            self.ahead = BytesMut::new();
        }
        read
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            if !self.is_busy {
                let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
                self.is_busy = read.is_ready() && buffer.remaining() == 0;
                return read;
            }
            ready!(self.poll_read_ahead(cx))?;
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        if self.ahead.is_empty() && !self.is_busy {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn every_byte_is_read_once_and_in_order() {
        let (mut client, server) = pair().await;
        let sent: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        let (first, rest) = sent.split_at(3000);
        let mut stream = ClientStream::new(server, &Bytes::copy_from_slice(first));
        let (mut read, mut buffer) = (Vec::new(), vec![0; 1000]);
        let write = async {
            client.write_all(rest).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let receive = async {
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                if length == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..length]);
            }
        };
        tokio::join!(write, receive);
        assert!(read == sent, "{} of {} bytes", read.len(), sent.len());
    }

    #[tokio::test]
    async fn an_idle_client_has_no_large_buffer() {
        let (mut client, server) = pair().await;
        let mut stream = ClientStream::new(server, &Bytes::new());
        let mut buffer = vec![0; 1000];
        client.write_all(&[7; 500]).await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 500);
        assert_eq!(stream.ahead.capacity(), 0, "the small buffer was enough");
        client.write_all(&[7; 5000]).await.unwrap();
        let mut whole = vec![0; 5000];
        for part in whole.chunks_mut(1000) {
            stream.read_exact(part).await.unwrap();
        }
        assert!(stream.is_busy, "there was more than fits into the small buffer");
        let mut read = pin!(stream.read(&mut buffer));
        std::future::poll_fn(|cx| {
            assert!(read.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(stream.ahead.capacity(), 0);
    }
}
