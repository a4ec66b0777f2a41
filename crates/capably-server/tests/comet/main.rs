//! Comet: the realtime protocol in HTTP requests, as streams and by polling.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use capably_protocol::{
    ClientFrame, Flags, Format, Message, PresenceAction, PresenceMessage, ServerFrame,
    frame::{Attach, AuthDetails, Publish},
};
use capably_server::{Server, engine::Mesh, faults::Faults};
use serde_json::json;

use client::*;
use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// Every format, as a stream and by polling.
fn ways() -> impl Iterator<Item = (Format, bool)> {
    FORMATS.into_iter().flat_map(|format| [(format, true), (format, false)])
}

fn text(data: &str) -> Vec<Message> {
    vec![Message { data: data.into(), ..Message::default() }]
}

#[tokio::test]
async fn a_client_attaches_publishes_and_receives() {
    let server = server().await;
    for (format, streams) in ways() {
        let channel = format!("chat:{format:?}:{streams}");
        let (mut websocket, _) = Client::connect(&server, format).await;
        websocket.attach(&channel).await;
        let (mut comet, connected) = Comet::connect(&server, format, streams).await;
        let attached = comet.attach(&channel).await;
        assert_eq!(attached.channel, channel);
        comet
            .send_all(&[publish(&channel, 0, text("one")), publish(&channel, 1, text("two"))])
            .await;
        let (mut acknowledged, mut received) = (0, Vec::new());
        while acknowledged < 2 || received.len() < 2 {
            match comet.event().await {
                ServerFrame::Ack(ack) => acknowledged += ack.count,
                ServerFrame::Message(delivery) => {
                    assert_eq!(delivery.connection_id, connected.connection_id);
                    received.push(delivery.items[0].data.as_str().unwrap().to_owned());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received, ["one", "two"], "{format:?} {streams}");
        for expected in ["one", "two"] {
            assert_eq!(websocket.message().await.items[0].data.as_str(), Some(expected));
        }
        websocket.publish(&channel, 0, text("back")).await;
        assert_eq!(comet.message().await.items[0].data.as_str(), Some("back"));
    }
}

#[tokio::test]
async fn without_the_parameter_stream_the_response_is_one() {
    let server = server().await;
    let target = format!("/comet/connect?key={}&v=6", server.key());
    let mut stream = Stream::open(&server, &target).await;
    assert!(stream.head.contains("content-type: application/json\r\n"), "{}", stream.head);
    assert!(stream.head.contains("cache-control: no-store\r\n"), "{}", stream.head);
    assert!(stream.head.contains("x-accel-buffering: no\r\n"), "{}", stream.head);
    // A page of any origin may read it.
    assert!(stream.head.contains("access-control-allow-origin: *"), "{}", stream.head);
    let line = stream.piece().await.unwrap();
    assert!(line.starts_with(b"[{") && line.ends_with(b"}]\n"), "{line:?}");
}

// A client of comet gets no pings of a WebSocket, whatever it asks for.
#[tokio::test]
async fn silence_is_filled_with_heartbeats() {
    let idle = Duration::from_millis(600);
    let server = builder().max_idle_interval(idle).start().await.unwrap();
    for (format, streams) in ways() {
        let (mut comet, connected) =
            Comet::connect_with(&server, format, streams, "heartbeats=false").await;
        assert_eq!(connected.details.unwrap().max_idle_interval, Some(600));
        for _ in 0..3 {
            assert_eq!(comet.next().await, ServerFrame::Heartbeat { id: None });
        }
        comet.send(&ClientFrame::Heartbeat { id: Some("ping".into()) }).await;
        loop {
            match comet.next().await {
                ServerFrame::Heartbeat { id: Some(id) } => break assert_eq!(id, "ping"),
                ServerFrame::Heartbeat { id: None } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn closing_ends_the_connection_for_good() {
    let server = server().await;
    for (format, streams) in ways() {
        let (mut comet, connected) = Comet::connect(&server, format, streams).await;
        let answer = comet.get("close").await;
        assert_eq!(answer.status, 200);
        // CLOSED is in the stream, or in the reply if nothing receives.
        let closed = match streams {
            true => vec![comet.next().await],
            false => frames(format, &answer),
        };
        assert_eq!(closed, [ServerFrame::Closed], "{format:?} {streams}");
        if let Some(stream) = &mut comet.stream {
            assert_eq!(stream.piece().await, None, "the stream ends");
        }
        let resume = format!("resume={}", comet.key);
        let (_again, other) = Comet::connect_with(&server, format, streams, &resume).await;
        assert_ne!(other.connection_id, connected.connection_id);
        assert_eq!(other.error.unwrap().code.0, 80018);
    }
}

#[tokio::test]
async fn a_client_that_sends_close_gets_closed() {
    let server = server().await;
    for (format, streams) in ways() {
        let (mut comet, _) = Comet::connect(&server, format, streams).await;
        comet.send(&ClientFrame::Close).await;
        assert_eq!(comet.event().await, ServerFrame::Closed);
    }
}

#[tokio::test]
async fn a_client_that_disconnects_resumes_over_either_transport() {
    let server = server().await;
    for (format, streams) in ways() {
        let channel = format!("resumed:{format:?}:{streams}");
        let (mut publisher, _) = Client::connect(&server, format).await;
        let (mut comet, connected) = Comet::connect(&server, format, streams).await;
        let attached = comet.attach(&channel).await;
        let reached = attached.channel_serial.clone();
        assert_eq!(comet.get("disconnect").await.status, 200);
        assert_eq!(refused_with(format, &comet.get("recv").await), (400, "DISCONNECTED", 80018));
        publisher.publish(&channel, 0, text("missed")).await;
        publisher.ack().await;

        let again = || Attach {
            channel: channel.as_str().into(),
            channel_serial: reached.clone(),
            ..Attach::default()
        };
        let resume = format!("resume={}", comet.key);
        let (mut comet, resumed) = Comet::connect_with(&server, format, streams, &resume).await;
        assert_eq!((&resumed.connection_id, &resumed.error), (&connected.connection_id, &None));
        let attached = comet.attach_with(again()).await;
        assert!(attached.flags.contains(Flags::RESUMED));
        assert_eq!(comet.message().await.items[0].data.as_str(), Some("missed"));

        // The transport of comet is still open: the WebSocket takes its place.
        let query = format!("resume={}", comet.key);
        let (mut websocket, resumed) = Client::connect_with(&server, format, &query).await;
        assert_eq!((resumed.connection_id, resumed.error), (connected.connection_id, None));
        let attached = websocket.attach_with(again()).await;
        assert!(attached.flags.contains(Flags::RESUMED));
        assert_eq!(websocket.message().await.items[0].data.as_str(), Some("missed"));
        assert_eq!(refused_with(format, &comet.get("recv").await), (400, "DISCONNECTED", 80018));
    }
}

#[tokio::test]
async fn a_client_that_stops_to_receive_is_disconnected_and_can_resume() {
    let idle = Duration::from_millis(300);
    let server = builder().max_idle_interval(idle).start().await.unwrap();
    for format in FORMATS {
        let (mut watcher, _) = Client::connect(&server, format).await;
        let (mut comet, connected) = Comet::connect(&server, format, false).await;
        // It polls no more, until the server has given it up.
        let refused = loop {
            let answer = comet.post(&array(format, &[ClientFrame::Heartbeat { id: None }])).await;
            if answer.status != 200 {
                break refused_with(format, &answer);
            }
            // An event of another client takes a while.
            watcher.send(&ClientFrame::Heartbeat { id: Some("tick".into()) }).await;
            watcher.next().await;
        };
        assert_eq!(refused, (400, "DISCONNECTED", 80018));
        let resume = format!("resume={}", comet.key);
        let (_comet, resumed) = Comet::connect_with(&server, format, false, &resume).await;
        assert_eq!((resumed.connection_id, resumed.error), (connected.connection_id, None));
    }
}

#[tokio::test]
async fn a_newer_request_that_receives_takes_over() {
    let server = server().await;
    for format in FORMATS {
        let (mut comet, _) = Comet::connect(&server, format, true).await;
        let mut older = comet.stream.take().unwrap();
        let newer = Stream::open(&server, &comet.target("recv")).await;
        assert_eq!(older.piece().await, None, "the older one ends");
        comet.stream = Some(newer);
        comet.attach("taken-over").await;
    }
}

#[tokio::test]
async fn a_client_renews_its_token_and_then_uses_it() {
    let server = server().await;
    for (format, streams) in ways() {
        let (mut comet, connected) = Comet::connect(&server, format, streams).await;
        let token = token(&server, json!({})).await;
        let auth = AuthDetails { access_token: token.as_str().into() };
        comet.send(&ClientFrame::Auth(auth)).await;
        match comet.event().await {
            ServerFrame::Connected(again) => {
                assert_eq!(again.connection_id, connected.connection_id);
                let key = again.details.unwrap().connection_key.unwrap();
                assert_eq!(key, comet.key, "the key of the transport stays");
            }
            other => panic!("{other:?}"),
        }
        comet.with_credentials(format!("access_token={token}"));
        comet.attach("renewed").await;
    }
}

#[tokio::test]
async fn requests_with_credentials_that_do_not_fit_are_refused() {
    let server = server().await;
    let other_key = app(&server, &json!({"keys": [{}]})).await.remove(0);
    let bob = token(&server, json!({"clientId": "bob"})).await;
    let expired = token(&server, json!({"ttl": 1})).await;
    for format in FORMATS {
        let (mut comet, _) = Comet::connect_with(&server, format, true, "clientId=ada").await;
        let table = [
            (String::new(), (401, "ERROR", 40101)),
            (format!("key={other_key}"), (401, "ERROR", 40102)),
            (format!("access_token={bob}"), (401, "ERROR", 40102)),
            (format!("access_token={expired}"), (401, "DISCONNECTED", 40142)),
            ("access_token=no-token".to_owned(), (401, "ERROR", 40101)),
            ("key=absent.key:secret".to_owned(), (404, "ERROR", 40400)),
        ];
        for (credentials, expected) in table {
            comet.with_credentials(format!("{credentials}&format={}", format.name()));
            for what in ["recv", "close", "disconnect"] {
                assert_eq!(
                    refused_with(format, &comet.get(what).await),
                    expected,
                    "{what} {credentials}"
                );
            }
            assert_eq!(refused_with(format, &comet.post(b"[]").await), expected, "{credentials}");
        }
        // None of them has changed the connection.
        comet.with_credentials(format!("key={}", server.key()));
        comet.attach("untouched").await;
    }
}

#[tokio::test]
async fn a_client_that_is_refused_learns_why() {
    let server = server().await;
    let expired = token(&server, json!({"ttl": 1})).await;
    let key = server.key();
    let table = [
        (String::new(), (401, "ERROR", 40101)),
        ("key=absent.key:secret".to_owned(), (404, "ERROR", 40400)),
        (format!("key={key}x"), (401, "ERROR", 40101)),
        (format!("access_token={expired}"), (401, "DISCONNECTED", 40142)),
        (format!("key={key}&clientId=*"), (400, "ERROR", 40012)),
        (format!("key={key}&v=x"), (400, "ERROR", 40017)),
        (format!("key={key}&heartbeatInterval=x"), (400, "ERROR", 40003)),
    ];
    for (format, streams) in ways() {
        for (query, expected) in &table {
            let query = format!("{query}&format={}&stream={streams}", format.name());
            let target = format!("/comet/connect?{query}");
            let answer = Http::connect(&server).await.request("GET", &target, &[], b"").await;
            assert_eq!(refused_with(format, &answer), *expected, "{query}");
        }
    }
}

#[tokio::test]
async fn unknown_keys_and_paths_are_refused() {
    let server = server().await;
    let (comet, _) = Comet::connect(&server, Format::Json, true).await;
    let key = server.key();
    let mut http = Http::connect(&server).await;
    let slash = comet.key.replace('!', "%2F");
    for unknown in ["x", "a!b-1", &slash] {
        for what in ["recv", "close", "disconnect"] {
            let target = format!("/comet/{unknown}/{what}?key={key}");
            let answer = http.request("GET", &target, &[], b"").await;
            assert_eq!(
                refused_with(Format::Json, &answer),
                (400, "DISCONNECTED", 80018),
                "{target}"
            );
        }
    }
    for (method, path) in [
        ("GET", format!("{}/send", comet.key)),
        ("POST", format!("{}/recv", comet.key)),
        ("POST", "connect".to_owned()),
        ("GET", comet.key.clone()),
        ("GET", "a/b/recv".to_owned()),
        ("GET", String::new()),
    ] {
        let target = format!("/comet/{path}?key={key}");
        let answer = http.request(method, &target, &[], b"").await;
        assert_eq!(refused_with(Format::Json, &answer), (404, "ERROR", 40400), "{method} {target}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_arrays_of_frames_are_refused_and_bad_frames_fail_the_connection() {
    let server = server().await;
    let (mut comet, _) = Comet::connect(&server, Format::Json, true).await;
    for body in ["", "{}", "[", "[1]", "{\"action\":7}", "[{}] x"] {
        let answer = comet.post(body.as_bytes()).await;
        assert_eq!(refused_with(Format::Json, &answer), (400, "ERROR", 80013), "{body}");
    }
    let large = vec![b' '; 8 * 524_288 + 1];
    assert_eq!(refused_with(Format::Json, &comet.post(&large).await), (413, "ERROR", 40009));
    comet.attach("as-before").await;
    comet.http = Http::connect(&server).await;
    assert_eq!(comet.post(b"[{\"action\":\"x\"}]").await.status, 200);
    match comet.event().await {
        ServerFrame::Error(frame) => assert_eq!(frame.error.unwrap().code.0, 80013),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_page_may_ask_from_any_origin() {
    let server = server().await;
    let headers = [
        "Origin: https://a.example".to_owned(),
        "Access-Control-Request-Method: POST".to_owned(),
        "Access-Control-Request-Headers: content-type".to_owned(),
    ];
    let mut http = Http::connect(&server).await;
    let answer = http.request("OPTIONS", "/comet/a!b-1/send", &headers, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type"));
}

#[tokio::test]
async fn members_leave_when_a_client_closes() {
    let server = server().await;
    for format in FORMATS {
        let channel = format!("members:{format:?}");
        let (mut watcher, _) = Client::connect(&server, format).await;
        watcher.attach(&channel).await;
        let (mut comet, _) = Comet::connect_with(&server, format, true, "clientId=ada").await;
        comet.attach(&channel).await;
        let member = PresenceMessage { action: Some(PresenceAction::Enter), ..Default::default() };
        let enter = Publish {
            channel: channel.as_str().into(),
            msg_serial: 0,
            items: [member].into(),
            params: Default::default(),
        };
        comet.send(&ClientFrame::Presence(enter)).await;
        let mut actions = Vec::new();
        for step in ["enter", "leave"] {
            match watcher.next().await {
                ServerFrame::Presence(delivery) => actions.push(delivery.items[0].action),
                other => panic!("{step}: {other:?}"),
            }
            if step == "enter" {
                assert_eq!(comet.get("close").await.status, 200);
            }
        }
        assert_eq!(actions, [Some(PresenceAction::Enter), Some(PresenceAction::Leave)]);
    }
}

// Another node has no session with the key, and continues the connection.
#[tokio::test]
async fn on_another_node_of_a_cluster_the_client_resumes() {
    let mesh = Mesh::new();
    let node = || Server::builder().key("app-id.key:secret").engine(mesh.node()).start();
    let servers = [node().await.unwrap(), node().await.unwrap()];
    for (format, streams) in ways() {
        let channel = format!("moved:{format:?}:{streams}");
        let (mut comet, connected) = Comet::connect(&servers[0], format, streams).await;
        let attached = comet.attach(&channel).await;
        comet.http = Http::connect(&servers[1]).await;
        for what in ["recv", "close", "disconnect"] {
            let answer = comet.get(what).await;
            assert_eq!(refused_with(format, &answer), (400, "DISCONNECTED", 80018), "{what}");
        }
        let (mut publisher, _) = Client::connect(&servers[0], format).await;
        publisher.publish(&channel, 0, text("missed")).await;
        publisher.ack().await;
        let resume = format!("resume={}", comet.key);
        let (mut moved, resumed) = Comet::connect_with(&servers[1], format, streams, &resume).await;
        assert_eq!((resumed.connection_id, resumed.error), (connected.connection_id, None));
        let again = Attach {
            channel: channel.as_str().into(),
            channel_serial: attached.channel_serial,
            ..Attach::default()
        };
        assert!(moved.attach_with(again).await.flags.contains(Flags::RESUMED));
        assert_eq!(moved.message().await.items[0].data.as_str(), Some("missed"));
    }
}

// A proxy that collected the stream would never forward it.
#[tokio::test]
async fn the_fault_proxy_forwards_streams_as_they_arrive() {
    let server = Server::builder().faults(&Faults::new()).start().await.unwrap();
    for (format, streams) in ways() {
        let (mut comet, _) = Comet::connect(&server, format, streams).await;
        comet.attach("through-faults").await;
        assert_eq!(comet.get("close").await.status, 200);
        if let Some(stream) = &mut comet.stream {
            assert!(stream.piece().await.is_some(), "CLOSED");
            assert_eq!(stream.piece().await, None);
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_disconnects_its_clients() {
    let server = server().await;
    let (mut stream, _) = Comet::connect(&server, Format::Json, true).await;
    let (mut poller, _) = Comet::connect(&server, Format::Json, false).await;
    // One poll ends the other, so the server has received the one that is left.
    let mut second = Http::connect(&server).await;
    let target = poller.target("recv");
    let polls = [&mut poller.http, &mut second];
    let polls = polls.map(|http| Box::pin(http.request("GET", &target, &[], b"")));
    let (answer, _, mut left) = futures_util::future::select_all(polls).await;
    assert_eq!(frames(Format::Json, &answer), []);
    let (answer, ()) = tokio::join!(left.remove(0), server.shutdown());
    let polled = frames(Format::Json, &answer).remove(0);
    for frame in [polled, stream.event().await] {
        match frame {
            ServerFrame::Disconnected { error } => assert_eq!(error.unwrap().code.0, 80003),
            other => panic!("{other:?}"),
        }
    }
}

/// A token of the server's key.
async fn token(server: &Server, request: serde_json::Value) -> String {
    let name = server.key().split(':').next().unwrap();
    let mut body = request;
    body["keyName"] = name.into();
    let answer =
        support::request(server, "POST", &format!("/keys/{name}/requestToken"), &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}
