//! The examples of every help, run as a reader would who has copied them.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    help::{COMMANDS, help},
    support::{Server, Subscriber, finish, interrupt, stderr, succeeded},
};

/// Examples that run until Ctrl-C, and what they print on stderr when they are ready.
const ENDLESS: [(&str, &str); 5] = [
    ("capably subscribe ", "Subscribed to "),
    ("capably presence lobby --watch", "Watching "),
    ("capably presence lobby --enter", "Present on "),
    ("capably objects watch ", "Watching "),
    ("capably annotations watch ", "Watching "),
];

/// Commands whose examples other tests run, or that need no server.
const ELSEWHERE: [&str; 10] = [
    "demo",
    "new",
    "serve",
    "bench",
    "completions",
    "objects",
    "connection",
    "record",
    "replay",
    "man",
];

/// An app with all that examples use, and the variables of their shell.
struct Fixture {
    server: Server,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let mut server = Server::start();
        let namespaces = ["mutable=mutable", "push=push"];
        let create = ["apps", "create", "--json", "--revocable-tokens"].into_iter();
        let create = create.chain(namespaces.iter().flat_map(|it| ["--namespace", *it]));
        let app: Value = serde_json::from_str(&succeeded(server.run(create))).unwrap();
        server.key = app["keys"][0]["keyStr"].as_str().unwrap().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let device = r#"{"id":"phone-1","clientId":"ada","platform":"android","formFactor":"phone",
            "push":{"recipient":{"transportType":"fcm","registrationToken":"t"}}}"#;
        fs::write(directory.path().join("device.json"), device).unwrap();
        let batches = r#"{"channels":["greetings","lobby"],"messages":[{"name":"a","data":"b"}]}"#;
        fs::write(directory.path().join("batches.jsonl"), batches).unwrap();
        fs::write(directory.path().join("small.png"), b"\x89PNG").unwrap();
        Self { server, directory }
    }

    /// Makes what an example needs that earlier ones may have removed: a message, a token, an app, a device.
    fn variables(&self, example: &str) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if example.contains("$SERIAL") {
            variables.push(("SERIAL", serial(&self.server, "mutable:notes")));
        }
        if example.contains("$TOKEN") {
            variables.push(("TOKEN", succeeded(self.server.run(["jwt"])).trim().to_owned()));
        }
        if example.contains("$APP") {
            let app = succeeded(self.server.run(["apps", "create", "--json"]));
            let app: Value = serde_json::from_str(&app).unwrap();
            variables.push(("APP", app["appId"].as_str().unwrap().to_owned()));
            variables.push(("APP_KEY", app["keys"][0]["keyStr"].as_str().unwrap().to_owned()));
        }
        if example.contains("phone-1") {
            let file = self.directory.path().join("device.json");
            let save = ["push", "devices", "save", "--file", file.to_str().unwrap()];
            succeeded(self.server.run(save));
        }
        variables
    }

    fn run(&self, example: &str) -> Output {
        // The machine may have no jq; a pipe into another command of ours is part of the example.
        let line = match example.rsplit_once(" | jq") {
            Some((line, _)) => line,
            None => example,
        };
        if example.contains("subscribe greetings --count 1") {
            let words: Vec<_> = line.split(' ').skip(3).collect();
            let subscriber = Subscriber::start(&self.server, "greetings", &words);
            succeeded(self.server.run(["publish", "greetings", "hello"]));
            return subscriber.finish();
        }
        if let Some((_, ready)) = ENDLESS.iter().find(|(start, _)| example.starts_with(start)) {
            return self.interrupted(line, ready);
        }
        finish(self.shell(line, example).spawn().unwrap())
    }

    /// Runs an example until it is ready, and presses Ctrl-C.
    fn interrupted(&self, line: &str, ready: &str) -> Output {
        let mut child = self.shell(&format!("exec {line}"), line).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with(ready), "{line}: {said}");
        interrupt(&child);
        finish(child)
    }

    fn shell(&self, line: &str, example: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_capably")).parent().unwrap();
        let path = format!("{}:{}", built.display(), env::var("PATH").unwrap());
        let client = self.server.client([]);
        let mut shell = Command::new("sh");
        for (name, value) in client.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.args(["-c", line]).env("PATH", path).current_dir(self.directory.path());
        shell.envs(self.variables(example));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }
}

/// Publishes a message by ada, and returns its serial.
pub(crate) fn serial(server: &Server, channel: &str) -> String {
    let publish = ["publish", channel, "note", "Tea", "--client-id", "ada"];
    let said = succeeded(server.run(publish));
    said.trim().rsplit_once("serial ").unwrap().1.to_owned()
}

#[test]
fn every_example_of_a_help_works() {
    let fixture = Fixture::new();
    let mut count = 0;
    for command in COMMANDS {
        if ELSEWHERE.contains(&command.split(' ').next().unwrap()) {
            continue;
        }
        let help = help(command);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap();
        for example in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let output = fixture.run(example);
            assert_eq!(output.status.code(), Some(0), "{example}: {}", stderr(&output));
            count += 1;
        }
    }
    assert!(count > 60, "only {count} examples were found");
}
