//! `capably rules`, and `capably serve --rules`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use crate::support::{Server, Subscriber, stderr, succeeded};

const FORMATS: [&str; 2] = ["json", "msgpack"];

/// Accepts one request on a listener. Returns its header lines and its body, and answers with a status.
fn answer(listener: &TcpListener, status: u16) -> (Vec<String>, Value) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        headers.push(line.trim().to_ascii_lowercase());
    }
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let text = format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(text.as_bytes()).unwrap();
    (headers, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_rule_is_created_used_listed_and_deleted() {
    let server = Server::start();
    let key_id = server.key.split(['.', ':']).nth(1).unwrap().to_owned();
    for format in FORMATS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let rules = |words: &[&str]| {
            let all = ["rules"].iter().chain(words).copied().chain(["--format", format]);
            server.run(all)
        };
        let created = succeeded(rules(&[
            "create",
            &url,
            "--json",
            "--channels",
            "^a",
            "--sign",
            &key_id,
            "--header",
            "X-A: b",
        ]));
        let created: Value = serde_json::from_str(&created).unwrap();
        let id = created["id"].as_str().unwrap();
        assert_eq!(created["source"], json!({"channelFilter": "^a", "type": "channel.message"}));
        succeeded(server.run(["publish", "abc", "n", "first"]));
        let (headers, body) = answer(&listener, 400);
        assert_eq!(body["messages"][0]["data"], "first");
        assert!(headers.contains(&"x-a: b".to_owned()), "{headers:?}");
        assert!(headers.iter().any(|it| it.starts_with("x-ably-signature: ")), "{headers:?}");
        succeeded(server.run(["publish", "abc", "n", "second"]));
        let (_, body) = answer(&listener, 200);
        assert_eq!(body["messages"][0]["data"], "second");
        // The second came only after the first was given up.
        let letters = succeeded(rules(&["dead-letters", id]));
        assert!(letters.contains("70002") && letters.ends_with("1 in total\n"), "{letters}");
        let letter = succeeded(rules(&["dead-letters", id, "--json"]));
        let letter: Value = serde_json::from_str(&letter).unwrap();
        assert_eq!(letter["event"]["messages"][0]["data"], "first");
        succeeded(rules(&["dead-letters", id, "--clear"]));
        assert_eq!(succeeded(rules(&["dead-letters", id])), "0 in total\n");
        let updated = succeeded(rules(&[
            "update",
            id,
            "--disable",
            "--batch",
            "--channels",
            "",
            "--no-sign",
            "--no-headers",
            "--json",
        ]));
        let updated: Value = serde_json::from_str(&updated).unwrap();
        assert_eq!(
            (&updated["status"], &updated["requestMode"]),
            (&json!("disabled"), &json!("batch"))
        );
        assert_eq!(updated["source"], json!({"channelFilter": "", "type": "channel.message"}));
        let target = &updated["target"];
        assert_eq!((&target["headers"], &target["signingKeyId"]), (&json!([]), &Value::Null));
        let printed = succeeded(rules(&["update", id, "--enable", "--source", "presence"]));
        assert!(printed.contains(id) && printed.contains("channel.presence"), "{printed}");
        let nothing = rules(&["update", id]);
        assert_eq!(nothing.status.code(), Some(2), "{}", stderr(&nothing));
        let list = succeeded(rules(&["list"]));
        assert!(list.contains(id) && list.contains("channel.presence"), "{list}");
        assert_eq!(succeeded(rules(&["delete", id])), format!("Deleted rule {id}\n"));
        assert_eq!(succeeded(rules(&["list", "--json"])), "");
        let gone = rules(&["delete", id]);
        assert_ne!(gone.status.code(), Some(0));
    }
    let private = server.run(["rules", "create", "http://10.0.0.1/"]);
    assert!(stderr(&private).contains("--allow-private-webhooks"), "{}", stderr(&private));
}

#[test]
fn an_https_endpoint_is_called_with_tls() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    succeeded(server.run(["rules", "create", &url]));
    succeeded(server.run(["publish", "abc", "n", "x"]));
    let (mut socket, _) = listener.accept().unwrap();
    let mut first = [0; 3];
    socket.read_exact(&mut first).unwrap();
    // A handshake of TLS begins, and no request.
    assert_eq!(first[..2], [22, 3]);
}

#[test]
fn a_webhook_calls_an_endpoint_whose_private_root_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.pem");
    let root = path.to_str().unwrap();
    // The endpoint is a server too, which publishes what the webhook brings.
    let endpoint = Server::start_with(&["--tls-self-signed", root]);
    let hooked = ["--endpoint", "localhost", "--ca", root, "--json", "--count", "1"];
    let subscriber = Subscriber::start(&endpoint, "hooked", &hooked);
    let server = Server::start_with(&["--webhook-ca", root]);
    let url = format!("https://localhost:{}/channels/hooked/messages", endpoint.port);
    let authorization = format!("Authorization: Basic {}", BASE64.encode(&endpoint.key));
    let options = ["--header", &authorization, "--no-envelope"];
    succeeded(server.run(["rules", "create", &url].into_iter().chain(options)));
    succeeded(server.run(["publish", "abc", "n", r#"{"name":"over TLS","data":"x"}"#]));
    let message = &subscriber.messages()[0];
    assert_eq!((&message["name"], &message["data"]), (&json!("over TLS"), &json!("x")));

    let refused = crate::support::run(["serve", "--port", "0", "--webhook-ca", "no-such-file.pem"]);
    assert!(stderr(&refused).contains("cannot read no-such-file.pem"), "{}", stderr(&refused));
    fs::write(&path, "nonsense").unwrap();
    let refused = crate::support::run(["serve", "--port", "0", "--webhook-ca", root]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("the file of --webhook-ca"), "{}", stderr(&refused));
}

#[test]
fn a_server_starts_with_the_rules_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.json");
    let file = path.to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rule = json!({
        "id": "mine", "ruleType": "http", "requestMode": "batch",
        "source": {"type": "channel.message"},
        "target": {"url": format!("http://{}/", listener.local_addr().unwrap()), "format": "json"},
    });
    fs::write(&path, json!([rule]).to_string()).unwrap();
    let server = Server::start_with(&["--rules", file]);
    succeeded(server.run(["publish", "abc", "n", "x"]));
    let (_, body) = answer(&listener, 200);
    assert_eq!(body["items"][0]["webhookId"], "mine");
    let refused = server.run(["rules", "delete", "mine"]);
    assert!(stderr(&refused).contains("was started with this rule"), "{}", stderr(&refused));
    for (content, reason) in [
        ("{", "not a JSON array"),
        (r#"[{"ruleType": "http"}]"#, "rule 1"),
        (
            r#"[{"ruleType":"http","source":{"type":"x"},"target":{"url":"http://a"}}]"#,
            "source.type",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let failed = crate::support::run(["serve", "--port", "0", "--rules", file]);
        assert_eq!(failed.status.code(), Some(2), "{content}");
        assert!(stderr(&failed).contains(reason), "{}", stderr(&failed));
    }
}
