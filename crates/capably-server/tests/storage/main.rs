//! A server with an engine: its data after a restart, and its behaviour while the engine fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod damage;
#[path = "../support/engine.rs"]
mod engine;
mod failing;
mod nonces;
mod push;
mod restart;
mod stats;
#[path = "../support/mod.rs"]
mod support;

use std::{path::Path, sync::Arc};

use capably_server::{
    Server,
    engine::{Engine, Memory},
};
use serde_json::{Value, json};

/// The engine in which a server stores its data.
enum Place {
    Memory(Arc<Memory>),
    Directory(tempfile::TempDir),
}

impl Place {
    /// One place for each engine.
    fn all() -> [Self; 2] {
        [Self::Memory(Arc::new(Memory::new())), Self::directory()]
    }

    fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        match self {
            Self::Directory(directory) => directory.path(),
            Self::Memory(_) => panic!("it is not on disk"),
        }
    }

    async fn start(&self) -> Server {
        let builder = match self {
            Self::Memory(memory) => {
                memory.reopen();
                Server::builder().engine(Arc::clone(memory) as Arc<dyn Engine>)
            }
            Self::Directory(directory) => Server::builder().data(directory.path()),
        };
        builder.start().await.unwrap()
    }
}

/// An app with namespaces and keys for every feature.
fn spec() -> Value {
    json!({
        "keys": [
            {},
            {"capability": "{ \"only\":[\"publish\",\"history\"] }"},
            {"revocableTokens": true},
        ],
        "namespaces": [
            {"id": "persisted", "persisted": true},
            {"id": "mutable", "mutableMessages": true},
            {"id": "pushenabled", "pushEnabled": true},
        ],
        "channels": [{"name": "persisted:members", "presence": [
            {"clientId": "ada", "data": "text"},
            {"clientId": "bob", "data": "AAEC/w==", "encoding": "base64"},
            {"clientId": "cyd", "data": "{\"a\":1}", "encoding": "json"},
        ]}],
    })
}
