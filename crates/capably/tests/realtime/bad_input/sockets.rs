//! Servers that misbehave, over real sockets.

use capably::{
    ClientOptions, Error, Realtime, Result,
    realtime::{ChannelState, ConnectionState},
};
use capably_protocol::{Format, codec};
use capably_server::Server;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message as WsMessage};

use crate::{closed_port::ClosedPort, support::connected_frame};

pub(super) fn options(port: u16) -> ClientOptions {
    ClientOptions::new("appId.keyId:keySecret").endpoint("127.0.0.1").port(port).tls(false)
}

pub(super) async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Reads a request up to its empty line.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

/// The error of connecting when this answers the WebSocket request.
async fn answered_with(answer: &[u8]) -> Error {
    let (listener, port) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        assert!(request.starts_with("GET /?"), "{request}");
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let (result, ()) = tokio::join!(Realtime::connect(options(port)), server);
    let error = result.unwrap_err();
    // The error never contains the key.
    assert!(!format!("{error:?} {error}").contains("keySecret"), "{error:?}");
    error
}

/// Accepts a WebSocket and sends CONNECTED.
pub(super) async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    let mut bytes = Vec::new();
    let frame = connected_frame("connection-1", "key-1");
    codec::encode_server_frame(Format::MsgPack, &frame, &mut bytes);
    socket.send(WsMessage::Binary(bytes.into())).await.unwrap();
    socket
}

