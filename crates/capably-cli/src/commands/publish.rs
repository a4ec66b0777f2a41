//! `capably publish`.

use std::time::{Duration, Instant};

use capably::{Message, PublishResult};
use clap::Args;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    data_options::{DataOptions, note_text, read_file},
    failure::Failure,
    output::Output,
    payload::{self, Form},
    service::Service,
    stats::{short, thousands},
    time::seconds,
    visible::visible,
};

/// Publish one or more messages to a channel
#[derive(Debug, Args)]
#[command(
    override_usage = "capably publish [OPTIONS] <CHANNEL> [NAME] <DATA>\n       \
                      capably publish [OPTIONS] <CHANNEL> [NAME] --file <PATH>",
    after_help = "\
With --count, {i} in the name and in the data is replaced by the number of the
message, from 1.

Examples:
  capably publish greetings \"Good morning\"
  capably publish greetings hello \"Good morning\"
  capably publish sensors reading --data-json '{\"celsius\": 21.5}'
  capably publish images thumbnail --binary --file small.png
  capably publish images dot --binary iVBORw0KGgo=
  capably publish load tick 'message {i}' --count 1000
  capably publish greetings hello world --rest
  capably publish greetings hello world --json | jq -r .serial"
)]
pub(crate) struct Publish {
    /// Channel to publish to
    channel: String,

    /// Name of the message (optional), and its data
    #[arg(value_name = "NAME | DATA", num_args = 0..=2)]
    words: Vec<String>,

    #[command(flatten)]
    data: DataOptions,

    /// Publish N messages, without waiting for each to be acknowledged
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print one JSON object per message: its channel and its serial
    #[arg(long)]
    json: bool,

    /// Give up if no acknowledgement comes for this time; the message may be published all the same
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,

    /// Publish over REST instead of a realtime connection
    #[arg(long)]
    rest: bool,

    #[command(flatten)]
    service: Service,
}

impl Publish {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let messages = self.messages()?;
        let count = messages.len() as u64;
        let started = Instant::now();
        let results = if self.rest {
            self.by_rest(messages).await?
        } else {
            self.by_realtime(messages).await?
        };
        let mut output = Output::stdout();
        if self.json {
            for result in &results {
                let serial = result.serials.first().and_then(Option::as_deref);
                output.json(json!({ "channel": self.channel, "serial": serial }))?;
            }
            return output.flush();
        }
        let channel = visible(&self.channel);
        let serials = results.iter().flat_map(|result| &result.serials).flatten();
        match (self.count, serials.last()) {
            (None, Some(serial)) => {
                let serial = visible(serial);
                output.line(format_args!("Published to {channel}: serial {serial}"))?;
            }
            (None, None) => output.line(format_args!("Published to {channel}"))?,
            (Some(_), _) => output.line(format_args!(
                "Published {} messages to {channel} in {}",
                thousands(count),
                short(started.elapsed())
            ))?,
        }
        output.flush()
    }

    async fn by_realtime(&self, messages: Vec<Message>) -> Result<Vec<PublishResult>, Failure> {
        let client = self.service.connect().await?;
        let channel = client.channels().get(self.channel.as_str());
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            receipts.push(channel.publish_message(message).submit().await?);
        }
        let mut results = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let acknowledged = timeout(self.timeout, receipt).await;
            results.push(acknowledged.map_err(|_| not_acknowledged(self.timeout))??);
        }
        client.connection().close().await;
        Ok(results)
    }

    async fn by_rest(&self, messages: Vec<Message>) -> Result<Vec<PublishResult>, Failure> {
        let client = self.service.rest()?;
        let channel = client.channels().get(self.channel.as_str());
        let mut results = Vec::with_capacity(messages.len());
        for message in messages {
            results.push(channel.publish_message(message).await?);
        }
        Ok(results)
    }

    /// The messages to publish.
    fn messages(&self) -> Result<Vec<Message>, Failure> {
        let (name, data) = match (&self.words[..], &self.data.file) {
            ([data], None) => (None, data.clone().into_bytes()),
            ([name, data], None) => (Some(name), data.clone().into_bytes()),
            ([], Some(path)) => (None, read_file(path)?),
            ([name], Some(path)) => (Some(name), read_file(path)?),
            (_, None) => {
                return Err(
                    Failure::usage("the data is missing").remedy("add <DATA>, or --file <PATH>")
                );
            }
            (_, Some(_)) => {
                return Err(Failure::usage("the data is given twice")
                    .remedy("with --file, only a name may be given"));
            }
        };
        let form = self.data.form();
        note_text(self.json, form, &String::from_utf8_lossy(&data));
        let Some(count) = self.count else {
            let data = payload::read(form, data).map_err(Failure::usage)?;
            return Ok(vec![Message {
                name: name.map(|name| name.as_str().into()),
                data,
                ..Message::default()
            }]);
        };
        (1..=count)
            .map(|n| {
                let data = match form {
                    Form::Text | Form::Json => number(&data, n),
                    Form::Base64 | Form::Bytes => data.clone(),
                };
                let data = payload::read(form, data).map_err(Failure::usage)?;
                let name = name.map(|name| name.replace("{i}", &n.to_string()).into());
                Ok(Message { name, data, ..Message::default() })
            })
            .collect()
    }
}

fn not_acknowledged(limit: Duration) -> Failure {
    let limit = short(limit);
    Failure::timed_out(format!("the service acknowledges nothing for {limit}"))
        .remedy("the message may be published all the same; `capably doctor` finds what drops the acknowledgement")
}

/// The data, with each `{i}` replaced by the number.
fn number(data: &[u8], n: u64) -> Vec<u8> {
    match str::from_utf8(data) {
        Ok(text) => text.replace("{i}", &n.to_string()).into_bytes(),
        Err(_) => data.to_vec(),
    }
}
