//! Realtime over comet, through networks that let no WebSocket through, against the embedded server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "tls")]
mod between;
mod hostile;
#[cfg(feature = "tls")]
mod middlebox;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{
    ClientOptions, PresenceAction, Realtime, Rest,
    http::{BoxFuture, HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse},
    realtime::ConnectionState,
    transport::Transport,
};
use capably_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};

const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Comet];

/// A proxy in front of a server. It answers upgrades to WebSockets with status 403 while it is told to.
struct Gate {
    address: SocketAddr,
    state: Arc<GateState>,
    _task: JoinSet<()>,
}

struct GateState {
    refuses: AtomicBool,
    refused: AtomicUsize,
    /// The WebSockets of clients that were let through: not those of checks.
    passed: AtomicUsize,
    changed: Notify,
    /// Changes to cut all connections.
    cut: watch::Sender<()>,
    /// The first line of each connection's first request.
    lines: Mutex<Vec<String>>,
}

impl Gate {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(GateState {
            refuses: AtomicBool::new(true),
            refused: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
            changed: Notify::new(),
            cut: watch::Sender::new(()),
            lines: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = shared.cut.subscribe();
                let relay = Arc::clone(&shared).relay(client, server);
                connections.spawn(async move {
                    tokio::select! {
                        () = relay => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, state, _task: task }
    }

    fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.state.cut.send_replace(());
    }

    fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }

    fn passed(&self) -> usize {
        self.state.passed.load(Ordering::SeqCst)
    }

    /// Whether a request with this text in its first line has come.
    fn has_seen(&self, text: &str) -> bool {
        self.state.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }

    fn options(&self, server: &Server, binary: bool) -> ClientOptions {
        ClientOptions::new(server.key())
            .endpoint(self.address.ip().to_string())
            .port(self.address.port())
            .tls(false)
            .use_binary_protocol(binary)
            .transports(BOTH)
            .ws_connectivity_check_url(format!("ws://{}/", self.address))
            .disconnected_retry_timeout(Duration::from_millis(1))
    }
}

impl GateState {
    async fn relay(self: Arc<Self>, mut client: TcpStream, server: SocketAddr) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = client.read_u8().await else { return };
            head.push(byte);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        self.lines.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
        if text.to_ascii_lowercase().contains("upgrade: websocket") {
            if self.refuses.load(Ordering::SeqCst) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
                let _ = client.write_all(refusal.as_bytes()).await;
                return;
            }
            if text.contains("key=") {
                self.passed.fetch_add(1, Ordering::SeqCst);
            }
            self.changed.notify_waiters();
        }
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        if server.write_all(&head).await.is_ok() {
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    }
}

/// Publishes, receives, enters and closes.
async fn exercise(options: ClientOptions) {
    let client = Realtime::connect(options.client_id("ada")).await.unwrap();
    let channel = client.channels().get("lobby");
    let mut messages = channel.subscribe().await.unwrap();
    let mut members = channel.presence().subscribe().await.unwrap();
    for number in 0..20 {
        channel.publish("n", number.to_string()).await.unwrap();
    }
    for number in 0..20 {
        let message = messages.next().await.unwrap();
        assert_eq!(message.data.as_str(), Some(&*number.to_string()));
    }
    channel.presence().enter().await.unwrap();
    let member = members.next().await.unwrap();
    assert_eq!(
        (member.action, member.client_id.as_deref()),
        (Some(PresenceAction::Enter), Some("ada"))
    );
    assert_eq!(channel.presence().get().await.unwrap().len(), 1);
    client.connection().ping().await.unwrap();
    client.close().await;
    assert_eq!(client.connection().state(), ConnectionState::Closed);
}

#[tokio::test]
async fn a_client_behind_a_proxy_that_refuses_websockets_uses_comet() {
    let server = Server::builder().start().await.unwrap();
    for binary in [false, true] {
        let gate = Gate::start(server.local_addr()).await;
        exercise(gate.options(&server, binary)).await;
        // One WebSocket of the client, and one of the check.
        assert_eq!((gate.refused(), gate.passed()), (2, 0));
        assert!(gate.has_seen("stream=true") && gate.has_seen("/send?"));
    }
}

#[tokio::test]
async fn a_websocket_is_preferred() {
    let server = Server::builder().start().await.unwrap();
    let gate = Gate::start(server.local_addr()).await;
    gate.refuse(false);
    exercise(gate.options(&server, true)).await;
    assert_eq!(gate.passed(), 1);
    assert!(!gate.has_seen("/comet/"));
}

#[tokio::test]
async fn a_client_of_comet_alone_opens_no_websocket() {
    let server = Server::builder().start().await.unwrap();
    let gate = Gate::start(server.local_addr()).await;
    exercise(gate.options(&server, true).transports([Transport::Comet])).await;
    assert_eq!((gate.refused(), gate.passed()), (0, 0));
}

