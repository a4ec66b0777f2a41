//! A double of an endpoint: it notes every request, and answers as it is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use capably_protocol::{Format, Limits, codec};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::support::PATIENCE;

/// A request that an endpoint has received.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The method and the target.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn value(&self) -> Value {
        let format = match self.header("content-type") {
            Some("application/json") => Format::Json,
            Some("application/x-msgpack") => Format::MsgPack,
            other => panic!("the content type is {other:?}"),
        };
        codec::decode_body(format, &self.body, &Limits::default()).unwrap()
    }

    /// The data of the messages, in their order, whatever the mode of the rule.
    pub(super) fn data(&self) -> Vec<String> {
        let value = self.value();
        let of = |messages: &Value| -> Vec<String> {
            let messages = messages.as_array().unwrap().iter();
            messages.map(|message| message["data"].as_str().unwrap().to_owned()).collect()
        };
        match value["items"].as_array() {
            Some(items) => items.iter().flat_map(|item| of(&item["data"]["messages"])).collect(),
            None => of(&value["messages"]),
        }
    }
}

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reaction {
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// Answers once this has a permit.
    Late(Arc<Semaphore>),
    /// Never answers.
    Stall,
    /// Closes the connection without an answer.
    Close,
    /// A status, and a body that does not end.
    Endless(u16),
    /// Accepts the request, and closes the connection without saying so.
    OkAndClose,
}

pub(super) struct Endpoint {
    address: SocketAddr,
    scheme: &'static str,
    received: mpsc::UnboundedReceiver<Received>,
    count: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Endpoint {
    /// An endpoint that accepts everything.
    pub(super) async fn new() -> Self {
        Self::with(|_, _| Reaction::Status(200)).await
    }

    /// An endpoint that reacts to each request by its number and its content.
    pub(super) async fn with(
        react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, react)
    }

    /// An endpoint that accepts everything, over TLS.
    pub(super) async fn with_tls(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(Some(acceptor), listener, |_, _| Reaction::Status(200))
    }

    pub(super) fn on(
        listener: TcpListener,
        react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        Self::over(None, listener, react)
    }

    fn over(
        tls: Option<TlsAcceptor>,
        listener: TcpListener,
        react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let (count, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let react = Arc::new(react);
        let (counted, accepted) = (Arc::clone(&count), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut sockets = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let (react, sender, count) =
                    (Arc::clone(&react), sender.clone(), Arc::clone(&counted));
                let tls = tls.clone();
                sockets.spawn(async move {
                    let _ = match tls {
                        None => serve(socket, &*react, &sender, &count).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => serve(socket, &*react, &sender, &count).await,
                            Err(refused) => Err(refused),
                        },
                    };
                });
            }
        });
        Self { address, scheme, received, count, connections, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/hook?a=b", self.scheme, self.address)
    }

    /// The URL with another host.
    pub(super) fn url_at(&self, host: &str) -> String {
        format!("{}://{host}:{}/hook", self.scheme, self.address.port())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Received {
        let received = timeout(PATIENCE, self.received.recv()).await;
        received.expect("no request came").unwrap()
    }

    /// The data of messages until the last of them has come.
    pub(super) async fn data_until(&mut self, last: &str) -> Vec<String> {
        let mut data: Vec<String> = Vec::new();
        while data.last().is_none_or(|it| it != last) {
            data.extend(self.next().await.data());
        }
        data
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    react: &(dyn Fn(usize, &Received) -> Reaction + Send + Sync),
    sender: &mpsc::UnboundedSender<Received>,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut socket, &mut buffer).await? else { return Ok(()) };
        let reaction = react(count.fetch_add(1, Ordering::SeqCst), &request);
        let _ = sender.send(request);
        let answer = |status: u16, more: &str| format!("HTTP/1.1 {status} Status\r\n{more}\r\n");
        let whole = "Content-Length: 0\r\n";
        match reaction {
            Reaction::Status(status) => {
                socket.write_all(answer(status, whole).as_bytes()).await?;
            }
            Reaction::Redirect(url) => {
                let more = format!("Location: {url}\r\n{whole}");
                socket.write_all(answer(307, &more).as_bytes()).await?;
            }
            Reaction::Late(gate) => {
                gate.acquire().await.unwrap().forget();
                socket.write_all(answer(200, whole).as_bytes()).await?;
            }
            Reaction::Stall => std::future::pending().await,
            Reaction::Close => return Ok(()),
            Reaction::OkAndClose => {
                socket.write_all(answer(200, whole).as_bytes()).await?;
                return Ok(());
            }
            Reaction::Endless(status) => {
                let more = "Transfer-Encoding: chunked\r\n";
                socket.write_all(answer(status, more).as_bytes()).await?;
                loop {
                    socket.write_all(b"8\r\nendless \r\n").await?;
                }
            }
        }
    }
}

async fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Received>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.unwrap().1.parse().unwrap();
    while buffer.len() < end + length {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Ok(Some(Received { line, headers, body }))
}
