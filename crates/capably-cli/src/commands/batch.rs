//! `capably batch`.

use std::path::PathBuf;

use capably::{BatchPublishSpec, Error, Message};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    data_options::{DataOptions, read_file},
    failure::Failure,
    listing::Progress,
    output::{Output, notice},
    payload,
    service::Service,
    stats::thousands,
    visible::visible,
};

/// The most batches of one request.
const BATCHES: usize = 50;

/// The most channels of one request for presence: their names must fit in its path.
const CHANNELS: usize = 50;

/// Publish to several channels, or read the presence of several, with few requests
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably batch publish -c greetings -c lobby hello 'Good morning'
  capably batch publish --specs batches.jsonl
  capably batch presence greetings lobby"
)]
pub(crate) struct Batch {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Publish(Publish),
    Presence(Presence),
}

impl Batch {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Publish(publish) => publish.run().await,
            Action::Presence(presence) => presence.run().await,
        }
    }
}

/// Publish a message to several channels, or batches of messages from a file
#[derive(Debug, Args)]
#[command(
    override_usage = "capably batch publish [OPTIONS] -c <CHANNEL>... [NAME] <DATA>\n       \
                      capably batch publish [OPTIONS] --specs <PATH>",
    after_help = "\
A file of --specs has a batch in each line, with the field names of the protocol:
  {\"channels\":[\"greetings\",\"lobby\"],\"messages\":[{\"name\":\"hello\",\"data\":\"Hi\"}]}
A channel that refuses its messages does not stop the others; it makes the command fail
at its end. With --json, the result of each channel is an object on a line.

Examples:
  capably batch publish -c greetings -c lobby 'Good morning'
  capably batch publish -c greetings -c lobby state '{\"open\":true}' --data-json
  capably batch publish --specs batches.jsonl --json"
)]
struct Publish {
    /// Channel to publish to; repeat the option to add several
    #[arg(
        long = "channel",
        short = 'c',
        value_name = "CHANNEL",
        required_unless_present = "specs",
        conflicts_with = "specs"
    )]
    channels: Vec<String>,

    /// Name of the message (optional), and its data
    #[arg(value_name = "NAME | DATA", num_args = 0..=2, conflicts_with = "specs")]
    words: Vec<String>,

    #[command(flatten)]
    data: DataOptions,

    /// Read batches from a file, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["data_json", "binary", "file"])]
    specs: Option<PathBuf>,

    /// Print one JSON object per channel: the result of its messages
    #[arg(long, alias = "results")]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Publish {
    async fn run(self) -> Result<(), Failure> {
        let specs = match &self.specs {
            Some(path) => specs(&read_file(path)?)?,
            None => vec![self.spec()?],
        };
        let client = self.service.rest()?;
        let mut output = Output::stdout();
        let mut progress = Progress::new();
        let (mut published, mut failed) = (0, None);
        for (number, chunk) in specs.chunks(BATCHES).enumerate() {
            let (done, all) = ((number * BATCHES) as u64, specs.len() as u64);
            if number > 0 {
                progress.show(format_args!("{} of {} batches", thousands(done), thousands(all)));
            }
            let results = client.batch_publish_all(chunk.to_vec()).await?;
            progress.clear();
            for outcome in results.into_iter().flat_map(|result| result.results) {
                match outcome {
                    Ok(it) => {
                        published += 1;
                        if self.json {
                            output.json(json!({
                                "channel": it.channel, "messageId": it.message_id,
                                "serials": it.serials,
                            }))?;
                        }
                    }
                    Err(it) => {
                        if self.json {
                            output.json(json!({ "channel": it.channel, "error": it.error }))?;
                        }
                        notice(format_args!("Not published to {}", visible(&it.channel)));
                        failed = Some(it.error);
                    }
                }
            }
            output.flush()?;
        }
        if !self.json {
            output.line(format_args!("Published to {} channels", thousands(published)))?;
        }
        output.flush()?;
        failed.map_or(Ok(()), |error| Err(Error::from(error).into()))
    }

    /// The batch of the command line.
    fn spec(&self) -> Result<BatchPublishSpec, Failure> {
        let (name, data) = match (&self.words[..], &self.data.file) {
            ([data], None) => (None, Some(data)),
            ([name, data], _) => (Some(name), Some(data)),
            ([name], Some(_)) => (Some(name), None),
            _ => (None, None),
        };
        self.data.note(self.json, data.map(String::as_str));
        let Some(data) = self.data.read(data.map(String::as_str))? else {
            return Err(
                Failure::usage("the data is missing").remedy("add <DATA>, or --file <PATH>")
            );
        };
        let name = name.map(|name| name.as_str().into());
        let message = Message { name, data, ..Message::default() };
        let channels = self.channels.iter().map(String::as_str);
        Ok(BatchPublishSpec::new(channels, vec![message]))
    }
}

/// Reads batches, one a line.
fn specs(text: &[u8]) -> Result<Vec<BatchPublishSpec>, Failure> {
    let text = str::from_utf8(text).map_err(|_| Failure::usage("the file is not UTF-8 text"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let specs = lines.map(|(index, line)| {
        let wrong = |why: &str| Failure::usage(format!("line {}: {why}", index + 1));
        let spec: BatchPublishSpec =
            serde_json::from_str(line).map_err(|error| wrong(&format!("not a batch: {error}")))?;
        if spec.channels.is_empty() || spec.messages.is_empty() {
            return Err(wrong("a batch needs `channels` and `messages`"));
        }
        Ok(spec)
    });
    let specs: Vec<_> = specs.collect::<Result<_, _>>()?;
    if specs.is_empty() {
        return Err(Failure::usage("the file has no batch"));
    }
    Ok(specs)
}

/// Show the members who are present on several channels
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably batch presence greetings lobby
  capably batch presence greetings lobby --json | jq -r .clientId")]
struct Presence {
    /// Channels whose members to show
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Presence {
    async fn run(self) -> Result<(), Failure> {
        let client = self.service.rest()?;
        let mut output = Output::stdout();
        let mut progress = Progress::new();
        let mut failed = None;
        for (number, chunk) in self.channels.chunks(CHANNELS).enumerate() {
            let (done, all) = (number * CHANNELS, self.channels.len());
            if number > 0 {
                progress.show(format_args!("{done} of {all} channels"));
            }
            let result = client.batch_presence(chunk).await?;
            progress.clear();
            for outcome in result.results {
                match outcome {
                    Ok(found) => {
                        for member in &found.presence {
                            if self.json {
                                output.json(payload::member_json_line(&found.channel, member))?;
                            } else {
                                let channel = visible(&found.channel);
                                let member = payload::member_human_line(member);
                                output.line(format_args!("{channel}  {member}"))?;
                            }
                        }
                    }
                    Err(it) => {
                        if self.json {
                            output.json(json!({ "channel": it.channel, "error": it.error }))?;
                        }
                        notice(format_args!("Not read: {}", visible(&it.channel)));
                        failed = Some(it.error);
                    }
                }
            }
            output.flush()?;
        }
        failed.map_or(Ok(()), |error| Err(Error::from(error).into()))
    }
}
