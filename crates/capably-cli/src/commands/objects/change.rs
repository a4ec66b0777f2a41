//! `capably objects set`, `remove` and `increment`.

use capably::rest::objects::{
    LiveCounter, LiveMap, LiveValue, NewObject, RestObjectValue, RestObjects, RestObjectsPublished,
};
use clap::Args;
use serde_json::{Map, Value, json};

use super::text::{map_and_key, show_number};
use crate::{
    data_options::note_text,
    failure::Failure,
    output::Output,
    payload::{self, Form},
    service::Service,
    visible::visible,
};

/// Set a key of a map: to text, to JSON or bytes, to a new counter, or to a new map
#[derive(Debug, Args)]
#[command(after_help = "\
The map that contains the key must exist; the root map always does. With --map, each
object within the JSON object becomes a map of its own, and each number, boolean and
text a value. With --data-json, an object or array is stored as one value.

Examples:
  capably objects set poll question 'Tea or coffee?'
  capably objects set poll limit --data-json 2.5
  capably objects set poll style --data-json '{\"colour\": \"red\"}'
  capably objects set poll icon --binary iVBORw0KGgo=
  capably objects set poll votes --map
  capably objects set poll votes.tea --counter --json
  capably objects set poll team --map '{\"lead\": {\"name\": \"Ada\"}}'")]
pub(super) struct Set {
    /// Channel of the objects
    channel: String,

    /// Path of the key, such as votes.tea
    path: String,

    /// The value: text, unless an option says otherwise
    #[arg(required_unless_present_any = ["counter", "map"], allow_negative_numbers = true)]
    value: Option<String>,

    /// The value is JSON: an object, an array, a number, a boolean or a text
    #[arg(long, group = "form")]
    data_json: bool,

    /// The value is binary, written as base64
    #[arg(long, group = "form")]
    binary: bool,

    /// Make a counter; the value is the number at which it starts [default: 0]
    #[arg(long, group = "form")]
    counter: bool,

    /// Make a map; the value is a JSON object with its entries [default: none]
    #[arg(long, group = "form")]
    map: bool,

    /// Print the result as JSON, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

/// Remove a key of a map
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably objects remove poll votes.tea
  capably objects remove poll question --json")]
pub(super) struct Remove {
    /// Channel of the objects
    channel: String,

    /// Path of the key, such as votes.tea
    path: String,

    /// Print the result as JSON, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

/// Add to a counter, or subtract from it with a negative amount
#[derive(Debug, Args)]
#[command(after_help = "\
In the path, * stands for every key of its map.

Examples:
  capably objects increment poll votes.tea
  capably objects increment poll votes.tea -2.5
  capably objects increment poll 'votes.*' 10 --json")]
pub(super) struct Increment {
    /// Channel of the objects
    channel: String,

    /// Path of the counter, such as votes.tea
    path: String,

    /// Amount to add
    #[arg(default_value = "1", allow_negative_numbers = true)]
    amount: f64,

    /// Print the result as JSON, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Set {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (map, key) = map_and_key(&self.path)?;
        let value = self.value()?;
        let objects = objects(&self.service, &self.channel)?;
        let published = match value {
            // The service makes the object and sets the key in one operation.
            Content::New(object) => objects.at(&self.path).create(object).await?,
            Content::Leaf(value) => objects.at(map).set(key, value).await?,
        };
        if self.json {
            return print_json(&published);
        }
        said(format_args!("Set {} on {}", visible(&self.path), visible(&self.channel)))
    }

    /// The value, from the text of the command line.
    fn value(&self) -> Result<Content, Failure> {
        let text = self.value.as_deref();
        if self.counter {
            let start = text.map(str::parse::<f64>).transpose();
            let start = start.ok().filter(|start| start.is_none_or(f64::is_finite));
            let start =
                start.ok_or_else(|| Failure::usage("the start of the counter is not a number"))?;
            return Ok(Content::New(LiveCounter::new(start.unwrap_or_default()).into()));
        }
        if self.map {
            let entries = match text.map(serde_json::from_str) {
                None => Map::new(),
                Some(Ok(Value::Object(entries))) => entries,
                Some(Ok(_)) => {
                    return Err(Failure::usage("the entries of a map must be a JSON object"));
                }
                Some(Err(error)) => {
                    return Err(Failure::usage(format!("the entries are not JSON: {error}")));
                }
            };
            return Ok(Content::New(live_map(entries)?.into()));
        }
        let text = text.unwrap_or_default();
        if self.data_json {
            let value = serde_json::from_str(text)
                .map_err(|error| Failure::usage(format!("the value is not JSON: {error}")))?;
            return Ok(Content::Leaf(leaf(value)?.into()));
        }
        if self.binary {
            let data = payload::read(Form::Base64, text.into()).map_err(Failure::usage)?;
            let bytes = data.as_bytes().cloned().unwrap_or_default();
            return Ok(Content::Leaf(bytes.into()));
        }
        note_text(self.json, Form::Text, text);
        Ok(Content::Leaf(text.into()))
    }
}

/// The value that `set` gives to a key.
enum Content {
    Leaf(RestObjectValue),
    New(NewObject),
}

/// A map with these entries. The parser of JSON limits its depth.
fn live_map(entries: Map<String, Value>) -> Result<LiveMap, Failure> {
    let entries = entries.into_iter().map(|(key, value)| {
        Ok(match value {
            Value::Object(entries) => (key, live_map(entries)?.into()),
            value => (key, leaf(value)?),
        })
    });
    Ok(LiveMap::from_iter(entries.collect::<Result<Vec<_>, Failure>>()?))
}

fn leaf(value: Value) -> Result<LiveValue, Failure> {
    if value.is_null() {
        return Err(
            Failure::usage("a key cannot be null").remedy("remove it: capably objects remove")
        );
    }
    Ok(value.into())
}

impl Remove {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (map, key) = map_and_key(&self.path)?;
        let published = objects(&self.service, &self.channel)?.at(map).remove(key).await?;
        if self.json {
            return print_json(&published);
        }
        said(format_args!("Removed {} on {}", visible(&self.path), visible(&self.channel)))
    }
}

impl Increment {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let objects = objects(&self.service, &self.channel)?;
        let published = objects.at(&self.path).increment(self.amount).await?;
        if self.json {
            return print_json(&published);
        }
        let (amount, path) = (show_number(self.amount), visible(&self.path));
        match published.object_ids.len() {
            0 | 1 => said(format_args!("Added {amount} to {path} on {}", visible(&self.channel))),
            count => said(format_args!(
                "Added {amount} to {count} counters at {path} on {}",
                visible(&self.channel)
            )),
        }
    }
}

fn objects(service: &Service, channel: &str) -> Result<RestObjects, Failure> {
    Ok(service.rest()?.channels().get(channel).objects())
}

fn print_json(published: &RestObjectsPublished) -> Result<(), Failure> {
    let ids: Vec<&str> = published.object_ids.iter().map(|id| &**id).collect();
    Output::stdout().json_now(json!({
        "channel": published.channel.as_str(),
        "messageId": published.message_id.as_str(),
        "objectIds": ids,
    }))
}

fn said(line: impl std::fmt::Display) -> Result<(), Failure> {
    Output::stdout().line_now(line)
}
