//! Faults between a server and its clients, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::{Duration, Instant};

use capably_protocol::{
    ClientFrame, ErrorInfo, Format, Message, ServerFrame,
    frame::{Action, Attach},
};
use capably_server::{
    Server,
    faults::{
        Direction, Event as Passed, Fate, FaultProxy, Faults, Frame, Log, Response, Rule, Side,
    },
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error as WsError, Message as WsMessage, protocol::CloseFrame},
};

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn faulty() -> (Server, Faults) {
    let faults = Faults::new();
    (Server::builder().faults(&faults).start().await.unwrap(), faults)
}

fn hello() -> Vec<Message> {
    vec![Message { name: Some("hello".into()), ..Message::default() }]
}

fn going_away() -> ServerFrame {
    ServerFrame::Disconnected { error: Some(ErrorInfo::new(80003.into(), 503, "going away")) }
}

async fn until(faults: &Faults, condition: impl FnMut(&Log) -> bool) -> Log {
    timeout(PATIENCE, faults.wait_until(condition)).await.expect("it never happened")
}

/// Waits for the end of a WebSocket. Returns the code of the close frame, if there was one.
async fn end(client: &mut Client) -> Option<u16> {
    loop {
        match timeout(PATIENCE, client.socket.next()).await.expect("it never ended") {
            Some(Ok(WsMessage::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

fn disconnects(log: &Log) -> Vec<(u64, Side, Option<u16>)> {
    log.entries()
        .filter_map(|entry| match entry.event {
            Passed::Disconnect { by, code } => Some((entry.number, by, code)),
            _ => None,
        })
        .collect()
}

/// The connection numbers and the fates of the frames to the client with this action.
fn fates(log: &Log, action: Action) -> Vec<(u64, Fate)> {
    log.entries()
        .filter_map(|entry| match &entry.event {
            Passed::ToClient { frame, fate } if frame.action() == action.number() => {
                Some((entry.number, *fate))
            }
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn frames_without_a_rule_pass_and_are_logged() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        faults.add(Rule::to_client().action(Action::Closed).suppress());
        let (mut client, connected) = Client::connect_with(&server, format, "clientId=ada").await;
        client.attach("a").await;
        client.publish("a", 0, hello()).await;
        let message = client.message().await;
        let ack = client.ack().await;
        let (answer, time) =
            ask(&server, server.key(), format, "GET", "/time?x=1", &json!(null)).await;
        assert_eq!((answer.status, time.as_array().unwrap().len()), (200, 1));
        client
            .socket
            .close(Some(CloseFrame { code: 4001.into(), reason: "".into() }))
            .await
            .unwrap();
        assert_eq!(end(&mut client).await, Some(4001));
        drop(client);

        let log = until(&faults, |log| !disconnects(log).is_empty()).await;
        assert_eq!(disconnects(&log), [(1, Side::Client, Some(4001))]);
        let [params] = log.connects()[..] else { panic!("one connection") };
        assert_eq!(params.get("key"), Some(server.key()));
        assert_eq!(params.get("clientId"), Some("ada"));
        assert_eq!(
            log.server_frames(Action::Connected),
            [&ServerFrame::Connected(connected.into())]
        );
        assert_eq!(log.server_frames(Action::Ack), [&ServerFrame::Ack(ack)]);
        assert_eq!(log.server_frames(Action::Message), [&ServerFrame::Message(message)]);
        let attach = Attach { channel: "a".into(), ..Attach::default() };
        assert_eq!(log.client_frames(Action::Attach), [&ClientFrame::Attach(attach)]);
        assert_eq!(log.client_frames(Action::Message), [&publish("a", 0, hello())]);
        assert_eq!(log.requests("/time"), [("GET", "/time")]);
        assert_eq!(log.statuses(), [200]);
        assert!(log.entries().all(|entry| entry.rule.is_none()));
        assert!(log.entries().map(|entry| entry.elapsed).is_sorted());
        assert!(!format!("{log:?}").contains(server.key().split(':').nth(1).unwrap()));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_rule_refuses_answers_or_ends_an_opening() {
    let (server, faults) = faulty().await;
    faults.add(Rule::opening().nth(1).refuse());
    faults.add(Rule::opening().nth(2).respond(Response::new(503).error(50300, "busy")));
    faults.add(Rule::opening().nth(3).close(1011));
    faults.add(Rule::opening().connection(4).disconnect());
    let open = async || {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let url = format!("ws://{}/?v=6&key={}", server.local_addr(), server.key());
        timeout(PATIENCE, client_async(url, stream)).await.expect("no answer")
    };
    // The client receives no answer.
    assert!(!matches!(open().await, Ok(_) | Err(WsError::Http(_))));
    let Err(WsError::Http(answer)) = open().await else { panic!("an answer") };
    assert_eq!(answer.status(), 503);
    let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
    assert_eq!(body["error"], json!({ "code": 50300, "statusCode": 503, "message": "busy" }));
    for code in [Some(1011), None] {
        let (socket, _) = open().await.unwrap();
        let mut client = Client { format: Format::Json, socket };
        assert_eq!(end(&mut client).await, code);
    }
    assert_eq!(server.connections(), 0, "the server has heard of none");
    Client::connect(&server, Format::Json).await;
    let log = faults.log();
    assert_eq!(log.connects().len(), 5);
    let by_faults = |number, code| (number, Side::Faults, code);
    assert_eq!(
        disconnects(&log),
        [by_faults(1, None), by_faults(3, Some(1011)), by_faults(4, None)]
    );
    assert_eq!(log.statuses(), [503]);
}

#[tokio::test]
async fn an_opening_is_delayed() {
    let (server, faults) = faulty().await;
    let delay = Duration::from_millis(50);
    faults.add(Rule::opening().param("clientId", "slow").delay(delay));
    let started = Instant::now();
    Client::connect_with(&server, Format::Json, "clientId=slow").await;
    assert!(started.elapsed() >= delay);
    assert_eq!(faults.rules()[0].applied, 1);
    Client::connect(&server, Format::Json).await;
    assert_eq!(faults.rules()[0].applied, 1);
}

#[tokio::test]
async fn frames_are_suppressed_in_either_direction() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let rule = faults.add(Rule::to_client().action(Action::Ack).times(1).suppress());
        faults.add(Rule::to_server().action(Action::Attach).channel("lost").suppress());
        let (mut client, _) = Client::connect(&server, format).await;
        client
            .send(&ClientFrame::Attach(Attach { channel: "lost".into(), ..Attach::default() }))
            .await;
        assert_eq!(&*client.attach("found").await.channel, "found");
        client.publish("other", 0, hello()).await;
        until(&faults, |log| !log.server_frames(Action::Ack).is_empty()).await;
        client.publish("other", 1, hello()).await;
        assert_eq!(client.ack().await.msg_serial, 1);
        let log = faults.log();
        assert_eq!(fates(&log, Action::Ack), [(1, Fate::Suppressed), (1, Fate::Passed)]);
        assert_eq!(log.server_frames(Action::Attached).len(), 1);
        assert_eq!(log.client_frames(Action::Attach).len(), 2);
        let ruled = log.entries().filter(|entry| entry.rule == Some(rule)).count();
        assert_eq!(ruled, 1);
        assert!(!faults.remove(rule), "it was for once");
    }
}

#[tokio::test]
async fn a_frame_is_replaced_in_either_direction() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let error =
            json!({ "action": 9, "error": { "code": 50000, "statusCode": 500, "message": "m" } });
        faults.add(Rule::to_client().action(Action::Connected).times(1).replace(error));
        faults.add(
            Rule::to_server()
                .action(Action::Attach)
                .replace(ClientFrame::Attach(Attach { channel: "b".into(), ..Attach::default() })),
        );
        let mut client = Client::open(&server, format, &format!("key={}", server.key())).await;
        let ServerFrame::Error(frame) = client.next().await else { panic!("an ERROR") };
        let expected = ErrorInfo::new(50000.into(), 500, "m");
        assert_eq!((frame.channel, frame.error), (None, Some(expected)));
        assert_eq!(&*client.attach("a").await.channel, "b");
        let log = faults.log();
        assert_eq!(fates(&log, Action::Connected), [(1, Fate::Replaced)]);
        assert_eq!(fates(&log, Action::Error), [(1, Fate::Injected)]);
    }
}

#[tokio::test]
async fn a_delayed_frame_keeps_its_order() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let delay = Duration::from_millis(50);
        faults.add(Rule::to_client().action(Action::Ack).times(1).delay(delay));
        let (mut client, _) = Client::connect(&server, format).await;
        let started = Instant::now();
        client.publish("a", 0, hello()).await;
        client.send(&ClientFrame::Heartbeat { id: Some("1".into()) }).await;
        assert_eq!(client.ack().await.msg_serial, 0);
        assert!(started.elapsed() >= delay);
        assert_eq!(client.next().await, ServerFrame::Heartbeat { id: Some("1".into()) });
    }
}

#[tokio::test]
async fn frames_are_injected_after_the_frame_they_follow() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let attach = ClientFrame::Attach(Attach { channel: "b".into(), ..Attach::default() });
        faults.add(
            Rule::to_client()
                .action(Action::Connected)
                .inject_to_client(ServerFrame::Auth)
                .inject_to_client(json!({ "action": 0, "id": "x" }))
                .inject_to_server(attach),
        );
        let (mut client, _) = Client::connect(&server, format).await;
        assert_eq!(client.next().await, ServerFrame::Auth);
        assert_eq!(client.next().await, ServerFrame::Heartbeat { id: Some("x".into()) });
        let ServerFrame::Attached(attached) = client.next().await else { panic!("ATTACHED") };
        assert_eq!(&*attached.channel, "b");
        let log = faults.log();
        assert_eq!(fates(&log, Action::Auth), [(1, Fate::Injected)]);
        assert!(log.server_frames(Action::Auth).is_empty(), "the service sent none");
        assert!(log.client_frames(Action::Attach).is_empty(), "the client sent none");
    }
}

