//! `capably messages update`, `delete` and `append`.

use capably::{
    Message, MessageOperation, UpdateDeleteResult,
    rest::{RestChannel, RestMessageChange},
};
use clap::Args;
use serde_json::json;

use crate::{
    commands::request::pair, data_options::DataOptions, failure::Failure, output::Output,
    service::Service, visible::visible,
};

/// The message to change, and what is noted about the change.
#[derive(Debug, Args)]
struct Target {
    /// Channel of the message
    channel: String,

    /// Serial of the message
    serial: String,

    /// Note why the message is changed
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Note a further detail about the change; repeat the option to note several
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<'='>)]
    metadata: Vec<(String, String)>,

    /// Print one JSON object: the channel, the serial of the message, and that of the new version
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Target {
    /// Sends a change of the message, and prints the serial of the new version.
    async fn change(
        self,
        message: Message,
        change: fn(&RestChannel, Message) -> RestMessageChange,
        done: &str,
    ) -> Result<(), Failure> {
        let client = self.service.rest()?;
        let channel = client.channels().get(self.channel.as_str());
        let message = Message { serial: Some(self.serial.as_str().into()), ..message };
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.into_iter().collect());
        let operation = MessageOperation {
            client_id: self.service.client_id().map(Into::into),
            description: self.description.map(Into::into),
            metadata,
        };
        let UpdateDeleteResult { version_serial, .. } =
            change(&channel, message).operation(operation).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({
                "channel": self.channel, "serial": self.serial, "versionSerial": version_serial,
            }))?;
            return output.flush();
        }
        let version = version_serial.as_deref();
        let version = version.map_or("superseded already".to_owned(), |serial| {
            format!("version {}", visible(serial))
        });
        let (serial, channel) = (visible(&self.serial), visible(&self.channel));
        output.line(format_args!("{done} {serial} on {channel}: {version}"))?;
        output.flush()
    }
}

/// Replace the data of a message, or its name
#[derive(Debug, Args)]
#[command(after_help = "\
Fields without an option keep their values. The data options are as for publish.

Examples:
  capably messages update mutable:notes \"$SERIAL\" 'Tea at five'
  capably messages update mutable:notes \"$SERIAL\" '{\"hour\":17}' --data-json --name tea
  capably messages update mutable:notes \"$SERIAL\" Tea --description typo --client-id ada")]
pub(super) struct Update {
    #[command(flatten)]
    target: Target,

    /// New data of the message
    data: Option<String>,

    /// New name of the message
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    form: DataOptions,
}

impl Update {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.form.note(self.target.json, self.data.as_deref());
        let data = self.form.read(self.data.as_deref())?;
        if data.is_none() && self.name.is_none() {
            return Err(Failure::usage("there is nothing to change")
                .remedy("add <DATA>, --file <PATH> or --name <NAME>"));
        }
        let name = self.name.map(Into::into);
        let message = Message { name, data: data.unwrap_or_default(), ..Message::default() };
        self.target.change(message, RestChannel::update_message, "Updated").await
    }
}

/// Delete a message: history shows it as deleted
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably messages delete mutable:notes \"$SERIAL\"
  capably messages delete mutable:notes \"$SERIAL\" --description 'wrong channel' --json")]
pub(super) struct Delete {
    #[command(flatten)]
    target: Target,
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.target.change(Message::default(), RestChannel::delete_message, "Deleted").await
    }
}

/// Append to the data of a message
#[derive(Debug, Args)]
#[command(after_help = "\
Text is appended to text, and binary to binary.

Examples:
  capably messages append mutable:notes \"$SERIAL\" ' in the garden'")]
pub(super) struct Append {
    #[command(flatten)]
    target: Target,

    /// Data to append
    data: Option<String>,

    #[command(flatten)]
    form: DataOptions,
}

impl Append {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.form.note(self.target.json, self.data.as_deref());
        let Some(data) = self.form.read(self.data.as_deref())? else {
            return Err(
                Failure::usage("the data is missing").remedy("add <DATA>, or --file <PATH>")
            );
        };
        let message = Message { data, ..Message::default() };
        self.target.change(message, RestChannel::append_message, "Appended to").await
    }
}
