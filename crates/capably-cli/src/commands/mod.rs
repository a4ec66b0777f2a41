//! The subcommands, one file each.

mod annotations;
mod apps;
mod batch;
mod bench;
mod channels;
mod completions;
mod connection;
mod control;
mod demo;
mod doctor;
mod explain;
mod history;
mod jwt;
mod keys;
mod man;
mod messages;
mod new;
mod objects;
mod presence;
mod publish;
mod push;
mod record;
mod replay;
mod request;
mod rules;
mod serve;
mod stats;
mod subscribe;
mod time;
mod token;

use clap::Subcommand;

pub(crate) use self::request::succeeded;
use crate::{failure::Failure, log::LogFormat};

/// A subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    New(new::New),
    Serve(serve::Serve),
    Publish(publish::Publish),
    Subscribe(subscribe::Subscribe),
    History(history::History),
    Messages(messages::Messages),
    Annotations(annotations::Annotations),
    Presence(presence::Presence),
    Objects(objects::Objects),
    Channels(channels::Channels),
    Token(token::Token),
    Jwt(jwt::Jwt),
    Keys(keys::Keys),
    Apps(apps::Apps),
    Rules(rules::Rules),
    Stats(stats::Stats),
    Push(push::Push),
    Batch(batch::Batch),
    Connection(connection::Connection),
    Doctor(doctor::Doctor),
    Record(record::Record),
    Replay(replay::Replay),
    Bench(bench::Bench),
    Explain(explain::Explain),
    Time(time::Time),
    Request(request::Request),
    Completions(completions::Completions),
    Man(man::Man),
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
        Command::History(history) => block_on(history.run()),
        Command::Channels(channels) => block_on(channels.run()),
        Command::Time(time) => block_on(time.run()),
        Command::Request(request) => block_on(request.run()),
        Command::Messages(messages) => block_on(messages.run()),
        Command::Annotations(annotations) => block_on(annotations.run()),
        Command::Token(token) => block_on(token.run()),
        Command::Jwt(jwt) => block_on(jwt.run()),
        Command::Keys(keys) => block_on(keys.run()),
        Command::Apps(apps) => block_on(apps.run()),
        Command::Rules(rules) => block_on(rules.run()),
        Command::Stats(stats) => block_on(stats.run()),
        Command::Push(push) => block_on(push.run()),
        Command::Batch(batch) => block_on(batch.run()),
        Command::Connection(connection) => block_on(connection.run()),
        Command::Doctor(doctor) => block_on(doctor.run()),
        Command::Record(record) => block_on(record.run()),
        Command::Replay(replay) => block_on(replay.run()),
        Command::Bench(bench) => block_on(bench.run()),
        Command::Explain(explain) => explain.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work)
}
