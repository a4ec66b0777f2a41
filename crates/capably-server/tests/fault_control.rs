//! Rules and the log over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use capably_protocol::{Format, ServerFrame};
use capably_server::{
    Server,
    faults::{FaultControl, Faults},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use support::*;

struct Scene {
    server: Server,
    faults: Faults,
    control: FaultControl,
}

impl Scene {
    async fn new() -> Self {
        let faults = Faults::new();
        let server = Server::builder().faults(&faults).start().await.unwrap();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let control = FaultControl::start(address, &faults).await.unwrap();
        Self { server, faults, control }
    }

    async fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let mut http = Http::connect_to(self.control.local_addr()).await;
        http.request(method, target, &[], &body).await
    }

    async fn get(&self, target: &str) -> Value {
        let answer = self.ask("GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200);
        answer.json()
    }
}

fn suppress(action: &str) -> Value {
    json!({
        "match": { "type": "ws_frame_to_client", "action": action },
        "action": { "type": "suppress" },
    })
}

#[tokio::test]
async fn rules_are_added_listed_and_removed() {
    let scene = Scene::new().await;
    assert_eq!(scene.get("/rules").await, json!({ "rules": [] }));
    let added = scene.ask("POST", "/rules", &suppress("ACK")).await;
    assert_eq!((added.status, added.json()), (201, json!({ "ids": [1] })));
    let several = json!({ "rules": [suppress("NACK"), suppress("AUTH")], "position": "prepend" });
    let added = scene.ask("POST", "/rules", &several).await.json();
    let ids = added["ids"].as_array().unwrap();
    let listed = scene.get("/rules").await;
    let rules = listed["rules"].as_array().unwrap();
    let order: Vec<_> = rules.iter().map(|rule| &rule["match"]["action"]).collect();
    assert_eq!(order, ["NACK", "AUTH", "ACK"]);
    assert_eq!([&rules[0]["id"], &rules[1]["id"]], [&ids[0], &ids[1]]);
    assert_eq!(rules[2]["applied"], 0);

    assert_eq!(scene.ask("DELETE", "/rules/1", &Value::Null).await.status, 204);
    assert_eq!(scene.ask("DELETE", "/rules/1", &Value::Null).await.error(), (404, 40400));
    assert_eq!(scene.faults.rules().len(), 2);
    assert_eq!(scene.ask("DELETE", "/rules", &Value::Null).await.status, 204);
    assert_eq!(scene.get("/rules").await, json!({ "rules": [] }));
}

#[tokio::test]
async fn rules_apply_and_are_logged() {
    for format in [Format::Json, Format::MsgPack] {
        let scene = Scene::new().await;
        let error =
            json!({ "action": 9, "error": { "code": 40005, "statusCode": 400, "message": "m" } });
        let rule = json!({
            "match": { "type": "ws_frame_to_client", "action": "CONNECTED" },
            "action": { "type": "replace", "message": error },
            "times": 1,
        });
        scene.ask("POST", "/rules", &rule).await;
        let (server, key) = (&scene.server, scene.server.key());
        let mut client = Client::open(server, format, &format!("key={key}&clientId=ada")).await;
        let ServerFrame::Error(frame) = client.next().await else { panic!("an ERROR") };
        assert_eq!(frame.error.unwrap().code.0, 40005);
        request(server, "GET", "/time", &Value::Null).await;

        let log = scene.get("/log").await;
        assert_eq!(log["forgotten"], 0);
        let events = log["events"].as_array().unwrap();
        let [connect, connected, injected, asked, answered] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(connect["type"], "ws_connect");
        assert_eq!(connect["queryParams"]["clientId"], "ada");
        let (name, _) = key.split_once(':').unwrap();
        assert_eq!(connect["queryParams"]["key"], format!("{name}:[redacted]"));
        assert_eq!(connect["connection"], 1);
        assert!(connect["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
        assert_eq!(connect["ruleMatched"], Value::Null);
        for frame in [connected, injected] {
            assert_eq!(frame["type"], "ws_frame");
            assert_eq!(frame["direction"], "server_to_client");
            assert_eq!(frame["ruleMatched"], 1);
        }
        assert_eq!(
            (&connected["message"]["action"], &connected["fate"]),
            (&json!(4), &json!("replaced"))
        );
        assert_eq!((&injected["message"], &injected["fate"]), (&error, &json!("injected")));
        assert_eq!((&asked["method"], &asked["path"]), (&json!("GET"), &json!("/time")));
        assert_eq!((&asked["request"], &answered["request"]), (&json!(1), &json!(1)));
        assert_eq!(
            (&answered["type"], &answered["status"]),
            (&json!("http_response"), &json!(200))
        );

        assert_eq!(scene.ask("DELETE", "/log", &Value::Null).await.status, 204);
        assert_eq!(scene.get("/log").await, json!({ "events": [], "forgotten": 0 }));
    }
}

#[tokio::test]
async fn actions_take_effect_at_once() {
    for format in [Format::Json, Format::MsgPack] {
        let scene = Scene::new().await;
        let (mut first, _) = Client::connect(&scene.server, format).await;
        let (mut second, _) = Client::connect(&scene.server, format).await;
        assert_eq!(scene.get("/connections").await, json!({ "connections": [1, 2] }));
        let message = json!({ "action": 0, "id": "x" });
        let inject = json!({ "type": "inject_to_client", "message": message });
        let done = scene.ask("POST", "/actions", &inject).await;
        assert_eq!((done.status, done.json()), (200, json!({ "connections": [1, 2] })));
        let close = json!({ "type": "disconnect", "connection": 2 });
        let done = scene.ask("POST", "/actions", &close).await;
        assert_eq!(done.json(), json!({ "connections": [2] }));
        for client in [&mut first, &mut second] {
            assert_eq!(client.next().await, ServerFrame::Heartbeat { id: Some("x".into()) });
        }
        assert!(matches!(second.event().await, Event::End));
        first.attach("a").await;
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let scene = Scene::new().await;
    let typo = json!({ "match": { "type": "ws_conect" } });
    for (method, target, body, expected) in [
        ("POST", "/rules", &typo, (400, 40000)),
        ("POST", "/rules", &Value::Null, (400, 40000)),
        ("POST", "/actions", &json!({ "type": "suppress" }), (400, 40000)),
        ("GET", "/nowhere", &Value::Null, (404, 40400)),
        ("PUT", "/rules", &Value::Null, (404, 40400)),
        ("DELETE", "/rules/x", &Value::Null, (404, 40400)),
    ] {
        let answer = scene.ask(method, target, body).await;
        assert_eq!(answer.error(), expected, "{method} {target} {body}");
    }
    // A valid rule beside an invalid one is not added.
    let both = json!([suppress("ACK"), typo]);
    assert_eq!(scene.ask("POST", "/rules", &both).await.status, 400);
    assert!(scene.faults.rules().is_empty());
    // Requests of web pages are always refused.
    let mut http = Http::connect_to(scene.control.local_addr()).await;
    let origin = ["Origin: http://localhost".to_owned()];
    let body = serde_json::to_vec(&suppress("ACK")).unwrap();
    let answer = http.request("POST", "/rules", &origin, &body).await;
    assert_eq!(answer.error(), (403, 40300));
    assert!(scene.faults.rules().is_empty());
    let large = vec![b' '; 5 * 1024 * 1024];
    let answer = http.request("POST", "/rules", &[], &large).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn the_control_endpoint_ends_with_its_handle() {
    let scene = Scene::new().await;
    let address = scene.control.local_addr();
    let idle = Http::connect_to(address).await;
    let taken = FaultControl::start(address, &scene.faults).await.unwrap_err();
    assert_eq!(taken.to_string(), format!("port {} on 127.0.0.1 is in use", address.port()));
    drop(scene);
    let metrics = tokio::runtime::Handle::current().metrics();
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    drop(idle);
    TcpListener::bind(address).await.unwrap();
}
