//! What stands between clients and services in some networks: it ends TLS, and it holds a response back until it is
//! complete.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A middlebox in front of a server, which lets no WebSocket through.
pub(super) struct Middlebox {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    server: SocketAddr,
    tls: Option<TlsAcceptor>,
    buffers: AtomicBool,
    /// The first line of each request.
    lines: Mutex<Vec<String>>,
    /// Changes to cut all connections.
    cut: watch::Sender<()>,
}

impl Middlebox {
    pub(super) async fn start(server: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            tls,
            buffers: AtomicBool::new(false),
            lines: Mutex::default(),
            cut: watch::Sender::new(()),
        });
        let own = Arc::clone(&shared);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (shared, mut cut) = (Arc::clone(&own), own.cut.subscribe());
                connections.spawn(async move {
                    tokio::select! {
                        _ = shared.serve(client) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, shared, _task: task }
    }

    /// Whether responses are held back until they are complete.
    pub(super) fn buffer(&self, buffers: bool) {
        self.shared.buffers.store(buffers, Ordering::SeqCst);
    }

    pub(super) fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// How many requests with this text have come.
    pub(super) fn count(&self, text: &str) -> usize {
        self.shared.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.relay(tls.accept(client).await?).await,
            None => self.relay(client).await,
        }
    }

    async fn relay(&self, client: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
        let (client, mut answers) = tokio::io::split(client);
        let mut requests = Reader::of(client);
        loop {
            let request = requests.message(|_| {}).await?;
            let text = String::from_utf8_lossy(&request).into_owned();
            self.lines.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
            if text.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
                let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
                answers.write_all(refusal).await?;
                continue;
            }
            let mut server = TcpStream::connect(self.server).await?;
            server.set_nodelay(true)?;
            server.write_all(&request).await?;
            let answer = async {
                let mut reader = Reader::of(&mut server);
                if self.buffers.load(Ordering::SeqCst) {
                    answers.write_all(&reader.message(|_| {}).await?).await
                } else {
                    reader.forward(&mut answers).await
                }
            };
            tokio::select! {
                answered = answer => answered?,
                // The client has gone, and so has its request.
                ended = requests.more() => { ended?; return Ok(()) }
            }
        }
    }
}

/// Reads messages of HTTP/1.1.
struct Reader<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    fn of(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    async fn more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// A whole message. `seen` gets each of its parts as soon as it is complete.
    async fn message(&mut self, mut seen: impl FnMut(&[u8])) -> std::io::Result<Vec<u8>> {
        let mut message = self.until(b"\r\n\r\n").await?;
        seen(&message);
        let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let line = self.until(b"\r\n").await?;
                let size =
                    usize::from_str_radix(str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                let chunk = [line, self.exactly(size + 2).await?].concat();
                seen(&chunk);
                message.extend(chunk);
                if size == 0 {
                    return Ok(message);
                }
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = self.exactly(length.map_or(0, |length| length.parse().unwrap())).await?;
        seen(&body);
        message.extend(body);
        Ok(message)
    }

    /// Forwards a message as it arrives.
    async fn forward(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let (parts, mut arriving) = tokio::sync::mpsc::unbounded_channel();
        let reading = async move {
            self.message(|part| {
                // The other end lasts as long as this future.
                let _ = parts.send(part.to_vec());
            })
            .await
            .map(drop)
        };
        let writing = async {
            while let Some(part) = arriving.recv().await {
                to.write_all(&part).await?;
                to.flush().await?;
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(drop)
    }

    async fn until(&mut self, end: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            let found = self.unread.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return Ok(self.unread.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.more().await?;
        }
        Ok(self.unread.drain(..count).collect())
    }
}
