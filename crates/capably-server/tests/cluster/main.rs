//! The JetStream engine, with real brokers: `cargo test -p capably-server --features cluster --test cluster`.

#![allow(clippy::unwrap_used)]

mod access;
mod brokers;
#[path = "../support/mod.rs"]
mod clients;
#[path = "../engine/contract.rs"]
mod contract;
mod failures;
mod full;
mod nodes;
mod proxy;
mod service;
mod setup;
mod slow;
mod support;

use std::sync::Arc;

use self::brokers::{Brokers, Version};

async fn check_contract(version: Version) {
    let brokers = Brokers::jetstream(version, 1);
    contract::check(async || Arc::new(support::open(&brokers).await) as Arc<_>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_with_a_new_broker() {
    check_contract(Version::Newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_with_an_old_broker() {
    check_contract(Version::Oldest).await;
}
