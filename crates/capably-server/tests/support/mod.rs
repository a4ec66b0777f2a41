//! A bare WebSocket client and a bare HTTP client.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub(crate) mod stream;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame, codec,
    frame::{Ack, Attach, Attached, Connected, Delivery, Publish},
};
use capably_server::{
    Builder, Server,
    engine::{Engine, Memory, Mesh},
};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as WsMessage};

/// The time limit of each step of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A builder with the engine that `CAPABLY_ENGINE` names: `memory`, `mesh`, `disk`, `cluster`, or by default none.
pub(crate) fn builder() -> Builder {
    let builder = Server::builder();
    match std::env::var("CAPABLY_ENGINE").as_deref() {
        Ok("memory") => builder.engine(Arc::new(Memory::new())),
        // The only node of a cluster.
        Ok("mesh") => builder.engine(Mesh::new().node()),
        Ok("disk") => {
            // The directory must outlive the server. The system removes it with the other temporary files.
            builder.data(tempfile::tempdir().unwrap().keep())
        }
        Ok("cluster") => builder.engine(Shared::new().node()),
        Ok(other) => panic!("CAPABLY_ENGINE is {other}"),
        Err(_) => builder,
    }
}

/// The storage of the nodes of a cluster: the brokers of `CAPABLY_BROKERS` if `CAPABLY_ENGINE` is `cluster`, or else a mesh.
pub(crate) enum Shared {
    Mesh(Mesh),
    /// The name by which the brokers tell this cluster from others.
    Brokers(String),
}

impl Shared {
    /// A cluster without nodes.
    pub(crate) fn new() -> Self {
        match std::env::var("CAPABLY_ENGINE").as_deref() {
            Ok("cluster") => Self::Brokers(format!("test{:016x}", fastrand::u64(..))),
            _ => Self::Mesh(Mesh::new()),
        }
    }

    /// The engine of another node.
    pub(crate) fn node(&self) -> Arc<dyn Engine> {
        match self {
            Self::Mesh(mesh) => mesh.node(),
            Self::Brokers(name) => jetstream(name.clone()),
        }
    }
}

#[cfg(feature = "cluster")]
fn jetstream(name: String) -> Arc<dyn Engine> {
    use std::{sync::LazyLock, thread};

    use capably_server::engine::JetStream;
    use tokio::runtime::Runtime;

    // Its tasks live here: the clock of a test may be paused, and that of the brokers is not.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let brokers = std::env::var("CAPABLY_BROKERS").expect("CAPABLY_BROKERS has their addresses");
    let open = move || {
        let brokers = brokers.split(',').map(str::to_owned);
        RUNTIME.block_on(JetStream::builder(brokers).prefix(name).open()).unwrap()
    };
    Arc::new(thread::spawn(open).join().unwrap())
}

#[cfg(not(feature = "cluster"))]
fn jetstream(_: String) -> Arc<dyn Engine> {
    panic!("CAPABLY_ENGINE=cluster needs --features cluster")
}

pub(crate) async fn server() -> Server {
    builder().start().await.unwrap()
}

/// An event of a WebSocket.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every event is a frame")]
pub(crate) enum Event {
    Frame(ServerFrame),
    Ping,
    End,
}

