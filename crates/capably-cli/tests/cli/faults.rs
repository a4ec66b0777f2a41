//! `capably serve --control`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::{Server, run, stderr, succeeded};

/// Sends a request to the control port of a server. Returns status and body.
pub(crate) fn ask(server: &Server, method: &str, target: &str, body: &str) -> (u16, Value) {
    let port = server.control.unwrap().try_into().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn events(server: &Server, kind: &str) -> Vec<Value> {
    let (status, log) = ask(server, "GET", "/log", "");
    assert_eq!(status, 200);
    let events = log["events"].as_array().unwrap();
    events.iter().filter(|event| event["type"] == kind).cloned().collect()
}

#[test]
fn rules_apply_to_a_client_and_are_logged() {
    let server = Server::start_with(&["--control", "0"]);
    let refuse = json!({
        "match": { "type": "ws_connect" },
        "action": { "type": "http_respond", "status": 401,
                    "body": { "error": { "code": 40101, "statusCode": 401, "message": "no" } } },
        "times": 1,
    });
    assert_eq!(ask(&server, "POST", "/rules", &refuse.to_string()), (201, json!({ "ids": [1] })));
    let refused = server.run(["publish", "greetings", "hello"]);
    assert_ne!(refused.status.code(), Some(0));
    assert_eq!(ask(&server, "GET", "/rules", "").1, json!({ "rules": [] }));

    let lose = json!({
        "match": { "type": "ws_frame_to_client", "action": "ACK" },
        "action": [{ "type": "suppress" }, { "type": "disconnect" }],
        "times": 1,
    });
    ask(&server, "POST", "/rules", &lose.to_string());
    succeeded(server.run(["publish", "greetings", "hello"]));
    let connects = events(&server, "ws_connect");
    assert_eq!(connects.len(), 3);
    assert!(connects[1]["queryParams"]["resume"].is_null());
    assert!(connects[2]["queryParams"]["resume"].is_string(), "it resumed");
    let sent = |event: &&Value| event["message"]["action"] == 15;
    let frames = events(&server, "ws_frame");
    let serials: Vec<_> = frames.iter().filter(sent).map(|e| &e["message"]["msgSerial"]).collect();
    assert_eq!(serials, [0, 0], "it was sent twice");
    assert_eq!(ask(&server, "DELETE", "/log", "").0, 204);
    assert_eq!(events(&server, "ws_connect").len(), 0);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn the_examples_of_the_help_are_valid_rules() {
    let server = Server::start_with(&["--control", "0"]);
    let help = succeeded(run(["serve", "--help"]));
    let mut examples = 0;
    for example in help.split("  curl localhost:9090/").skip(1) {
        let Some((target, rest)) = example.split_once(" -d '") else { continue };
        let (body, _) = rest.split_once('\'').unwrap();
        let (status, _) = ask(&server, "POST", &format!("/{target}"), body);
        assert!(matches!(status, 200 | 201), "{body}");
        examples += 1;
    }
    assert_eq!(examples, 3);
}

#[test]
fn the_control_endpoint_needs_its_option() {
    let server = Server::start();
    assert_eq!(server.control, None);
    let port = server.port.to_string();
    let taken = run(["serve", "--port", "0", "--control", &port]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(stderr(&taken).starts_with(&format!("error: port {port} on 127.0.0.1 is in use\n")));
}
