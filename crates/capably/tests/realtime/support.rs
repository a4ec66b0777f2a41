//! A scripted peer: tests accept connections, read what the client sent, and send what they like.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use capably::{
    ClientOptions, Error, ErrorCode, ErrorInfo, Realtime,
    realtime::ConnectionState,
    transport::{Connector, DialRequest, Dialling, Packet, WebSocket},
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, Format, Limits, ServerFrame, codec,
    frame::{Ack, Attached, Connected, ErrorFrame},
};
use tokio::sync::{mpsc, oneshot};

/// The connector a client under test gets.
pub struct Script {
    attempts: mpsc::UnboundedSender<Attempt>,
}

/// The service's side: connection attempts arrive here.
pub struct Service {
    attempts: mpsc::UnboundedReceiver<Attempt>,
}

/// A connection attempt that waits for its answer; dropping it refuses.
pub struct Attempt {
    pub request: DialRequest,
    answer: oneshot::Sender<Result<Box<dyn WebSocket>, Error>>,
}

/// The service's side of an open socket.
pub struct Peer {
    format: Format,
    to_client: mpsc::UnboundedSender<Packet>,
    from_client: mpsc::UnboundedReceiver<Packet>,
}

/// A client with the default options, and the service it connects to.
pub fn client(format: Format) -> (Realtime, Service) {
    client_with(format, |options| options)
}

/// A client with these options, and the service it connects to. It does not connect by itself.
pub fn client_with(
    format: Format,
    options: impl FnOnce(ClientOptions) -> ClientOptions,
) -> (Realtime, Service) {
    let (script, service) = script();
    let defaults = ClientOptions::new("appId.keyId:keySecret")
        .use_binary_protocol(format == Format::MsgPack)
        .auto_connect(false)
        .connector(Arc::new(script));
    (Realtime::new(options(defaults)).expect("the options are good"), service)
}

/// A connector and its service.
pub fn script() -> (Script, Service) {
    let (sender, attempts) = mpsc::unbounded_channel();
    (Script { attempts: sender }, Service { attempts })
}

/// A connected client and its peer.
pub async fn connected(format: Format) -> (Realtime, Service, Peer) {
    connected_with(format, |options| options).await
}

/// A connected client with these options, and its peer.
pub async fn connected_with(
    format: Format,
    options: impl FnOnce(ClientOptions) -> ClientOptions,
) -> (Realtime, Service, Peer) {
    let (client, mut service) = client_with(format, options);
    client.connection().connect();
    let mut peer = service.accept().await;
    peer.send(connected_frame("connection-1", "key-1"));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    (client, service, peer)
}

/// A CONNECTED with the usual details.
pub fn connected_frame(id: &str, key: &str) -> ServerFrame {
    ServerFrame::Connected(Box::new(Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some(key.into()),
            max_idle_interval: Some(15_000),
            connection_state_ttl: Some(120_000),
            ..ConnectionDetails::default()
        }),
        error: None,
    }))
}

/// An ATTACHED.
pub fn attached(channel: &str) -> ServerFrame {
    ServerFrame::Attached(Box::new(Attached {
        channel: channel.into(),
        channel_serial: Some(format!("{channel}-serial").into()),
        ..Attached::default()
    }))
}

/// An ACK of `count` frames with one serial each.
pub fn ack(msg_serial: u64, count: u64) -> ServerFrame {
    let res = (msg_serial..msg_serial + count)
        .map(|serial| capably::PublishResult::new(vec![Some(format!("serial-{serial}").into())]))
        .collect();
    ServerFrame::Ack(Ack { msg_serial, count, res })
}

/// A connection or channel ERROR.
pub fn error(channel: Option<&str>, code: u32, status: u16) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        channel: channel.map(Into::into),
        error: Some(info(code, status)),
    })
}

/// An error of the service.
pub fn info(code: u32, status: u16) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(code), status, "an error of the service")
}

impl Service {
    /// The next connection attempt.
    pub async fn attempt(&mut self) -> Attempt {
        self.attempts.recv().await.expect("the client lives")
    }

    /// Accepts the next connection attempt.
    pub async fn accept(&mut self) -> Peer {
        self.attempt().await.accept()
    }

    /// Whether no attempt has been made since the last one taken.
    pub fn is_quiet(&mut self) -> bool {
        self.attempts.try_recv().is_err()
    }
}

