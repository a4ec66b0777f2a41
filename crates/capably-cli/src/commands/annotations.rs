//! `capably annotations`.

use capably::{Annotation, ChannelMode, Realtime, realtime::RealtimeChannelOptions};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    failure::Failure,
    interrupt::until_interrupted,
    listing::ListOptions,
    output::{Output, notice},
    payload::{annotation_human_line, annotation_json_line, time_cell},
    service::Service,
    style::Style,
    visible::visible,
};

/// Annotate messages, or read and watch their annotations: reactions, votes and the like
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
A type is a name and the way in which annotations are summarised: total.v1, flag.v1,
distinct.v1, unique.v1 or multiple.v1. Only total.v1 and multiple.v1 take annotations
of clients without a client id. Messages can be annotated only in a namespace that
allows it.

Examples:
  capably annotations publish mutable:notes \"$SERIAL\" like:flag.v1 --client-id ada
  capably annotations get mutable:notes \"$SERIAL\"
  capably annotations delete mutable:notes \"$SERIAL\" like:flag.v1 --client-id ada
  capably annotations watch mutable:notes"
)]
pub(crate) struct Annotations {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Publish(Publish),
    Delete(Delete),
    Get(Get),
    Watch(Watch),
}

impl Annotations {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Publish(Publish { change }) => change.send(false).await,
            Action::Delete(Delete { change }) => change.send(true).await,
            Action::Get(get) => get.run().await,
            Action::Watch(watch) => watch.run().await,
        }
    }
}

/// Annotate a message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably annotations publish mutable:notes \"$SERIAL\" like:flag.v1 --client-id ada
  capably annotations publish mutable:notes \"$SERIAL\" votes:multiple.v1 tea --count 2
  capably annotations publish mutable:notes \"$SERIAL\" seen:total.v1 --json")]
struct Publish {
    #[command(flatten)]
    change: Change,
}

/// Remove an annotation from a message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably annotations delete mutable:notes \"$SERIAL\" like:flag.v1 --client-id ada")]
struct Delete {
    #[command(flatten)]
    change: Change,
}

/// An annotation to make or to remove.
#[derive(Debug, Args)]
struct Change {
    /// Channel of the message
    channel: String,

    /// Serial of the message
    serial: String,

    /// Type of the annotation, such as reaction:distinct.v1
    #[arg(value_name = "TYPE")]
    kind: String,

    /// Name of the annotation, such as 👍
    name: Option<String>,

    /// Weight of the annotation in a count, for multiple.v1
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Data of the annotation, as text
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,

    /// Print a JSON object about the annotation
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Change {
    async fn send(self, delete: bool) -> Result<(), Failure> {
        let annotation = Annotation {
            annotation_type: Some(self.kind.as_str().into()),
            name: self.name.as_deref().map(Into::into),
            count: self.count,
            data: self.data.map(Into::into).unwrap_or_default(),
            ..Annotation::default()
        };
        let client = self.service.rest()?;
        let annotations = client.channels().get(self.channel.as_str()).annotations();
        let (sent, done) = if delete {
            (annotations.delete(&self.serial, annotation), "Removed")
        } else {
            (annotations.publish(&self.serial, annotation), "Published")
        };
        sent.await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({
                "channel": self.channel, "messageSerial": self.serial, "type": self.kind,
                "name": self.name, "action": u32::from(delete),
            }))?;
        } else {
            let (kind, serial) = (visible(&self.kind), visible(&self.serial));
            let channel = visible(&self.channel);
            output.line(format_args!("{done} {kind} on {serial} of {channel}"))?;
        }
        output.flush()
    }
}

/// Print the annotations of a message, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
The summary is a part of the message: capably messages get prints it.

Examples:
  capably annotations get mutable:notes \"$SERIAL\"
  capably annotations get mutable:notes \"$SERIAL\" --all --json | jq -r .clientId")]
struct Get {
    /// Channel of the message
    channel: String,

    /// Serial of the message
    serial: String,

    #[command(flatten)]
    list: ListOptions,
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let client = self.list.service.rest()?;
        let annotations = client.channels().get(self.channel.as_str()).annotations();
        let (mut output, style) = (Output::stdout(), Style::stdout());
        let print = |page: &[Annotation]| {
            for annotation in page {
                write(&mut output, style, &self.channel, annotation, self.list.json)?;
            }
            output.flush()
        };
        self.list.amount.each_page(annotations.get(&self.serial), print).await?;
        Ok(())
    }
}

/// Print annotations as they are made and removed
#[derive(Debug, Args)]
#[command(after_help = "\
Runs until Ctrl-C. A line on stderr says when the channel is attached.

Examples:
  capably annotations watch mutable:notes
  capably annotations watch mutable:notes --type reaction:distinct.v1 --json | jq .name")]
struct Watch {
    /// Channel to watch
    channel: String,

    /// Print only annotations of this type; repeat the option to select several
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Watch {
    async fn run(self) -> Result<(), Failure> {
        until_interrupted(async |client, output| self.follow(client, output).await).await
    }

    async fn follow(
        &self,
        client: &mut Option<Realtime>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let client = client.insert(self.service.connect().await?);
        let options = RealtimeChannelOptions::new().modes([ChannelMode::AnnotationSubscribe]);
        let channel = client.channels().get_with(self.channel.as_str(), options);
        let mut annotations = channel.annotations().subscribe();
        for kind in &self.kinds {
            annotations = annotations.annotation_type(kind.as_str());
        }
        let mut annotations = annotations.await?;
        notice(format_args!("Watching {}", visible(&self.channel)));
        let style = Style::stdout();
        while let Some(annotation) = annotations.next().await {
            write(output, style, &self.channel, &annotation, self.json)?;
            output.flush()?;
        }
        let ended = || Failure::failed("the subscription has ended");
        Err(annotations.end_reason().map_or_else(ended, |error| error.clone().into()))
    }
}

fn write(
    output: &mut Output,
    style: Style,
    channel: &str,
    annotation: &Annotation,
    json: bool,
) -> Result<(), Failure> {
    if json {
        return output.json(annotation_json_line(channel, annotation));
    }
    let time = time_cell(annotation.timestamp, style);
    output.line(format_args!("{time}  {}", annotation_human_line(annotation)))
}
