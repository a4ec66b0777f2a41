//! Rules that need a service: the client id of a message, that it is published once, and the number of connections.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{ClientOptions, Message, Rest, TokenDetails, TokenParams, rest::RestChannel};
use capably_server::Server;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

async fn server() -> Server {
    Server::builder().start().await.unwrap()
}

/// A client with these options in each format.
fn clients(server: &Server, options: ClientOptions) -> [Rest; 2] {
    let options = options.endpoint(server.endpoint()).port(server.port()).tls(false);
    [true, false].map(|binary| Rest::new(options.clone().use_binary_protocol(binary)).unwrap())
}

/// The client id of the latest message, as a reader sees it.
async fn client_id(channel: &RestChannel) -> Option<String> {
    let page = channel.history().limit(1).await.unwrap();
    page.items()[0].client_id.as_deref().map(str::to_owned)
}

// Spec: RSL1m1, RSL1m2, RSL1m4
#[tokio::test]
async fn an_identified_client_publishes_as_itself() {
    let server = server().await;
    for rest in clients(&server, ClientOptions::new(server.key()).client_id("ada")) {
        let channel = rest.channels().get("identified");
        channel.publish("event", ()).await.unwrap();
        assert_eq!(client_id(&channel).await.as_deref(), Some("ada"));
        channel.publish("event", ()).client_id("ada").await.unwrap();
        assert_eq!(client_id(&channel).await.as_deref(), Some("ada"));

        let error = channel.publish("event", ()).client_id("eve").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)));
    }
}

// Spec: RSL1m3
#[tokio::test]
async fn a_wildcard_client_publishes_with_the_given_client_id() {
    let server = server().await;
    for rest in clients(&server, server.key().into()) {
        let channel = rest.channels().get("unidentified");
        channel.publish("event", ()).client_id("ada").await.unwrap();
        assert_eq!(client_id(&channel).await.as_deref(), Some("ada"));
        channel.publish("event", ()).await.unwrap();
        assert_eq!(client_id(&channel).await, None);
    }
}

// Spec: RSL6a2
#[tokio::test]
async fn extras_survive_a_publish() {
    let server = server().await;
    let extras =
        json!({"push": [{"title": "Testing"}], "headers": {"n": 1.5, "no": null, "ü": [true]}});
    for rest in clients(&server, server.key().into()) {
        let channel = rest.channels().get("extras");
        let publish = channel.publish("event", ()).extras(extras.as_object().cloned().unwrap());
        publish.await.unwrap();
        for reader in clients(&server, server.key().into()) {
            let page = reader.channels().get("extras").history().limit(1).await.unwrap();
            assert_eq!(page.items()[0].extras.as_ref(), extras.as_object());
        }
    }
}

/// A token with this client id, or without one.
async fn token(server: &Server, client_id: Option<&str>) -> TokenDetails {
    let [rest, _] = clients(server, server.key().into());
    let mut params = TokenParams::new();
    params.client_id = client_id.map(Into::into);
    rest.auth().request_token().params(params).await.unwrap()
}

// Spec: RSA8f, RSA8f1, RSA8f2
#[tokio::test]
async fn an_anonymous_token_refuses_any_client_id() {
    let server = server().await;
    let token = token(&server, None).await;
    for rest in clients(&server, ClientOptions::default().token_details(token)) {
        let channel = rest.channels().get("anonymous");
        channel.publish("event", ()).await.unwrap();
        assert_eq!(client_id(&channel).await, None);
        assert_eq!(rest.auth().client_id(), None);

        let error = channel.publish("event", ()).client_id("ada").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)));
    }
}

// Spec: RSA8f, RSA8f3, RSA8f4
#[tokio::test]
async fn a_wildcard_token_accepts_any_client_id() {
    let server = server().await;
    let token = token(&server, Some("*")).await;
    for rest in clients(&server, ClientOptions::default().token_details(token)) {
        let channel = rest.channels().get("anybody");
        channel.publish("event", ()).await.unwrap();
        assert_eq!(client_id(&channel).await, None);
        assert_eq!(rest.auth().client_id().as_deref(), Some("*"));

        channel.publish("event", ()).client_id("ada").await.unwrap();
        assert_eq!(client_id(&channel).await.as_deref(), Some("ada"));
    }
}

/// The bytes of a request or a response with a content length; `None` at the end.
async fn read_whole(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes.clone()).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    socket.read_exact(&mut body).await.ok()?;
    bytes.append(&mut body);
    Some(bytes)
}

/// The port of a relay to the server. It reports the first publish of each client as failed, although it succeeded.
async fn lying_relay(server: &Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = ("127.0.0.1", server.port());
    tokio::spawn(async move {
        let (mut lied, _) = listener.accept().await.unwrap();
        let mut service = TcpStream::connect(target).await.unwrap();
        let request = read_whole(&mut lied).await.unwrap();
        service.write_all(&request).await.unwrap();
        let response = read_whole(&mut service).await.unwrap();
        assert!(response.starts_with(b"HTTP/1.1 201 "), "it was published");
        let lie = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        lied.write_all(lie).await.unwrap();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut service = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut service).await });
        }
    });
    port
}

// Spec: RSL1k4
#[tokio::test]
async fn a_retried_batch_is_published_once() {
    let server = server().await;
    for binary in [true, false] {
        let options = ClientOptions::new(server.key()).use_binary_protocol(binary).tls(false);
        let options = options.endpoint("127.0.0.1").fallback_hosts(["localhost"]);
        let rest = Rest::new(options.port(lying_relay(&server).await)).unwrap();
        let channel = rest.channels().get(format!("once-{binary}"));
        let messages = ["a", "b", "c"].map(|name| Message::new(name, "data"));
        let published = channel.publish_messages(messages).await.unwrap();
        assert_eq!(published.serials.len(), 3, "the second attempt succeeded");

        let page = channel.history().await.unwrap();
        let names: Vec<_> = page.items().iter().map(|m| m.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}

#[tokio::test]
async fn simultaneous_publishes_share_connections() {
    const AT_ONCE: usize = 64;
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = ("127.0.0.1", server.port());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut service = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut service).await });
        }
    });
    let options = ClientOptions::new(server.key()).endpoint("127.0.0.1").tls(false).port(port);
    let rest = Rest::new(options).unwrap();
    let publisher = async |n: usize| {
        let channel = rest.channels().get("many");
        for _ in 0..10 {
            channel.publish(n.to_string(), vec![0; 300]).await?;
        }
        Ok::<_, capably::Error>(())
    };
    try_join_all((0..AT_ONCE).map(publisher)).await.unwrap();
    let page = rest.channels().get("many").history().limit(1000).await.unwrap();
    assert_eq!(page.items().len(), AT_ONCE * 10);
    let accepted = accepted.load(Ordering::SeqCst);
    // Sometimes one more is opened, when none is free at that moment.
    assert!(accepted < AT_ONCE * 5 / 4, "640 publishes took {accepted} connections");
}