#[tokio::test]
async fn websocket_messages_that_are_not_frames_pass_in_both_directions() {
    let (server, faults) = faulty().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    faults.connections().inject_to_client(Frame::text("{"));
    faults.connections().inject_to_client(Frame::binary(vec![0xc1]));
    for expected in [WsMessage::text("{"), WsMessage::binary(vec![0xc1])] {
        let received = timeout(PATIENCE, client.socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(received, expected);
    }
    client.socket.send(WsMessage::text("[")).await.unwrap();
    assert_eq!(client.last_error().await, 80013);
    let unreadable: Vec<_> = faults
        .log()
        .entries()
        .filter_map(|entry| match entry.event {
            Passed::Unreadable { direction, bytes, fate } => Some((direction, bytes, fate)),
            _ => None,
        })
        .collect();
    let injected = (Direction::ToClient, 1, Fate::Injected);
    assert_eq!(unreadable, [injected, injected, (Direction::ToServer, 1, Fate::Passed)]);
}

#[tokio::test]
async fn a_rule_silences_a_connection() {
    let (server, faults) = faulty().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let rule = faults.add(Rule::to_client().action(Action::Ack).suppress_onwards());
    client.publish("a", 0, hello()).await;
    until(&faults, |log| !log.server_frames(Action::Ack).is_empty()).await;
    faults.remove(rule);
    client.send(&ClientFrame::Heartbeat { id: Some("1".into()) }).await;
    let log = until(&faults, |log| !log.server_frames(Action::Heartbeat).is_empty()).await;
    assert_eq!(fates(&log, Action::Heartbeat), [(1, Fate::Suppressed)]);
    assert_eq!(log.entries().last().unwrap().rule, Some(rule));
    // Injected frames still arrive.
    faults.connections().inject_to_client(going_away());
    assert_eq!(client.next().await, going_away());
    // The rule does not apply to another connection.
    let (mut other, _) = Client::connect(&server, Format::Json).await;
    other.send(&ClientFrame::Heartbeat { id: None }).await;
    assert_eq!(other.next().await, ServerFrame::Heartbeat { id: None });
}

#[tokio::test]
async fn a_rule_ends_a_connection_after_the_frames_sent_before() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        faults.add(Rule::to_server().channel("closes").inject_to_client(going_away()).close(4000));
        faults.add(Rule::to_server().channel("cuts").inject_to_client(going_away()).disconnect());
        for (channel, code) in [("closes", Some(4000)), ("cuts", None)] {
            let (mut client, _) = Client::connect(&server, format).await;
            client.publish(channel, 0, hello()).await;
            while client.next().await != going_away() {}
            assert_eq!(end(&mut client).await, code);
        }
        // The server received the frames before the end.
        for channel in ["closes", "cuts"] {
            let path = format!("/channels/{channel}/messages");
            let (mut http, key) = (Http::connect(&server).await, [basic(server.key())]);
            let there =
                async { while http.request("GET", &path, &key, b"").await.json() == json!([]) {} };
            timeout(PATIENCE, there).await.expect("the service has not got it");
        }
        let expected = [(1, Side::Faults, Some(4000)), (2, Side::Faults, None)];
        assert_eq!(disconnects(&faults.log()), expected);
    }
}

