//! `--json` prints the result of a command as JSON, and says nothing about data.

use serde_json::{Value, json};

use crate::{
    data::server,
    support::{Server, run, stderr, stdout, succeeded},
};

const FORMATS: [&str; 2] = ["json", "msgpack"];

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn object(text: &str) -> Value {
    let [object] = <[Value; 1]>::try_from(objects(text)).unwrap();
    object
}

#[test]
fn published_messages_are_printed_with_their_serials() {
    let server = Server::start();
    for format in FORMATS {
        for transport in [&[][..], &["--rest"]] {
            let publish = |words: &[&str]| {
                let publish = ["publish", "news", "--json", "--format", format].into_iter();
                succeeded(server.run(publish.chain(transport.iter().chain(words).copied())))
            };
            let one = object(&publish(&["hello"]));
            let three = objects(&publish(&["tick", "{i}", "--count", "3"]));
            let history = ["history", "news", "--limit", "4", "--json", "--format", format];
            let stored = objects(&succeeded(server.run(history)));
            let serials: Vec<&Value> =
                stored.iter().rev().map(|message| &message["serial"]).collect();
            let printed = [&[one], &three[..]].concat();
            let expected =
                serials.iter().map(|serial| json!({ "channel": "news", "serial": serial }));
            assert_eq!(printed, expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn changes_of_messages_are_printed_with_the_serial_of_the_version() {
    let server = server();
    for format in FORMATS {
        let channel = format!("mutable:{format}");
        let serial = crate::examples::serial(&server, &channel);
        for words in [&["update", "a"][..], &["append", "b"], &["delete"]] {
            let change = ["messages", words[0], &channel, &serial, "--json", "--format", format];
            let change = server.run(change.into_iter().chain(words[1..].iter().copied()));
            let printed = object(&succeeded(change));
            let latest = ["messages", "get", &channel, &serial, "--json"];
            let latest = object(&succeeded(server.run(latest)));
            let version = &latest["version"]["serial"];
            assert!(version.is_string(), "{latest}");
            let expected =
                json!({ "channel": channel, "serial": serial, "versionSerial": version });
            assert_eq!(printed, expected);
        }
    }
}

#[test]
fn json_that_is_sent_as_text_is_noted() {
    let server = server();
    let serial = crate::examples::serial(&server, "mutable:c");
    let note = "The data is sent as text: --json is about the output, and --data-json sends JSON\n";
    for (words, is_noted) in [
        (&["publish", "c", r#"{"a":1}"#, "--json"][..], true),
        (&["publish", "c", r#"{"a":1}"#, "--data-json", "--json"], false),
        (&["publish", "c", r#"{"a":1}"#], false),
        (&["publish", "c", "hello", "--json"], false),
        (&["messages", "update", "mutable:c", &serial, "[1]", "--json"], true),
        (&["messages", "append", "mutable:c", &serial, "[1]", "--json"], true),
        (&["batch", "publish", "-c", "c", r#"{"a":1}"#, "--json"], true),
        (&["objects", "set", "c", "key", "7", "--json"], true),
        (&["objects", "set", "c", "key", "7", "--json", "--data-json"], false),
    ] {
        let output = server.run(words.iter().copied());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), if is_noted { note } else { "" }, "{words:?}");
        let is_json = serde_json::from_str::<Value>(stdout(&output)).is_ok();
        assert_eq!(is_json, words.contains(&"--json"), "{words:?}: {}", stdout(&output));
    }
    let set = ["objects", "set", "c", "votes", "--counter", "--json"];
    let set = object(&succeeded(server.run(set)));
    assert!(set["objectIds"][0].as_str().unwrap().starts_with("counter:"), "{set}");
}

#[test]
fn commands_without_a_service_print_json_too() {
    let demo = object(&succeeded(run(["demo", "--json"])));
    assert!(demo["messages"].as_u64().unwrap() > 4_000, "{demo}");
    assert!(demo["latencies"]["received"]["p99Ms"].as_f64().unwrap() > 0.0, "{demo}");

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("greeter");
    let path = path.to_str().unwrap();
    let new = object(&succeeded(run(["new", path, "--json"])));
    assert_eq!((&new["name"], &new["directory"]), (&json!("greeter"), &json!(path)));
    for file in new["files"].as_array().unwrap() {
        assert!(home.path().join("greeter").join(file.as_str().unwrap()).is_file(), "{file}");
    }

    let page = object(&succeeded(run(["man", "objects", "watch", "--json"])));
    assert_eq!(page["command"], "capably-objects-watch");
    assert_eq!(page["page"], succeeded(run(["man", "objects", "watch"])));
    let pages = home.path().join("man1");
    let written = object(&succeeded(run(["man", "--dir", pages.to_str().unwrap(), "--json"])));
    assert_eq!(written["pages"], std::fs::read_dir(pages).unwrap().count());
}
