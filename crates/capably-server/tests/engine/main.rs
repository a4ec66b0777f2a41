//! What every engine must do, and directories in which not everything is as it should be.

#![allow(clippy::unwrap_used)]

mod contract;
mod directory;

use std::sync::Arc;

use capably_server::engine::{Bucket, Disk, Engine, EngineError, Memory};

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

async fn check_closed(engine: &dyn Engine) {
    engine.close().await.unwrap();
    let results = append(engine, vec![entry("c", "1")]).await;
    assert!(matches!(results[..], [Err(EngineError::Closed)]), "{results:?}");
    assert!(matches!(engine.fact(Bucket::Apps, "a").await, Err(EngineError::Closed)));
}

#[tokio::test]
async fn a_closed_engine_refuses() {
    check_closed(&Memory::new()).await;
    let directory = tempfile::tempdir().unwrap();
    check_closed(&Disk::open(directory.path()).unwrap()).await;
}
