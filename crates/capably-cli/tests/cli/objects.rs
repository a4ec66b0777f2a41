use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Output},
};

use serde_json::{Value, json};

use crate::support::{Server, capably, finish, interrupt, stderr, succeeded};

/// Runs `capably objects`, and returns its output without the last end of line.
fn objects(server: &Server, arguments: &[&str]) -> String {
    let output = ran(server, arguments);
    succeeded(output).trim_end_matches('\n').to_owned()
}

fn ran(server: &Server, arguments: &[&str]) -> Output {
    server.run(["objects"].into_iter().chain(arguments.iter().copied()))
}

/// A running `capably objects watch` that is in sync.
struct Watcher {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let arguments = ["objects", "watch"].into_iter().chain(arguments.iter().copied());
        Self::of(server.client(arguments).spawn().unwrap())
    }

    fn of(mut child: Child) -> Self {
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("Watching "), "{line}");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Stops it as Ctrl-C does.
    fn stop(self) {
        interrupt(&self.child);
        assert_eq!(finish(self.child).status.code(), Some(0));
    }
}

#[test]
fn objects_are_set_read_counted_and_removed() {
    let server = Server::start();
    for format in ["json", "msgpack"] {
        let channel = format!("poll:{format}");
        let run = |words: &[&str]| {
            objects(&server, &[&[words[0], &channel], &words[1..], &["--format", format]].concat())
        };
        assert_eq!(run(&["get"]), "{}");
        assert_eq!(run(&["set", "question", "Tea?"]), format!("Set question on {channel}"));
        run(&["set", "limit", "--data-json", "-2.5"]);
        run(&["set", "open", "true", "--data-json"]);
        run(&["set", "style", "--data-json", r#"{"colour":["red"]}"#]);
        run(&["set", "icon", "--binary", "AP8="]);
        run(&["set", "empty", "--map"]);
        run(&["set", "votes", "--map", r#"{"coffee":3,"by":{"name":"Ada"}}"#]);
        run(&["set", "votes.tea", "--counter"]);
        run(&["set", r"votes.a\.b", "5", "--counter"]);
        assert_eq!(
            run(&["increment", "votes.tea", "-2.5"]),
            format!("Added -2.5 to votes.tea on {channel}")
        );
        assert_eq!(
            run(&["increment", "votes.*"]),
            format!("Added 1 to 2 counters at votes.* on {channel}")
        );
        let expected = [
            "empty: {}",
            "icon: 2 bytes: 00 ff",
            "limit: -2.5",
            "open: true",
            "question: Tea?",
            r#"style: {"colour":["red"]}"#,
            r"votes.a\.b: 6",
            "votes.by.name: Ada",
            "votes.coffee: 3",
            "votes.tea: -1.5",
        ];
        assert_eq!(run(&["get"]).lines().collect::<Vec<_>>(), expected);
        assert_eq!(run(&["get", "votes"]).lines().next(), Some(r"votes.a\.b: 6"));
        assert_eq!(run(&["get", "votes.tea"]), "-1.5");
        assert_eq!(run(&["get", "question"]), "Tea?");
        assert_eq!(run(&["get", "question", "--json"]), "\"Tea?\"");
        let whole: Value = serde_json::from_str(&run(&["get", "--json"])).unwrap();
        assert_eq!(
            whole,
            json!({
                "empty": {}, "icon": "AP8=", "limit": -2.5, "open": true, "question": "Tea?",
                "style": {"colour": ["red"]},
                "votes": {"a.b": 6, "by": {"name": "Ada"}, "coffee": 3, "tea": -1.5},
            })
        );
        assert_eq!(run(&["remove", r"votes.a\.b"]), format!(r"Removed votes.a\.b on {channel}"));
        let removed: Value = serde_json::from_str(&run(&["remove", "icon", "--json"])).unwrap();
        assert_eq!(
            (&removed["channel"], &removed["objectIds"]),
            (&json!(channel), &json!(["root"]))
        );
        assert!(removed["messageId"].is_string());
        let added: Value = serde_json::from_str(&run(&["increment", "votes.*", "--json"])).unwrap();
        assert_eq!(added["objectIds"].as_array().map(Vec::len), Some(1));
        assert_eq!(run(&["get", "votes"]), "votes.by.name: Ada\nvotes.coffee: 3\nvotes.tea: -0.5");
    }
}

#[test]
fn a_watcher_prints_each_change_with_its_path_and_sender() {
    let server = Server::start();
    for format in ["json", "msgpack"] {
        let channel = format!("poll:{format}");
        objects(&server, &["set", &channel, "votes", "--map"]);
        let mut whole = Watcher::start(&server, &[&channel, "--json", "--format", format]);
        let mut below = Watcher::start(&server, &[&channel, "votes", "--format", format]);
        let client = ["--client-id", "ada", "--format", format];
        let change = |words: &[&str]| {
            objects(&server, &[&[words[0], &channel], &words[1..], &client].concat());
        };
        change(&["set", "title", "Tea?"]);
        change(&["set", "votes.tea", "--counter", "2"]);
        change(&["increment", "votes.tea", "3"]);
        change(&["remove", "title"]);
        change(&["set", r"votes.\*", "star"]);
        // The value is that of the moment of printing, so it may be that of a later change.
        let mut next = || serde_json::from_str::<Value>(&whole.line()).unwrap();
        for (path, removed, amount) in [
            ("title", None, None),
            ("votes.tea", None, None),
            ("votes.tea", None, Some(3.0)),
            ("title", Some(true), None),
            ("votes.*", None, None),
        ] {
            let line = next();
            assert_eq!(
                (&line["channel"], &line["path"]),
                (&json!(channel), &json!(path)),
                "{line}"
            );
            assert_eq!(line.get("removed"), removed.map(|it| json!(it)).as_ref(), "{line}");
            assert_eq!(line.get("amount"), amount.map(|it| json!(it)).as_ref(), "{line}");
            assert_eq!(line["clientId"], "ada", "{line}");
            assert!(line["serial"].is_string() && line["timestamp"].is_i64(), "{line}");
            if removed.is_some() {
                assert_eq!(line.get("value"), None, "{line}");
            }
        }
        let tea = below.line();
        assert!(tea == "votes.tea from ada: 2" || tea == "votes.tea from ada: 5", "{tea}");
        assert_eq!(below.line(), "votes.tea from ada: 5 (+3)");
        assert_eq!(below.line(), r"votes.\* from ada: star");
        whole.stop();
        below.stop();
    }
}

#[test]
fn values_do_not_control_the_terminal() {
    let server = Server::start();
    let mut watcher = Watcher::start(&server, &["c"]);
    let (client, text) = ("eve\r", "\x1b[2J\x1b]0;title\x07\u{9b}31m\nforged: line");
    objects(&server, &["set", "c", "key\x1b[1m", text, "--client-id", client]);
    let shown = r"\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\nforged: line";
    assert_eq!(objects(&server, &["get", "c"]), format!(r"key\u{{1b}}[1m: {shown}"));
    assert_eq!(objects(&server, &["get", "c", "key\x1b[1m"]), shown);
    assert_eq!(watcher.line(), format!(r"key\u{{1b}}[1m from eve\r: {shown}"));
    watcher.stop();
    // Programs get the text as it is.
    let read: Value = serde_json::from_str(&objects(&server, &["get", "c", "--json"])).unwrap();
    assert_eq!(read, json!({"key\x1b[1m": text}));
}

#[test]
fn refusals_have_their_exit_code_and_reason() {
    let server = Server::start();
    objects(&server, &["set", "c", "m", "--map", r#"{"text":"x"}"#]);
    objects(&server, &["set", "c", "n", "--counter"]);
    for (arguments, exit, why) in [
        (&["get", "c", "nothing"][..], 1, "\n  code: 92005 "),
        (&["get", "c", "m.*"], 1, "\n  code: 40003 "),
        (&["increment", "c", "m"], 1, "\n  code: 92007 "),
        (&["increment", "c", "nothing"], 1, "\n  code: 92005 "),
        (&["set", "c", "n.k", "v"], 1, "\n  code: 92007 "),
        (&["set", "c", "nothing.k", "--map"], 1, "\n  code: 92005 "),
        (&["increment", "c", "n", "NaN"], 1, "\n  code: 40003 "),
        (&["set", "c", "", "v"], 2, "error: the path is empty\n"),
        (&["set", "c", "m.*", "v"], 2, "error: the last key of the path is a wildcard\n"),
        (&["set", "c", "k", "{", "--data-json"], 2, "error: the value is not JSON: "),
        (
            &["set", "c", "k", "null", "--data-json"],
            2,
            "error: a key cannot be null\n  remedy: remove it",
        ),
        (&["set", "c", "k", "*", "--binary"], 2, "error: the data is not base64: "),
        (&["set", "c", "k", "[]", "--map"], 2, "error: the entries of a map must be a JSON object"),
        (&["set", "c", "k", "{", "--map"], 2, "error: the entries are not JSON: "),
        (
            &["set", "c", "k", "x", "--counter"],
            2,
            "error: the start of the counter is not a number",
        ),
        (
            &["set", "c", "k", "inf", "--counter"],
            2,
            "error: the start of the counter is not a number",
        ),
        (&["set", "c", "k"], 2, "error: the following required arguments were not provided"),
        (
            &["set", "c", "k", "1", "--data-json", "--map"],
            2,
            "error: the argument '--data-json' cannot be used",
        ),
        (&["increment", "c", "n", "many"], 2, "error: invalid value 'many'"),
        (&["watch", "c", "m.*"], 2, "error: a path to watch has no wildcard\n"),
        (&["remove", "c"], 2, "error: the following required arguments were not provided"),
    ] {
        let output = ran(&server, arguments);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{arguments:?}: {}", stderr(&output));
    }
    for action in [&["get", "c"][..], &["set", "c", "k", "v"], &["watch", "c"]] {
        let words = ["objects"].into_iter().chain(action.iter().copied());
        let wrong = server.run(words.clone().chain(["--key", &server.wrong_key()]));
        assert_eq!(wrong.status.code(), Some(4), "{action:?}: {}", stderr(&wrong));
        let output = finish(capably(words).spawn().unwrap());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).starts_with("error: an API key is missing\n"));
    }
    assert_eq!(objects(&server, &["get", "c"]), "m.text: x\nn: 0", "nothing has changed");
}
