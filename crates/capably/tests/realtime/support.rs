//! A scripted peer: tests accept connections, read the frames of the client, and send frames.

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use capably::{
    Channel, ClientOptions, Error, ErrorCode, ErrorInfo, Message, Realtime, Subscription,
    realtime::{Changes, ChannelState, ChannelStateChange, ConnectionState},
    transport::{Connector, DialRequest, Dialling, Packet, WebSocket},
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, Format, Limits, ServerFrame, codec,
    frame::{Ack, Attach, Attached, Connected, Delivery, ErrorFrame, Publish},
};
use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// The connector a client under test gets.
pub(crate) struct Script {
    attempts: mpsc::UnboundedSender<Attempt>,
}

/// The service's side: connection attempts arrive here.
pub(crate) struct Service {
    attempts: mpsc::UnboundedReceiver<Attempt>,
}

/// A connection attempt that waits for its answer; dropping it refuses.
pub(crate) struct Attempt {
    pub request: DialRequest,
    answer: oneshot::Sender<Result<Box<dyn WebSocket>, Error>>,
}

/// The service's side of an open socket.
pub(crate) struct Peer {
    format: Format,
    to_client: mpsc::UnboundedSender<Packet>,
    from_client: mpsc::UnboundedReceiver<Packet>,
}

/// No fallback domains.
pub(crate) const NO_HOSTS: [String; 0] = [];

/// A client with the default options, and the service it connects to.
pub(crate) fn client(format: Format) -> (Realtime, Service) {
    client_with(format, |options| options)
}

/// A client with these options, and the service it connects to. It does not connect by itself.
pub(crate) fn client_with(
    format: Format,
    options: impl FnOnce(ClientOptions) -> ClientOptions,
) -> (Realtime, Service) {
    // Tests of the fallback domains set their own.
    let defaults = ClientOptions::new("appId.keyId:keySecret").fallback_hosts(NO_HOSTS);
    client_of(format, options(defaults))
}

/// A client with these options, credentials included, and the service it connects to. It does not connect
/// by itself.
pub(crate) fn client_of(format: Format, options: ClientOptions) -> (Realtime, Service) {
    let (options, service) = scripted(format, options);
    (Realtime::new(options).expect("the options are good"), service)
}

/// Options for a client that connects to the service that comes with them.
pub(crate) fn scripted(format: Format, options: ClientOptions) -> (ClientOptions, Service) {
    let (script, service) = script();
    let options = options
        .use_binary_protocol(format == Format::MsgPack)
        .auto_connect(false)
        .connector(Arc::new(script));
    (options, service)
}

/// A connector and its service.
pub(crate) fn script() -> (Script, Service) {
    let (sender, attempts) = mpsc::unbounded_channel();
    (Script { attempts: sender }, Service { attempts })
}

/// A connected client and its peer.
pub(crate) async fn connected(format: Format) -> (Realtime, Service, Peer) {
    connected_with(format, |options| options).await
}

/// A connected client with these options, and its peer.
pub(crate) async fn connected_with(
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

/// A connected client, its peer, and a channel that is attached.
pub(crate) async fn with_channel(format: Format) -> (Realtime, Service, Peer, Channel) {
    with_channel_and(format, |options| options).await
}

/// The same, with these options.
pub(crate) async fn with_channel_and(
    format: Format,
    options: impl FnOnce(ClientOptions) -> ClientOptions,
) -> (Realtime, Service, Peer, Channel) {
    let (client, service, mut peer) = connected_with(format, options).await;
    let channel = client.channels().get("ch");
    attach(&channel, &mut peer).await;
    (client, service, peer, channel)
}

/// Attaches a channel.
pub(crate) async fn attach(channel: &Channel, peer: &mut Peer) {
    let (result, _) = tokio::join!(channel.attach(), peer.attach(channel.name()));
    result.unwrap();
}

/// Subscribes to a channel that is attached.
pub(crate) async fn subscribed(channel: &Channel) -> Subscription {
    assert_eq!(channel.state(), ChannelState::Attached);
    channel.subscribe().await.unwrap()
}

/// Attaches in a separate task.
pub(crate) fn attaching(channel: &Channel) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.attach().await })
}

/// Detaches in a separate task.
pub(crate) fn detaching(channel: &Channel) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.detach().await })
}

/// A round trip to the service: whatever was sent before it has had its effects, and the client has sent
/// nothing that the test has not read.
pub(crate) async fn quiet(client: &Realtime, peer: &mut Peer) {
    let answer = async {
        match peer.receive().await {
            Some(ClientFrame::Heartbeat { id }) => peer.send(ServerFrame::Heartbeat { id }),
            other => panic!("the client is not quiet: {other:?}"),
        }
    };
    let (pong, ()) = tokio::join!(client.connection().ping(), answer);
    pong.unwrap();
}

