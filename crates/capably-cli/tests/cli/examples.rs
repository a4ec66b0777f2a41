//! The examples of every help, run as a reader would who has copied them.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    data::server,
    help::{COMMANDS, help},
    support::{Server, Subscriber, finish, interrupt, run, stderr, succeeded},
};

/// Examples that run until Ctrl-C, and the line that they print when they are ready.
const ENDLESS: [(&str, Ready); 9] = [
    ("capably subscribe ", Ready::Stderr("Subscribed to ")),
    ("capably presence lobby --watch", Ready::Stderr("Watching ")),
    ("capably presence lobby --enter", Ready::Stderr("Present on ")),
    ("capably objects watch ", Ready::Stderr("Watching ")),
    ("capably annotations watch ", Ready::Stderr("Watching ")),
    ("capably connection watch", Ready::Stdout("connected")),
    ("capably record ", Ready::Stdout("endpoint")),
    ("capably replay ", Ready::Stdout("endpoint")),
    ("capably serve", Ready::Stdout("endpoint")),
];

/// Where a program says that it is ready, and a part of that line.
#[derive(Clone, Copy)]
enum Ready {
    Stdout(&'static str),
    Stderr(&'static str),
}

/// An app and files with all that examples use.
struct Fixture {
    server: Server,
    /// Each example gets a directory of its own in this one.
    directory: TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Fixture {
    fn new() -> Self {
        let server = server();
        let directory = tempfile::tempdir().unwrap();
        let device = r#"{"id":"phone-1","clientId":"ada","platform":"android","formFactor":"phone",
            "push":{"recipient":{"transportType":"fcm","registrationToken":"t"}}}"#;
        let batches = r#"{"channels":["greetings","lobby"],"messages":[{"name":"a","data":"b"}]}"#;
        let rule = r#"{"ruleType":"http","requestMode":"single","source":{"type":"channel.message"},
            "target":{"url":"http://127.0.0.1:9/","format":"json"}}"#;
        let files = vec![
            ("rule.json", rule.into()),
            ("rules.json", format!("[{rule}]").into_bytes()),
            ("device.json", device.into()),
            ("batches.jsonl", batches.into()),
            ("small.png", b"\x89PNG".to_vec()),
            ("trace.jsonl", TRACE.into()),
        ];
        for (name, content) in &files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        Self { server, directory, files }
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
        if example.contains("$RULE") {
            let create = ["rules", "create", "http://127.0.0.1:9/", "--json"];
            let rule: Value = serde_json::from_str(&succeeded(self.server.run(create))).unwrap();
            variables.push(("RULE", rule["id"].as_str().unwrap().to_owned()));
        }
        if example.contains("objects ") {
            for words in
                [&["question", "Tea?"][..], &["votes", "--map"], &["votes.tea", "--counter"]]
            {
                let set = ["objects", "set", "poll"].into_iter().chain(words.iter().copied());
                succeeded(self.server.run(set));
            }
        }
        if example.contains("phone-1") {
            let file = self.directory.path().join("device.json");
            let save = ["push", "devices", "save", "--file", file.to_str().unwrap()];
            succeeded(self.server.run(save));
        }
        variables
    }

    fn run(&self, example: &str) -> Output {
        let line = self.adapted(example);
        if example.contains("subscribe greetings --count 1") {
            let words: Vec<_> = line.split(' ').skip(3).collect();
            let subscriber = Subscriber::start(&self.server, "greetings", &words);
            succeeded(self.server.run(["publish", "greetings", "hello"]));
            return subscriber.finish();
        }
        let command = line.trim_start_matches("CAPABLY_PROVISION_SECRET=secret ");
        let endless = ENDLESS.iter().find(|(start, _)| command.starts_with(start));
        match endless {
            Some((_, ready)) if !line.contains("--show") => self.interrupted(&line, *ready),
            _ => finish(self.shell(&line, example).spawn().unwrap()),
        }
    }

    /// The example for this machine: other programs may be missing, ports may be in use, and a test has little time.
    fn adapted(&self, example: &str) -> String {
        // A pipe into another command of ours is part of the example.
        let line = example.split(" | jq").next().unwrap().split(" | man").next().unwrap();
        let (port, key) = (self.server.port, &self.server.key);
        let mut line = line.replace("localhost --port 8080", &format!("localhost --port {port}"));
        for (name, adapted) in [
            ("local1.key:secret", key.as_str()),
            ("--listen 9000", "--listen 0"),
            ("127.0.0.1:9100", "127.0.0.1:0"),
            ("--count 1000000", "--count 100"),
            ("--count 10000", "--count 100"),
        ] {
            line = line.replace(name, adapted);
        }
        if line.contains("capably serve") && !line.contains("--port") {
            line.push_str(" --port 0");
        }
        if line.starts_with("capably bench") {
            line.push_str(" --samples 2");
            if !line.contains("--count") {
                line.push_str(" --count 100");
            }
        }
        line
    }

    /// Runs an example until it is ready, and presses Ctrl-C.
    fn interrupted(&self, line: &str, ready: Ready) -> Output {
        let mut child = self.shell(&format!("exec env {line}"), line).spawn().unwrap();
        let (mut said, part): (Box<dyn BufRead>, _) = match ready {
            Ready::Stdout(part) => (Box::new(BufReader::new(child.stdout.take().unwrap())), part),
            Ready::Stderr(part) => (Box::new(BufReader::new(child.stderr.take().unwrap())), part),
        };
        let mut before = String::new();
        while said.read_line(&mut before).unwrap() > 0 && !before.contains(part) {}
        let is_ready = child.try_wait().unwrap().is_none();
        if is_ready {
            interrupt(&child);
        }
        let output = finish(child);
        assert!(is_ready, "{line} has ended: {before:?} {}", stderr(&output));
        output
    }

    fn shell(&self, line: &str, example: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_capably")).parent().unwrap();
        let path = format!("{}:{}", built.display(), env::var("PATH").unwrap());
        let client = self.server.client([]);
        let home = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        for directory in [
            ".local/share/bash-completion/completions",
            ".config/fish/completions",
            ".zfunc",
            "src",
            "work",
        ] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        symlink(checkout.canonicalize().unwrap(), home.join("src/capably")).unwrap();
        // `new` wants an empty directory, and `record` a new file.
        let is_used = |name: &str| {
            !line.contains("capably new")
                && (name != "trace.jsonl" || !line.contains("capably record"))
        };
        for (name, content) in self.files.iter().filter(|(name, _)| is_used(name)) {
            fs::write(home.join("work").join(name), content).unwrap();
        }
        let mut shell = Command::new("sh");
        for (name, value) in client.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .args(["-c", line])
            .env("PATH", path)
            .env("HOME", &home)
            .current_dir(home.join("work"));
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

/// A recording without events.
const TRACE: &str = concat!(
    r#"{"ms":0,"event":"start","capably":"0.1.0","version":1,"service":"h:1","timestamp":5}"#,
    "\n",
    r#"{"ms":1,"event":"end"}"#,
    "\n",
);

/// The examples of a help.
fn examples(help: &str) -> Vec<String> {
    let (_, examples) = help.split_once("\nExamples:\n").unwrap();
    let lines = examples.lines().take_while(|line| !line.starts_with("Fault injection"));
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_example_of_a_help_works() {
    let fixture = Fixture::new();
    let mut count = 0;
    let helps = COMMANDS.iter().map(|command| help(command)).chain([succeeded(run(["--help"]))]);
    for example in helps.flat_map(|help| examples(&help)) {
        // There are no brokers: a test of its own runs the servers of a cluster.
        if example.contains("--cluster nats:") {
            continue;
        }
        let output = fixture.run(&example);
        assert_eq!(output.status.code(), Some(0), "{example}: {}", stderr(&output));
        count += 1;
    }
    assert!(count > 130, "only {count} examples were found");
}
