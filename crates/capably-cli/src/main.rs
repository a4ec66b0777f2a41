//! The `capably` command.

mod chart;
mod clock;
mod commands;
mod complete;
mod data_options;
mod dial;
mod failure;
mod interrupt;
mod jwt;
mod listing;
mod local;
mod log;
mod output;
mod pages;
mod payload;
mod service;
mod stats;
mod style;
mod table;
mod time;
mod trace;
mod visible;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::{ColorChoice, Parser};
use mimalloc::MiMalloc;

use crate::commands::Command;

/// Threads that free what others have allocated, as those of a server do, cost less than with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Send and receive realtime messages with Ably, or with a compatible server on this machine
#[derive(Debug, Parser)]
#[command(
    name = "capably",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes:
  0  the command succeeded
  1  the command failed
  2  an argument is missing or not valid
  3  the service could not be reached
  4  the service refused the key, the client or the operation
  5  a time limit was exceeded

Examples:
  capably demo
  capably new greeter
  capably serve --key local1.key:secret
  capably subscribe greetings --endpoint localhost --key local1.key:secret
  capably publish greetings hello \"Good morning\" --endpoint localhost --key local1.key:secret
  capably bench
  capably explain 40160"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Colour the text: always, never, or on terminals unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    color: ColorChoice,

    /// Write a log to stderr; RUST_LOG selects its parts, as in RUST_LOG=capably=trace
    #[arg(long, short, global = true)]
    verbose: bool,
}

fn main() -> ExitCode {
    if let Some(code) = complete::answer() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    style::choose(cli.color);
    log::start(cli.verbose, cli.command.log_format());
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Prints what the parser says instead of a command line: help, the version, or an error.
fn answer(error: &clap::Error) -> ExitCode {
    style::choose(style::choice_of(env::args_os()));
    // The parser's own printing has its own rule for colours: it also colours where the variable CI is set.
    let text = error.render();
    let coloured = |colours: bool| if colours { text.ansi().to_string() } else { text.to_string() };
    // A reader that has gone needs no answer.
    let _ = if error.use_stderr() {
        io::stderr().write_all(coloured(style::stderr_has_colours()).as_bytes())
    } else {
        io::stdout().write_all(coloured(style::stdout_has_colours()).as_bytes())
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// `--json` is about the output, everywhere.
    #[test]
    fn every_command_prints_its_result_as_json_with_the_option_json() {
        fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            for inner in command.get_subcommands() {
                leaves(inner, &format!("{path} {}", inner.get_name()), found);
            }
            if command.has_subcommands() {
                return;
            }
            let json = command.get_arguments().find(|it| it.get_long() == Some("json"));
            let json = json.unwrap_or_else(|| panic!("{path} has no --json"));
            assert!(matches!(json.get_action(), clap::ArgAction::SetTrue), "{path}");
            let help = json.get_help().unwrap_or_else(|| panic!("{path}: no help")).to_string();
            assert!(help.starts_with("Print") && help.contains("JSON"), "{path}: {help}");
            found.push(path.to_owned());
        }
        let mut found = Vec::new();
        leaves(&Cli::command(), "capably", &mut found);
        assert!(found.len() >= 53, "only {} commands were found", found.len());
    }
}
