//! Heartbeats that a client's code must answer, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{ClientFrame, Format, ServerFrame, Str};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use support::*;

async fn ping(client: &mut Client) -> Str {
    match client.next().await {
        ServerFrame::Ping { id } => id.expect("the service gives its PINGs an id"),
        other => panic!("expected PING, got {other:?}"),
    }
}

async fn pong(client: &mut Client, id: &str) {
    client.send(&ClientFrame::Pong { id: Some(id.into()) }).await;
}

// RTN23c, RTN23c1, RTN23c2
#[tokio::test]
async fn a_client_with_echoed_heartbeats_must_answer_each() {
    let idle = Duration::from_millis(600);
    let server = builder().max_idle_interval(idle).start().await.unwrap();
    let session = async |format| {
        let (mut client, connected) =
            Client::connect_with(&server, format, "heartbeats=bounce").await;
        // No ping asked for this answer.
        pong(&mut client, "1").await;
        client.send(&ClientFrame::Pong { id: None }).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let id = ping(&mut client).await;
            assert!(!ids.contains(&id), "{id} again");
            pong(&mut client, &id).await;
            pong(&mut client, "another").await;
            ids.push(id);
        }
        // The WebSocket library answers pings by itself. Such answers do not count, nor does an older id.
        ping(&mut client).await;
        client.socket.send(WsMessage::Pong(Default::default())).await.unwrap();
        pong(&mut client, &ids[2]).await;
        assert_eq!(client.last_error().await, 80014);
        // The transport has ended. The connection can be resumed.
        let key = connected.details.unwrap().connection_key.unwrap();
        let (_, resumed) = Client::connect_with(&server, format, &format!("resume={key}")).await;
        assert_eq!((resumed.connection_id, resumed.error), (connected.connection_id, None));
    };
    tokio::join!(session(Format::Json), session(Format::MsgPack));
}

// Spec: RTN23b
#[tokio::test]
async fn other_clients_need_not_answer_heartbeats() {
    let idle = Duration::from_millis(60);
    let server = builder().max_idle_interval(idle).start().await.unwrap();
    for format in [Format::Json, Format::MsgPack] {
        let (mut frames, _) = Client::connect(&server, format).await;
        let (mut pings, _) = Client::connect_with(&server, format, "heartbeats=false").await;
        for client in [&mut frames, &mut pings] {
            pong(client, "unasked").await;
        }
        for _ in 0..3 {
            assert_eq!(frames.next().await, ServerFrame::Heartbeat { id: None });
            assert!(matches!(pings.event().await, Event::Ping));
        }
    }
}
