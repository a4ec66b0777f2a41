//! The SDK without a runtime, in both formats.

#![cfg(feature = "blocking")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod callbacks;
#[path = "../support/embedded.rs"]
mod embedded;
mod realtime;
mod rest;
#[path = "../support/mod.rs"]
mod support;
mod typed;

use std::{sync::mpsc::Receiver, time::Instant};

use capably::ClientOptions;
use capably_server::Server;
use tokio::runtime::Runtime;

pub(crate) use embedded::{PATIENCE, in_both_formats};

/// A server with a runtime of its own.
struct TestServer {
    server: Server,
    runtime: Runtime,
}

impl TestServer {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(embedded::server());
        Self { server, runtime }
    }

    fn options(&self, binary: bool) -> ClientOptions {
        embedded::options(&self.server, binary)
    }

    fn options_with_mutable_messages(&self, binary: bool) -> ClientOptions {
        self.runtime.block_on(embedded::options_with_mutable_messages(&self.server, binary))
    }
}

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
