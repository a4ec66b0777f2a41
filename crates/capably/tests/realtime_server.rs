//! Realtime clients and the embedded server, over real sockets: tokens on live connections, and many
//! clients at once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably::{
    Annotation, Capability, ChannelMode, CipherParams, ClientOptions, Message, Realtime, Rest,
    TokenParams,
    auth::AuthOptions,
    realtime::{ChannelState, ConnectionEvent, ConnectionState, RealtimeChannelOptions},
    rest::ChannelOptions,
};
use capably_server::Server;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

fn at(server: &Server, options: ClientOptions, binary: bool) -> ClientOptions {
    options.endpoint(server.endpoint()).port(server.port()).tls(false).use_binary_protocol(binary)
}

/// A token of the service's own kind.
async fn ably_token(server: &Server, params: TokenParams) -> String {
    let issuer = Rest::new(at(server, ClientOptions::new(server.key()), true)).unwrap();
    issuer.auth().request_token().params(params).await.unwrap().token.to_string()
}

/// A JWT that is valid for an hour.
fn jwt(key: &str, capability: &Capability) -> String {
    let (name, secret) = key.split_once(':').unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let header = json!({ "typ": "JWT", "alg": "HS256", "kid": name });
    let body = json!({
        "iat": now, "exp": now + 3600, "x-ably-capability": capability.to_string(),
    });
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn everything_in(channels: &[&str]) -> Capability {
    channels.iter().fold(Capability::new(), |all, channel| all.allow(*channel, ["*"]))
}

// Spec: RTC8a1, RTC8a4
#[tokio::test]
async fn a_live_connection_takes_tokens_of_both_kinds_without_interruption() {
    let server = Server::builder().start().await.unwrap();
    for (binary, by_jwt) in [(true, true), (true, false), (false, true), (false, false)] {
        let token = async |capability: Capability| match by_jwt {
            true => jwt(server.key(), &capability),
            false => ably_token(&server, TokenParams::new().capability(capability)).await,
        };
        let first = token(everything_in(&["a"])).await;
        let client =
            Realtime::connect(at(&server, ClientOptions::new(first), binary)).await.unwrap();
        let mut changes = client.connection().changes();
        let id = client.connection().id();
        let a = client.channels().get("a");
        let mut messages = a.subscribe().await.unwrap();
        let b = client.channels().get("b");
        assert_eq!(b.attach().await.unwrap_err().code().0, 40160);

        let more = AuthOptions::new().token(token(everything_in(&["a", "b"])).await);
        let publishing = async {
            for number in 0..50 {
                a.publish("n", number.to_string()).await.unwrap();
            }
        };
        let (authorized, ()) =
            tokio::join!(client.auth().authorize().options(more).into_future(), publishing);
        authorized.unwrap();
        b.attach().await.unwrap();
        for number in 0..50 {
            let message = messages.next().await.unwrap();
            assert_eq!(message.data.as_str(), Some(&*number.to_string()));
        }
        let update = changes.next().await.unwrap();
        assert_eq!((update.event, update.reason), (ConnectionEvent::Update, None));
        assert_eq!(client.connection().id(), id);

        // A token that allows less fails the channel that it does not cover.
        let mut fate = b.changes();
        let less = AuthOptions::new().token(token(everything_in(&["a"])).await);
        client.auth().authorize().options(less).await.unwrap();
        let change = fate.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Failed);
        assert_eq!(change.reason.unwrap().code.0, 40160);
        assert_eq!(a.state(), ChannelState::Attached);
        assert_eq!(client.connection().metrics().attempts, 1);
        client.close().await;
    }
}

// Spec: RTC8a2
#[tokio::test]
async fn a_token_of_another_client_fails_a_live_connection() {
    let server = Server::builder().start().await.unwrap();
    for binary in [true, false] {
        let of = async |client_id: &str| {
            ably_token(&server, TokenParams::new().client_id(client_id)).await
        };
        let options = ClientOptions::new(of("ada").await);
        let client = Realtime::connect(at(&server, options, binary)).await.unwrap();
        assert_eq!(client.client_id().as_deref(), Some("ada"));
        let other = AuthOptions::new().token(of("eve").await);
        let error = client.auth().authorize().options(other).await.unwrap_err();
        assert_eq!(client.connection().state(), ConnectionState::Failed);
        assert_eq!(client.connection().error_reason().unwrap().code(), error.code());
    }
}

