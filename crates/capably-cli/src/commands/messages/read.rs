//! `capably messages get` and `capably messages versions`.

use capably::{Message, MessageAction};
use clap::Args;

use crate::{
    failure::Failure,
    listing::ListOptions,
    output::Output,
    payload::{self, describe},
    service::Service,
    style::Style,
    table::pairs,
    time::show,
    visible::visible,
};

/// Print the latest version of a message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably messages get mutable:notes \"$SERIAL\"
  capably messages get mutable:notes \"$SERIAL\" --json | jq .annotations.summary")]
pub(super) struct Get {
    /// Channel of the message
    channel: String,

    /// Serial of the message
    serial: String,

    /// Print one JSON object, with the field names of the protocol
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Get {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.service.rest()?;
        let channel = client.channels().get(self.channel.as_str());
        let message = channel.get_message(&self.serial).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(payload::json_line(&self.channel, &message))?;
        } else {
            for line in pairs(fields(&message)) {
                output.line(line)?;
            }
        }
        output.flush()
    }
}

/// The fields of a message for people.
fn fields(message: &Message) -> Vec<(&'static str, String)> {
    let version = message.version();
    let changed = version.serial.is_some() && version.serial != message.serial;
    let state = match message.action {
        Some(MessageAction::Delete) => "deleted",
        _ if changed => "changed",
        _ => "as published",
    };
    let text = |field: Option<&str>| field.map(|text| visible(text).into_owned());
    let summary = message.summary();
    let mut fields = vec![
        ("serial", text(message.serial.as_deref())),
        ("name", text(message.name.as_deref())),
        ("data", Some(describe(&message.data))),
        ("client", text(message.client_id.as_deref())),
        ("published", message.timestamp.map(show)),
        ("state", Some(state.to_owned())),
    ];
    if changed {
        fields.extend([
            ("version", text(version.serial.as_deref())),
            ("changed", version.timestamp.map(show)),
            ("changed by", text(version.client_id.as_deref())),
            ("description", text(version.description.as_deref())),
        ]);
    }
    for (kind, summary) in summary {
        fields.push(("annotations", Some(visible(&format!("{kind} {summary}")).into_owned())));
    }
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Print the versions of a message, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably messages versions mutable:notes \"$SERIAL\"
  capably messages versions mutable:notes \"$SERIAL\" --all --json | jq .version")]
pub(super) struct Versions {
    /// Channel of the message
    channel: String,

    /// Serial of the message
    serial: String,

    #[command(flatten)]
    list: ListOptions,
}

impl Versions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.list.service.rest()?;
        let channel = client.channels().get(self.channel.as_str());
        let (mut output, style) = (Output::stdout(), Style::stdout());
        let print = |versions: &[Message]| {
            for message in versions {
                if self.list.json {
                    output.json(payload::json_line(&self.channel, message))?;
                    continue;
                }
                let version = message.version();
                let time = payload::time_cell(version.timestamp.or(message.timestamp), style);
                let action = match message.action {
                    Some(MessageAction::Create) => "published",
                    Some(MessageAction::Delete) => "deleted",
                    _ => "changed",
                };
                let by = version.client_id.as_deref();
                let by = by.map_or(String::new(), |id| format!(" by {}", visible(id)));
                let why = version.description.as_deref();
                let why = why.map_or(String::new(), |why| format!(" ({})", visible(why)));
                let line = payload::human_line(message);
                output.line(format_args!("{time}  {action}{by}{why}  {line}"))?;
            }
            output.flush()
        };
        self.list.amount.each_page(channel.message_versions(&self.serial), print).await?;
        Ok(())
    }
}
