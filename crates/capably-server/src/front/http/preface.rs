//! The first bytes of a connection, which tell HTTP/2 from HTTP/1.1.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every client of HTTP/2 sends first. No request of HTTP/1.1 begins like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the head of a usual request, so that looking at its first bytes costs no extra call of the system.
const FIRST_READ: usize = 2048;

/// The version of HTTP that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Waits for the first bytes, and returns the stream as if nothing had been read from it.
///
/// Only these bytes count, also after TLS has negotiated `h2`: a client that did must send the preface anyway.
///
/// # Errors
/// Those of the stream, and [`io::ErrorKind::UnexpectedEof`] when it ends before its first byte.
pub(super) async fn recognize<S>(mut stream: S) -> io::Result<(Version, Rewound<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let version = loop {
        let read = stream.read_buf(&mut first).await?;
        if first.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = first.len().min(PREFACE.len());
        if read == 0 || first[..compared] != PREFACE[..compared] {
            break Version::Http1;
        }
        if compared == PREFACE.len() {
            break Version::Http2;
        }
    };
    Ok((version, Rewound { first: first.freeze(), stream }))
}

/// A stream whose first bytes have been read already, and are read once more.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    first: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    /// The first bytes that were not read again, and the stream.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.first, self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let taken = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        if self.first.is_empty() {
            // Else the allocation would stay for as long as the connection.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn recognized(pieces: &[&[u8]]) -> (io::Result<Version>, Vec<u8>) {
        // One byte at a time at most reaches the reader before it asks for more.
        let (mut near, far) = duplex(1);
        let writing = async move {
            for piece in pieces {
                near.write_all(piece).await.unwrap();
            }
        };
        let reading = async {
            let (version, mut stream) = match recognize(far).await {
                Ok(recognized) => recognized,
                Err(problem) => return (Err(problem), Vec::new()),
            };
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            (Ok(version), read)
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn the_whole_preface_makes_it_http_2_and_every_byte_is_read_again() {
        let frames = [PREFACE, b"rest"].concat();
        for (sent, version) in [
            (&frames[..], Version::Http2),
            (b"GET / HTTP/1.1\r\n\r\n", Version::Http1),
            // As far as the method, these begin as the preface does.
            (b"PUT / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"PRI / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Version::Http1),
            (b"PRI * HTTP", Version::Http1),
        ] {
            let (recognized, read) = recognized(&[sent]).await;
            assert_eq!(recognized.unwrap(), version, "{}", String::from_utf8_lossy(sent));
            assert_eq!(read, sent);
        }
    }

    #[tokio::test]
    async fn a_stream_without_a_byte_is_no_http() {
        let (recognized, _) = recognized(&[]).await;
        assert_eq!(recognized.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