#[tokio::test]
async fn delayed_frames_do_not_delay_a_cut() {
    let (server, faults) = faulty().await;
    faults.add(Rule::to_client().action(Action::Ack).delay(Duration::from_secs(3600)));
    for strike in [
        Rule::after(Duration::ZERO).close(4000).any(),
        Rule::after(Duration::ZERO).disconnect().any(),
    ] {
        let (mut client, _) = Client::connect(&server, Format::Json).await;
        client.publish("a", 0, hello()).await;
        until(&faults, |log| !log.server_frames(Action::Ack).is_empty()).await;
        let close = strike.to_json()["action"]["type"] == "close";
        if close {
            faults.connections().close(4000)
        } else {
            faults.connections().disconnect()
        }
        assert_eq!(end(&mut client).await, close.then_some(4000));
        faults.clear_log();
    }
}

#[tokio::test]
async fn timed_rules_apply_after_an_opening() {
    let (server, faults) = faulty().await;
    let started = Instant::now();
    let delay = Duration::from_millis(50);
    let error = going_away();
    faults.add(Rule::after(delay).times(1).inject_to_client(error).close(1000));
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    assert_eq!(client.next().await, going_away());
    assert!(started.elapsed() >= delay);
    assert_eq!(end(&mut client).await, Some(1000));
    assert!(faults.rules().is_empty());
}

