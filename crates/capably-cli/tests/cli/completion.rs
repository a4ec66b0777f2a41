//! Shell completion.

use std::{net::TcpListener, process::Command};

use serde_json::json;

use crate::{
    fake,
    support::{Server, Subscriber, capably, finish, run, stderr, stdout, succeeded},
};

/// The candidates of bash at the end of a line, as its script finds them.
fn bash(mut environment: Command, line: &str) -> Vec<String> {
    // Bash hands over the words split at colons and equals signs, too.
    let mut words = Vec::new();
    for word in line.split(' ') {
        words.push(String::new());
        for character in word.chars() {
            if ":=".contains(character) {
                words.push(character.to_string());
                words.push(String::new());
            } else {
                words.last_mut().unwrap().push(character);
            }
        }
    }
    let last = words.len() - 1;
    words = words
        .into_iter()
        .enumerate()
        .filter(|(n, it)| !it.is_empty() || *n == last)
        .map(|it| it.1)
        .collect();
    let script = r#"
        source <(capably completions bash)
        COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
        _capably capably "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut shell = Command::new("bash");
    shell.args(["--norc", "-c", script, "bash", line]).args(&words);
    with_command(&mut shell, &mut environment);
    let output = finish(shell.spawn().unwrap());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{line}");
    stdout(&output).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Gives a shell the environment of a command of ours, and a path to it.
fn with_command(shell: &mut Command, environment: &mut Command) {
    for (name, value) in environment.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_capably")).parent().unwrap();
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap());
    shell.env("PATH", path).stdin(std::process::Stdio::null());
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
}

/// The candidates that a script of the other shells asks for, one a line.
fn candidates(mut command: Command, shell: &str, words: &[&str]) -> String {
    let index = (words.len() - 1).to_string();
    command.env("CAPABLY_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", index);
    succeeded(finish(command.arg("--").args(words).spawn().unwrap()))
}

#[test]
fn bash_completes_commands_options_and_values() {
    for (line, expected) in [
        ("capably his", &["history"][..]),
        ("capably objects inc", &["increment"]),
        ("capably history --pre", &["--presence"]),
        ("capably history c --format js", &["json"]),
        ("capably history c --format=js", &["json"]),
        ("capably completions z", &["zsh"]),
        ("capably explain 999", &[]),
    ] {
        assert_eq!(bash(capably([]), line), expected, "{line}");
    }
    let codes = bash(capably([]), "capably explain 8000");
    assert!(codes.contains(&"80003".to_owned()), "{codes:?}");
    assert!(codes.iter().all(|code| code.starts_with("8000")), "{codes:?}");
}

#[test]
fn channels_in_use_are_completed_with_the_key_of_the_environment_or_of_the_line() {
    let server = Server::start();
    let names = ["chat:lobby", "chat:kitchen", "news", "$(touch hacked)"];
    let _subscribers: Vec<_> =
        names.iter().map(|name| Subscriber::start(&server, name, &[])).collect();
    let sorted = |mut found: Vec<String>| {
        found.sort();
        found
    };
    for (line, expected) in [
        ("capably history ch", &["chat:kitchen", "chat:lobby"][..]),
        // Bash replaces only what comes after the colon.
        ("capably history chat:l", &["lobby"]),
        ("capably publish --client-id a:b chat:", &["kitchen", "lobby"]),
        ("capably doctor --channel ne", &["news"]),
        ("capably doctor --channel=ne", &["news"]),
        ("capably batch publish -c ne", &["news"]),
        ("capably batch presence chat:lobby n", &["news"]),
        ("capably objects get n", &["news"]),
        // Anybody may have given a channel a name that a shell would run.
        ("capably history $", &[]),
        ("capably history absent", &[]),
    ] {
        assert_eq!(sorted(bash(server.client([]), line)), expected, "{line}");
    }
    let line = format!(
        "capably history --endpoint {} --port {} --key {} ne",
        server.endpoint, server.port, server.key
    );
    assert_eq!(bash(capably([]), &line), ["news"]);

    for (shell, expected) in
        [("zsh", "chat\\:lobby"), ("fish", "chat:lobby\n"), ("elvish", "chat:lobby")]
    {
        let words = ["capably", "history", "chat:l"];
        assert_eq!(candidates(server.client([]), shell, &words), expected, "{shell}");
    }
}

#[test]
fn without_an_answer_of_the_service_there_are_no_channels_and_no_noise() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let server = Server::start();
    let wrong = server.wrong_key();
    for line in [
        // No key.
        "capably history ne".to_owned(),
        // The listener accepts, and never answers.
        format!("capably history --endpoint 127.0.0.1 --port {silent} --key a.b:c ne"),
        "capably history --endpoint 127.0.0.1 --port 1 --key a.b:c ne".to_owned(),
        format!("capably history --endpoint 127.0.0.1 --port {} --key {wrong} ne", server.port),
        "capably history --port soon --key a.b:c ne".to_owned(),
    ] {
        assert_eq!(bash(capably([]), &line), [""; 0], "{line}");
    }
}

#[test]
fn names_that_a_service_invents_do_not_reach_the_terminal() {
    let service = fake::serve(|_| {
        json!(["news", "new\nline", "new\u{1b}[2J", "new`id`", "new;id", "other", 7]).into()
    });
    assert_eq!(bash(service.client([]), "capably history ne"), ["news"]);
    assert_eq!(candidates(service.client([]), "fish", &["capably", "history", "ne"]), "news\n");
}

#[test]
fn every_shell_has_a_script_that_calls_the_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeded(run(["completions", shell]));
        assert!(script.contains("CAPABLY_COMPLETE") && script.contains("capably --"), "{script}");
        let json = succeeded(run(["completions", shell, "--json"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["shell"], &json["script"]), (&shell.into(), &script.into()));
    }
    let output = run(["completions", "cmd"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("[possible values: bash, elvish, fish, powershell, zsh]"));
}