impl Attempt {
    /// A query parameter of the attempt, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        let (_, query) = self.request.path.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (own, value) = pair.split_once('=')?;
            (own == name).then(|| {
                percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned()
            })
        })
    }

    /// Opens the socket.
    pub fn accept(self) -> Peer {
        let format = match self.param("format").as_deref() {
            Some("json") => Format::Json,
            Some("msgpack") => Format::MsgPack,
            other => panic!("format is {other:?}"),
        };
        let (to_client, incoming) = mpsc::unbounded_channel();
        let (outgoing, from_client) = mpsc::unbounded_channel();
        let socket = ScriptSocket { incoming, outgoing };
        let _ = self.answer.send(Ok(Box::new(socket)));
        Peer { format, to_client, from_client }
    }

    /// Refuses the connection.
    pub fn refuse(self) {
        let error = Error::new(ErrorCode::CONNECTION_FAILED, 0, "connection refused");
        let _ = self.answer.send(Err(error));
    }

    /// Whether the client has given this attempt up.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the client gives this attempt up.
    pub async fn abandoned(&mut self) {
        self.answer.closed().await;
    }
}

impl Peer {
    /// Sends a frame to the client.
    pub fn send(&mut self, frame: ServerFrame) {
        let mut bytes = Vec::new();
        codec::encode_server_frame(self.format, &frame, &mut bytes);
        self.send_raw(bytes);
    }

    /// Sends bytes as a frame, whatever they are.
    pub fn send_raw(&mut self, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = self.to_client.send(match self.format {
            Format::Json => Packet::Text(bytes),
            Format::MsgPack => Packet::Binary(bytes),
        });
    }

    /// Sends a WebSocket ping.
    pub fn ping(&mut self) {
        let _ = self.to_client.send(Packet::Ping);
    }

    /// The next frame the client sends; `None` once it has closed the socket.
    pub async fn receive(&mut self) -> Option<ClientFrame> {
        let packet = self.from_client.recv().await?;
        let (format, bytes) = match packet {
            Packet::Text(bytes) => (Format::Json, bytes),
            Packet::Binary(bytes) => (Format::MsgPack, bytes),
            other => panic!("not a frame: {other:?}"),
        };
        assert_eq!(format, self.format, "frames have the format of the connection");
        let frame = codec::decode_client_frame(format, &bytes, &Limits::default());
        Some(frame.expect("clients send well-formed frames"))
    }

    /// Awaits an ATTACH for this channel, and confirms it.
    pub async fn attach(&mut self, channel: &str) -> capably_protocol::frame::Attach {
        match self.receive().await {
            Some(ClientFrame::Attach(attach)) if attach.channel == channel => {
                self.send(attached(channel));
                attach
            }
            other => panic!("not an ATTACH for {channel}: {other:?}"),
        }
    }

    /// Awaits a MESSAGE: its serial and the names of its messages.
    pub async fn message(&mut self) -> (u64, Vec<String>) {
        match self.receive().await {
            Some(ClientFrame::Message(publish)) => (
                publish.msg_serial,
                publish.items.iter().map(|m| m.name.as_deref().unwrap().to_owned()).collect(),
            ),
            other => panic!("not a MESSAGE: {other:?}"),
        }
    }

    /// Waits until the client closes the socket, passing over what it sends before.
    pub async fn closed(&mut self) {
        while self.from_client.recv().await.is_some() {}
    }
}

impl Connector for Script {
    fn connect(&self, request: DialRequest) -> Dialling {
        let (answer, answered) = oneshot::channel();
        let _ = self.attempts.send(Attempt { request, answer });
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorCode::CONNECTION_FAILED, 0, "connection refused"))
            })
        })
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[derive(Debug)]
struct ScriptSocket {
    incoming: mpsc::UnboundedReceiver<Packet>,
    outgoing: mpsc::UnboundedSender<Packet>,
}

impl WebSocket for ScriptSocket {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<(), Error>> {
        match self.incoming.poll_recv_many(cx, packets, limit) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Err(Error::new(
                ErrorCode::CONNECTION_DISCONNECTED,
                0,
                "the peer closed the socket",
            ))),
            Poll::Ready(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, packet: Packet) -> Result<(), Error> {
        let _ = self.outgoing.send(packet);
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn close(&mut self) {}
}
