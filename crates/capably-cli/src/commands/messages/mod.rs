//! `capably messages`.

mod change;
mod read;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Read or change published messages: update, delete, append, and their versions
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
A serial identifies a message: publish prints it, and so do history and subscribe with
--json. Messages can be changed only in a namespace that allows it.

Examples:
  capably messages get mutable:notes \"$SERIAL\"
  capably messages update mutable:notes \"$SERIAL\" 'Tea at five' --description typo
  capably messages append mutable:notes \"$SERIAL\" ' in the garden'
  capably messages versions mutable:notes \"$SERIAL\"
  capably messages delete mutable:notes \"$SERIAL\""
)]
pub(crate) struct Messages {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Get(read::Get),
    Update(change::Update),
    Delete(change::Delete),
    Append(change::Append),
    Versions(read::Versions),
}

impl Messages {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Get(get) => get.run().await,
            Action::Update(update) => update.run().await,
            Action::Delete(delete) => delete.run().await,
            Action::Append(append) => append.run().await,
            Action::Versions(versions) => versions.run().await,
        }
    }
}
