//! What a server keeps, and what becomes of it when it ends in the middle of things.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod contract;
mod damage;
mod failing;
mod restart;
#[path = "../support/mod.rs"]
mod support;

use std::{path::Path, sync::Arc};

use capably_server::{
    Server,
    storage::{Memory, Storage},
};
use serde_json::{Value, json};

/// Where a server of a test keeps its data.
enum Place {
    Memory(Arc<dyn Storage>),
    Directory(tempfile::TempDir),
}

impl Place {
    /// One of each kind.
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
            Self::Memory(storage) => Server::builder().storage(Arc::clone(storage)),
            Self::Directory(directory) => Server::builder().data(directory.path()),
        };
        builder.start().await.unwrap()
    }
}

/// An app in which everything can happen.
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
        ],
        "channels": [{"name": "persisted:members", "presence": [
            {"clientId": "ada", "data": "text"},
            {"clientId": "bob", "data": "AAEC/w==", "encoding": "base64"},
            {"clientId": "cyd", "data": "{\"a\":1}", "encoding": "json"},
        ]}],
    })
}
