//! The heartbeat interval that a client chooses, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{ClientFrame, Format, ServerFrame, frame::AuthDetails};
use serde_json::json;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

fn idle_interval(frame: ServerFrame) -> u64 {
    match frame {
        ServerFrame::Connected(connected) => connected.details.unwrap().max_idle_interval.unwrap(),
        other => panic!("expected CONNECTED, got {other:?}"),
    }
}

// Spec: RTC1f, CD2h
#[tokio::test]
async fn a_client_chooses_its_heartbeat_interval_within_bounds() {
    let server = server().await;
    for format in FORMATS {
        for (wanted, expected) in [
            ("6000", 6000),
            ("5000", 5000),
            ("4999", 5000),
            ("0", 5000),
            ("20000", 20_000),
            ("1800001", 1_800_000),
            ("18446744073709551615", 1_800_000),
        ] {
            let query = format!("key={}&heartbeatInterval={wanted}", server.key());
            let mut client = Client::open(&server, format, &query).await;
            assert_eq!(idle_interval(client.next().await), expected, "{wanted}");
        }
        for wanted in ["", "soon", "-1", "1e4", "5000.5"] {
            let query = format!("key={}&heartbeatInterval={wanted}", server.key());
            let mut client = Client::open(&server, format, &query).await;
            assert_eq!(client.last_error().await, 40003, "{wanted}");
        }
    }
}

#[tokio::test]
async fn a_short_server_interval_is_the_lower_bound() {
    let brisk = builder().max_idle_interval(Duration::from_millis(700));
    let server = brisk.start().await.unwrap();
    for format in FORMATS {
        for (wanted, expected) in [("1", 700), ("900", 900)] {
            let query = format!("key={}&heartbeatInterval={wanted}", server.key());
            let mut client = Client::open(&server, format, &query).await;
            assert_eq!(idle_interval(client.next().await), expected, "{wanted}");
        }
    }
}

#[tokio::test]
async fn a_token_renewal_keeps_the_heartbeat_interval() {
    let server = server().await;
    let name = server.key().split(':').next().unwrap();
    let target = format!("/keys/{name}/requestToken");
    let (_, token) = ask(&server, server.key(), Format::Json, "POST", &target, &json!({})).await;
    let token = token["token"].as_str().unwrap();
    for format in FORMATS {
        let query = format!("accessToken={token}&heartbeatInterval=7000");
        let mut client = Client::open(&server, format, &query).await;
        assert_eq!(idle_interval(client.next().await), 7000);
        let access_token = token.into();
        client.send(&ClientFrame::Auth(AuthDetails { access_token })).await;
        assert_eq!(idle_interval(client.next().await), 7000);
    }
}

#[tokio::test]
async fn heartbeats_are_sent_at_the_interval_of_the_client() {
    let server = builder().max_idle_interval(Duration::from_secs(3600)).start().await;
    let server = server.unwrap();
    let query = "heartbeatInterval=5000";
    let (mut json, _) = Client::connect_with(&server, Format::Json, query).await;
    let (mut msgpack, _) = Client::connect_with(&server, Format::MsgPack, query).await;
    let query = "heartbeatInterval=5000&heartbeats=false";
    let (mut pings, _) = Client::connect_with(&server, Format::Json, query).await;
    assert_eq!(json.next().await, ServerFrame::Heartbeat { id: None });
    assert_eq!(msgpack.next().await, ServerFrame::Heartbeat { id: None });
    assert!(matches!(pings.event().await, Event::Ping));
}
