//! A bare client of comet.

use std::collections::VecDeque;

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame,
    codec::{self, FrameBatch, split_frames},
    frame::{Attach, Attached, Connected, Delivery},
};
use capably_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Answer, Http, PATIENCE};

/// A client of comet, whose requests have a key in their query.
pub(crate) struct Comet {
    pub(crate) format: Format,
    /// The key of the connection.
    pub(crate) key: String,
    auth: String,
    /// The stream that receives, if the client does not poll.
    pub(crate) stream: Option<Stream>,
    pub(crate) http: Http,
    frames: VecDeque<ServerFrame>,
}

impl Comet {
    /// Connects with the server's key.
    pub(crate) async fn connect(
        server: &Server,
        format: Format,
        streams: bool,
    ) -> (Self, Connected) {
        Self::connect_with(server, format, streams, "").await
    }

    pub(crate) async fn connect_with(
        server: &Server,
        format: Format,
        streams: bool,
        query: &str,
    ) -> (Self, Connected) {
        let auth = format!("key={}", server.key());
        let query = format!("{auth}&v=6&format={}&stream={streams}&{query}", format.name());
        let target = format!("/comet/connect?{query}");
        let mut http = Http::connect(server).await;
        let (stream, frames) = if streams {
            (Some(Stream::open(server, &target).await), Vec::new())
        } else {
            let answer = http.request("GET", &target, &[accept(format)], b"").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            (None, frames(format, &answer))
        };
        let (key, frames) = (String::new(), frames.into());
        let mut own = Self { format, key, auth, stream, http, frames };
        let connected = match own.next().await {
            ServerFrame::Connected(connected) => *connected,
            other => panic!("expected CONNECTED, got {other:?}"),
        };
        own.key = connected.details.as_ref().unwrap().connection_key.clone().unwrap().to_string();
        (own, connected)
    }

    /// Later requests have these credentials in their query.
    pub(crate) fn with_credentials(&mut self, credentials: String) {
        self.auth = credentials;
    }

    /// The path of a request of this connection, with its credentials.
    pub(crate) fn target(&self, what: &str) -> String {
        format!("/comet/{}/{what}?{}", self.key, self.auth)
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> ServerFrame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let received = match &mut self.stream {
                Some(stream) => {
                    let piece = stream.piece().await.expect("the stream goes on");
                    decode(self.format, &piece)
                }
                None => {
                    let answer = self.get("recv").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    frames(self.format, &answer)
                }
            };
            self.frames.extend(received);
        }
    }

    /// The next frame that is no HEARTBEAT.
    pub(crate) async fn event(&mut self) -> ServerFrame {
        loop {
            match self.next().await {
                ServerFrame::Heartbeat { .. } => {}
                frame => return frame,
            }
        }
    }

    /// Sends frames in one request.
    pub(crate) async fn send_all(&mut self, sent: &[ClientFrame]) {
        let answer = self.post(&array(self.format, sent)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answers = frames(self.format, &answer);
        self.frames.extend(answers);
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.send_all(std::slice::from_ref(frame)).await;
    }

    /// Sends a body that need not be an array of frames.
    pub(crate) async fn post(&mut self, body: &[u8]) -> Answer {
        let target = self.target("send");
        let content_type = format!("Content-Type: {}", self.format.content_type());
        self.http.request("POST", &target, &[accept(self.format), content_type], body).await
    }

    pub(crate) async fn get(&mut self, what: &str) -> Answer {
        let target = self.target(what);
        self.http.request("GET", &target, &[accept(self.format)], b"").await
    }

    pub(crate) async fn attach(&mut self, channel: &str) -> Attached {
        self.attach_with(Attach { channel: channel.into(), ..Attach::default() }).await
    }

    pub(crate) async fn attach_with(&mut self, attach: Attach) -> Attached {
        self.send(&ClientFrame::Attach(attach)).await;
        match self.event().await {
            ServerFrame::Attached(attached) => *attached,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> Delivery<Message> {
        match self.event().await {
            ServerFrame::Message(delivery) => delivery,
            other => panic!("expected MESSAGE, got {other:?}"),
        }
    }
}

fn accept(format: Format) -> String {
    format!("Accept: {}", format.content_type())
}

/// Frames as the body of a request.
pub(crate) fn array(format: Format, frames: &[ClientFrame]) -> Bytes {
    let mut batch = FrameBatch::new(format);
    for frame in frames {
        batch.push_with(|out| codec::encode_client_frame(format, frame, out));
    }
    batch.take()
}

/// The frames in a response, whatever its status.
pub(crate) fn frames(format: Format, answer: &Answer) -> Vec<ServerFrame> {
    assert_eq!(answer.header("content-type"), Some(format.content_type()), "{answer:?}");
    decode(format, &Bytes::copy_from_slice(&answer.body))
}

/// The status of a refusal, and the frame in its body: `ERROR` or `DISCONNECTED` with a code.
pub(crate) fn refused_with(format: Format, answer: &Answer) -> (u16, &'static str, u32) {
    let frames = frames(format, answer);
    let (name, error) = match &frames[..] {
        [ServerFrame::Error(frame)] => ("ERROR", frame.error.as_ref()),
        [ServerFrame::Disconnected { error }] => ("DISCONNECTED", error.as_ref()),
        other => panic!("{other:?}"),
    };
    let code = error.unwrap().code.0;
    assert_eq!(answer.header("x-ably-errorcode"), Some(code.to_string().as_str()));
    (answer.status, name, code)
}

fn decode(format: Format, array: &Bytes) -> Vec<ServerFrame> {
    let frames = split_frames(format, array).unwrap_or_else(|| panic!("not an array: {array:?}"));
    let decode = |bytes| codec::decode_server_frame(format, bytes, &Limits::default()).unwrap();
    frames.iter().map(decode).collect()
}

/// A response in chunks.
pub(crate) struct Stream {
    tcp: TcpStream,
    unread: Vec<u8>,
    pub(crate) head: String,
}

impl Stream {
    pub(crate) async fn open(server: &Server, target: &str) -> Self {
        let mut tcp = TcpStream::connect(server.local_addr()).await.unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut own = Self { tcp, unread: Vec::new(), head: String::new() };
        own.head = String::from_utf8(own.until(b"\r\n\r\n").await).unwrap().to_ascii_lowercase();
        assert!(own.head.starts_with("http/1.1 200"), "{}", own.head);
        assert!(own.head.contains("transfer-encoding: chunked"), "{}", own.head);
        own
    }

    /// The next chunk, which is a whole array; `None` at the end.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        let line = self.until(b"\r\n").await;
        let size = usize::from_str_radix(str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        while self.unread.len() < size + 2 {
            self.read_more().await;
        }
        let piece = self.unread.drain(..size + 2).take(size).collect::<Vec<_>>();
        (size > 0).then(|| piece.into())
    }

    /// Reads up to and with this text.
    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return self.unread.drain(..at + end.len()).collect();
            }
            self.read_more().await;
        }
    }

    async fn read_more(&mut self) {
        let read = timeout(PATIENCE, self.tcp.read_buf(&mut self.unread)).await;
        assert!(read.expect("nothing arrived").unwrap() > 0, "the server closed the connection");
    }
}
