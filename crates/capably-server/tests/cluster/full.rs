//! Brokers without room for more.

use bytes::Bytes;
use capably_server::engine::{Bucket, Engine, EngineError};

use crate::{
    brokers::{Brokers, Version},
    contract::{append, appended, channel, entry, everything},
    support::builder,
};

/// The size of an entry: some fit below the limits.
const LARGE: usize = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::jetstream(version, 1);
        let engine = builder(&brokers).max_bytes(20_000).open().await.unwrap();
        let large = "x".repeat(8_000);
        let results = append(&engine, (0..4).map(|_| entry("c", &large)).collect()).await;
        let committed = results.iter().take_while(|result| result.is_ok()).count();
        assert!((1..4).contains(&committed), "{results:?}");
        for result in &results[committed..] {
            let error = result.as_ref().unwrap_err();
            assert!(matches!(error, EngineError::Full(_)) && error.is_certain(), "{error:?}");
        }
        let stored = engine.read(&channel("c"), everything()).await.unwrap();
        assert_eq!(stored.len(), committed);
        // There is room for a small one.
        appended(&engine, vec![entry("c", "small")]).await;
    }
}

/// An account or a broker whose limit is reached refuses entries and facts, and works again with a higher limit.
async fn check_limit(version: Version, limit: impl Fn(&str) -> String) {
    let mut brokers = Brokers::configured(version, &limit("120K"));
    let open = async |brokers: &Brokers| {
        builder(brokers).user_and_password("u", "p").open().await.unwrap()
    };
    let engine = open(&brokers).await;
    let large = "x".repeat(LARGE);
    let results = append(&engine, (0..40).map(|_| entry("c", &large)).collect()).await;
    let committed = results.iter().filter(|result| result.is_ok()).count();
    assert!((1..40).contains(&committed), "{committed}");
    let is_full = |error: &EngineError| {
        let text = error.to_string();
        assert!(text.contains("raise its limits"), "{text}");
        // The broker has stored the entry, and removes it again.
        !error.is_certain()
    };
    assert!(results.iter().filter_map(|result| result.as_ref().err()).all(is_full), "{results:?}");
    let value = Bytes::from(large.clone());
    let set = engine.set_facts(Bucket::Snapshots, vec![("k".into(), Some(value.clone()))]).await;
    assert!(set.as_ref().is_err_and(is_full), "{set:?}");
    let created = engine.create_fact(Bucket::Nonces, "k", value).await;
    assert!(created.as_ref().is_err_and(is_full), "{created:?}");
    let stored = engine.read(&channel("c"), everything()).await.unwrap();
    assert_eq!(stored.len(), committed);

    brokers.configure(&limit("10M"));
    // An orderly end: brokers store what they refuse, and remove it again. One that is killed may forget the removal.
    brokers.end(0);
    brokers.run(0);
    // The same engine goes on, when it is connected again.
    appended(&engine, (0..20).map(|_| entry("c", &large)).collect()).await;
    let stored = engine.read(&channel("c"), everything()).await.unwrap();
    assert_eq!(stored.len(), committed + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_full() {
    for version in [Version::Newest, Version::Oldest] {
        check_limit(version, |size| {
            format!("accounts {{ A {{ jetstream {{ max_file: {size} }}, users: [{{ user: u, password: p }}] }} }}")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_full() {
    for version in [Version::Newest, Version::Oldest] {
        check_limit(version, |size| {
            format!(
                "jetstream {{ max_file_store: {size} }}
                 accounts {{ A {{ jetstream: enabled, users: [{{ user: u, password: p }}] }} }}"
            )
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_too_few_streams() {
    let account =
        "accounts { A { jetstream { max_streams: 5 }, users: [{ user: u, password: p }] } }";
    let brokers = Brokers::configured(Version::Newest, account);
    let opened = builder(&brokers).user_and_password("u", "p").open().await;
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains("too few streams") && error.contains("allow 8 more"), "{error}");
}
