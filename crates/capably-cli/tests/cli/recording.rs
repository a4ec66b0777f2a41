//! `capably record` and `capably replay`.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Output},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{ClientOptions, Realtime, Rest};
use serde_json::{Value, json};

use crate::support::{Server, capably, finish, interrupt, run, stderr, stdout, succeeded};

/// A running `record` or `replay`, and the service as it is seen there.
struct Proxy {
    child: Child,
    seen: Server,
}

impl Proxy {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut command = capably(arguments.iter().copied());
        command
            .env("CAPABLY_ENDPOINT", &server.endpoint)
            .env("CAPABLY_PORT", server.port.to_string());
        let mut child = command.spawn().unwrap();
        let line = first_line(&mut child);
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["endpoint"], "127.0.0.1");
        Self { child, seen: server.seen_at(said["port"].as_u64().unwrap()) }
    }

    fn record(server: &Server, file: &Path, options: &[&str]) -> Self {
        let arguments = [&["record", file.to_str().unwrap(), "--json"], options].concat();
        Self::start(server, &arguments)
    }

    fn replay(server: &Server, file: &Path) -> Self {
        let file = file.to_str().unwrap();
        Self::start(server, &["replay", file, "--json", "--speed", "0"])
    }

    fn stop(self) -> Output {
        interrupt(&self.child);
        let output = finish(self.child);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output
    }
}

/// The first line of the output. The rest stays in the pipe.
fn first_line(child: &mut Child) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn options(server: &Server, binary: bool) -> ClientOptions {
    ClientOptions::default()
        .endpoint(server.endpoint.as_str())
        .port(u16::try_from(server.port).unwrap())
        .tls(false)
        .use_binary_protocol(binary)
}

#[test]
fn a_recorded_session_is_replayed_to_a_client() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    for format in ["json", "msgpack"] {
        let file = directory.path().join(format);
        let recorder = Proxy::record(&server, &file, &[]);
        let binary = ["publish", "c", "n", "--binary", "/wD+", "--format", format];
        let first = succeeded(recorder.seen.run(binary));
        let rest = ["publish", "c", "over", "rest", "--rest", "--format", format];
        let second = succeeded(recorder.seen.run(rest));
        recorder.stop();
        let events = lines(&file);
        assert_eq!(events[0]["event"], "start");
        assert_eq!(events.last().unwrap()["event"], "end");
        let published = events.iter().find(|e| e["action"] == "MESSAGE").unwrap();
        assert_eq!(published["format"], format);

        // The serials of the recorded service come back, though it is gone.
        let replay = Proxy::replay(&server, &file);
        let other = if format == "json" { "msgpack" } else { "json" };
        assert_eq!(succeeded(replay.seen.run(rest)), second);
        assert_eq!(succeeded(replay.seen.run(binary)), first);
        let more = replay.seen.run(["publish", "c", "d", "--format", other]);
        assert_ne!(more.status.code(), Some(0), "there are no more connections");
        replay.stop();

        // A client of the other format gets the same frames.
        let replay = Proxy::replay(&server, &file);
        let publish = ["publish", "c", "n", "--binary", "/wD+", "--format", other];
        assert_eq!(succeeded(replay.seen.run(publish)), first);
        replay.stop();
    }
}

