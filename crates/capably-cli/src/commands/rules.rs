//! `capably rules`.

use std::path::PathBuf;

use capably::http::HttpMethod;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::request::succeeded;
use crate::{
    data_options::read_file,
    failure::Failure,
    output::Output,
    service::Service,
    style::Style,
    table::{Table, pairs},
    visible::visible,
};

/// List, create or delete the webhooks of an app of capably serve, and see what they could not deliver
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
A rule reports events of channels to an HTTP endpoint. All of these commands need a
key of the app that has every right. Ably's own service has such requests in its
control API only.

Examples:
  capably rules create http://127.0.0.1:9000/hook --endpoint localhost
  capably rules list --endpoint localhost
  capably rules dead-letters \"$RULE\" --endpoint localhost
  capably rules delete \"$RULE\" --endpoint localhost"
)]
pub(crate) struct Rules {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Create(Box<Create>),
    Delete(Delete),
    DeadLetters(DeadLetters),
}

impl Rules {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Create(create) => create.run().await,
            Action::Delete(delete) => delete.run().await,
            Action::DeadLetters(letters) => letters.run().await,
        }
    }
}

/// List the rules of the app, with the number of events that wait, were delivered or were given up
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably rules list --endpoint localhost
  capably rules list --endpoint localhost --json | jq .delivery")]
struct List {
    /// Print one JSON object a line for each rule
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let rules = ask(&self.service, HttpMethod::Get, "", None).await?;
        let mut output = Output::stdout();
        let mut table = Table::new([
            "rule",
            "source",
            "channels",
            "mode",
            "status",
            "waiting",
            "delivered",
            "dead",
            "url",
        ]);
        for rule in &rules {
            if self.json {
                output.line(rule)?;
                continue;
            }
            let (source, target, delivery) = (&rule["source"], &rule["target"], &rule["delivery"]);
            let filter = match source["channelFilter"].as_str() {
                None | Some("") => "all".to_owned(),
                Some(filter) => visible(filter).into_owned(),
            };
            table.row([
                text(&rule["id"]),
                text(&source["type"]),
                filter,
                text(&rule["requestMode"]),
                text(&rule["status"]),
                delivery["waiting"].to_string(),
                delivery["delivered"].to_string(),
                delivery["deadLetters"].to_string(),
                text(&target["url"]),
            ]);
        }
        table.print(&mut output, Style::stdout())?;
        output.flush()
    }
}

/// Create a rule, and print its id
#[derive(Debug, Args)]
#[command(after_help = "\
The channel filter is a regular expression that the names of channels have to
contain. With --sign, requests have X-Ably-Key, and X-Ably-Signature: the HMAC-SHA256
of the body with the secret of that key, in base64.

Examples:
  capably rules create http://127.0.0.1:9000/hook --endpoint localhost
  capably rules create http://127.0.0.1:9000 --channels '^a:' --batch --endpoint localhost
  capably rules create http://127.0.0.1:9000 --source presence --json --endpoint localhost
  capably rules create http://127.0.0.1:9000/ --header 'X-Token: abc' --endpoint localhost
  capably rules create --file rule.json --endpoint localhost")]
struct Create {
    /// URL of the endpoint, with http or https
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    url: Option<String>,

    /// Events to report
    #[arg(long, value_enum, default_value_t = Source::Message, conflicts_with = "file")]
    source: Source,

    /// Report only channels whose names match this regular expression [default: all channels]
    #[arg(long, value_name = "REGEX", conflicts_with = "file")]
    channels: Option<String>,

    /// Send all events that wait in one request, instead of one event in each
    #[arg(long, conflicts_with = "file")]
    batch: bool,

    /// Send the data of the message as the body, and the rest in headers
    #[arg(long, conflicts_with_all = ["batch", "file"])]
    no_envelope: bool,

    /// Send MessagePack instead of JSON
    #[arg(long, conflicts_with = "file")]
    msgpack: bool,

    /// Sign requests with this key of the app; the id is the part of the key's name after the app id
    #[arg(long, value_name = "KEY_ID", conflicts_with = "file")]
    sign: Option<String>,

    /// Add a header to every request; repeat the option to add several
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, conflicts_with = "file")]
    header: Vec<Header>,

    /// Read the rule from a JSON file, in the form of Ably's control API; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Print the rule as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Source {
    Message,
    Presence,
    Lifecycle,
    Occupancy,
}