/// Options for a client whose first token is valid for this many seconds and each later one for an hour, and the number
/// of tokens.
fn renewing(server: &Server, first: u64) -> (ClientOptions, Arc<AtomicUsize>) {
    let issuer = Rest::new(at(server, ClientOptions::new(server.key()), true)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let options = ClientOptions::default().auth_callback(move |params: TokenParams| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let ttl = Duration::from_secs(if number == 0 { first } else { 3600 });
        let issuer = issuer.clone();
        async move { issuer.auth().request_token().params(params.ttl(ttl)).await }
    });
    (options, asked)
}

// Spec: RTN22, RSA4b
#[tokio::test]
async fn a_token_that_ends_soon_is_replaced_when_the_service_asks() {
    let server = Server::builder().start().await.unwrap();
    for binary in [true, false] {
        // The service requests a new token 30 s before the expiry.
        let (options, asked) = renewing(&server, 31);
        let client = Realtime::new(at(&server, options, binary)).unwrap();
        let mut changes = client.connection().changes();
        let update = loop {
            let change = changes.next().await.unwrap();
            if change.event == ConnectionEvent::Update {
                break change;
            }
        };
        assert_eq!((update.current, update.reason), (ConnectionState::Connected, None));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(client.connection().metrics().attempts, 1);
        client.close().await;
    }
}

// Spec: RTN15h2, RTN22a
#[tokio::test]
async fn a_connection_whose_token_has_ended_is_resumed_with_another() {
    let server = Server::builder().start().await.unwrap();
    for binary in [true, false] {
        let (options, asked) = renewing(&server, 1);
        let client = Realtime::connect(at(&server, options, binary)).await.unwrap();
        let id = client.connection().id();
        let mut changes = client.connection().changes();
        let lost = changes.next().await.unwrap();
        assert_eq!(lost.current, ConnectionState::Disconnected);
        assert_eq!(lost.reason.unwrap().code.0, 40142);
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id(), id);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(client.connection().metrics().resumed, 1);
        client.close().await;
    }
}

// Spec: RTN5, RTN8b, RTN9b
#[tokio::test]
async fn many_clients_receive_each_others_messages() {
    const CLIENTS: usize = 60;
    let server = Server::builder().start().await.unwrap();
    let clients = join_all((0..CLIENTS).map(async |number| {
        let options = at(&server, ClientOptions::new(server.key()), number % 2 == 0);
        let client = Realtime::connect(options).await.unwrap();
        let messages = client.channels().get("crowd").subscribe().await.unwrap();
        (client, messages)
    }))
    .await;
    let keys: BTreeSet<_> = clients.iter().map(|(client, _)| client.connection().key()).collect();
    let ids: BTreeSet<_> = clients.iter().map(|(client, _)| client.connection().id()).collect();
    assert_eq!((ids.len(), keys.len()), (CLIENTS, CLIENTS));
    let everyone: BTreeSet<_> = (0..CLIENTS).map(|number| number.to_string()).collect();
    join_all(clients.into_iter().enumerate().map(async |(number, (client, mut messages))| {
        let channel = client.channels().get("crowd");
        channel.publish("here", number.to_string()).await.unwrap();
        let mut heard = BTreeSet::new();
        while heard.len() < CLIENTS {
            let message = messages.next().await.unwrap();
            assert!(heard.insert(message.data.as_str().unwrap().to_owned()), "none comes twice");
        }
        assert_eq!(heard, everyone);
        client.close().await;
    }))
    .await;
}

/// Extras with this many levels of nesting.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

