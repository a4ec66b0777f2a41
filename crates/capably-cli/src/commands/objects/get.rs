//! `capably objects get`.

use capably::rest::objects::{Path, RestObject};
use clap::Args;

use super::text::{show_leaf, show_number, show_path};
use crate::{failure::Failure, output::Output, service::Service, visible::visible};

/// Print the value at a path, with all that is below it
#[derive(Debug, Args)]
#[command(after_help = "\
Without a path, prints all objects of the channel. A map is printed as one line for
each value below it, with its path. With --json, the value is JSON on one line: a map
is an object, a counter its number, and binary data is base64.

Examples:
  capably objects get poll
  capably objects get poll votes.tea
  capably objects get poll votes --json | jq .tea")]
pub(super) struct Get {
    /// Channel of the objects
    channel: String,

    /// Path of the value, such as votes.tea [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    path: String,

    /// Print JSON, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Get {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.service.rest()?;
        let objects = client.channels().get(self.channel.as_str()).objects();
        let value = objects.at(&self.path).get().full().await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(value.compact_json())?;
        } else {
            let path = super::text::literal(&self.path);
            match &value {
                RestObject::Map(map) if !map.entries.is_empty() => {
                    lines(&path, &value, &mut output)?
                }
                value => output.line(show(value))?,
            }
        }
        output.flush()
    }
}

/// Prints a line for each value that is no map, or an empty one. The depth of a reply is limited.
fn lines(path: &Path, value: &RestObject, output: &mut Output) -> Result<(), Failure> {
    match value {
        RestObject::Map(map) if !map.entries.is_empty() => {
            for (key, value) in &map.entries {
                lines(&path.join(key.clone()), value, output)?;
            }
            Ok(())
        }
        value => output.line(format_args!("{}: {}", show_path(path), show(value))),
    }
}

fn show(value: &RestObject) -> String {
    match value {
        RestObject::Map(_) => "{}".to_owned(),
        RestObject::Counter(counter) => show_number(counter.count),
        RestObject::Leaf(value) => show_leaf(value),
        RestObject::Reference(id) => format!("(the object {})", visible(id)),
        _ => "(a value of an unknown type)".to_owned(),
    }
}
