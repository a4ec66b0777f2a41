//! Starting and stopping.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{error::Error, time::Duration};

use capably_protocol::{Format, ServerFrame};
use capably_server::ServerError;
use tokio::{io::AsyncReadExt, net::TcpListener, net::TcpStream};

use support::*;

#[tokio::test]
async fn a_shutdown_notifies_every_client_and_frees_the_port() {
    let server = server().await;
    // The server accepts these before the next ones. One never sends a request, and one waits between requests.
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut idle = Http::connect(&server).await;
    idle.request("GET", "/time", &[], b"").await;
    let (mut json, _) = Client::connect(&server, Format::Json).await;
    let (mut msgpack, _) = Client::connect(&server, Format::MsgPack).await;
    let clients = async {
        for client in [&mut json, &mut msgpack] {
            let ServerFrame::Disconnected { error } = client.next().await else { panic!() };
            let error = error.unwrap();
            assert_eq!((error.code.0, error.status_code), (80003, 503));
            assert!(matches!(client.event().await, Event::End));
        }
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(idle.stream.read(&mut [0]).await.unwrap(), 0);
    };
    let both = async { tokio::join!(server.shutdown(), clients) };
    tokio::time::timeout(Duration::from_secs(2), both).await.expect("nobody is waited for");
    assert_eq!(server.connections(), 0);
    TcpListener::bind(server.local_addr()).await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn dropping_the_server_ends_its_tasks() {
    let server = server().await;
    let address = server.local_addr();
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    assert!(metrics.num_alive_tasks() > 0);
    drop(server);
    assert!(matches!(client.event().await, Event::End));
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_counted() {
    let server = server().await;
    let (client, _) = Client::connect(&server, Format::Json).await;
    assert_eq!(server.connections(), 1);
    drop(client);
    while server.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_reports_why_it_cannot_start() {
    let running = server().await;
    let port = running.port();
    let error = builder().port(port).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Bind { address, .. } if address.port() == port));
    assert_eq!(error.to_string(), format!("port {port} on 127.0.0.1 is in use"));
    assert!(error.source().is_some());

    for key in ["nonsense", "abcdef:secret", "abcdef.key"] {
        let error = builder().key(key).start().await.unwrap_err();
        assert!(matches!(error, ServerError::Key(error) if error.code.0 == 40101), "{key}");
    }
    for key in ["abc.key:secret", "abcdefg.key:secret", "ab def.key:secret"] {
        let error = builder().key(key).start().await.unwrap_err();
        assert!(matches!(error, ServerError::AppId), "{key}");
    }
    let error = builder().max_idle_interval(Duration::ZERO).start().await.unwrap_err();
    assert!(matches!(error, ServerError::IdleInterval));
}

#[tokio::test]
async fn the_server_uses_the_given_key_and_debug_hides_its_secret() {
    let builder = builder().key("aBcDeF.keyid:hush-hush");
    assert!(!format!("{builder:?}").contains("hush"));
    let server = builder.start().await.unwrap();
    assert_eq!(server.key(), "aBcDeF.keyid:hush-hush");
    assert_eq!(server.endpoint(), "127.0.0.1");
    assert_eq!(server.port(), server.local_addr().port());
    let text = format!("{server:?}");
    assert!(text.contains("aBcDeF.keyid") && !text.contains("hush"), "{text}");
    Client::connect(&server, Format::Json).await;
}

#[tokio::test]
async fn random_keys_differ() {
    let (one, two) = (server().await, server().await);
    assert_ne!(one.key(), two.key());
    let (app, rest) = one.key().split_once('.').unwrap();
    let (id, secret) = rest.split_once(':').unwrap();
    assert_eq!((app.len(), id.len(), secret.len()), (6, 6, 43));
}
