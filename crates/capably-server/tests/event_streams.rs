//! Event streams: `GET /sse` and `GET /event-stream`, over raw HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use capably_protocol::{ClientFrame, Format, PresenceAction, PresenceMessage, frame::Publish};
use capably_server::{
    Server,
    engine::{Engine, Mesh},
    faults::Faults,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use support::{stream::*, *};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn publish(server: &Server, format: Format, channel: &str, body: Value) {
    let target = format!("/channels/{channel}/messages");
    let (answer, _) = ask(server, server.key(), format, "POST", &target, &body).await;
    assert_eq!(answer.status, 201);
}

fn target(server: &Server, query: &str) -> String {
    format!("/sse?v=1.2&key={}&{query}", server.key())
}

/// Opens a stream with the server's key.
async fn open(server: &Server, query: &str) -> EventStream {
    EventStream::open(server, &target(server, query), &[]).await
}

/// Goes on behind an event.
async fn resume(server: &Server, query: &str, last: &str) -> EventStream {
    let header = [format!("Last-Event-ID: {last}")];
    EventStream::open(server, &target(server, query), &header).await
}

async fn refused(server: &Server, target: &str, headers: &[String]) -> (u16, u64) {
    Http::connect(server).await.request("GET", target, headers, b"").await.error()
}

async fn metric(server: &Server, channel: &str, name: &str) -> u64 {
    let target = format!("/channels/{channel}");
    let (_, status) = ask(server, server.key(), Format::Json, "GET", &target, &Value::Null).await;
    status["status"]["occupancy"]["metrics"][name].as_u64().unwrap()
}

#[tokio::test]
async fn a_reader_receives_messages_and_presence_as_events() {
    let server = server().await;
    for format in FORMATS {
        let channel = format!("a:{}", format.name());
        let mut stream = open(&server, &format!("channels={channel}")).await;
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"));
        publish(&server, format, &channel, json!({"name": "n", "data": {"k": [1]}})).await;
        let event = stream.event().await;
        assert_eq!(event.name, "message");
        let message = event.json();
        assert_eq!(message["channel"], *channel);
        assert_eq!(message["name"], "n");
        assert_eq!(message["data"], "{\"k\":[1]}");
        assert_eq!(message["encoding"], "json");
        assert!(message["timestamp"].is_i64() && message["id"].is_string(), "{message}");

        let (mut member, _) = Client::connect_with(&server, format, "clientId=ada").await;
        member.attach(&channel).await;
        let enter = PresenceMessage {
            action: Some(PresenceAction::Enter),
            data: "here".into(),
            ..PresenceMessage::default()
        };
        let items = Arc::from([enter]);
        let frame = Publish {
            channel: channel.as_str().into(),
            msg_serial: 0,
            items,
            params: Default::default(),
        };
        member.send(&ClientFrame::Presence(frame)).await;
        let event = stream.event().await;
        assert_eq!(event.name, "presence");
        assert!(event.id.is_some());
        let member = event.json();
        assert_eq!((&member["clientId"], &member["data"]), (&json!("ada"), &json!("here")));
        assert_eq!((&member["action"], &member["channel"]), (&json!(2), &json!(channel)));
    }
}

#[tokio::test]
async fn a_reader_may_want_payloads_alone_and_lines_of_json_and_heartbeats() {
    let server = builder().max_idle_interval(Duration::from_millis(60)).start().await.unwrap();
    let key = server.key();
    let query = format!("v=1.2&channel=a&enveloped=false&heartbeats=true&key={key}");
    let mut events = EventStream::open(&server, &format!("/sse?{query}"), &[]).await;
    let as_events = ["Accept: text/event-stream".to_owned()];
    let mut accepted =
        EventStream::open(&server, &format!("/event-stream?{query}"), &as_events).await;
    let mut lines = EventStream::open(&server, &format!("/event-stream?{query}"), &[]).await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let mut whole =
        EventStream::open(&server, &format!("/event-stream?channel=a&key={key}"), &[]).await;
    publish(&server, Format::MsgPack, "a", json!({"name": "n", "data": "one\ntwo"})).await;
    for stream in [&mut events, &mut accepted] {
        let event = stream.skip("heartbeat").await;
        assert_eq!((&*event.name, &*event.data), ("message", "one\ntwo"));
    }
    let line = lines.line_of("message").await;
    assert_eq!(line["data"], "one\ntwo");
    assert!(line["id"].is_string());
    assert_eq!(whole.line_of("message").await["data"]["name"], "n");
    assert_eq!(events.event_named("heartbeat").await.data, "{}");
    assert_eq!(lines.line_of("heartbeat").await, json!({"event": "heartbeat"}));
    whole.text_of("\n\n").await;
    let mut quiet = open(&server, "channel=a").await;
    quiet.text_of(":keepalive\n\n").await;
}

#[tokio::test]
async fn a_reader_that_connects_again_misses_nothing_and_gets_nothing_twice() {
    let server = server().await;
    for format in FORMATS {
        let names = ["one", "two", "three"].map(|name| format!("{name}:{}", format.name()));
        let query = format!("channels={}", names.join(","));
        let mut stream = open(&server, &query).await;
        let mut last = stream.first_id().await;
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut sent: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..30 {
            // Before and after the cut, one at a time and several at once.
            for _ in 0..2 {
                let channel = &names[fastrand::usize(..3)];
                let next = sent.entry(channel.clone()).or_default();
                let count = 1 + fastrand::u64(..3);
                let numbers = *next..*next + count;
                *next += count;
                let messages: Vec<_> = numbers.map(|it| json!({"data": it.to_string()})).collect();
                publish(&server, format, channel, json!(messages)).await;
            }
            // The reader stops anywhere, also in the middle of a publish.
            let all: u64 = sent.values().sum();
            let mut left = all - seen.values().map(|it| it.len() as u64).sum::<u64>();
            if round < 29 {
                left = fastrand::u64(..=left);
            }
            for _ in 0..left {
                let event = stream.event().await;
                last = event.id.clone().unwrap();
                let message = event.json();
                let number = message["data"].as_str().unwrap().parse().unwrap();
                let channel = message["channel"].as_str().unwrap().to_owned();
                seen.entry(channel).or_default().push(number);
            }
            drop(stream);
            stream = resume(&server, &query, &last).await;
        }
        for (channel, numbers) in &seen {
            assert_eq!(numbers, &(0..sent[channel]).collect::<Vec<_>>(), "{channel}");
        }
        publish(&server, format, &names[0], json!({"data": "end"})).await;
        assert_eq!(stream.event().await.json()["data"], "end");
    }
}

#[tokio::test]
async fn the_place_in_the_header_is_newer_than_the_one_in_the_url() {
    let server = server().await;
    let mut stream = open(&server, "channels=a").await;
    for number in 0..3 {
        publish(&server, Format::Json, "a", json!({"data": number.to_string()})).await;
    }
    let ids = [stream.event().await.id.unwrap(), stream.event().await.id.unwrap()];
    let query = format!("channels=a&lastEvent={}", ids[0]);
    assert_eq!(open(&server, &query).await.event().await.json()["data"], "1");
    assert_eq!(resume(&server, &query, &ids[1]).await.event().await.json()["data"], "2");
    // `rewind` is for new readers only.
    let query = format!("{query}&rewind=3");
    assert_eq!(open(&server, &query).await.event().await.json()["data"], "1");
}

#[tokio::test]
async fn a_place_that_the_server_no_longer_has_is_reported_and_the_stream_goes_on() {
    let server = server().await;
    for id in ["cbfKayrzgAXDWM:1556806691343-0", "AAAAAAAA"] {
        let mut stream = resume(&server, "channels=a", id).await;
        let lost = stream.event_named("error").await.json();
        assert_eq!((&lost["code"], &lost["statusCode"]), (&json!(90003), &json!(400)), "{id}");
        publish(&server, Format::Json, "a", json!({"data": "on"})).await;
        assert_eq!(stream.event().await.json()["data"], "on");
    }
}

#[tokio::test]
async fn a_reader_goes_on_over_a_restart_of_a_server_with_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let start = || async { Server::builder().data(directory.path()).start().await.unwrap() };
    let server = start().await;
    for format in FORMATS {
        publish(&server, format, "b", json!([{"data": "old"}])).await;
    }
    let mut stream = open(&server, "channels=a,b").await;
    publish(&server, Format::Json, "a", json!([{"data": "0"}, {"data": "1"}, {"data": "2"}])).await;
    let id = stream.event().await.id.unwrap();
    publish(&server, Format::MsgPack, "b", json!({"data": "3"})).await;
    server.shutdown().await;
    let server = start().await;
    let mut stream = resume(&server, "channels=a,b", &id).await;
    publish(&server, Format::Json, "a", json!({"data": "4"})).await;
    let mut data = Vec::new();
    for _ in 0..4 {
        data.push(stream.event().await.json()["data"].as_str().unwrap().to_owned());
    }
    data.sort();
    assert_eq!(data, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_reader_goes_on_at_another_node() {
    let mesh = Mesh::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let node = mesh.node() as Arc<dyn Engine>;
        servers
            .push(Server::builder().key("app-id.key:secret").engine(node).start().await.unwrap());
    }
    for format in FORMATS {
        let name = format.name();
        let query = format!("channels=a:{name},b:{name}");
        let mut stream = open(&servers[0], &query).await;
        let mut last = stream.first_id().await;
        for round in 0..10 {
            let here = &servers[round % 2];
            let channel = if round % 3 == 0 { "a" } else { "b" };
            let body = json!([{"data": format!("{round}.0")}, {"data": format!("{round}.1")}]);
            publish(here, format, &format!("{channel}:{name}"), body).await;
            for part in 0..2 {
                let event = stream.event().await;
                assert_eq!(event.json()["data"], format!("{round}.{part}"));
                last = event.id.unwrap();
                stream = resume(&servers[(round + part) % 2], &query, &last).await;
            }
        }
        assert_eq!(stream.first_id().await, last);
    }
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused() {
    let server = server().await;
    let key = server.key().to_owned();
    for (query, expected) in [
        ("channels=a".to_owned(), (401, 40101)),
        (format!("key={key}"), (400, 40003)),
        (format!("channels=&key={key}"), (400, 40003)),
        (format!("channels=a&separator=&key={key}"), (400, 40003)),
        (format!("channels=a&enveloped=yes&key={key}"), (400, 40003)),
        (format!("channels=a&heartbeats=1&key={key}"), (400, 40003)),
        (format!("channels=a,,b&key={key}"), (400, 40010)),
        (format!("channels=%5Bfoo%5Da&key={key}"), (400, 40010)),
        (format!("channels=a&key={key}x"), (401, 40101)),
        ("channels=a&access_token=nonsense".to_owned(), (401, 40101)),
    ] {
        for path in ["/sse", "/event-stream"] {
            let target = format!("{path}?v=1.2&{query}");
            assert_eq!(refused(&server, &target, &[]).await, expected, "{target}");
        }
    }
    let many: Vec<_> = (0..=200).map(|number| format!("c{number}")).collect();
    let target = format!("/sse?key={key}&channels={}", many.join(","));
    assert_eq!(refused(&server, &target, &[]).await, (400, 40003));

    let keys = app(&server, &json!({"keys": [{"capability": {"a": ["subscribe"]}}]})).await;
    let target = format!("/sse?channels=a,b&key={}", keys[0]);
    assert_eq!(refused(&server, &target, &[]).await, (401, 40160));
    let mut stream =
        EventStream::open(&server, &format!("/sse?channels=a&key={}", keys[0]), &[]).await;
    stream.first_id().await;
    let mut http = Http::connect(&server).await;
    assert_eq!(http.request("POST", "/sse?channels=a", &[], b"").await.error(), (404, 40400));
}

#[tokio::test]
async fn credentials_may_be_in_a_header_and_names_may_have_commas() {
    let server = server().await;
    let headers = [basic(server.key()), "Origin: https://example.com".to_owned()];
    let target = "/sse?v=1.2&separator=%7C&channel=fo%2Co%7Cba%3Fr";
    let mut stream = EventStream::open(&server, target, &headers).await;
    assert_eq!(stream.header("access-control-allow-origin"), Some("*"));
    for channel in ["fo%2Co", "ba%3Fr"] {
        publish(&server, Format::Json, channel, json!({"data": "d"})).await;
    }
    assert_eq!(stream.event().await.json()["channel"], "fo,o");
    assert_eq!(stream.event().await.json()["channel"], "ba?r");
}

#[tokio::test]
async fn parameters_of_channels_are_for_all_or_for_one() {
    let server = server().await;
    for channel in ["a", "b"] {
        for number in 0..3 {
            let data = format!("{channel}{number} {}", "the same text ".repeat(20));
            publish(&server, Format::Json, channel, json!({"data": data})).await;
        }
    }
    let text = |event: &StreamEvent| event.json()["data"].as_str().unwrap()[..2].to_owned();
    let mut stream = open(&server, "channels=%5B%3Frewind%3D1%5Da,b&rewind=2").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(text(&stream.event().await));
    }
    seen.sort();
    assert_eq!(seen, ["a2", "b1", "b2"]);
    let mut stream = open(&server, "channels=a&rewind=2&delta=vcdiff").await;
    let (first, second) = (stream.event().await, stream.event().await);
    assert_eq!(second.json()["encoding"], "utf-8/vcdiff/base64");
    assert_eq!(second.json()["extras"]["delta"]["from"], first.json()["id"]);
    // After a cut the reader has no base: the first message is whole.
    let mut stream = resume(&server, "channels=a&delta=vcdiff", &first.id.unwrap()).await;
    assert_eq!(text(&stream.event().await), "a2");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires_or_is_revoked() {
    let server = server().await;
    let keys = app(&server, &json!({"keys": [{"revocableTokens": true}]})).await;
    let name = keys[0].split(':').next().unwrap();
    let token = async |body: Value| {
        let target = format!("/keys/{name}/requestToken");
        let (_, details) = ask(&server, &keys[0], Format::Json, "POST", &target, &body).await;
        format!("/sse?channels=a&accessToken={}", details["token"].as_str().unwrap())
    };
    let brief = token(json!({"ttl": 500})).await;
    let mut stream = EventStream::open(&server, &brief, &[]).await;
    let expired = stream.event_named("error").await.json();
    assert_eq!((&expired["code"], &expired["statusCode"]), (&json!(40142), &json!(401)));
    assert_eq!(expired["href"], "https://help.ably.io/error/40142");
    stream.end().await;
    assert_eq!(refused(&server, &brief, &[]).await, (401, 40142));

    let mut stream =
        EventStream::open(&server, &token(json!({"clientId": "ada"})).await, &[]).await;
    stream.first_id().await;
    let target = format!("/keys/{name}/revokeTokens");
    let later = json!({"targets": ["clientId:ada"]});
    let (answer, _) = ask(&server, &keys[0], Format::Json, "POST", &target, &later).await;
    assert_eq!(answer.status, 201);
    assert_eq!(stream.event_named("error").await.json()["code"], 40141);
    stream.end().await;
}

#[tokio::test]
async fn a_reader_counts_as_a_connection_and_a_subscriber_until_it_has_gone() {
    let server = server().await;
    let stream = open(&server, "channels=a").await;
    assert_eq!(server.connections(), 1);
    for (name, count) in
        [("connections", 1), ("subscribers", 1), ("presenceSubscribers", 1), ("publishers", 0)]
    {
        assert_eq!(metric(&server, "a", name).await, count, "{name}");
    }
    let (_, stats) = ask(&server, server.key(), Format::Json, "GET", "/stats", &Value::Null).await;
    assert_eq!(stats[0]["entries"]["connections.all.opened"], 1);
    drop(stream);
    while server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(metric(&server, "a", "connections").await, 0);

    let limited = builder().max_connections(1).start().await.unwrap();
    let _first = open(&limited, "channels=a").await;
    assert_eq!(refused(&limited, &target(&limited, "channels=a"), &[]).await, (503, 50004));
}

#[tokio::test]
async fn a_slow_reader_is_cut_and_goes_on_from_its_last_event() {
    const MESSAGES: usize = 400;
    let server = builder().max_queue(1024 * 1024).start().await.unwrap();
    let mut stream = open(&server, "channels=a").await;
    let mut other = open(&server, "channels=a").await;
    stream.first_id().await;
    other.first_id().await;
    let data = "x".repeat(60_000);
    let publishing = async {
        for number in 0..MESSAGES {
            publish(&server, Format::Json, "a", json!({"name": number.to_string(), "data": data}))
                .await;
        }
    };
    // Nothing is read from the first stream while all of this is sent: 24 MB are more than its queue and the sockets hold.
    let reading = async {
        for number in 0..MESSAGES {
            assert_eq!(other.event().await.json()["name"], number.to_string());
        }
    };
    tokio::join!(publishing, reading);
    let mut seen = 0;
    let mut last = String::new();
    let error = loop {
        let event = stream.event().await;
        if event.name == "error" {
            break event.json();
        }
        assert_eq!(event.json()["name"], seen.to_string());
        last = event.id.unwrap();
        seen += 1;
    };
    assert_eq!(error["code"], 80020);
    stream.end().await;
    assert!(seen < MESSAGES, "the reader was not cut");
    let mut stream = resume(&server, "channels=a", &last).await;
    for number in seen..MESSAGES {
        assert_eq!(stream.event().await.json()["name"], number.to_string());
    }
}

#[tokio::test]
async fn replays_of_many_channels_do_not_fill_the_queue_of_a_reader() {
    const CHANNELS: usize = 12;
    let server = builder().max_queue(1024 * 1024).start().await.unwrap();
    let data = "x".repeat(60_000);
    let names: Vec<_> = (0..CHANNELS).map(|number| format!("c{number}")).collect();
    for name in &names {
        for _ in 0..5 {
            publish(&server, Format::MsgPack, name, json!({"data": data})).await;
        }
    }
    // 3.6 MB.
    let mut stream = open(&server, &format!("rewind=5&channels={}", names.join(","))).await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..5 * CHANNELS {
        let event = stream.event_named("message").await;
        *seen.entry(event.json()["channel"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [5; CHANNELS]);
}

#[tokio::test]
async fn a_reader_that_reads_nothing_more_is_dropped() {
    let server = builder().max_queue(256 * 1024).start().await.unwrap();
    let stream = open(&server, "channels=a").await;
    let data = "x".repeat(60_000);
    for _ in 0..400 {
        publish(&server, Format::Json, "a", json!({"data": data})).await;
    }
    assert_eq!(server.connections(), 1);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(40)).await;
    tokio::time::resume();
    let gone = async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the reader is dropped");
    drop(stream);
}

#[tokio::test]
async fn readers_are_told_when_the_server_stops_and_new_ones_are_refused_by_one_that_drains() {
    let server = server().await;
    let mut stream = open(&server, "channels=a").await;
    stream.first_id().await;
    server.shutdown().await;
    assert_eq!(stream.event_named("error").await.json()["code"], 80003);
    stream.end().await;

    let server = builder().start().await.unwrap();
    let mut stream = open(&server, "channels=a").await;
    stream.first_id().await;
    let mut late = Http::connect(&server).await;
    late.request("GET", "/time", &[], b"").await;
    let draining = server.drain(Duration::from_secs(20));
    let reading = async {
        let code = stream.event_named("error").await.json()["code"].clone();
        stream.end().await;
        code
    };
    let ((), code) = tokio::join!(draining, reading);
    assert_eq!(code, 80003);
}

#[tokio::test]
async fn a_stream_passes_through_a_proxy_of_faults() {
    let server = builder().faults(&Faults::new()).start().await.unwrap();
    let mut stream = open(&server, "channels=a").await;
    stream.first_id().await;
    publish(&server, Format::Json, "a", json!({"data": "d"})).await;
    assert_eq!(stream.event().await.json()["data"], "d");
    drop(stream);
    while server.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_stream_is_chunked_and_its_head_comes_before_any_event() {
    let server = server().await;
    let mut stream = open(&server, "channels=a").await;
    assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
    assert_eq!(stream.header("content-length"), None);
    let mut byte = [0];
    let first = stream.http().stream.read(&mut byte);
    // The id of the start comes at once, so that a reader that is cut before its first event misses nothing.
    tokio::time::timeout(PATIENCE, first).await.unwrap().unwrap();
}