#[tokio::test]
async fn a_connection_goes_on_over_comet_and_back_over_a_websocket() {
    let server = Server::builder().start().await.unwrap();
    for binary in [false, true] {
        let gate = Gate::start(server.local_addr()).await;
        gate.refuse(false);
        let client = Realtime::connect(gate.options(&server, binary)).await.unwrap();
        let id = client.connection().id();
        let channel = client.channels().get(format!("moving:{binary}"));
        let mut messages = channel.subscribe().await.unwrap();
        let other = Realtime::connect(
            ClientOptions::new(server.key())
                .endpoint(server.endpoint())
                .port(server.port())
                .tls(false),
        )
        .await
        .unwrap();
        let publisher = other.channels().get(format!("moving:{binary}"));
        let mut changes = client.connection().changes();
        let mut number = 0;
        let mut reconnected = async |over: &str| {
            gate.cut();
            publisher.publish(over, number.to_string()).await.unwrap();
            while changes.next().await.unwrap().current != ConnectionState::Connected {}
            assert_eq!(client.connection().id(), id, "the connection is resumed");
            let message = messages.next().await.unwrap();
            assert_eq!(message.data.as_str(), Some(&*number.to_string()));
            number += 1;
        };
        gate.refuse(true);
        for _ in 0..3 {
            reconnected("comet").await;
        }
        assert_eq!(gate.passed(), 1, "only the first connection was over a WebSocket");
        gate.refuse(false);
        // A check runs beside each attempt. Once one has succeeded, the next connection is a WebSocket.
        while gate.passed() == 1 {
            reconnected("either").await;
        }
        client.close().await;
        other.close().await;
    }
}

// The proxy of the options forwards requests, and refuses tunnels.
#[tokio::test]
async fn comet_goes_through_a_proxy_that_refuses_tunnels() {
    let server = Server::builder().start().await.unwrap();
    // The server takes requests for whole URLs, as a proxy does. It knows no CONNECT.
    let gate = Gate::start(server.local_addr()).await;
    let direct =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    let token = Rest::new(direct).unwrap().auth().request_token().await.unwrap();
    let options = ClientOptions::new(token.token.as_str())
        .endpoint("service.example.test")
        .tls(false)
        .proxy(format!("http://{}", gate.address))
        .transports(BOTH)
        .ws_connectivity_check_url("ws://check.example.test/");
    let client = Realtime::connect(options).await.unwrap();
    client.channels().get("proxied").publish("n", "1").await.unwrap();
    client.close().await;
    assert!(gate.has_seen("CONNECT service.example.test:80"));
    assert!(gate.has_seen("GET http://service.example.test/comet/connect?"));
}

/// The built-in way to send, without streams.
struct WholeResponses {
    inner: Arc<dyn HttpClient>,
    urls: Mutex<Vec<String>>,
}

impl HttpClient for WholeResponses {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        self.urls.lock().unwrap().push(request.url.clone());
        self.inner.send(request)
    }
}

/// A client that sends each request on a connection of its own.
struct PlainHttp;

impl HttpClient for PlainHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(async move {
            let failed = |error: std::io::Error| {
                HttpError::new(HttpErrorKind::Interrupted, error.to_string())
            };
            let rest = request.url.strip_prefix("http://").unwrap();
            let (authority, path) = rest.split_once('/').unwrap();
            let mut stream = TcpStream::connect(authority).await.map_err(failed)?;
            let mut head = format!("{} /{path} HTTP/1.0\r\n", request.method.as_str());
            for (name, value) in &request.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n\r\n", request.body.len()));
            stream.write_all(head.as_bytes()).await.map_err(failed)?;
            stream.write_all(&request.body).await.map_err(failed)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.map_err(failed)?;
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            let head = String::from_utf8(answer[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let mut response = HttpResponse::new(status, answer[end + 4..].to_vec());
            for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
                response = response.with_header(name, value);
            }
            Ok(response)
        })
    }
}

#[tokio::test]
async fn with_an_http_client_that_cannot_stream_the_client_polls() {
    let server = Server::builder().start().await.unwrap();
    let gate = Gate::start(server.local_addr()).await;
    let http = Arc::new(WholeResponses { inner: Arc::new(PlainHttp), urls: Mutex::default() });
    exercise(gate.options(&server, true).http_client(Arc::clone(&http) as Arc<dyn HttpClient>))
        .await;
    let urls = http.urls.lock().unwrap();
    assert!(urls.iter().any(|url| url.contains("stream=false")), "{urls:?}");
    assert!(urls.iter().filter(|url| url.contains("/recv?")).count() > 5, "{urls:?}");
}

// Spec: RTC8a, RTN22
#[tokio::test]
async fn requests_after_a_renewal_have_the_new_token() {
    let server = Server::builder().start().await.unwrap();
    let gate = Gate::start(server.local_addr()).await;
    let direct = || {
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false)
    };
    let rest = Rest::new(direct()).unwrap();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&tokens);
    let http = Arc::new(WholeResponses { inner: Arc::new(PlainHttp), urls: Mutex::default() });
    let options = ClientOptions::default()
        .auth_callback(move |_| {
            let (rest, given) = (rest.clone(), Arc::clone(&given));
            async move {
                let details = rest.auth().request_token().await?;
                given.lock().unwrap().push(details.token.to_string());
                Ok::<_, capably::Error>(details)
            }
        })
        .endpoint(gate.address.ip().to_string())
        .port(gate.address.port())
        .tls(false)
        .http_client(Arc::clone(&http) as Arc<dyn HttpClient>)
        .transports([Transport::Comet]);
    let client = Realtime::connect(options).await.unwrap();
    let id = client.connection().id();
    client.auth().authorize().await.unwrap();
    client.channels().get("renewed").publish("n", "1").await.unwrap();
    assert_eq!(client.connection().id(), id);
    client.close().await;
    let tokens = tokens.lock().unwrap();
    assert_eq!(tokens.len(), 2);
    let urls = http.urls.lock().unwrap();
    let last = urls.iter().rfind(|url| url.contains("/send?")).unwrap();
    assert!(last.contains(&tokens[1]), "{last} has not {}", tokens[1]);
}
