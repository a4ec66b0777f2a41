//! Services that misbehave, over the script and over real sockets.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{
    ClientOptions, Error, Rest,
    http::{HttpErrorKind, HttpResponse},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    both_formats,
    closed_port::ClosedPort,
    support::scripted_http::{Answer, KEY, ScriptedHttp, respond},
};

fn without_fallback() -> ClientOptions {
    ClientOptions::new(KEY).fallback_hosts([""; 0])
}

async fn failure(answer: Answer) -> Error {
    ScriptedHttp::always(answer).rest_with(without_fallback()).time().await.unwrap_err()
}

fn codes(error: &Error) -> (u32, Option<u16>) {
    (error.code().0, error.status())
}

#[tokio::test]
async fn an_unreadable_body_is_an_error() {
    for (options, kind) in
        both_formats().into_iter().zip(["application/x-msgpack", "application/json"])
    {
        for body in [&b""[..], b"[", b"[17040672", b"\xc1", b"\xdd\xff\xff\xff\xff", b"{}"] {
            let response = HttpResponse::new(200, body).with_header("Content-Type", kind);
            let http = ScriptedHttp::always(Answer::Raw(response));
            let rest = http.rest_with(options.clone());
            let error = rest.time().await.unwrap_err();
            assert_eq!(codes(&error), (40013, Some(400)), "{kind} {body:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_error_without_a_readable_body_has_a_code_of_its_status() {
    for (status, code) in [
        (400, 40000),
        (401, 40100),
        (403, 40300),
        (404, 40400),
        (418, 40000),
        (429, 40000),
        (500, 50000),
        (502, 50000),
        (599, 50000),
    ] {
        for body in ["", "{", "null", "[]", "{\"error\":\"text\"}", "{\"message\":1}"] {
            let response = HttpResponse::new(status, body);
            let error = failure(Answer::Raw(response)).await;
            assert_eq!(codes(&error), (code, Some(status)), "{body}");
            assert!(error.message().contains(&status.to_string()), "{error}");
        }
    }
}

#[tokio::test]
async fn an_error_may_stand_in_the_headers_alone() {
    let response = HttpResponse::new(401, "")
        .with_header("X-Ably-Errorcode", "40142")
        .with_header("X-Ably-Errormessage", "token expired");
    let error = failure(Answer::Raw(response)).await;
    assert_eq!(codes(&error), (40142, Some(401)));
    assert_eq!(error.message(), "token expired");
    assert!(error.is_token_error());
}

#[tokio::test]
async fn an_incomplete_error_is_completed() {
    let error = failure(respond(404, json!({"error": {"message": "gone"}}))).await;
    assert_eq!(codes(&error), (40400, Some(404)));
    assert_eq!(error.message(), "gone");
    let error = failure(respond(500, json!({"error": {"code": 50001}}))).await;
    assert_eq!(codes(&error), (50001, Some(500)));
    assert!(!error.message().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let response = HttpResponse::new(302, "").with_header("Location", "https://evil.example/");
    let error = failure(Answer::Raw(response)).await;
    assert_eq!(codes(&error), (40000, Some(302)));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_service_fails_the_request_at_its_timeout() {
    let start = tokio::time::Instant::now();
    let error = failure(Answer::Hang).await;
    assert_eq!(codes(&error), (50003, Some(500)));
    assert!(error.message().contains("10000 ms"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn each_failure_of_the_transport_has_its_code() {
    for (kind, code, retryable) in [
        (HttpErrorKind::Connect, (80000, None), true),
        (HttpErrorKind::Interrupted, (80003, None), true),
        (HttpErrorKind::Timeout, (50003, Some(500)), true),
        (HttpErrorKind::Response, (40013, Some(400)), false),
        (HttpErrorKind::Request, (40000, Some(400)), false),
    ] {
        let error = failure(Answer::Fail(kind)).await;
        assert_eq!(codes(&error), code, "{kind:?}");
        assert_eq!(error.is_retryable(), retryable, "{kind:?}");
        assert!(std::error::Error::source(&error).is_some(), "{kind:?}");
    }
}

/// A client of a server on this machine.
fn rest(port: u16) -> Rest {
    let options = ClientOptions::new(KEY).use_binary_protocol(false);
    Rest::new(options.endpoint("127.0.0.1").tls(false).port(port)).unwrap()
}

/// A server that reads the head of each request and then runs this with the socket, and the number of accepted
/// connections.
async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer(socket));
        }
    });
    (port, accepted)
}

/// Reads one request without a body; `None` at the end of the connection.
async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// The error when a server answers with these bytes and closes the connection.
async fn answered(bytes: &'static [u8]) -> Error {
    let (port, _) = serve(move |mut socket| async move {
        if read_head(&mut socket).await.is_some() {
            // The client may close before all bytes are written.
            let _ = socket.write_all(bytes).await;
        }
    })
    .await;
    rest(port).time().await.unwrap_err()
}

#[tokio::test]
async fn a_port_without_a_listener_is_a_clear_error() {
    let closed = ClosedPort::new();
    let error = rest(closed.number()).time().await.unwrap_err();
    assert_eq!(codes(&error), (80000, None));
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.remediation().is_some());
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    let error = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[17040").await;
    assert_eq!(codes(&error), (80003, None), "{error}");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_an_error() {
    assert_eq!(codes(&answered(b"").await), (80003, None));
    assert_eq!(codes(&answered(b"HTTP/1.1 200 O").await), (80003, None));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_an_error() {
    assert_eq!(codes(&answered(b"220 mail.example ESMTP\r\n\r\n").await), (40013, Some(400)));
    assert_eq!(codes(&answered(b"HTTP/1.1 abc\r\n\r\n").await), (40013, Some(400)));
}

#[tokio::test]
async fn an_endless_body_is_an_error() {
    let (port, _) = serve(|mut socket| async move {
        if read_head(&mut socket).await.is_some() {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let chunk = vec![b' '; 1 << 20];
            while socket.write_all(&chunk).await.is_ok() {}
        }
    })
    .await;
    let error = rest(port).time().await.unwrap_err();
    assert_eq!(codes(&error), (40013, Some(400)));
    assert!(error.message().contains("larger than the limit of 16777216 bytes"), "{error}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_to_a_server_without_it_is_an_error() {
    let (port, _) = serve(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let options = ClientOptions::new(KEY).endpoint("127.0.0.1").tls_port(port);
    let error = Rest::new(options).unwrap().time().await.unwrap_err();
    assert_eq!(codes(&error), (80000, None), "{error}");
}

#[tokio::test]
async fn successive_requests_share_a_connection() {
    let (port, accepted) = serve(|mut socket| async move {
        while read_head(&mut socket).await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n[7]";
            socket.write_all(answer).await.unwrap();
        }
    })
    .await;
    let rest = rest(port);
    for _ in 0..5 {
        assert_eq!(rest.time().await.unwrap(), 7);
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

// UTS: rest/unit/RSC15j/host-header-matches-request-0
#[tokio::test]
async fn the_host_header_names_the_requested_host() {
    let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let (port, _) = serve(move |mut socket| {
        let sender = sender.clone();
        async move {
            let head = read_head(&mut socket).await.unwrap();
            let first = head.contains("127.0.0.1");
            sender.send(head).unwrap();
            let answer: &[u8] = if first {
                b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[7]"
            };
            socket.write_all(answer).await.unwrap();
        }
    })
    .await;
    let options = ClientOptions::new(KEY).use_binary_protocol(false).tls(false).port(port);
    let options = options.endpoint("127.0.0.1").fallback_hosts(["localhost"]);
    assert_eq!(Rest::new(options).unwrap().time().await.unwrap(), 7);
    for host in ["127.0.0.1", "localhost"] {
        let head = heads.recv().await.unwrap().to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: {host}:{port}\r\n")), "{head}");
    }
}