#[tokio::test]
async fn a_connection_is_resumed_after_a_fault() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let (mut client, first) = Client::connect(&server, format).await;
        faults.connections().disconnect();
        assert_eq!(end(&mut client).await, None);
        let key = first.details.unwrap().connection_key.unwrap();
        let (_, second) = Client::connect_with(&server, format, &format!("resume={key}")).await;
        assert_eq!(second.connection_id, first.connection_id);
        assert_eq!(faults.log().connects()[1].get("resume"), Some(&*key));
    }
}

#[tokio::test]
async fn rules_select_connections_by_number_and_query() {
    let (server, faults) = faulty().await;
    let (mut ada, _) = Client::connect_with(&server, Format::Json, "clientId=ada").await;
    let (mut bob, _) = Client::connect_with(&server, Format::MsgPack, "clientId=bob").await;
    assert_eq!(faults.connections().numbers().collect::<Vec<_>>(), [1, 2]);
    faults.connections().param("clientId", "bob").inject_to_client(going_away());
    faults.connections().number(1).close(1001);
    assert_eq!(bob.next().await, going_away());
    assert_eq!(end(&mut ada).await, Some(1001));
    until(&faults, |log| disconnects(log) == [(1, Side::Faults, Some(1001))]).await;
    assert_eq!(faults.connections().numbers().collect::<Vec<_>>(), [2]);
    assert_eq!(faults.connections().number(1).count(), 0);
}

