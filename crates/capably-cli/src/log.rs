//! The log of the process.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::style;

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    Text,
    /// An object of JSON in each line
    Json,
}

/// Writes a log to stderr, if `--verbose` or a format asks for one: from the level debug on if it is verbose, and info
/// otherwise. `RUST_LOG` selects its parts.
pub(crate) fn start(verbose: bool, format: Option<LogFormat>) {
    let level = match (verbose, format) {
        (true, _) => LevelFilter::DEBUG,
        (false, Some(_)) => LevelFilter::INFO,
        (false, None) => return,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(style::stderr_has_colours())
        // With a closed stderr, reporting the error would panic.
        .log_internal_errors(false);
    match format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