/// Drops the transport, and lets the client resume its connection. Channels attach again by themselves.
pub(crate) async fn resume(client: &Realtime, service: &mut Service, peer: Peer) -> Peer {
    reconnect(client, service, peer, "connection-1").await
}

/// Drops the transport; the client gets a connection with this id.
pub(crate) async fn reconnect(
    client: &Realtime,
    service: &mut Service,
    peer: Peer,
    connection: &str,
) -> Peer {
    drop(peer);
    let mut peer = service.accept().await;
    peer.send(connected_frame(connection, "key-2"));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    peer
}

/// Drops the transport, and refuses every attempt until the connection is suspended.
pub(crate) async fn suspend(client: &Realtime, service: &mut Service, peer: Peer) {
    drop(peer);
    let mut suspended = pin!(client.connection().when(ConnectionState::Suspended));
    loop {
        tokio::select! {
            biased;
            result = &mut suspended => {
                result.unwrap();
                return;
            }
            attempt = service.attempt() => attempt.refuse(),
        }
    }
}

/// The code of the error.
pub(crate) fn code<T: fmt::Debug>(result: Result<T, Error>) -> u32 {
    result.unwrap_err().code().0
}

/// The next changes of a channel are to these states.
pub(crate) async fn expect_states(
    changes: &mut Changes<ChannelStateChange>,
    states: &[ChannelState],
) {
    for state in states {
        assert_eq!(changes.next().await.expect("the client lives").current, *state);
    }
}

/// The events in the queue of this stream.
pub(crate) fn seen<T>(changes: &mut Changes<T>) -> Vec<T> {
    std::iter::from_fn(|| changes.next().now_or_never().flatten()).collect()
}

/// Expects an empty queue of this stream.
pub(crate) fn expect_none<T: fmt::Debug>(changes: &mut Changes<T>) {
    if let Some(change) = changes.next().now_or_never() {
        panic!("unexpected: {change:?}");
    }
}

/// Expects an empty queue of this subscription.
pub(crate) fn expect_no_message(messages: &mut Subscription) {
    if let Some(message) = messages.next().now_or_never() {
        panic!("unexpected: {message:?}");
    }
}

/// Advances the clock by this many milliseconds.
pub(crate) async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

/// A CONNECTED with the usual details.
pub(crate) fn connected_frame(id: &str, key: &str) -> ServerFrame {
    connected_frame_with(id, key, |_| {})
}

/// A CONNECTED with changed details.
pub(crate) fn connected_frame_with(
    id: &str,
    key: &str,
    change: impl FnOnce(&mut Connected),
) -> ServerFrame {
    let mut frame = Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some(key.into()),
            max_idle_interval: Some(15_000),
            connection_state_ttl: Some(120_000),
            ..ConnectionDetails::default()
        }),
        error: None,
    };
    change(&mut frame);
    ServerFrame::Connected(Box::new(frame))
}

/// An ATTACHED.
pub(crate) fn attached(channel: &str) -> ServerFrame {
    attached_with(channel, |_| {})
}

/// An ATTACHED with changes.
pub(crate) fn attached_with(channel: &str, change: impl FnOnce(&mut Attached)) -> ServerFrame {
    let mut frame = Attached {
        channel: channel.into(),
        channel_serial: Some(format!("{channel}-serial").into()),
        ..Attached::default()
    };
    change(&mut frame);
    ServerFrame::Attached(Box::new(frame))
}

/// A DETACHED.
pub(crate) fn detached(channel: &str) -> ServerFrame {
    ServerFrame::Detached { channel: channel.into(), error: None }
}

/// A DETACHED with an error.
pub(crate) fn detached_because(channel: &str, code: u32) -> ServerFrame {
    ServerFrame::Detached { channel: channel.into(), error: Some(info(code, 500)) }
}

/// Messages with these names, in one frame; the data of each is its name.
pub(crate) fn messages(channel: &str, names: &[&str]) -> ServerFrame {
    let items = names.iter().map(|name| Message::new(*name, *name)).collect();
    ServerFrame::Message(Delivery::new(channel, items))
}

/// An ACK of `count` frames with one serial each.
pub(crate) fn ack(msg_serial: u64, count: u64) -> ServerFrame {
    let res = (msg_serial..msg_serial + count)
        .map(|serial| capably::PublishResult::new(vec![Some(format!("serial-{serial}").into())]))
        .collect();
    ServerFrame::Ack(Ack { msg_serial, count, res })
}

/// A connection or channel ERROR.
pub(crate) fn error(channel: Option<&str>, code: u32, status: u16) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        channel: channel.map(Into::into),
        error: Some(info(code, status)),
    })
}

/// An error of the service.
pub(crate) fn info(code: u32, status: u16) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(code), status, "an error of the service")
}

impl Service {
    /// The next connection attempt.
    pub(crate) async fn attempt(&mut self) -> Attempt {
        self.attempts.recv().await.expect("the client lives")
    }

