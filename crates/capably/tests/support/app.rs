//! A server with the app that client libraries are tested with, and clients of it.

#![allow(dead_code, reason = "no test program uses all of it")]

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably::{ClientOptions, Millis, Realtime, Rest, http::HttpMethod};
use capably_protocol::{Format, fixtures};
use capably_server::{Builder, Server, engine::JetStream};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// A server with the engine that `CAPABLY_ENGINE` names: `disk`, `cluster`, at the brokers of `CAPABLY_BROKERS`, or by
/// default none.
pub(crate) async fn builder() -> Builder {
    let builder = Server::builder();
    match std::env::var("CAPABLY_ENGINE").as_deref() {
        Ok("disk") => {
            // The directory must outlive the server. The system removes it with the other temporary files.
            builder.data(tempfile::tempdir().expect("a directory").keep())
        }
        Ok("cluster") => {
            let brokers =
                std::env::var("CAPABLY_BROKERS").expect("CAPABLY_BROKERS has their addresses");
            // Each server is a cluster of its own.
            let name = format!("test{:016x}", fastrand::u64(..));
            let engine = JetStream::builder(brokers.split(',').map(str::to_owned)).prefix(name);
            builder.engine(Arc::new(engine.open().await.expect("brokers")))
        }
        Ok(other) => panic!("CAPABLY_ENGINE is {other}"),
        Err(_) => builder,
    }
}

/// An app on a server of its own. Dropping it stops the server.
pub(crate) struct App {
    pub(crate) server: Server,
    /// The format of its clients.
    pub(crate) format: Format,
    keys: Vec<String>,
}

impl App {
    pub(crate) async fn start(format: Format) -> Self {
        let server = builder().await.start().await.expect("a free port");
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

    /// A client with every capability.
    pub(crate) fn rest(&self) -> Rest {
        self.rest_with(|options| options.key(self.key(0)))
    }

    /// A client with these options.
    pub(crate) fn rest_with(&self, options: impl FnOnce(ClientOptions) -> ClientOptions) -> Rest {
        Rest::new(options(self.options())).expect("the options are good")
    }

    /// A connected client with every capability.
    pub(crate) async fn realtime(&self) -> Realtime {
        self.realtime_with(|options| options.key(self.key(0))).await
    }

    /// A connected client with these options.
    pub(crate) async fn realtime_with(
        &self,
        options: impl FnOnce(ClientOptions) -> ClientOptions,
    ) -> Realtime {
        Realtime::connect(options(self.options())).await.unwrap()
    }

    /// A client with every capability, in the other format.
    pub(crate) fn other_format(&self) -> Rest {
        Rest::new(self.options_of_other_format().key(self.key(0))).unwrap()
    }

    /// Options for a client in the other format, without credentials.
    pub(crate) fn options_of_other_format(&self) -> ClientOptions {
        let other = match self.format {
            Format::Json => Format::MsgPack,
            Format::MsgPack => Format::Json,
        };
        at(&self.server, other)
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

/// The body that creates the app.
pub(crate) fn setup() -> Value {
    serde_json::from_str(fixtures::TEST_APP).unwrap()
}

/// The time here, in ms since the epoch.
pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_millis().try_into().expect("before the year 292 million")
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

/// Runs a test in JSON and in MessagePack, each with a new app on a new server.
macro_rules! in_both_formats {
    (async fn $name:ident($app:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "some tests need nothing from their file")]
            use super::*;

            async fn run(format: capably_protocol::Format) {
                let $app = crate::app::App::start(format).await;
                let limit = std::time::Duration::from_secs(60);
                tokio::time::timeout(limit, async $body).await.expect("it takes too long");
            }

            #[tokio::test]
            async fn json() {
                run(capably_protocol::Format::Json).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(capably_protocol::Format::MsgPack).await;
            }
        }
    };
}
pub(crate) use in_both_formats;