#[tokio::test]
async fn a_rule_answers_requests() {
    for format in FORMATS {
        let (server, faults) = faulty().await;
        let busy = Response::new(503).error(50300, "busy").header("Server", "CloudFront");
        faults.add(Rule::request().method("GET").path_contains("/time").times(1).respond(busy));
        let bad = Response::new(418).bytes("tea").header("content-type", "text/plain");
        let post = Rule::request().method("POST").path_contains("/channels/");
        faults.add(post.times(1).replace_response(bad));
        let get = async |method, path, body| {
            let key = server.key();
            ask(&server, key, format, method, path, &body).await
        };
        let (answer, body) = get("GET", "/time", json!(null)).await;
        assert_eq!((answer.status, answer.header("server")), (503, Some("CloudFront")));
        let error = json!({ "code": 50300, "statusCode": 503, "message": "busy" });
        assert_eq!(body, json!({ "error": error }));
        assert_eq!(get("GET", "/time", json!(null)).await.0.status, 200);

        // The message was published although the answer is an error.
        let path = "/channels/a/messages";
        let mut http = Http::connect(&server).await;
        let body = br#"{"name":"n"}"#;
        let headers = [basic(server.key()), "Content-Type: application/json".to_owned()];
        let answer = http.request("POST", path, &headers, body).await;
        assert_eq!((answer.status, &answer.body[..]), (418, &b"tea"[..]));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        let history = http.request("GET", path, &headers[..1], b"").await.json();
        assert_eq!(history.as_array().unwrap().len(), 1);
        let log = faults.log();
        assert_eq!(log.statuses(), [503, 200, 418, 200]);
        assert_eq!(log.requests("/channels/"), [("POST", path), ("GET", path)]);
    }
}

#[tokio::test]
async fn a_rule_drops_and_delays_requests() {
    let (server, faults) = faulty().await;
    let delay = Duration::from_millis(50);
    faults.add(Rule::request().path_contains("/time").nth(1).drop_request());
    faults.add(Rule::request().path_contains("/time").nth(2).delay(delay));
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = b"GET /time HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("the end");
    assert_eq!(read.unwrap_or(0), 0, "nothing was answered");
    let started = Instant::now();
    assert_eq!(Http::connect(&server).await.request("GET", "/time", &[], b"").await.status, 200);
    assert!(started.elapsed() >= delay);
    assert_eq!(faults.log().statuses(), [200]);
}

#[tokio::test]
async fn http_requests_pass_unchanged() {
    let (server, faults) = faulty().await;
    let plain = Server::builder().key(server.key()).start().await.unwrap();
    let with = |server| async move {
        let mut http = Http::connect(server).await;
        let mut answers = Vec::new();
        for (method, target) in [
            ("HEAD", "/time"),
            ("GET", "/channels/a%2Fb/messages?limit=1&end=1"),
            ("GET", "/nowhere"),
            ("DELETE", "/apps/nobody"),
        ] {
            let key = basic(server.key());
            let answer = http.request(method, target, &[key], b"").await;
            let mut headers = answer.headers;
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            answers.push((answer.status, headers, answer.body));
        }
        answers
    };
    assert_eq!(with(&server).await, with(&plain).await);
    // The answer to a new app names the address of the fault proxy.
    let made = request(&server, "POST", "/apps", &json!({ "keys": [{}] })).await.json();
    assert_eq!(made["port"], server.port());
    assert_eq!(faults.log().requests("/apps").len(), 2);
}