    /// The next connection attempt; `None` once the client is gone.
    pub(crate) async fn next_attempt(&mut self) -> Option<Attempt> {
        self.attempts.recv().await
    }

    /// Accepts the next connection attempt.
    pub(crate) async fn accept(&mut self) -> Peer {
        self.attempt().await.accept()
    }

    /// Whether no attempt has been made since the last one taken.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.attempts.try_recv().is_err()
    }
}

impl Attempt {
    /// A query parameter of the attempt, decoded.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let (_, query) = self.request.path.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (own, value) = pair.split_once('=')?;
            (own == name).then(|| {
                percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned()
            })
        })
    }

    /// Opens the socket.
    pub(crate) fn accept(self) -> Peer {
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
    pub(crate) fn refuse(self) {
        self.refuse_with(Error::new(ErrorCode::CONNECTION_FAILED, 0, "connection refused"));
    }

    /// Refuses the connection with this error.
    pub(crate) fn refuse_with(self, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    /// Whether the client has abandoned this attempt.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the client abandons this attempt.
    pub(crate) async fn abandoned(&mut self) {
        self.answer.closed().await;
    }
}

impl Peer {
    /// Sends a frame to the client.
    pub(crate) fn send(&mut self, frame: ServerFrame) {
        let mut bytes = Vec::new();
        codec::encode_server_frame(self.format, &frame, &mut bytes);
        self.send_raw(bytes);
    }

    /// Sends these bytes as a frame.
    pub(crate) fn send_raw(&mut self, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = self.to_client.send(match self.format {
            Format::Json => Packet::Text(bytes),
            Format::MsgPack => Packet::Binary(bytes),
        });
    }

    /// Sends a frame in this format, which may differ from that of the connection.
    pub(crate) fn send_in(&mut self, format: Format, frame: ServerFrame) {
        let own = std::mem::replace(&mut self.format, format);
        self.send(frame);
        self.format = own;
    }

    /// Sends these fields as a frame.
    pub(crate) fn send_fields(&mut self, fields: serde_json::Value) {
        self.send_raw(codec::encode_body(self.format, &fields).unwrap());
    }

    /// Sends a WebSocket ping.
    pub(crate) fn ping(&mut self) {
        let _ = self.to_client.send(Packet::Ping);
    }

    /// The next frame the client sends; `None` once it has closed the socket.
    pub(crate) async fn receive(&mut self) -> Option<ClientFrame> {
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
    pub(crate) async fn attach(&mut self, channel: &str) -> Attach {
        let attach = self.expect_attach(channel).await;
        self.send(attached(channel));
        attach
    }

    /// Awaits an ATTACH for this channel.
    pub(crate) async fn expect_attach(&mut self, channel: &str) -> Attach {
        match self.receive().await {
            Some(ClientFrame::Attach(attach)) if attach.channel == channel => attach,
            other => panic!("not an ATTACH for {channel}: {other:?}"),
        }
    }

    /// Awaits an AUTH: its token.
    pub(crate) async fn expect_auth(&mut self) -> String {
        match self.receive().await {
            Some(ClientFrame::Auth(details)) => details.access_token.to_string(),
            other => panic!("not an AUTH: {other:?}"),
        }
    }

    /// Awaits a DETACH for this channel.
    pub(crate) async fn expect_detach(&mut self, channel: &str) {
        let frame = self.receive().await;
        assert_eq!(frame, Some(ClientFrame::Detach { channel: channel.into() }));
    }

    /// Awaits a MESSAGE.
    pub(crate) async fn publish(&mut self) -> Publish<Message> {
        match self.receive().await {
            Some(ClientFrame::Message(publish)) => publish,
            other => panic!("not a MESSAGE: {other:?}"),
        }
    }

    /// Skips this many frames.
    pub(crate) async fn skip(&mut self, frames: usize) {
        for _ in 0..frames {
            self.from_client.recv().await.expect("the client has not closed the socket");
        }
    }

    /// The next frame the client sends, as its fields.
    pub(crate) async fn receive_fields(&mut self) -> serde_json::Value {
        let bytes = match self.from_client.recv().await {
            Some(Packet::Text(bytes) | Packet::Binary(bytes)) => bytes,
            other => panic!("not a frame: {other:?}"),
        };
        codec::decode_body(self.format, &bytes, &Limits::default()).unwrap()
    }

    /// Awaits a MESSAGE: its serial and the names of its messages.
    pub(crate) async fn message(&mut self) -> (u64, Vec<String>) {
        let publish = self.publish().await;
        let names = publish.items.iter().map(|m| m.name.as_deref().unwrap().to_owned());
        (publish.msg_serial, names.collect())
    }

    /// Waits until the client closes the socket, and skips its earlier frames.
    pub(crate) async fn closed(&mut self) {
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
