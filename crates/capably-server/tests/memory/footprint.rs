//! The memory of a server for each idle connection, and for each channel with one subscriber. The bench `memory` uses it, too.
//!
//! The server is a process of its own, so that its memory can be told from the clients'.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use capably_protocol::{ClientFrame, Format, Limits, ServerFrame, codec, frame::Attach};
use capably_server::Server;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message as WsMessage, protocol::WebSocketConfig},
};

const KEY: &str = "memory.keyId:keySecret";

/// The argument of a program that is the server.
const SERVE: &str = "serve";

/// The connections that share the channels.
pub(crate) const SHARING: usize = 100;

/// The connections before the measurement: the buffers that all of them share have their size by then.
const WARM_UP: usize = 100;

/// The attaches of a connection that are under way.
const IN_FLIGHT: usize = 100;

type Socket = WebSocketStream<TcpStream>;

/// Whether this process is a server. It has served until its parent had no more use for it.
pub(crate) fn has_served() -> bool {
    let is_server = std::env::args().nth(1).is_some_and(|argument| argument == SERVE);
    if is_server {
        serve();
    }
    is_server
}

/// The bytes of the server for each of so many idle connections.
pub(crate) fn of_connections(connections: usize, format: Format) -> usize {
    let server = Process::start();
    runtime(1).block_on(async {
        let mut sockets = Vec::with_capacity(WARM_UP + connections);
        for _ in 0..WARM_UP {
            sockets.push(connect(server.address, format).await);
        }
        let before = server.memory();
        for _ in 0..connections {
            sockets.push(connect(server.address, format).await);
        }
        server.memory().saturating_sub(before) / connections
    })
}

/// The bytes of the server for each of so many channels with one subscriber, which [`SHARING`] connections share.
pub(crate) fn of_channels(channels: usize, format: Format) -> usize {
    let server = Process::start();
    runtime(1).block_on(async {
        let mut sockets = Vec::with_capacity(SHARING);
        for number in 0..SHARING {
            let mut socket = connect(server.address, format).await;
            attach(&mut socket, &[format!("warm-up:{number}")], format).await;
            sockets.push(socket);
        }
        let before = server.memory();
        let names: Vec<_> = (0..channels).map(|number| format!("channel:{number}")).collect();
        for (number, names) in names.chunks(IN_FLIGHT).enumerate() {
            attach(&mut sockets[number % SHARING], names, format).await;
        }
        server.memory().saturating_sub(before) / channels
    })
}

/// A connection of a client that has received CONNECTED.
async fn connect(address: SocketAddr, format: Format) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let word = if format == Format::Json { "json" } else { "msgpack" };
    let url = format!("ws://{address}/?v=6&key={KEY}&format={word}");
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await.unwrap();
    let frame = receive(&mut socket, format).await;
    assert!(matches!(frame, ServerFrame::Connected(_)), "not CONNECTED: {frame:?}");
    socket
}

async fn attach(socket: &mut Socket, names: &[String], format: Format) {
    for name in names {
        let attach = Attach { channel: name.as_str().into(), ..Attach::default() };
        let mut bytes = Vec::new();
        codec::encode_client_frame(format, &ClientFrame::Attach(attach), &mut bytes);
        let message = match format {
            Format::MsgPack => WsMessage::Binary(bytes.into()),
            Format::Json => WsMessage::text(String::from_utf8(bytes).unwrap()),
        };
        socket.feed(message).await.unwrap();
    }
    socket.flush().await.unwrap();
    let mut attached = 0;
    while attached < names.len() {
        match receive(socket, format).await {
            ServerFrame::Attached(_) => attached += 1,
            ServerFrame::Heartbeat { .. } => {}
            other => panic!("not ATTACHED: {other:?}"),
        }
    }
}

async fn receive(socket: &mut Socket, format: Format) -> ServerFrame {
    let bytes = socket.next().await.unwrap().unwrap().into_data();
    codec::decode_server_frame(format, &bytes, &Limits::default()).unwrap()
}

/// A server in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(SERVE).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    /// The bytes of memory that the process uses, as the system counts them.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes = line.split_whitespace().next().unwrap();
        kibibytes.parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() {
    runtime(2).block_on(async {
        let server = Server::builder().key(KEY).start().await.unwrap();
        println!("{}", server.local_addr());
        std::future::pending::<()>().await;
    });
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}
