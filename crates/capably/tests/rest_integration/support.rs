//! A server with the app that client libraries are tested with, and clients of it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably::{
    CipherParams, ClientOptions, Message, Millis, Realtime, Rest, http::HttpMethod,
    rest::RestChannel,
};
use capably_protocol::Format;
use capably_server::Server;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SETUP: &str = include_str!("../../../capably-protocol/tests/fixtures/test-app-setup.json");

/// The channel whose members the app is made with.
pub(crate) const PRESENCE_FIXTURES: &str = "persisted:presence_fixtures";

/// An app on a server of its own. Dropping it stops the server.
pub(crate) struct App {
    pub(crate) server: Server,
    /// The format of its clients.
    pub(crate) format: Format,
    keys: Vec<String>,
}

impl App {
    pub(crate) async fn start(format: Format) -> Self {
        let server = Server::builder().start().await.expect("a free port");
        let owner = Rest::new(at(&server, format).key(server.key())).unwrap();
        let spec = setup()["post_apps"].take();
        let made = owner.request(HttpMethod::Post, "/apps").body(spec).await.unwrap();
        assert_eq!(made.status(), 201);
        let keys = made.items()[0]["keys"].as_array().unwrap().iter();
        let keys = keys.map(|key| key["keyStr"].as_str().unwrap().to_owned()).collect();
        Self { server, format, keys }
    }

    /// One of the app's keys, by its place in the set-up; the first may do everything.
    pub(crate) fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    /// Options for a client of the server, without credentials.
    pub(crate) fn options(&self) -> ClientOptions {
        at(&self.server, self.format)
    }

    /// A client that may do everything.
    pub(crate) fn rest(&self) -> Rest {
        self.rest_with(|options| options.key(self.key(0)))
    }

    /// A client with these options.
    pub(crate) fn rest_with(&self, options: impl FnOnce(ClientOptions) -> ClientOptions) -> Rest {
        Rest::new(options(self.options())).expect("the options are good")
    }

    /// A connected client with these options.
    pub(crate) async fn realtime_with(
        &self,
        options: impl FnOnce(ClientOptions) -> ClientOptions,
    ) -> Realtime {
        Realtime::connect(options(self.options())).await.unwrap()
    }

    /// A client that may do everything, in the other format.
    pub(crate) fn other_format(&self) -> Rest {
        let other = match self.format {
            Format::Json => Format::MsgPack,
            Format::MsgPack => Format::Json,
        };
        Rest::new(at(&self.server, other).key(self.key(0))).unwrap()
    }
}

/// Options for a client of a server in a format, without credentials.
pub(crate) fn at(server: &Server, format: Format) -> ClientOptions {
    ClientOptions::default()
        .endpoint(server.endpoint())
        .port(server.port())
        .tls(false)
        .use_binary_protocol(format == Format::MsgPack)
}

fn setup() -> Value {
    serde_json::from_str(SETUP).unwrap()
}

/// What the encrypted member of [`PRESENCE_FIXTURES`] is encrypted with.
pub(crate) fn fixture_cipher() -> CipherParams {
    CipherParams::from_base64(setup()["cipher"]["key"].as_str().unwrap()).unwrap()
}

/// The time here, in ms since the epoch.
pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_millis().try_into().expect("before the year 292 million")
}

/// Waits until the service's clock has moved on.
pub(crate) async fn next_millisecond(rest: &Rest) {
    let start = rest.time().await.unwrap();
    while rest.time().await.unwrap() == start {}
}

/// The part of a key before its secret.
pub(crate) fn key_name(key: &str) -> &str {
    key.split_once(':').unwrap().0
}

/// A JWT signed with a key, which expires that many seconds from now, with these claims besides.
pub(crate) fn jwt(key: &str, lifetime: i64, claims: Value) -> String {
    let (name, secret) = key.split_once(':').unwrap();
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": name});
    let now = now() / 1000;
    let mut body = json!({"iat": now - 3600, "exp": now + lifetime});
    body.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The names of messages.
pub(crate) fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.name.as_deref().expect("a name")).collect()
}

/// Publishes `event-1` to `event-{count}`, one by one.
pub(crate) async fn publish_events(channel: &RestChannel, count: usize) {
    for n in 1..=count {
        channel.publish(format!("event-{n}"), n.to_string()).await.unwrap();
    }
}

/// Publishes a message, and returns its serial.
pub(crate) async fn published(channel: &RestChannel, name: &str, data: &str) -> String {
    let result = channel.publish(name, data).await.unwrap();
    result.serials[0].as_deref().expect("a serial").to_owned()
}
