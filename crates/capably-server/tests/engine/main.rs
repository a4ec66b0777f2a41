//! The contract of every engine, damaged or foreign directories of the disk engine, and the nodes of a mesh.

#![allow(clippy::unwrap_used)]

mod contract;
mod directory;
mod mesh;

use std::sync::Arc;

use capably_server::engine::{Bucket, Disk, Engine, EngineError, Memory, Mesh};

use self::contract::{append, check, entry};

#[tokio::test]
async fn memory() {
    let engine = Arc::new(Memory::new());
    check(async || {
        engine.reopen();
        Arc::clone(&engine) as Arc<dyn Engine>
    })
    .await;
}

#[tokio::test]
async fn disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    check(async || Arc::new(Disk::open(&path).unwrap()) as Arc<dyn Engine>).await;
}

#[tokio::test]
async fn mesh() {
    let mesh = Mesh::new();
    check(async || mesh.node() as Arc<dyn Engine>).await;
}

async fn check_closed(engine: &dyn Engine) {
    engine.close().await.unwrap();
    let results = append(engine, vec![entry("c", "1")]).await;
    assert!(matches!(results[..], [Err(EngineError::Closed)]), "{results:?}");
    assert!(matches!(engine.fact(Bucket::Apps, "a").await, Err(EngineError::Closed)));
}

#[tokio::test]
async fn a_closed_engine_refuses_calls() {
    check_closed(&Memory::new()).await;
    check_closed(&*Mesh::new().node()).await;
    let directory = tempfile::tempdir().unwrap();
    check_closed(&Disk::open(directory.path()).unwrap()).await;
}
