//! Clients of an embedded server, in both formats.

#![allow(dead_code, unused_imports, unused_macros, reason = "no test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use capably::{ClientOptions, Realtime, Rest, http::HttpMethod};
use capably_server::Server;
use serde_json::json;
use tokio::time::timeout;

/// Longer than any step of a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// A server of the test's own.
pub(crate) async fn server() -> Server {
    Server::builder().start().await.unwrap()
}

/// Options for a client of the server, with every capability.
pub(crate) fn options(server: &Server, binary: bool) -> ClientOptions {
    options_with_key(server, server.key(), binary)
}

fn options_with_key(server: &Server, key: &str, binary: bool) -> ClientOptions {
    ClientOptions::new(key)
        .endpoint(server.endpoint())
        .port(server.port())
        .tls(false)
        .use_binary_protocol(binary)
}

/// Options for a client of a new app, in which the messages of the namespace `mutable` can be changed.
pub(crate) async fn options_with_mutable_messages(server: &Server, binary: bool) -> ClientOptions {
    let app = json!({
        "keys": [{}], "namespaces": [{ "id": "mutable", "mutableMessages": true }],
    });
    let owner = Rest::new(options(server, binary)).unwrap();
    let app = owner.request(HttpMethod::Post, "/apps").body(app).await.unwrap();
    let key = app.items()[0]["keys"][0]["keyStr"].as_str().unwrap();
    options_with_key(server, key, binary)
}

/// A connected client that may act for any client id.
pub(crate) async fn client(server: &Server, binary: bool) -> Realtime {
    Realtime::connect(options(server, binary)).await.unwrap()
}

/// Runs a test in JSON and in MessagePack.
macro_rules! in_both_formats {
    ($(#[doc = $doc:literal])* async fn $name:ident($binary:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test needs its module's items")]
            use super::*;

            async fn run($binary: bool) $body

            #[tokio::test]
            async fn json() {
                run(false).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(true).await;
            }
        }
    };
    ($(#[doc = $doc:literal])* fn $name:ident($binary:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test needs its module's items")]
            use super::*;

            fn run($binary: bool) $body

            #[test]
            fn json() {
                run(false);
            }

            #[test]
            fn msgpack() {
                run(true);
            }
        }
    };
}
pub(crate) use in_both_formats;
