use std::{fs, io::Write, process::Stdio};

use serde_json::{Value, json};

use crate::support::{Server, Subscriber, finish, interrupt, succeeded};

/// The fields of a message that the publisher chose.
fn chosen(message: &Value) -> Value {
    let fields = ["channel", "name", "data", "encoding", "clientId"];
    fields.iter().filter_map(|&field| Some((field, message.get(field)?.clone()))).collect()
}

#[test]
fn every_kind_of_payload_arrives_in_both_formats() {
    let server = Server::start();
    let utf8 = "c3Ryw7ZtZQ=="; // "ströme"
    let not_utf8 = "/wD+gMMo";
    for format in ["json", "msgpack"] {
        for other in ["json", "msgpack"] {
            let channel = format!("größe/通道 🎉:{format}:{other}");
            let options = ["--json", "--count", "6", "--timeout", "60", "--format", other];
            let subscriber = Subscriber::start(&server, &channel, &options);
            for words in [
                &["greeting", "Grüße 👋"][..],
                &["Grüße, ohne Namen"],
                &["bytes", "--binary", utf8],
                &["bytes", "--binary", not_utf8],
                &["object", "--data-json", r#"{"a":[1,2.5,null]}"#, "--client-id", "ada"],
                &["array", "--data-json", "[true]"],
            ] {
                let publish = ["publish", "--format", format, &channel];
                succeeded(server.run(publish.into_iter().chain(words.iter().copied())));
            }
            let messages = subscriber.messages();
            assert_eq!(
                messages.iter().map(chosen).collect::<Vec<_>>(),
                [
                    json!({ "channel": channel, "name": "greeting", "data": "Grüße 👋" }),
                    json!({ "channel": channel, "data": "Grüße, ohne Namen" }),
                    json!({ "channel": channel, "name": "bytes", "data": utf8, "encoding": "base64" }),
                    json!({
                        "channel": channel, "name": "bytes", "data": not_utf8, "encoding": "base64"
                    }),
                    json!({
                        "channel": channel, "name": "object", "data": {"a": [1, 2.5, null]},
                        "clientId": "ada"
                    }),
                    json!({ "channel": channel, "name": "array", "data": [true] }),
                ]
            );
            for message in &messages {
                assert!(message["id"].is_string() && message["timestamp"].is_i64(), "{message}");
            }
        }
    }
}

#[test]
fn rest_publishes_reach_a_subscriber() {
    let server = Server::start();
    for format in ["json", "msgpack"] {
        let options = ["--json", "--count", "3", "--timeout", "60"];
        let subscriber = Subscriber::start(&server, "rest", &options);
        let publish = ["publish", "--rest", "--format", format, "rest"];
        succeeded(server.run(publish.into_iter().chain(["one", "text"])));
        succeeded(server.run(publish.into_iter().chain(["two", "--binary", "/w=="])));
        succeeded(server.run(publish.into_iter().chain(["three", "--data-json", "{}"])));
        assert_eq!(
            subscriber.messages().iter().map(chosen).collect::<Vec<_>>(),
            [
                json!({ "channel": "rest", "name": "one", "data": "text" }),
                json!({ "channel": "rest", "name": "two", "data": "/w==", "encoding": "base64" }),
                json!({ "channel": "rest", "name": "three", "data": {} }),
            ]
        );
    }
}

#[test]
fn many_messages_arrive_once_and_in_order() {
    let server = Server::start();
    let options = ["--json", "--count", "1000", "--timeout", "60"];
    let subscriber = Subscriber::start(&server, "many", &options);
    let said = succeeded(server.run([
        "publish",
        "many",
        "n{i}",
        "--data-json",
        r#"{"number":{i}}"#,
        "--count",
        "1000",
    ]));
    assert!(said.starts_with("Published 1,000 messages to many in "), "{said}");
    let messages = subscriber.messages();
    assert_eq!(messages.len(), 1000);
    for (message, number) in messages.iter().zip(1..) {
        assert_eq!(message["name"], format!("n{number}"));
        assert_eq!(message["data"], json!({ "number": number }));
    }
}

#[test]
fn data_comes_from_a_file_or_from_standard_input() {
    let server = Server::start();
    let options = ["--json", "--count", "3", "--timeout", "60"];
    let subscriber = Subscriber::start(&server, "files", &options);
    let folder = tempfile::tempdir().unwrap();
    let (text, bytes) = (folder.path().join("text"), folder.path().join("bytes"));
    fs::write(&text, "from a file\n").unwrap();
    fs::write(&bytes, [0xff, 0x00]).unwrap();

    succeeded(server.run(["publish", "files", "--file", text.to_str().unwrap()]));
    let bytes = bytes.to_str().unwrap();
    succeeded(server.run(["publish", "files", "raw", "--binary", "--file", bytes]));
    let mut publish = server.client(["publish", "files", "piped", "--data-json", "--file", "-"]);
    let mut child = publish.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"[1]").unwrap();
    succeeded(finish(child));

    assert_eq!(
        subscriber.messages().iter().map(chosen).collect::<Vec<_>>(),
        [
            json!({ "channel": "files", "data": "from a file\n" }),
            json!({ "channel": "files", "name": "raw", "data": "/wA=", "encoding": "base64" }),
            json!({ "channel": "files", "name": "piped", "data": [1] }),
        ]
    );
}

#[test]
fn the_default_output_shows_names_and_payloads() {
    let server = Server::start();
    let subscriber = Subscriber::start(&server, "people", &["--count", "2", "--timeout", "60"]);
    let said = succeeded(server.run(["publish", "people", "hello", "world"]));
    assert!(said.starts_with("Published to people: serial "), "{said}");
    succeeded(server.run(["publish", "people", "--binary", "/wA=", "--client-id", "ada"]));
    assert_eq!(succeeded(subscriber.finish()), "hello: world\n- from ada: 2 bytes: ff 00\n");
}

#[test]
fn a_closed_pipe_ends_the_subscriber_without_an_error() {
    let server = Server::start();
    let mut subscriber = Subscriber::start(&server, "closed", &["--json"]);
    drop(subscriber.child.stdout.take());
    succeeded(server.run(["publish", "closed", "nobody reads this"]));
    let output = subscriber.finish();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn ctrl_c_ends_a_subscriber() {
    let server = Server::start();
    let subscriber = Subscriber::start(&server, "quiet", &[]);
    interrupt(&subscriber.child);
    assert_eq!(succeeded(subscriber.finish()), "");
}

#[test]
fn deltas_are_printed_whole() {
    let server = Server::start();
    let text = |number| format!("a text that is long enough for a delta, number {number}");
    for format in ["json", "msgpack"] {
        let channel = format!("deltas:{format}");
        let options = ["--json", "--delta", "--count", "3", "--timeout", "60", "--format", format];
        let subscriber = Subscriber::start(&server, &channel, &options);
        for number in 0..3 {
            succeeded(server.run(["publish", &channel, "text", &text(number)]));
        }
        let messages = subscriber.messages();
        let texts: Vec<_> = messages.iter().map(|message| &message["data"]).collect();
        assert_eq!(texts, [0, 1, 2].map(text).each_ref());
        let from: Vec<_> = messages.iter().map(|it| &it["extras"]["delta"]["from"]).collect();
        assert_eq!(from, [&Value::Null, &messages[0]["id"], &messages[1]["id"]]);
    }
}
