use crate::support::{run, stderr, succeeded};

/// All commands.
pub(crate) const COMMANDS: [&str; 69] = [
    "demo",
    "new",
    "serve",
    "publish",
    "subscribe",
    "presence",
    "objects",
    "objects get",
    "objects set",
    "objects remove",
    "objects increment",
    "objects watch",
    "history",
    "channels",
    "channels list",
    "channels status",
    "channels occupancy",
    "messages",
    "messages get",
    "messages update",
    "messages delete",
    "messages append",
    "messages versions",
    "annotations",
    "annotations publish",
    "annotations delete",
    "annotations get",
    "annotations watch",
    "token",
    "token issue",
    "token inspect",
    "token revoke",
    "jwt",
    "keys",
    "apps",
    "apps create",
    "apps delete",
    "rules",
    "rules list",
    "rules create",
    "rules delete",
    "rules dead-letters",
    "stats",
    "push",
    "push publish",
    "push devices",
    "push devices list",
    "push devices get",
    "push devices save",
    "push devices remove",
    "push subscriptions",
    "push subscriptions list",
    "push subscriptions channels",
    "push subscriptions save",
    "push subscriptions remove",
    "batch",
    "batch publish",
    "batch presence",
    "time",
    "request",
    "bench",
    "explain",
    "connection",
    "connection watch",
    "doctor",
    "record",
    "replay",
    "completions",
    "man",
];

pub(crate) fn help(command: &str) -> String {
    succeeded(run(command.split(' ').chain(["--help"])))
}

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let help = help(command);
        let example = format!("\n  capably {command}");
        let (_, examples) = help.split_once("\nExamples:").unwrap();
        assert!(examples.contains(&example), "{help}");
    }
    let help = succeeded(run(["--help"]));
    assert!(help.contains("\nExit codes:\n") && help.contains("\nExamples:\n"), "{help}");
}

#[test]
fn no_line_of_a_help_is_broken() {
    for command in COMMANDS {
        let help = help(command);
        // clap wraps a line of more than 100 columns; the rest is a short line.
        let (_, text) = help.rsplit_once("-h, --help").unwrap();
        let (_, text) = text.split_once("\n\n").unwrap();
        let written = text.lines().filter(|line| !line.starts_with("      "));
        let longest = written.max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 90, "{command}: {longest}");
    }
}

#[test]
fn the_heading_of_limits_lists_only_limits() {
    let help = succeeded(run(["serve", "--help"]));
    let (_, limits) = help.split_once("\nLimits:\n").unwrap();
    let (limits, _) = limits.split_once("\n\n").unwrap();
    let options = limits.lines().filter(|line| line.trim_start().starts_with("--"));
    let others: Vec<&str> = options.filter(|line| !line.contains("--max-")).collect();
    assert_eq!(others, Vec::<&str>::new());
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let output = run([]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: capably"));
}
