//! `capably connection watch`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout},
};

use serde_json::Value;

use crate::{
    faults::ask,
    support::{Server, finish, interrupt, stderr},
};

/// A running watch that prints JSON.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn start(server: &Server, options: &[&str]) -> Self {
        let arguments =
            ["connection", "watch", "--json"].into_iter().chain(options.iter().copied());
        let mut child = server.client(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next change of this state, of the connection or of a channel.
    fn wait_for(&mut self, kind: &str, state: &str) -> Value {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            assert_ne!(line, "", "the watch ended before {kind} {state}");
            let change: Value = serde_json::from_str(&line).unwrap();
            assert!(change["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "{change}");
            if change["type"] == kind && change["state"] == state {
                return change;
            }
        }
    }
}

#[test]
fn a_dropped_connection_is_seen_to_resume() {
    let server = Server::start_with(&["--control", "0"]);
    for format in ["json", "msgpack"] {
        let mut watch = Watch::start(&server, &["--channel", "news", "--format", format]);
        assert_eq!(watch.wait_for("connection", "connecting")["previous"], "initialized");
        let first = watch.wait_for("connection", "connected");
        assert_eq!((&first["resumed"], &first["host"]), (&false.into(), &"127.0.0.1".into()));
        assert_eq!(watch.wait_for("channel", "attached")["channel"], "news");

        ask(&server, "POST", "/actions", r#"{"type":"disconnect"}"#);
        let lost = watch.wait_for("connection", "disconnected");
        assert!(lost["reason"]["code"].is_u64() && lost["retryInMs"].is_u64(), "{lost}");
        assert_eq!(lost["connectionId"], Value::Null);
        let second = watch.wait_for("connection", "connected");
        assert_eq!(second["resumed"], true);
        assert_eq!(second["connectionId"], first["connectionId"]);

        interrupt(&watch.child);
        assert_eq!(watch.wait_for("connection", "closed")["previous"], "closing");
        let output = finish(watch.child);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    }
}

#[test]
fn a_refused_key_ends_the_watch_with_its_reason_and_remedy() {
    let server = Server::start();
    let key = server.wrong_key();
    for format in ["json", "msgpack"] {
        let output = server.run(["connection", "watch", "--key", &key, "--format", format]);
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        let printed = crate::support::stdout(&output);
        assert!(printed.contains("  connection connecting\n"), "{printed}");
        assert!(printed.contains("  connection failed\n  reason: "), "{printed}");
        assert!(
            printed.contains("\n  code: 40101 ") && printed.contains("\n  remedy: "),
            "{printed}"
        );
        assert!(!printed.contains("not-the-secret"), "{printed}");
    }
}
