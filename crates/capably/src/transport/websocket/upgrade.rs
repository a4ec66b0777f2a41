//! The opening handshake of a WebSocket.

use std::pin::pin;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use capably_protocol::{ErrorCode, websocket::accept_key};
use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, Parts},
    header,
};
use hyper_util::rt::TokioIo;

use super::{DialRequest, Io};
use crate::{BoxError, Error, Result, random};

/// The largest head of an answer, in bytes.
const MOST_HEAD: usize = 64 * 1024;

/// Asks the server for a WebSocket on this stream. Returns the stream, and the bytes behind the server's answer that
/// were read with it: a service may send its first frame at once.
///
/// # Errors
/// Code 80000 when the server refuses, with the status of its answer.
pub(super) async fn upgrade(
    request: &DialRequest,
    stream: Box<dyn Io>,
) -> Result<(Box<dyn Io>, BytesMut)> {
    let key = BASE64_STANDARD.encode(random::bytes::<16>()?);
    let question = question(request, &key).map_err(failed)?;
    let (response, parts) = exchange(question, stream).await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(&response));
    }
    check(&response, &key)?;
    let parts = parts.ok_or_else(|| failed("the connection has ended"))?;
    Ok((parts.io.into_inner(), BytesMut::from(parts.read_buf)))
}

