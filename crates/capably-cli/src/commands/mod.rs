//! The subcommands, one file each.

mod bench;
mod completions;
mod demo;
mod explain;
mod new;
mod objects;
mod presence;
mod publish;
mod serve;
mod subscribe;

use clap::Subcommand;

use crate::{failure::Failure, log::LogFormat};

/// A subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    New(new::New),
    Serve(serve::Serve),
    Publish(publish::Publish),
    Subscribe(subscribe::Subscribe),
    Presence(presence::Presence),
    Objects(objects::Objects),
    Bench(bench::Bench),
    Explain(explain::Explain),
    Completions(completions::Completions),
}

impl Command {
    /// The format of the log that the subcommand asks for.
    pub(crate) fn log_format(&self) -> Option<LogFormat> {
        match self {
            Self::Serve(serve) => serve.log_format(),
            _ => None,
        }
    }
}

/// Runs a subcommand.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => block_on(demo.run()),
        Command::New(new) => new.run(),
        Command::Serve(serve) => block_on(serve.run()),
        Command::Publish(publish) => block_on(publish.run()),
        Command::Presence(presence) => block_on(presence.run()),
        Command::Objects(objects) => block_on(objects.run()),
        Command::Subscribe(subscribe) => block_on(subscribe.run()),
        Command::Bench(bench) => block_on(bench.run()),
        Command::Explain(explain) => explain.run(),
        Command::Completions(completions) => completions.run(),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work)
}