#[tokio::test]
async fn a_port_without_a_listener_is_an_error() {
    let closed = ClosedPort::new();
    let port = closed.number();
    let error = Realtime::connect(options(port)).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (80000, None));
    assert!(error.message().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn closing_during_the_handshake_is_an_error() {
    let error = answered_with(b"").await;
    assert_eq!((error.code().0, error.status()), (80000, None));
    let error = answered_with(b"HTTP/1.1 101 Switching").await;
    assert_eq!((error.code().0, error.status()), (80000, None));
}

#[tokio::test]
async fn a_handshake_that_is_not_accepted_is_an_error() {
    let error = answered_with(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((error.code().0, error.status()), (80000, Some(404)));
    let error = answered_with(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!((error.code().0, error.status()), (80000, Some(503)));
    // 200 is no upgrade either.
    let error = answered_with(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((error.code().0, error.status()), (80000, Some(200)));
    let error = answered_with(b"SSH-2.0-OpenSSH\r\n\r\n").await;
    assert_eq!((error.code().0, error.status()), (80000, None));
    let error = answered_with(&[0xff; 2_000]).await;
    assert_eq!((error.code().0, error.status()), (80000, None));
    // An upgrade without the `Sec-WebSocket-Accept` header.
    let error = answered_with(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    assert_eq!((error.code().0, error.status()), (80000, None));
}

// Spec: RTN17f, RSC15l4
#[tokio::test]
async fn a_refusal_by_cloudfront_leads_to_a_fallback_host() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\nserver: CloudFront\r\ncontent-length: 0\r\n\r\n";
    let error = answered_with(refusal).await;
    assert_eq!((error.code().0, error.status()), (80000, Some(503)));
    assert!(error.message().contains("403"), "{error}");
    let refusal = b"HTTP/1.1 403 Forbidden\r\nserver: nginx\r\ncontent-length: 0\r\n\r\n";
    let error = answered_with(refusal).await;
    assert_eq!((error.code().0, error.status()), (80000, Some(403)));
}

#[tokio::test]
async fn closing_after_the_handshake_loses_the_transport() {
    let (listener, port) = listener().await;
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(accept_async(stream).await.unwrap());
    };
    let (result, ()) = tokio::join!(Realtime::connect(options(port)), server);
    assert_eq!(result.unwrap_err().code().0, 80003);
}

/// The code of a lost connection. The client does not retry at once.
async fn loss(options: ClientOptions) -> u32 {
    let client = Realtime::new(options).unwrap();
    client.connection().when(ConnectionState::Connected).await.unwrap();
    client.connection().when(ConnectionState::Disconnected).await.unwrap();
    let error = client.connection().error_reason().unwrap();
    assert_eq!(client.connection().state(), ConnectionState::Disconnected);
    error.code().0
}

/// The code of a connection that is lost after this message of the server.
async fn lost_to(options: ClientOptions, listener: TcpListener, message: WsMessage) -> u32 {
    let server = async {
        let mut socket = accept(&listener).await;
        // The client may close before it has read the whole message.
        let _ = socket.send(message).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let (code, ()) = tokio::join!(loss(options), server);
    code
}

#[tokio::test]
async fn an_oversized_frame_ends_the_transport() {
    let (socket, port) = listener().await;
    let options = options(port).max_frame_size(1_000);
    // A frame with many messages may exceed the limit of a client's frame, but not without bound.
    let message = WsMessage::Binary(vec![0; 40_000].into());
    assert_eq!(lost_to(options, socket, message).await, 80013);
}

#[tokio::test]
async fn a_malformed_frame_ends_the_transport() {
    for message in [
        WsMessage::Binary(b"garbage".to_vec().into()),
        WsMessage::Binary(Vec::new().into()),
        WsMessage::Text("garbage".into()),
    ] {
        let (socket, port) = listener().await;
        assert_eq!(lost_to(options(port), socket, message).await, 80013);
    }
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_end_the_transport() {
    let (listener, port) = listener().await;
    let server = async {
        let socket = accept(&listener).await;
        let mut stream = socket.into_inner();
        stream.write_all(&[0xff; 64]).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    };
    let (code, ()) = tokio::join!(loss(options(port)), server);
    assert_eq!(code, 80013);
}

async fn server() -> Server {
    Server::builder().start().await.unwrap()
}

async fn connect(server: &Server, key: &str) -> Result<Realtime> {
    let options = ClientOptions::new(key).endpoint(server.endpoint()).port(server.port());
    Realtime::connect(options.tls(false)).await
}

#[tokio::test]
async fn wrong_keys_are_refused() {
    let server = server().await;
    let (name, _) = server.key().split_once(':').unwrap();
    let (app, id) = name.split_once('.').unwrap();
    for (key, code, status) in [
        (format!("{name}:wrong"), 40101, 401),
        (format!("{app}.nokeyx:secret"), 40400, 401),
        (format!("nosuch.{id}:secret"), 40400, 404),
        ("not-an-app-id.key:secret".to_owned(), 40101, 401),
    ] {
        let error = connect(&server, &key).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (code, Some(status)), "{key}");
        assert!(!format!("{error:?}").contains(":secret"), "{error:?}");
    }
    // The server still serves other clients.
    let client = connect(&server, server.key()).await.unwrap();
    let channel = client.channels().get("ch");
    let mut messages = channel.subscribe().await.unwrap();
    channel.publish("n", "d").await.unwrap();
    assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("n"));
    client.close().await;
    assert_eq!(client.connection().state(), ConnectionState::Closed);
}

#[tokio::test]
async fn a_wrong_key_is_final() {
    let server = server().await;
    let (name, _) = server.key().split_once(':').unwrap();
    let options = ClientOptions::new(format!("{name}:wrong"));
    let options = options.endpoint(server.endpoint()).port(server.port()).tls(false);
    let client = Realtime::new(options).unwrap();
    client.connection().when(ConnectionState::Failed).await.unwrap();
    assert_eq!(client.connection().error_reason().unwrap().code().0, 40101);
    let channel = client.channels().get("ch");
    assert_eq!(channel.attach().await.unwrap_err().code().0, 80000);
    assert_eq!(channel.state(), ChannelState::Initialized);
}

#[tokio::test]
async fn a_released_channel_can_be_created_again() {
    let server = server().await;
    let client = connect(&server, server.key()).await.unwrap();
    for round in 0..20 {
        let channel = client.channels().get("ch");
        let mut messages = channel.subscribe().await.unwrap();
        channel.publish("round", round.to_string()).await.unwrap();
        assert_eq!(messages.next().await.unwrap().data.as_str(), Some(&*round.to_string()));
        client.channels().release("ch");
    }
}
