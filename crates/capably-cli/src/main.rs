//! The `capably` command.

mod commands;
mod failure;
mod interrupt;
mod output;
mod payload;
mod service;
mod stats;

use std::{io, process::ExitCode};

use clap::Parser;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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
  capably serve --key local1.key:secret
  capably subscribe greetings --endpoint localhost --key local1.key:secret
  capably publish greetings hello \"Good morning\" --endpoint localhost --key local1.key:secret
  capably bench"
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
    if cli.verbose {
        log_to_stderr();
    }
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn log_to_stderr() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::DEBUG.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // With a closed stderr, reporting the error would panic.
        .log_internal_errors(false)
        .init();
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
