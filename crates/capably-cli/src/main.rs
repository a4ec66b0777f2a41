//! The `capably` command.

mod chart;
mod clock;
mod commands;
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

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

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

    /// Write a log to stderr; RUST_LOG selects its parts, as in RUST_LOG=capably=trace
    #[arg(long, short, global = true)]
    verbose: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.verbose, cli.command.log_format());
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
