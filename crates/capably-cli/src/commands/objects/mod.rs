//! `capably objects`.

mod change;
mod get;
mod text;
mod watch;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Read, change or watch the objects of a channel: maps and counters that clients share
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
A path leads from the root map to a value: keys with dots between them, such as
votes.tea. A dot within a key is written \\. and a key that is an asterisk \\*.

Examples:
  capably objects set poll question 'Tea?'
  capably objects set poll votes --map
  capably objects set poll votes.tea --counter
  capably objects increment poll votes.tea
  capably objects get poll
  capably objects get poll votes.tea --json
  capably objects remove poll votes.tea
  capably objects watch poll votes"
)]
pub(crate) struct Objects {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Get(get::Get),
    Set(change::Set),
    Remove(change::Remove),
    Increment(change::Increment),
    Watch(watch::Watch),
}

impl Objects {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Get(get) => get.run().await,
            Action::Set(set) => set.run().await,
            Action::Remove(remove) => remove.run().await,
            Action::Increment(increment) => increment.run().await,
            Action::Watch(watch) => watch.run().await,
        }
    }
}
