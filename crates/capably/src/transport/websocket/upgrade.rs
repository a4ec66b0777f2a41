//! The opening handshake of a WebSocket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use capably_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error as WsError, client::IntoClientRequest},
};

use super::{DialRequest, Io};
use crate::{Error, Result};

/// Asks the server for a WebSocket on this stream. Returns the stream, and the bytes behind the server's answer that
/// were read with it: a service may send its first frame at once.
///
/// # Errors
/// Code 80000 when the server refuses, with the status of its answer.
pub(super) async fn upgrade(
    request: &DialRequest,
    stream: Box<dyn Io>,
) -> Result<(Box<dyn Io>, BytesMut)> {
    let question = request.url().into_client_request().map_err(handshake_failed)?;
    let recorder = Recorder { stream, read: Vec::new() };
    let (socket, _) = client_async(question, recorder).await.map_err(handshake_failed)?;
    let Recorder { stream, read } = socket.into_inner();
    let unread = BytesMut::from(&read[head_length(&read)..]);
    Ok((stream, unread))
}

fn handshake_failed(error: WsError) -> Error {
    let (status, message) = match &error {
        WsError::Http(response) => {
            let status = response.status().as_u16();
            let message = format!("the server answered the WebSocket request with status {status}");
            // CloudFront is in front of the service: its refusal is not the service's (RSC15l4).
            let server = response.headers().get("server");
            match server.is_some_and(|server| server == "CloudFront") {
                true => (503, format!("{message}, which comes from CloudFront")),
                false => (status, message),
            }
        }
        other => (0, format!("the WebSocket handshake failed: {other}")),
    };
    Error::new(ErrorCode::CONNECTION_FAILED, status, message).with_source(error)
}

/// The length of the head of an HTTP response, with the empty line that ends it. A line ends with LF, or with CR LF.
fn head_length(response: &[u8]) -> usize {
    let mut at = 0;
    for line in response.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
    }
    at
}

/// A stream that records the bytes that are read from it. The handshake reads more than its own bytes, and does not
/// return the others.
struct Recorder {
    stream: Box<dyn Io>,
    read: Vec<u8>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.read.extend_from_slice(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        let table: [(&[u8], usize); 6] = [
            (b"HTTP/1.1 101 x\r\na: b\r\n\r\nrest\r\n\r\n", 24),
            (b"HTTP/1.1 101 x\na: b\n\nrest", 21),
            (b"HTTP/1.1 101 x\r\na: b\n\r\n\x82\x00", 23),
            (b"HTTP/1.1 101 x\r\n\r\n", 18),
            (b"HTTP/1.1", 8),
            (b"", 0),
        ];
        for (response, length) in table {
            assert_eq!(head_length(response), length, "{:?}", String::from_utf8_lossy(response));
        }
    }

    #[tokio::test]
    async fn frames_that_arrive_with_the_answer_are_not_lost() {
        let (client, mut server) = duplex(4096);
        let request = DialRequest {
            tls: false,
            host: "example.com".to_owned(),
            port: 80,
            path: "/?key=value".to_owned(),
            max_frame_size: 1024,
            timeout: std::time::Duration::from_secs(1),
        };
        let answer = async {
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                question.push(server.read_u8().await.unwrap());
            }
            let question = String::from_utf8(question).unwrap();
            let key = question.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let accept = derive_accept_key(key.unwrap().as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            server.write_all(&[head.as_bytes(), b"\x82\x02hi"].concat()).await.unwrap();
        };
        let (upgraded, ()) = tokio::join!(upgrade(&request, Box::new(client)), answer);
        assert_eq!(upgraded.map(|(_, unread)| unread).unwrap(), &b"\x82\x02hi"[..]);
    }
}
