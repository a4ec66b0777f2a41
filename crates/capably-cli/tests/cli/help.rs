use crate::support::{run, stderr, succeeded};

#[test]
fn every_command_has_help_with_examples() {
    for command in ["demo", "serve", "publish", "subscribe", "presence", "bench", "completions"] {
        let help = succeeded(run([command, "--help"]));
        let example = format!("\n  capably {command}");
        let (_, examples) = help.split_once("\nExamples:").unwrap();
        assert!(examples.contains(&example), "{help}");
    }
    let help = succeeded(run(["--help"]));
    assert!(help.contains("\nExit codes:\n") && help.contains("\nExamples:\n"), "{help}");
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let output = run([]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: capably"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeded(run(["completions", shell]));
        for word in ["demo", "serve", "publish", "subscribe", "presence", "bench", "client-id"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