#[test]
fn a_replay_says_where_the_client_differs_from_the_recording() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    for format in ["json", "msgpack"] {
        let file = directory.path().join(format);
        let recorder = Proxy::record(&server, &file, &[]);
        let publish = |proxy: &Proxy, options: &[&str]| {
            let publish = ["publish", "news", "--format", format].into_iter();
            succeeded(proxy.seen.run(publish.chain(options.iter().copied())))
        };
        publish(&recorder, &["morning", "one"]);
        recorder.stop();

        // Payloads are not compared.
        let replay = Proxy::replay(&server, &file);
        publish(&replay, &["morning", "two"]);
        let output = replay.stop();
        let tally: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
        assert_eq!(tally, json!({ "same": 2, "different": 0, "unexpected": 0, "missing": 0 }));
        assert!(!stderr(&output).contains("differs"), "{}", stderr(&output));

        let replay = Proxy::replay(&server, &file);
        publish(&replay, &["evening", "one"]);
        let output = replay.stop();
        let why = "Connection 1: MESSAGE news differs from the recording: message 1: name is \"evening\" instead of \"morning\".\n";
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        let tally: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
        assert_eq!(tally, json!({ "same": 1, "different": 1, "unexpected": 0, "missing": 0 }));

        // A client that does something else.
        let replay = Proxy::replay(&server, &file);
        let other = ["subscribe", "other", "--timeout", "0.5", "--format", format];
        replay.seen.run(other);
        let output = replay.stop();
        let said = stderr(&output);
        assert!(
            said.contains("the client sends ATTACH other, which is not in the recording"),
            "{said}"
        );
        assert!(
            said.contains("the client ends without MESSAGE news, which it sent in the recording"),
            "{said}"
        );
    }
}

#[test]
fn a_recorded_subscriber_receives_its_messages_again() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    for format in ["json", "msgpack"] {
        let file = directory.path().join(format);
        let recorder = Proxy::record(&server, &file, &[]);
        let channel = format!("[?rewind=2]{format}");
        succeeded(server.run(["publish", format, "one", "text"]));
        succeeded(server.run(["publish", format, "two", "--binary", "/w=="]));
        let subscribe = ["subscribe", &channel, "--json", "--count", "2", "--format", format];
        let received = succeeded(recorder.seen.run(subscribe));
        assert_eq!(received.lines().count(), 2);
        recorder.stop();
        for other in ["json", "msgpack"] {
            let replay = Proxy::replay(&server, &file);
            let subscribe = ["subscribe", &channel, "--json", "--count", "2", "--format", other];
            assert_eq!(succeeded(replay.seen.run(subscribe)), received);
            replay.stop();
        }
    }
}

#[tokio::test]
async fn a_recording_contains_no_secret_wherever_it_was_sent() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    for binary in [false, true] {
        let file = directory.path().join(binary.to_string());
        let recorder = Proxy::record(&server, &file, &[]);
        let seen = &recorder.seen;
        let mut secrets = vec![server.key.clone(), BASE64_STANDARD.encode(&server.key)];
        secrets.push(server.key.split_once(':').unwrap().1.to_owned());

        // A key: in the query of a WebSocket, and in a header.
        let client = Realtime::connect(options(seen, binary).key(&server.key)).await.unwrap();
        secrets.push(client.connection().key().unwrap().to_string());
        secrets.push(client.connection().create_recovery_key().await.unwrap());
        let leak = format!("my key is {}", server.key);
        client.channels().get("c").publish("leak", leak.as_str()).await.unwrap();
        client.close().await;
        let rest = Rest::new(options(seen, binary).key(&server.key)).unwrap();
        rest.channels().get("c").publish("n", "d").await.unwrap();
        // A token: in the body of its response, in a header, in a query, and in an AUTH frame.
        let token = rest.auth().request_token().await.unwrap().token.to_string();
        let with_token = || options(seen, binary).token(&token);
        Rest::new(with_token()).unwrap().channels().get("c").history().await.unwrap();
        let client = Realtime::connect(options(seen, binary).key(&server.key).use_token_auth(true))
            .await
            .unwrap();
        let first = client.auth().token_details().unwrap().token.to_string();
        let second = client.auth().authorize().await.unwrap().token.to_string();
        secrets.push(client.connection().key().unwrap().to_string());
        client.close().await;
        secrets.extend([token, first, second]);
        // A JSON Web Token that the service refuses.
        let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.{}", "c2ln".repeat(8));
        let refused = Realtime::connect(options(seen, binary).token(&jwt)).await;
        assert!(refused.is_err());
        secrets.extend([jwt.clone(), BASE64_STANDARD.encode(&jwt)]);
        recorder.stop();

        let text = fs::read_to_string(&file).unwrap();
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "binary: {binary}");
        }
        let events = lines(&file);
        let actions: Vec<_> = events.iter().filter_map(|event| event["action"].as_str()).collect();
        for action in ["CONNECTED", "AUTH", "MESSAGE", "ACK"] {
            assert!(actions.contains(&action), "{action}: {actions:?}");
        }
        let connects = events.iter().filter(|event| event["event"] == "connect");
        assert_eq!(connects.count(), 3);
    }
}

