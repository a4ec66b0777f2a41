//! The console: its page, its sessions, and its API.

#![cfg(feature = "console")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Message, ServerFrame};
use capably_server::Server;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// A server with a console, and a session.
struct Scene {
    server: Server,
    session: String,
}

impl Scene {
    /// A session of the server's operator.
    async fn new() -> Self {
        let server = builder().console(true).start().await.unwrap();
        let begun = sign_in(&server, &json!({ "token": token(&server) })).await;
        assert_eq!(begun.status, 201);
        let session = begun.json()["session"].as_str().unwrap().to_owned();
        Self { server, session }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        call(&self.server, &self.session, method, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    }

    /// The session of a key.
    async fn session_of(&self, key: &str) -> String {
        let begun = sign_in(&self.server, &json!({ "key": key })).await.json();
        begun["session"].as_str().unwrap().to_owned()
    }
}

fn token(server: &Server) -> String {
    server.console_url().unwrap().split_once('#').unwrap().1.to_owned()
}

async fn send(
    server: &Server,
    method: &str,
    target: &str,
    headers: &[String],
    body: &Value,
) -> Answer {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    Http::connect(server).await.request(method, target, headers, &body).await
}

async fn sign_in(server: &Server, body: &Value) -> Answer {
    send(server, "POST", "/console/api/session", &[], body).await
}

async fn call(server: &Server, session: &str, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [format!("Authorization: Bearer {session}")];
    send(server, method, &format!("/console/api/{path}"), &headers, body).await
}

/// The status of a GET with this `Host`.
async fn status_at_host(server: &Server, host: &str, target: &str) -> u16 {
    let mut http = Http::connect(server).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    http.stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut http.stream, &mut answer).await.unwrap();
    String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_page_is_served_with_headers_that_keep_foreign_scripts_out() {
    let server = builder().console(true).start().await.unwrap();
    let page = send(&server, "GET", "/console/", &[], &Value::Null).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    assert!(policy.contains("connect-src 'self' ws://localhost wss://localhost;"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("access-control-allow-origin"), None);
    let tag = format!("If-None-Match: {}", page.header("etag").unwrap());
    let known = send(&server, "GET", "/console/", &[tag], &Value::Null).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    for (method, target, status) in [
        ("GET", "/console", 308),
        ("GET", "/console/index.html", 200),
        ("GET", "/console/../Cargo.toml", 404),
        ("POST", "/console/", 405),
    ] {
        assert_eq!(send(&server, method, target, &[], &Value::Null).await.status, status);
    }
}

#[tokio::test]
async fn without_the_option_there_is_no_console() {
    let server = builder().start().await.unwrap();
    assert_eq!(server.console_url(), None);
    assert_eq!(send(&server, "GET", "/console/", &[], &Value::Null).await.error(), (404, 40400));
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let scene = Scene::new().await;
    for (host, status) in [("localhost:1", 200), ("[::1]:9", 200), ("rebound.example:80", 403)] {
        assert_eq!(status_at_host(&scene.server, host, "/console/").await, status, "{host}");
    }
    let authorization = format!("Authorization: Bearer {}", scene.session);
    for (origin, status) in [
        ("http://localhost", 200),
        ("http://localhost:1234", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ] {
        let headers = [authorization.clone(), format!("Origin: {origin}")];
        let target = "/console/api/overview";
        let answer = send(&scene.server, "GET", target, &headers, &Value::Null).await;
        assert_eq!(answer.status, status, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn the_token_of_the_url_opens_one_session() {
    let server = builder().console(true).start().await.unwrap();
    let token = token(&server);
    let wrong = sign_in(&server, &json!({ "token": "wrong" })).await;
    assert_eq!(wrong.error(), (401, 40101));
    let begun = sign_in(&server, &json!({ "token": token })).await;
    assert_eq!(begun.status, 201);
    let session = begun.json();
    assert_eq!(session["operator"], true);
    assert_eq!(session["keyName"], server.key().split_once(':').unwrap().0);
    assert_eq!(session["capability"], json!({ "*": ["*"] }));
    assert_eq!(sign_in(&server, &json!({ "token": token })).await.error(), (401, 40101));
    assert!(!server.console_url().unwrap().contains('#'));
    let secret = session["session"].as_str().unwrap();
    assert_eq!(call(&server, secret, "GET", "overview", &Value::Null).await.status, 200);
    for other in ["", "x", &secret[1..], &token] {
        let answer = call(&server, other, "GET", "overview", &Value::Null).await;
        assert_eq!(answer.error(), (401, 40101));
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_for_tokens_and_keys() {
    let server = builder().console(true).start().await.unwrap();
    let wrong = format!("{}:guess", server.key().split_once(':').unwrap().0);
    for attempt in 0..10 {
        let body =
            if attempt % 2 == 0 { json!({ "token": "guess" }) } else { json!({ "key": wrong }) };
        assert_eq!(sign_in(&server, &body).await.error(), (401, 40101));
    }
    assert_eq!(sign_in(&server, &json!({ "key": server.key() })).await.error(), (429, 42910));
}

#[tokio::test]
async fn a_session_issues_tokens_with_its_key() {
    let scene = Scene::new().await;
    for format in FORMATS {
        let asked =
            json!({ "capability": { "a": ["subscribe"] }, "ttl": 60_000, "clientId": "ada" });
        let issued = scene.call("POST", "token", &asked).await;
        assert_eq!(issued.status, 201);
        let details = issued.json();
        assert_eq!(
            (&details["clientId"], &details["capability"]),
            (&json!("ada"), &json!(r#"{"a":["subscribe"]}"#))
        );
        let token = details["token"].as_str().unwrap();
        let query = format!("access_token={token}");
        let mut client = Client::open(&scene.server, format, &query).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    }
    let refused = scene.call("POST", "token", &json!({ "ttl": -1 })).await;
    assert_eq!(refused.error(), (400, 40003));
}

#[tokio::test]
async fn a_key_without_rights_is_told_which_one_is_missing() {
    let scene = Scene::new().await;
    let keys = app(
        &scene.server,
        &json!({ "keys": [
            { "capability": { "chat:*": ["subscribe"] } },
            { "capability": { "chat:*": ["channel-metadata"] } },
            {},
        ] }),
    )
    .await;
    let (limited, metadata, full) = (
        scene.session_of(&keys[0]).await,
        scene.session_of(&keys[1]).await,
        scene.session_of(&keys[2]).await,
    );
    let server = &scene.server;
    let refused = call(server, &limited, "GET", "channels", &Value::Null).await;
    assert_eq!(refused.error(), (403, 40160));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("`channel-metadata`"), "{message}");
    assert!(refused.json()["error"]["href"].as_str().unwrap().ends_with("/40160"));
    for channel in ["chat:a", "other"] {
        let query = format!("key={}", keys[2]);
        let mut client = Client::open(server, Format::Json, &query).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        client.attach(channel).await;
    }
    let listed = call(server, &metadata, "GET", "channels", &Value::Null).await.json();
    assert_eq!((&listed["total"], &listed["channels"][0]["name"]), (&json!(1), &json!("chat:a")));
    for (method, path) in [
        ("GET", "connections"),
        ("DELETE", "connections/x"),
        ("GET", "frames"),
        ("PUT", "frames"),
        ("GET", "faults/rules"),
    ] {
        let refused = call(server, &metadata, method, path, &json!({ "on": true })).await;
        assert_eq!(refused.error(), (403, 40160), "{method} {path}");
    }
    // The operator of another app has no business with the whole server.
    let faults = call(server, &full, "GET", "faults/rules", &Value::Null).await;
    assert_eq!(faults.error(), (403, 40160));
    let overview = call(server, &full, "GET", "overview", &Value::Null).await.json();
    assert_eq!(overview["rates"], Value::Null);
    assert_eq!(call(server, &full, "GET", "connections", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_overview_and_the_channels_have_counts_and_rates() {
    for format in FORMATS {
        let scene = Scene::new().await;
        let (mut client, _) = Client::connect(&scene.server, format).await;
        let hostile = "<script>alert(1)</script>\u{202e}\"'\\ ünï";
        client.attach(hostile).await;
        client.attach("b").await;
        scene.get("channels").await;
        scene.get("overview").await;
        for serial in 0..3 {
            let message = Message { name: Some("m".into()), ..Message::default() };
            client.publish(hostile, serial, vec![message]).await;
            client.message().await;
            client.ack().await;
        }
        let listed = scene.get("channels?sort=rate").await;
        assert_eq!(listed["total"], 2);
        let first = &listed["channels"][0];
        assert_eq!(first["name"], hostile);
        assert!(first["rate"]["in"].as_f64().unwrap() > 0.0, "{listed}");
        assert!(first["rate"]["out"].as_f64().unwrap() > 0.0, "{listed}");
        assert_eq!(first["attachments"], 1);
        assert_eq!(first["occupancy"]["publishers"], 1);
        assert_eq!(listed["channels"][1]["rate"]["in"], 0.0);
        assert_eq!(scene.get("channels?search=B").await["total"], 1);
        let one = scene.get("channels?name=b").await;
        assert_eq!((&one["total"], &one["channels"][0]["name"]), (&json!(1), &json!("b")));
        let unused = scene.get("channels?name=nobody").await["channels"][0].clone();
        assert_eq!((&unused["attachments"], &unused["rate"]["in"]), (&json!(0), &json!(0.0)));
        let overview = scene.get("overview").await;
        assert_eq!((&overview["connections"], &overview["channels"]), (&json!(1), &json!(2)));
        assert!(overview["rates"]["in"].as_f64().unwrap() > 0.0, "{overview}");
        assert!(overview["rates"]["bytesOut"].as_f64().unwrap() > 0.0, "{overview}");
        assert_eq!(overview["faults"], true);
        assert_eq!(overview["frames"], false);
        let refused = scene.call("GET", "channels?sort=x", &Value::Null).await;
        assert_eq!(refused.error(), (400, 40003));
    }
}

#[tokio::test]
async fn ten_thousand_channels_are_counted_and_a_page_of_them_is_returned() {
    let scene = Scene::new().await;
    let names: Vec<String> = (0..10_000).map(|number| format!("c{number:05}")).collect();
    let (key, server) = (scene.server.key(), &scene.server);
    for names in names.chunks(100) {
        let body = json!({ "channels": names, "messages": [{ "data": "x" }] });
        let (answer, _) = ask(server, key, Format::Json, "POST", "/messages", &body).await;
        assert_eq!(answer.status, 201);
    }
    let listed = scene.get("channels?limit=3&search=c").await;
    assert_eq!(listed["total"], 10_000);
    let first: Vec<_> =
        listed["channels"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(first, ["c00000", "c00001", "c00002"]);
    assert_eq!(scene.get("channels?search=C0777").await["total"], 10, "letters of either case");
    let usual = scene.get("channels?sort=rate").await;
    assert_eq!(usual["channels"].as_array().unwrap().len(), 200, "an answer is one page");
}

#[tokio::test]
async fn the_rates_of_one_channel_are_those_since_somebody_looked_at_it() {
    for format in FORMATS {
        let scene = Scene::new().await;
        let (mut client, _) = Client::connect(&scene.server, format).await;
        client.attach("a").await;
        assert_eq!(scene.get("channels?name=a").await["channels"][0]["rate"]["in"], 0.0);
        client.publish("a", 0, vec![Message::default()]).await;
        client.message().await;
        client.ack().await;
        let rate = &scene.get("channels?name=a").await["channels"][0]["rate"];
        assert!(rate["in"].as_f64().unwrap() > 0.0, "{rate}");
        assert_eq!(rate["in"], rate["out"]);
    }
}

#[tokio::test]
async fn the_channels_of_all_connections_in_an_answer_are_limited() {
    let scene = Scene::new().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let (mut client, connected) = Client::connect(&scene.server, Format::Json).await;
        for channel in 0..101 {
            client.attach(&format!("c{channel}")).await;
        }
        clients.push((client, connected.connection_id.unwrap()));
    }
    let channels = |answer: &Value| {
        let connections = answer["connections"].as_array().unwrap().clone();
        assert!(connections.iter().all(|it| it["channelCount"] == 101));
        let listed = connections.iter().map(|it| it["channels"].as_array().unwrap().len());
        listed.collect::<Vec<_>>()
    };
    assert_eq!(channels(&scene.get("connections").await), [20; 50]);
    let one = format!("connections?search={}", clients[7].1);
    assert_eq!(channels(&scene.get(&one).await), [100], "of few connections, more are listed");
}

#[tokio::test]
async fn connections_are_listed_found_and_cut() {
    for format in FORMATS {
        let scene = Scene::new().await;
        let query = "clientId=ada&agent=test-lib%2F1";
        let (mut client, connected) = Client::connect_with(&scene.server, format, query).await;
        client.attach("a").await;
        let id = connected.connection_id.unwrap();
        let listed = scene.get("connections?search=ADA").await;
        assert_eq!(listed["total"], 1);
        let row = &listed["connections"][0];
        assert_eq!(row["connectionId"], &*id);
        assert_eq!((&row["clientId"], &row["agent"]), (&json!("ada"), &json!("test-lib/1")));
        assert_eq!((&row["format"], &row["state"]), (&json!(format.name()), &json!("connected")));
        assert!(row["address"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!((&row["channelCount"], &row["channels"][0]["name"]), (&json!(1), &json!("a")));
        assert!(row["channels"][0]["modes"].as_array().unwrap().contains(&json!("publish")));
        assert_eq!(scene.get("connections?search=nobody").await["total"], 0);

        let path = format!("connections/{id}");
        assert_eq!(scene.call("DELETE", &path, &Value::Null).await.status, 204);
        assert!(matches!(client.event().await, Event::End));
        let away = scene.get("connections").await["connections"][0].clone();
        assert_eq!((&away["state"], &away["format"]), (&json!("away"), &Value::Null));
        assert_eq!(scene.call("DELETE", &path, &Value::Null).await.error(), (404, 40400));
        let key = connected.details.unwrap().connection_key.unwrap();
        let resume = format!("resume={key}");
        let (mut resumed, again) = Client::connect_with(&scene.server, format, &resume).await;
        assert_eq!(again.connection_id.as_deref(), Some(&*id));
        let forget = format!("{path}?forget=true");
        assert_eq!(scene.call("DELETE", &forget, &Value::Null).await.status, 204);
        assert!(matches!(resumed.event().await, Event::End));
        assert_eq!(scene.get("connections").await["total"], 0);
        assert_eq!(scene.call("DELETE", &forget, &Value::Null).await.error(), (404, 40400));
    }
}

#[tokio::test]
async fn a_client_of_comet_has_the_address_that_it_has_connected_from() {
    for format in FORMATS {
        let scene = Scene::new().await;
        let mut http = Http::connect(&scene.server).await;
        let from = http.stream.local_addr().unwrap().to_string();
        let key = scene.server.key();
        let target = format!("/comet/connect?key={key}&format={}&stream=false", format.name());
        assert_eq!(http.request("GET", &target, &[], b"").await.status, 200);
        let listed = scene.get("connections").await;
        assert_eq!(listed["connections"][0]["address"], from);
        assert_eq!(listed["connections"][0]["format"], format.name());
    }
}

#[tokio::test]
async fn the_first_rule_moves_clients_behind_the_faults_and_the_console_stays_in_front() {
    for format in FORMATS {
        let scene = Scene::new().await;
        let (mut client, connected) = Client::connect(&scene.server, format).await;
        let rule = json!({
            "match": { "type": "ws_frame_to_client", "action": "ATTACHED" },
            "action": { "type": "disconnect" },
        });
        let added = scene.call("POST", "faults/rules", &rule).await;
        assert_eq!((added.status, added.json()), (201, json!({ "ids": [1] })));
        assert!(matches!(client.event().await, Event::End), "it is cut once");
        let key = connected.details.unwrap().connection_key.unwrap();
        let query = format!("resume={key}");
        let (mut client, again) = Client::connect_with(&scene.server, format, &query).await;
        assert_eq!(again.connection_id, connected.connection_id);
        let listed = &scene.get("connections").await["connections"][0];
        assert_eq!(listed["address"], client.address(), "not that of the faults");
        let attach = capably_protocol::frame::Attach { channel: "a".into(), ..Default::default() };
        client.send(&capably_protocol::ClientFrame::Attach(attach)).await;
        assert!(matches!(client.event().await, Event::End), "the rule applies");
        assert_eq!(scene.get("faults/rules").await["rules"][0]["applied"], 1);

        // A rule for every request does not shut the operator out, and the host is still checked.
        let rule =
            json!({ "match": { "type": "http_request" }, "action": { "type": "http_drop" } });
        assert_eq!(scene.call("POST", "faults/rules", &rule).await.status, 201);
        assert_eq!(status_at_host(&scene.server, "evil.example", "/console/").await, 403);
        assert_eq!(
            scene.call("DELETE", "faults/rules/9", &Value::Null).await.error(),
            (404, 40400)
        );
        assert_eq!(scene.call("DELETE", "faults/rules", &Value::Null).await.status, 204);
        let (mut client, _) = Client::connect(&scene.server, format).await;
        client.attach("a").await;
        assert_eq!(scene.get("faults/connections").await, json!({ "connections": [] }));
    }
}

#[tokio::test]
async fn frames_are_recorded_while_recording_is_on_without_their_secrets() {
    for format in FORMATS {
        let scene = Scene::new().await;
        assert_eq!(scene.call("PUT", "frames", &json!({ "on": 1 })).await.error(), (400, 40000));
        let on = scene.call("PUT", "frames", &json!({ "on": true })).await;
        assert_eq!((on.status, on.json()), (200, json!({ "on": true })));
        let (mut client, connected) = Client::connect(&scene.server, format).await;
        client.attach("a").await;
        let key = connected.details.unwrap().connection_key.unwrap();
        let found = scene.get("frames").await;
        assert!(!found.to_string().contains(&*key), "{found}");
        let frames = found["frames"].as_array().unwrap();
        let brief: Vec<_> = frames
            .iter()
            .map(|it| (it["direction"].as_str().unwrap(), it["action"].as_str().unwrap()))
            .collect();
        let expected =
            [("toClient", "CONNECTED"), ("toServer", "ATTACH"), ("toClient", "ATTACHED")];
        assert_eq!(brief, expected);
        let id = connected.connection_id.unwrap();
        assert_eq!(frames[1]["connectionId"], &*id);
        let text: Value = serde_json::from_str(frames[1]["text"].as_str().unwrap()).unwrap();
        assert_eq!((&text["channel"], &frames[1]["channel"]), (&json!("a"), &json!("a")));
        assert_eq!((&found["dropped"], &found["next"]), (&json!(0), &json!(3)));

        let long = Message { data: "é".repeat(4000).into(), ..Message::default() };
        client.publish("b", 0, vec![long]).await;
        client.ack().await;
        let later = scene.get("frames?after=3&channel=b").await;
        assert_eq!(later["frames"].as_array().unwrap().len(), 1);
        assert!(later["frames"][0]["text"].as_str().unwrap().len() <= 4096);
        assert!(later["frames"][0]["bytes"].as_u64().unwrap() > 8000);
        assert_eq!(scene.get("frames?limit=1").await["next"], 1);
        assert_eq!(scene.get("frames?connection=x").await["frames"], json!([]));
        scene.call("PUT", "frames", &json!({ "on": false })).await;
        client.attach("c").await;
        assert_eq!(scene.get("frames").await["frames"], json!([]));
    }
}
