//! `capably connection`.

mod change;
mod watch;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Watch a connection
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably connection watch
  capably connection watch --channel greetings --json"
)]
pub(crate) struct Connection {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Watch(watch::Watch),
}

impl Connection {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Watch(watch) => watch.run().await,
        }
    }
}