#[tokio::test]
async fn websocket_pings_pass() {
    let faults = Faults::new();
    let interval = Duration::from_millis(30);
    let builder = Server::builder().max_idle_interval(interval).faults(&faults);
    let server = builder.start().await.unwrap();
    let (mut client, _) = Client::connect_with(&server, Format::Json, "heartbeats=false").await;
    assert!(matches!(client.event().await, Event::Ping));
}

#[tokio::test]
async fn a_standalone_proxy_applies_rules_to_its_service() {
    let service = server().await;
    let proxy = FaultProxy::builder(service.local_addr().to_string()).start().await.unwrap();
    assert_eq!(proxy.endpoint(), "127.0.0.1");
    assert_ne!(proxy.port(), service.port());
    proxy.faults().add(Rule::request().path_contains("/time").respond(Response::new(500)));
    let mut http = Http::connect_to(proxy.local_addr()).await;
    assert_eq!(http.request("GET", "/time", &[], b"").await.status, 500);
    let direct = Http::connect(&service).await.request("GET", "/time", &[], b"").await;
    assert_eq!(direct.status, 200);

    let stream = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let url = format!("ws://{}/?v=6&key={}", proxy.local_addr(), service.key());
    let (socket, _) = client_async(url, stream).await.unwrap();
    let mut client = Client { format: Format::Json, socket };
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    service.shutdown().await;
    let ServerFrame::Disconnected { error } = client.next().await else { panic!("DISCONNECTED") };
    assert_eq!(error.unwrap().code.0, 80003);
    end(&mut client).await;
    assert_eq!(disconnects(&proxy.faults().log()).len(), 1);
    assert_eq!(disconnects(&proxy.faults().log())[0].1, Side::Service);

    // The service has stopped.
    let answer = http.request("GET", "/channels/a", &[], b"").await;
    assert_eq!((answer.status, answer.body.len()), (502, 0));
    let stream = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let url = format!("ws://{}/?v=6", proxy.local_addr());
    let Err(WsError::Http(answer)) = client_async(url, stream).await else { panic!("an answer") };
    assert_eq!(answer.status(), 502);
    timeout(PATIENCE, proxy.shutdown()).await.expect("it ends");
    TcpListener::bind(proxy.local_addr()).await.unwrap();
}

#[tokio::test]
async fn an_ending_proxy_cuts_its_connections() {
    let service = server().await;
    let proxy = FaultProxy::builder(service.local_addr().to_string()).start().await.unwrap();
    let stream = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let url = format!("ws://{}/?v=6&key={}", proxy.local_addr(), service.key());
    let (socket, _) = client_async(url, stream).await.unwrap();
    let mut client = Client { format: Format::Json, socket };
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    // The block owns the client and drops it at its end, so that the shutdown does not wait for it.
    let end = async move { end(&mut client).await };
    let both = async { tokio::join!(proxy.shutdown(), end) };
    let limit = Duration::from_secs(2);
    assert_eq!(timeout(limit, both).await.expect("nobody is waited for").1, None);
}

#[tokio::test]
async fn a_server_with_faults_shuts_down_like_any_other() {
    let (server, faults) = faulty().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let clients = async {
        assert!(matches!(client.next().await, ServerFrame::Disconnected { .. }));
        end(&mut client).await
    };
    let both = async { tokio::join!(server.shutdown(), clients) };
    timeout(Duration::from_secs(2), both).await.expect("nobody is waited for");
    assert_eq!((server.connections(), faults.connections().count()), (0, 0));
    TcpListener::bind(server.local_addr()).await.unwrap();

    let (server, _faults) = faulty().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    drop(server);
    assert_eq!(end(&mut client).await, None);
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}