/// A header. Its value can be a secret.
#[derive(Clone)]
struct Header(String, String);

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: [redacted]", self.0)
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let rule = match &self.file {
            Some(path) => serde_json::from_slice(&read_file(path)?)
                .map_err(|error| Failure::usage(format!("the file is not JSON: {error}")))?,
            None => self.rule(),
        };
        let created = ask(&self.service, HttpMethod::Post, "", Some(rule)).await?;
        let rule = created.first().unwrap_or(&Value::Null);
        let mut output = Output::stdout();
        if self.json {
            output.line(rule)?;
        } else {
            for line in pairs([
                ("rule", text(&rule["id"])),
                ("source", text(&rule["source"]["type"])),
                ("url", text(&rule["target"]["url"])),
            ]) {
                output.line(line)?;
            }
        }
        output.flush()
    }

    fn rule(&self) -> Value {
        let source = match self.source {
            Source::Message => "channel.message",
            Source::Presence => "channel.presence",
            Source::Lifecycle => "channel.lifecycle",
            Source::Occupancy => "channel.occupancy",
        };
        let headers: Vec<Value> = self
            .header
            .iter()
            .map(|Header(name, value)| json!({ "name": name, "value": value }))
            .collect();
        json!({
            "ruleType": "http",
            "requestMode": if self.batch { "batch" } else { "single" },
            "source": {
                "channelFilter": self.channels.as_deref().unwrap_or_default(),
                "type": source,
            },
            "target": {
                "url": self.url,
                "headers": headers,
                "signingKeyId": self.sign,
                "enveloped": !self.no_envelope,
                "format": if self.msgpack { "msgpack" } else { "json" },
            },
        })
    }
}

/// Delete a rule; events that wait for its endpoint are dropped
#[derive(Debug, Args)]
#[command(after_help = "\
A rule of `capably serve --rules` cannot be deleted: remove it from that file.

Examples:
  capably rules delete \"$RULE\" --endpoint localhost")]
struct Delete {
    /// Id of the rule
    #[arg(value_parser = rule_id)]
    rule: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        ask(&self.service, HttpMethod::Delete, &format!("/{}", self.rule), None).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "ruleId": self.rule, "deleted": true }))?;
        } else {
            output.line(format_args!("Deleted rule {}", self.rule))?;
        }
        output.flush()
    }
}

/// List the events that a rule has given up, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
An event is given up when the endpoint refuses it, or does not accept it in time, and
when more events wait than may. The server has the newest 1,000 in memory.

Examples:
  capably rules dead-letters \"$RULE\" --endpoint localhost
  capably rules dead-letters \"$RULE\" --endpoint localhost --json | jq .event.messages
  capably rules dead-letters \"$RULE\" --endpoint localhost --clear")]
struct DeadLetters {
    /// Id of the rule
    #[arg(value_parser = rule_id)]
    rule: String,

    /// Most events to list
    #[arg(long, value_name = "EVENTS", default_value_t = 100, conflicts_with = "clear")]
    limit: usize,

    /// Empty the list instead
    #[arg(long)]
    clear: bool,

    /// Print one JSON object a line for each event
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl DeadLetters {
    async fn run(self) -> Result<(), Failure> {
        let path = format!("/{}/deadLetters", self.rule);
        let mut output = Output::stdout();
        if self.clear {
            ask(&self.service, HttpMethod::Delete, &path, None).await?;
            if self.json {
                output.json(json!({ "ruleId": self.rule, "cleared": true }))?;
            } else {
                output.line(format_args!("Cleared the dead letters of rule {}", self.rule))?;
            }
            return output.flush();
        }
        let path = format!("{path}?limit={}", self.limit);
        let found = ask(&self.service, HttpMethod::Get, &path, None).await?;
        let found = found.first().unwrap_or(&Value::Null);
        let mut table = Table::new(["serial", "channel", "attempts", "code", "reason"]);
        for letter in found["items"].as_array().into_iter().flatten() {
            if self.json {
                output.line(letter)?;
                continue;
            }
            table.row([
                text(&letter["serial"]),
                text(&letter["event"]["channel"]),
                letter["attempts"].to_string(),
                letter["error"]["code"].to_string(),
                text(&letter["error"]["message"]),
            ]);
        }
        table.print(&mut output, Style::stdout())?;
        if !self.json {
            output.line(format_args!("{} in total", found["total"]))?;
        }
        output.flush()
    }
}

/// Sends a request about the rules of the key's app.
async fn ask(
    service: &Service,
    method: HttpMethod,
    rest: &str,
    body: Option<Value>,
) -> Result<Vec<Value>, Failure> {
    if service.endpoint().is_none() {
        return Err(Failure::usage("the server is missing")
            .remedy("name a server of `capably serve` with --endpoint or CAPABLY_ENDPOINT"));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = format!("/apps/{}/rules{path}", service.key()?.app_id());
    let mut request = service.rest()?.request(method, path);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        request = request.param(name, value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    Ok(succeeded(request.await?)?.items().to_vec())
}

fn text(value: &Value) -> String {
    visible(value.as_str().unwrap_or("-")).into_owned()
}

fn rule_id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("the id of a rule has letters, digits, _ and -".to_owned())
    }
}

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("write a name, a colon and a value")?;
    Ok(Header(name.trim().to_owned(), value.trim().to_owned()))
}
