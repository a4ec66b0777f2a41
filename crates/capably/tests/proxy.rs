//! HTTP proxies, and the requests that a client sends through them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/closed_port.rs"]
mod closed_port;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{ClientOptions, Error, Realtime, Rest};
use capably_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use closed_port::ClosedPort;

const HOST: &str = "rest.example.test";

/// A proxy, and the requests that it received.
struct Proxy {
    port: u16,
    accepted: Arc<AtomicUsize>,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Proxy {
    /// Handles each connection with this function; request heads go to `heads`.
    async fn new<F>(
        handle: impl Fn(TcpStream, mpsc::UnboundedSender<String>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let (sender, heads) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(socket, sender.clone()));
            }
        });
        Self { port, accepted, heads }
    }

    /// Gives every request this answer.
    async fn answering(answer: &'static str) -> Self {
        Self::new(move |mut socket, heads| async move {
            while let Some(head) = read_head(&mut socket).await {
                heads.send(head).unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// Opens tunnels to the requested hosts.
    async fn tunnelling() -> Self {
        Self::new(|mut socket, heads| async move {
            let head = read_head(&mut socket).await.unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            heads.send(head).unwrap();
            let mut service = TcpStream::connect(target).await.unwrap();
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut socket, &mut service).await;
        })
        .await
    }

    /// The next request to the proxy, unless it is left out.
    async fn head(&mut self) -> String {
        let head = tokio::time::timeout(Duration::from_secs(20), self.heads.recv()).await;
        head.expect("the proxy is asked").expect("the proxy goes on")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn url_with_credentials(&self) -> String {
        format!("http://ada:s3cr%20t@127.0.0.1:{}", self.port)
    }
}

/// Reads a request without a body; `None` at the end of the connection.
async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn options() -> ClientOptions {
    ClientOptions::new("token").endpoint(HOST).use_binary_protocol(false)
}

const TIME: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n[7]";

#[tokio::test]
async fn a_proxied_request_without_tls_has_the_absolute_url() {
    let mut proxy = Proxy::answering(TIME).await;
    let options = options().tls(false).port(8080).proxy(proxy.url_with_credentials());
    assert!(!format!("{options:?}").contains("s3cr"), "{options:?}");
    let rest = Rest::new(options).unwrap();
    for _ in 0..2 {
        assert_eq!(rest.time().await.unwrap(), 7);
        let head = proxy.head().await;
        assert!(head.starts_with(&format!("GET http://{HOST}:8080/time HTTP/1.1\r\n")), "{head}");
        assert_eq!(header(&head, "Host"), Some(&*format!("{HOST}:8080")));
        let credentials = format!("Basic {}", BASE64_STANDARD.encode("ada:s3cr t"));
        assert_eq!(header(&head, "Proxy-Authorization"), Some(&*credentials));
    }
    assert_eq!(proxy.accepted.load(Ordering::SeqCst), 1, "the connection is kept");
}

#[tokio::test]
async fn a_proxy_url_without_credentials_sends_none() {
    let mut proxy = Proxy::answering(TIME).await;
    let rest = Rest::new(options().tls(false).proxy(proxy.url())).unwrap();
    rest.time().await.unwrap();
    let head = proxy.head().await;
    assert!(head.starts_with(&format!("GET http://{HOST}/time HTTP/1.1\r\n")), "{head}");
    assert_eq!(header(&head, "Proxy-Authorization"), None);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_request_with_tls_goes_through_a_tunnel() {
    let mut proxy = Proxy::new(|mut socket, heads| async move {
        let head = read_head(&mut socket).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut hello = vec![0; 1024];
        let size = socket.read(&mut hello).await.unwrap();
        heads.send(head).unwrap();
        heads.send(String::from_utf8_lossy(&hello[..size]).into_owned()).unwrap();
    })
    .await;
    let options = options().fallback_hosts([""; 0]).proxy(proxy.url_with_credentials());
    let error = Rest::new(options).unwrap().time().await.unwrap_err();
    assert_eq!(error.code().0, 80000, "{error}");
    let head = proxy.head().await;
    assert!(head.starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n")), "{head}");
    let credentials = format!("Basic {}", BASE64_STANDARD.encode("ada:s3cr t"));
    assert_eq!(header(&head, "Proxy-Authorization"), Some(&*credentials));
    assert_eq!(header(&head, "Authorization"), None, "what is in the tunnel stays there");
    let hello = proxy.head().await;
    assert!(hello.starts_with("\x16\x03"), "it is TLS: {hello:?}");
    assert!(hello.contains(HOST), "with the service, not with the proxy: {hello:?}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_proxy_that_refuses_is_a_clear_error() {
    for (answer, word) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "authorization"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "unsuccessful"),
        ("220 mail.example\r\n\r\n", "unsuccessful"),
    ] {
        let proxy = Proxy::answering(answer).await;
        let options = options().fallback_hosts([""; 0]).proxy(proxy.url_with_credentials());
        let error = Rest::new(options).unwrap().time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (80000, None), "{answer}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("tunnel") && text.contains(word), "{text}");
        assert!(!text.contains("s3cr"), "{text}");
    }
}

#[tokio::test]
async fn an_unreachable_proxy_is_a_clear_error() {
    let closed = ClosedPort::new();
    let url = format!("http://ada:s3cr3t@127.0.0.1:{}", closed.number());
    for tls in [true, false] {
        let options = options().tls(tls).fallback_hosts([""; 0]).proxy(url.as_str());
        let error: Error = Rest::new(options).unwrap().time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (80000, None));
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[tokio::test]
async fn a_websocket_goes_through_a_tunnel() {
    let server = Server::builder().start().await.unwrap();
    let mut proxy = Proxy::tunnelling().await;
    for binary in [true, false] {
        let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).tls(false);
        let options = options.port(server.port()).use_binary_protocol(binary);
        let realtime =
            Realtime::connect(options.proxy(proxy.url_with_credentials())).await.unwrap();
        let head = proxy.head().await;
        let target = format!("127.0.0.1:{}", server.port());
        assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
        assert!(header(&head, "Proxy-Authorization").is_some());
        let published = realtime.channels().get("through").publish("a", "b").await.unwrap();
        assert_eq!(published.serials.len(), 1);
        realtime.close().await;
    }
    assert_eq!(proxy.accepted.load(Ordering::SeqCst), 2);
}