#[test]
fn payloads_are_left_out_when_asked() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    for format in ["json", "msgpack"] {
        let file = directory.path().join(format);
        let recorder = Proxy::record(&server, &file, &["--no-data"]);
        for transport in [&["--rest"][..], &[]] {
            let publish = ["publish", "c", "name", "my-payload", "--format", format];
            succeeded(recorder.seen.run(publish.into_iter().chain(transport.iter().copied())));
        }
        recorder.stop();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(r#""name":"name""#) && !text.contains("my-payload"), "{text}");
    }
}

#[test]
fn a_recording_is_shown_as_a_story_whose_text_controls_no_terminal() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let recorder = Proxy::record(&server, &file, &[]);
    succeeded(recorder.seen.run(["publish", "a\u{202e}b", "n", "x\u{1b}[2J\u{9b}y"]));
    recorder.stop();
    let path = file.to_str().unwrap();
    let story = succeeded(run(["replay", path, "--show"]));
    assert!(story.starts_with("Recording of 127.0.0.1:"), "{story}");
    for part in ["→ opens a WebSocket: / ", "← CONNECTED ", r"→ MESSAGE a\u{202e}b ", "← ACK "]
    {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(!story.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{story:?}");
    let events = succeeded(run(["replay", path, "--show", "--json"]));
    assert!(events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn a_damaged_recording_is_shown_as_far_as_it_is_whole() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let recorder = Proxy::record(&server, &file, &[]);
    succeeded(recorder.seen.run(["publish", "c", "d"]));
    recorder.stop();
    let whole = fs::read(&file).unwrap();
    let path = file.to_str().unwrap();

    fs::write(&file, &whole[..whole.len() - 40]).unwrap();
    let output = run(["replay", path, "--show"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("← CONNECTED "), "{}", stdout(&output));
    let why = format!("error: {path}: the recording was cut off\n  remedy: ");
    assert!(stderr(&output).starts_with(&why), "{}", stderr(&output));

    for (content, why) in [
        (&b""[..], "is empty"),
        (b"\x7fELF\0", "is no recording"),
        (b"{\"a\":1}\n", "is no recording"),
    ] {
        fs::write(&file, content).unwrap();
        for show in [&["--show"][..], &[]] {
            let output = run(["replay", path].into_iter().chain(show.iter().copied()));
            assert_eq!(output.status.code(), Some(1));
            let said = format!("error: {path} {why}\n  remedy: use a file that `capably record` ");
            assert!(stderr(&output).starts_with(&said), "{}", stderr(&output));
        }
    }
    let output = run(["replay", "/no/such/file"]);
    assert!(stderr(&output).starts_with("error: cannot read /no/such/file: "));
    let output = run(["record", path, "--endpoint", "localhost"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("\n  remedy: choose another name, or "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_service_that_is_not_there_is_in_the_recording() {
    let server = Server::start();
    let gone = server.seen_at(1);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let recorder = Proxy::record(&gone, &file, &[]);
    let output = recorder.seen.run(["publish", "c", "d"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    recorder.stop();
    let events = lines(&file);
    let unreachable = events.iter().find(|event| event["event"] == "unreachable").unwrap();
    assert!(unreachable["error"].as_str().unwrap().contains("127.0.0.1:1"), "{unreachable}");
}