pub(crate) struct Client {
    pub(crate) format: Format,
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Opens a WebSocket with this query, and adds `format`.
    pub(crate) async fn open(server: &Server, format: Format, query: &str) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{}/?v=6&format={}&{query}", server.local_addr(), format.name());
        let (socket, _) = client_async(url, stream).await.unwrap();
        Self { format, socket }
    }

    /// The address that it connects from.
    pub(crate) fn address(&self) -> String {
        self.socket.get_ref().local_addr().unwrap().to_string()
    }

    /// Connects with the server's key.
    pub(crate) async fn connect(server: &Server, format: Format) -> (Self, Connected) {
        Self::connect_with(server, format, "").await
    }

    pub(crate) async fn connect_with(
        server: &Server,
        format: Format,
        query: &str,
    ) -> (Self, Connected) {
        let query = format!("key={}&{query}", server.key());
        let mut client = Self::open(server, format, &query).await;
        match client.next().await {
            ServerFrame::Connected(connected) => (client, *connected),
            other => panic!("expected CONNECTED, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.socket.send(self.encode(frame)).await.unwrap();
    }

    pub(crate) fn encode(&self, frame: &ClientFrame) -> WsMessage {
        let mut bytes = Vec::new();
        codec::encode_client_frame(self.format, frame, &mut bytes);
        match self.format {
            Format::Json => WsMessage::text(String::from_utf8(bytes).unwrap()),
            Format::MsgPack => WsMessage::binary(bytes),
        }
    }

    /// Sends a WebSocket message that need not be a frame.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let message = match self.format {
            Format::Json => WsMessage::text(String::from_utf8(bytes.to_vec()).unwrap()),
            Format::MsgPack => WsMessage::binary(bytes.to_vec()),
        };
        self.socket.send(message).await.unwrap();
    }

    /// The next WebSocket message, as it arrives.
    pub(crate) async fn raw(&mut self) -> Bytes {
        let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing arrived");
        message.unwrap().unwrap().into_data()
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing arrived");
            let (format, bytes) = match message {
                Some(Ok(WsMessage::Text(text))) => (Format::Json, Bytes::from(text)),
                Some(Ok(WsMessage::Binary(bytes))) => (Format::MsgPack, bytes),
                Some(Ok(WsMessage::Ping(_))) => return Event::Ping,
                Some(Ok(WsMessage::Close(_))) => continue,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
                Some(Err(_)) | None => return Event::End,
            };
            assert_eq!(format, self.format);
            let frame = codec::decode_server_frame(format, &bytes, &Limits::default()).unwrap();
            return Event::Frame(frame);
        }
    }

    pub(crate) async fn next(&mut self) -> ServerFrame {
        match self.event().await {
            Event::Frame(frame) => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    /// Reads the frame that ends the connection, and returns the code of its error.
    pub(crate) async fn last_error(&mut self) -> u32 {
        let error = match self.next().await {
            ServerFrame::Error(frame) if frame.channel.is_none() => frame.error,
            ServerFrame::Disconnected { error } => error,
            other => panic!("expected ERROR or DISCONNECTED, got {other:?}"),
        };
        assert!(matches!(self.event().await, Event::End));
        error.unwrap().code.0
    }

    pub(crate) async fn attach(&mut self, channel: &str) -> Attached {
        self.attach_with(Attach { channel: channel.into(), ..Attach::default() }).await
    }

    pub(crate) async fn attach_with(&mut self, attach: Attach) -> Attached {
        self.send(&ClientFrame::Attach(attach)).await;
        match self.next().await {
            ServerFrame::Attached(attached) => *attached,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }

    pub(crate) async fn publish(&mut self, channel: &str, msg_serial: u64, messages: Vec<Message>) {
        self.send(&publish(channel, msg_serial, messages)).await;
    }

    pub(crate) async fn ack(&mut self) -> Ack {
        match self.next().await {
            ServerFrame::Ack(ack) => ack,
            other => panic!("expected ACK, got {other:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> Delivery<Message> {
        match self.next().await {
            ServerFrame::Message(delivery) => delivery,
            other => panic!("expected MESSAGE, got {other:?}"),
        }
    }
}

pub(crate) fn publish(channel: &str, msg_serial: u64, messages: Vec<Message>) -> ClientFrame {
    ClientFrame::Message(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from(messages),
        params: Default::default(),
    })
}

/// The serials of the acknowledged messages.
pub(crate) fn serials(ack: &Ack) -> Vec<String> {
    ack.res
        .iter()
        .flat_map(|result| &result.serials)
        .map(|serial| serial.as_ref().unwrap().to_string())
        .collect()
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The relative URL of a page.
    pub(crate) fn link(&self, relation: &str) -> Option<String> {
        let suffix = format!(">; rel=\"{relation}\"");
        self.headers
            .iter()
            .filter(|(name, _)| name == "link")
            .find_map(|(_, value)| value.strip_suffix(&suffix)?.strip_prefix('<'))
            .map(str::to_owned)
    }

    /// The status and the error code. Checks that body and headers agree.
    pub(crate) fn error(&self) -> (u16, u64) {
        let body = self.json();
        let code = body["error"]["code"].as_u64().unwrap();
        assert_eq!(self.header("x-ably-errorcode"), Some(code.to_string().as_str()));
        assert_eq!(self.header("x-ably-errormessage"), body["error"]["message"].as_str());
        assert_eq!(body["error"]["statusCode"], self.status);
        (self.status, code)
    }
}

/// A keep-alive HTTP connection.
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Http {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self::connect_to(server.local_addr()).await
    }

    pub(crate) async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request; `headers` are whole lines.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[String],
        body: &[u8],
    ) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
        timeout(PATIENCE, self.answer(method == "HEAD")).await.expect("no answer")
    }

    async fn answer(&mut self, head_only: bool) -> Answer {
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await;
        };
        let head = String::from_utf8(self.buffer[..head_end].to_vec()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        let length = if head_only { 0 } else { length };
        while self.buffer.len() < head_end + length {
            self.read_more().await;
        }
        let body = self.buffer[head_end..head_end + length].to_vec();
        self.buffer.drain(..head_end + length);
        Answer { status, headers, body }
    }

    async fn read_more(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
        assert!(read > 0, "the server closed the connection");
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Sends one request on a new connection, with the server's key and JSON.
pub(crate) async fn request(server: &Server, method: &str, target: &str, body: &Value) -> Answer {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    let headers = [basic(server.key()), "Content-Type: application/json".to_owned()];
    Http::connect(server).await.request(method, target, &headers, &body).await
}

/// An Authorization header for a key.
pub(crate) fn basic(key: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("Authorization: Basic {}", STANDARD.encode(key))
}

/// Creates an app and returns its complete keys.
pub(crate) async fn app(server: &Server, spec: &Value) -> Vec<String> {
    let body = serde_json::to_vec(spec).unwrap();
    let headers = ["Content-Type: application/json".to_owned()];
    let answer = Http::connect(server).await.request("POST", "/apps", &headers, &body).await;
    assert_eq!(answer.status, 201);
    let key = |key: &Value| key["keyStr"].as_str().unwrap().to_owned();
    answer.json()["keys"].as_array().unwrap().iter().map(key).collect()
}

/// Sends one request with a key, with body and answer in a format. Returns the answer and its decoded body.
pub(crate) async fn ask(
    server: &Server,
    key: &str,
    format: Format,
    method: &str,
    target: &str,
    body: &Value,
) -> (Answer, Value) {
    let body = if body.is_null() { Vec::new() } else { codec::encode_body(format, body).unwrap() };
    let media_type = format.content_type();
    let headers = [
        basic(key),
        format!("Content-Type: {media_type}"),
        format!("Accept: {media_type}"),
        "X-Ably-Version: 6".to_owned(),
    ];
    let answer = Http::connect(server).await.request(method, target, &headers, &body).await;
    let value = if answer.body.is_empty() {
        Value::Null
    } else {
        assert_eq!(answer.header("content-type"), Some(media_type));
        match codec::decode_body(format, &answer.body, &Limits::default()) {
            Ok(value) => value,
            // A `Value` cannot contain bytes. The caller decodes such a body.
            Err(_) if format == Format::MsgPack => Value::Null,
            Err(problem) => panic!("{problem}"),
        }
    };
    if let Some(error) = value.get("error") {
        assert_eq!(answer.header("x-ably-errorcode"), Some(&*error["code"].to_string()));
    }
    (answer, value)
}

/// The status and the code of a refusal that [`ask`] has decoded.
pub(crate) fn refusal(asked: &(Answer, Value)) -> (u16, u64) {
    (asked.0.status, asked.1["error"]["code"].as_u64().unwrap())
}

/// A port of this machine at which nothing listens. No other program gets it while this lives.
pub(crate) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    /// The address of an endpoint there.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.0.local_addr().unwrap())
    }
}
