//! The SDK without a runtime, in both formats.

#![cfg(feature = "blocking")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod callbacks;
mod realtime;
mod rest;
#[path = "../support/mod.rs"]
mod support;
mod typed;

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use capably::ClientOptions;
use capably_server::Server;
use tokio::runtime::Runtime;

/// Longer than any step of a test may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a runtime of its own.
struct TestServer {
    server: Server,
    _runtime: Runtime,
}

impl TestServer {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::builder().start()).unwrap();
        Self { server, _runtime: runtime }
    }

    fn options(&self, binary: bool) -> ClientOptions {
        let options = ClientOptions::new(self.server.key()).endpoint(self.server.endpoint());
        options.port(self.server.port()).tls(false).use_binary_protocol(binary)
    }
}

/// Runs a test in JSON and in MessagePack.
macro_rules! in_both_formats {
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

/// The next value that another thread sends.
fn received<T>(values: &Receiver<T>) -> T {
    values.recv_timeout(PATIENCE).expect("it takes too long")
}

/// Waits for a condition that no event announces.
fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it takes too long");
        std::thread::yield_now();
    }
}