fn question(request: &DialRequest, key: &str) -> Result<Request<Empty<Bytes>>, BoxError> {
    Ok(Request::get(&request.path)
        .header(header::HOST, request.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .body(Empty::new())?)
}

type Answer = (Response<Incoming>, Option<Parts<TokioIo<Box<dyn Io>>>>);

/// Sends the request, and reads the head of the answer. With it comes the connection, if the server has switched to the
/// WebSocket.
async fn exchange(
    question: Request<Empty<Bytes>>,
    stream: Box<dyn Io>,
) -> Result<Answer, hyper::Error> {
    let mut http = http1::Builder::new();
    http.max_buf_size(MOST_HEAD).title_case_headers(true);
    let (mut requests, connection) = http.handshake(TokioIo::new(stream)).await?;
    let response = pin!(requests.send_request(question));
    let connection = pin!(connection.without_shutdown());
    match select(response, connection).await {
        Either::Left((response, connection)) => {
            let response = response?;
            let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            // A connection that stays with HTTP ends only when its server closes it.
            let parts = if switched { Some(connection.await?) } else { None };
            Ok((response, parts))
        }
        // The server may have closed the connection behind its answer.
        Either::Right((connection, response)) => match (response.await, connection) {
            (Ok(response), connection) => Ok((response, connection.ok())),
            (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        },
    }
}

/// Checks the headers of an answer that accepts the WebSocket (RFC 6455, 4.1).
fn check(response: &Response<Incoming>, key: &str) -> Result<()> {
    let header = |name| response.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
    let names = |name, wanted: &[u8]| {
        let mut values = header(name).split(|byte| *byte == b',');
        values.any(|value| value.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    let wrong = if !names(header::UPGRADE, b"websocket") {
        "Upgrade"
    } else if !names(header::CONNECTION, b"upgrade") {
        "Connection"
    } else if header(header::SEC_WEBSOCKET_ACCEPT) != accept_key(key.as_bytes()).as_bytes() {
        "Sec-WebSocket-Accept"
    } else if !header(header::SEC_WEBSOCKET_EXTENSIONS).is_empty() {
        "Sec-WebSocket-Extensions"
    } else if !header(header::SEC_WEBSOCKET_PROTOCOL).is_empty() {
        "Sec-WebSocket-Protocol"
    } else {
        return Ok(());
    };
    Err(failed(format!("the header {wrong} of the answer is wrong")))
}

fn failed(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    let message = format!("the WebSocket handshake failed: {error}");
    Error::new(ErrorCode::CONNECTION_FAILED, 0, message).with_source(error)
}

fn refused(response: &Response<Incoming>) -> Error {
    let status = response.status().as_u16();
    let message = format!("the server answered the WebSocket request with status {status}");
    // CloudFront is in front of the service: its refusal is not the service's (RSC15l4).
    let server = response.headers().get(header::SERVER);
    let (status, message) = match server.is_some_and(|server| server == "CloudFront") {
        true => (503, format!("{message}, which comes from CloudFront")),
        false => (status, message),
    };
    Error::new(ErrorCode::CONNECTION_FAILED, status, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Requests a WebSocket from a server that writes the answer, in which `{accept}` is the right key.
    async fn upgrade_at(answer: &[u8]) -> Result<(Box<dyn Io>, BytesMut)> {
        let (client, mut server) = duplex(4096);
        let request = DialRequest {
            tls: false,
            host: "example.com".to_owned(),
            port: 8080,
            path: "/?key=value".to_owned(),
            max_frame_size: 1024,
            timeout: Duration::from_secs(1),
        };
        let serve = async {
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                question.push(server.read_u8().await.unwrap());
            }
            let question = String::from_utf8(question).unwrap();
            assert!(question.starts_with("GET /?key=value HTTP/1.1\r\n"), "{question}");
            assert!(question.contains("\r\nHost: example.com:8080\r\n"), "{question}");
            let key = question.lines().find_map(|line| line.strip_prefix("Sec-Websocket-Key: "));
            let accept = accept_key(key.unwrap().as_bytes());
            let answer = String::from_utf8_lossy(answer).replace("{accept}", &accept);
            server.write_all(answer.as_bytes()).await.unwrap();
            server
        };
        // The server keeps its side open until the client has decided.
        let (upgraded, _server) = tokio::join!(upgrade(&request, Box::new(client)), serve);
        upgraded
    }

    const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

    #[tokio::test]
    async fn frames_that_arrive_with_the_answer_are_not_lost() {
        let upgraded = upgrade_at(&[HEAD.as_bytes(), b"\x02\x02hi"].concat()).await;
        assert_eq!(upgraded.map(|(_, unread)| unread).unwrap(), &b"\x02\x02hi"[..]);
    }

    #[tokio::test]
    async fn an_upgraded_stream_is_whole() {
        let (mut stream, unread) = upgrade_at(HEAD.as_bytes()).await.unwrap();
        assert!(unread.is_empty());
        // The server has dropped its side: the stream ends, and nothing else is on it.
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_answer_with_a_wrong_header_is_refused() {
        for (right, wrong, header) in [
            ("Upgrade: WebSocket", "Upgrade: h2c", "Upgrade"),
            ("keep-alive, Upgrade", "keep-alive", "Connection"),
            ("{accept}", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Sec-WebSocket-Accept"),
            ("Upgrade: W", "Sec-WebSocket-Extensions: x\r\nUpgrade: W", "Sec-WebSocket-Extensions"),
            ("Upgrade: W", "Sec-WebSocket-Protocol: x\r\nUpgrade: W", "Sec-WebSocket-Protocol"),
        ] {
            let head = HEAD.replacen(right, wrong, 1);
            assert_ne!(head, HEAD);
            let error = upgrade_at(head.as_bytes()).await.map(drop).unwrap_err();
            assert_eq!((error.code().0, error.status().unwrap_or(0)), (80000, 0), "{error}");
            assert!(error.to_string().contains(&format!("header {header} ")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refusal_has_the_status_of_the_answer() {
        for (answer, status, text) in [
            ("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", 401, "with status 401"),
            ("HTTP/1.1 400 No\r\nServer: CloudFront\r\n\r\n", 503, "comes from CloudFront"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 200, "with status 200"),
            ("SMTP, surely\r\n\r\n", 0, "handshake failed"),
        ] {
            let error = upgrade_at(answer.as_bytes()).await.map(drop).unwrap_err();
            assert_eq!((error.code().0, error.status().unwrap_or(0)), (80000, status), "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_refused() {
        let endless = format!("HTTP/1.1 101 x\r\nx: {}", "y".repeat(2 * MOST_HEAD));
        let (client, mut server) = duplex(4096);
        let question = Request::get("/").body(Empty::new()).unwrap();
        let writes = async { server.write_all(endless.as_bytes()).await };
        let (answer, _) = tokio::join!(exchange(question, Box::new(client)), writes);
        assert!(answer.is_err());
    }
}