#[tokio::test]
async fn an_unreadable_message_affects_no_subscriber() {
    let server = Server::builder().start().await.unwrap();
    for binary in [true, false] {
        let options = || at(&server, ClientOptions::new(server.key()), binary);
        let client = Realtime::connect(options()).await.unwrap();
        let rest = Rest::new(options()).unwrap();
        let name = format!("deep-{binary}");
        let channel = client.channels().get(&*name);
        let mut subscription = channel.subscribe().await.unwrap();
        let message = |levels| Message {
            extras: nested(levels).as_object().cloned(),
            ..Message::new("deep", "d")
        };
        let error = rest.channels().get(&*name).publish_message(message(61)).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)));
        let error = channel.publish_message(message(61)).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)));
        channel.publish_message(message(57)).await.unwrap();
        let received = subscription.next().await.unwrap();
        assert_eq!(json!(received.extras), nested(57));
        let page = channel.history().await.unwrap();
        assert_eq!(json!(page.items()[0].extras), nested(57));
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().metrics().attempts, 1);
    }
}

#[tokio::test]
async fn a_page_that_is_allowed_can_be_read() {
    let server = Server::builder().start().await.unwrap();
    let options = at(&server, ClientOptions::new(server.key()), true);
    let channel = Rest::new(options).unwrap().channels().get("large");
    for part in 0..6 {
        let publishes = (0..50).map(|n| {
            let data = format!("{:060000}", part * 50 + n);
            channel.publish("n", data).into_future()
        });
        for published in join_all(publishes).await {
            published.unwrap();
        }
    }
    let page = channel.history().limit(300).await.unwrap();
    assert_eq!(page.items().len(), 300);
    assert!(!page.has_next());
}

// Spec: RSAN1c3, TAN2f1
#[tokio::test]
async fn annotations_of_an_encrypted_channel_are_encrypted() {
    let server = Server::builder().start().await.unwrap();
    let spec = json!({
        "keys": [{}], "namespaces": [{ "id": "mutable", "mutableMessages": true }],
    });
    let owner = Rest::new(at(&server, ClientOptions::new(server.key()), true)).unwrap();
    let app = owner.request(capably::http::HttpMethod::Post, "/apps").body(spec).await.unwrap();
    let key = app.items()[0]["keys"][0]["keyStr"].as_str().unwrap().to_owned();
    for binary in [true, false] {
        let options = || at(&server, ClientOptions::new(&*key).client_id("ada"), binary);
        let cipher = CipherParams::from_key(&[7; 32]).unwrap();
        let client = Realtime::connect(options()).await.unwrap();
        let modes = [
            ChannelMode::Publish,
            ChannelMode::Subscribe,
            ChannelMode::AnnotationPublish,
            ChannelMode::AnnotationSubscribe,
        ];
        let secret = RealtimeChannelOptions::new().modes(modes).cipher(cipher.clone());
        let name = format!("mutable:{binary}");
        let channel = client.channels().get_with(&*name, secret);
        let mut annotations = channel.annotations().subscribe().await.unwrap();
        let rest = Rest::new(options()).unwrap();
        let secret = rest.channels().get_with(&*name, ChannelOptions::default().cipher(cipher));
        let serial = secret.publish("n", "d").await.unwrap().serials[0].clone().unwrap();
        let note = |data: Value| Annotation {
            annotation_type: Some("note".into()),
            data: data.into(),
            ..Annotation::default()
        };
        let notes = [json!({ "by": "realtime" }), json!({ "by": "rest" })];
        channel.annotations().publish(serial.clone(), note(notes[0].clone())).await.unwrap();
        secret.annotations().publish(serial.clone(), note(notes[1].clone())).await.unwrap();
        for expected in &notes {
            assert_eq!(annotations.next().await.unwrap().data, expected.clone().into());
        }
        for page in [
            secret.annotations().get(serial.clone()).await.unwrap(),
            channel.annotations().get(serial.clone()).await.unwrap(),
        ] {
            let data: Vec<_> = page.items().iter().map(|item| item.data.clone()).collect();
            assert_eq!(data, notes.clone().map(Into::into));
        }
        // Without the key it is unreadable.
        let plain = Rest::new(options())
            .unwrap()
            .channels()
            .get(&*name)
            .annotations()
            .get(serial)
            .await
            .unwrap();
        for item in plain.items() {
            let steps = item.encoding.as_deref().unwrap();
            assert_eq!(steps, "json/utf-8/cipher+aes-256-cbc");
        }
    }
}
