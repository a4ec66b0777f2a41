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

/// Realtime messaging with Ably, or with a server of your own on this machine
#[derive(Debug, Parser)]
#[command(
    name = "capably",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  the service could not be reached
  4  the service refused the key, the client or the operation
  5  the time allowed was over

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

    /// Tell on stderr what happens inside (RUST_LOG says more exactly what of it)
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
        // A closed stderr would make it panic.
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
