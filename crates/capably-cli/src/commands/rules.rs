//! `capably rules`.

use std::path::PathBuf;

use capably::http::HttpMethod;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    control::{is_id, json_file, require_endpoint, text},
    request::succeeded,
};
use crate::{
    failure::Failure,
    output::Output,
    service::Service,
    style::Style,
    table::{Table, pairs},
    visible::visible,
};

/// List, create, update or delete the webhooks of an app of capably serve, and see what they could not deliver
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
  capably rules update \"$RULE\" --disable --endpoint localhost
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
    Update(Box<Update>),
    Delete(Delete),
    DeadLetters(DeadLetters),
}

impl Rules {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Create(create) => create.run().await,
            Action::Update(update) => update.run().await,
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

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "channel.message",
            Self::Presence => "channel.presence",
            Self::Lifecycle => "channel.lifecycle",
            Self::Occupancy => "channel.occupancy",
        }
    }
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
            Some(path) => json_file(path)?,
            None => self.rule(),
        };
        let created = ask(&self.service, HttpMethod::Post, "", Some(rule)).await?;
        print(created.first().unwrap_or(&Value::Null), self.json)
    }

    fn rule(&self) -> Value {
        json!({
            "ruleType": "http",
            "requestMode": if self.batch { "batch" } else { "single" },
            "source": {
                "channelFilter": self.channels.as_deref().unwrap_or_default(),
                "type": self.source.name(),
            },
            "target": {
                "url": self.url,
                "headers": headers(&self.header),
                "signingKeyId": self.sign,
                "enveloped": !self.no_envelope,
                "format": if self.msgpack { "msgpack" } else { "json" },
            },
        })
    }
}

/// Change a rule; events that wait for its endpoint stay
#[derive(Debug, Args)]
#[command(after_help = "\
A field of the rule stays as it is if no option names it. Events that wait are sent as
the changed rule says, also to its new URL. A rule of `capably serve --rules` cannot be
changed: change that file.

Examples:
  capably rules update \"$RULE\" --url http://127.0.0.1:9001/hook --endpoint localhost
  capably rules update \"$RULE\" --disable --endpoint localhost
  capably rules update \"$RULE\" --channels '' --single --json --endpoint localhost
  echo '{\"status\":\"enabled\"}' | capably rules update \"$RULE\" --file - --endpoint localhost")]
struct Update {
    /// Id of the rule
    #[arg(value_parser = rule_id)]
    rule: String,

    /// URL of the endpoint, with http or https
    #[arg(long)]
    url: Option<String>,

    /// Events to report
    #[arg(long, value_enum)]
    source: Option<Source>,

    /// Report only channels whose names match this regular expression; '' for all channels
    #[arg(long, value_name = "REGEX")]
    channels: Option<String>,

    /// Report events
    #[arg(long, conflicts_with = "disable")]
    enable: bool,

    /// Report no events until the rule is enabled again
    #[arg(long)]
    disable: bool,

    /// Send all events that wait in one request
    #[arg(long, conflicts_with = "single")]
    batch: bool,

    /// Send one event in each request
    #[arg(long)]
    single: bool,

    /// Send an envelope with the channel and the source of the event
    #[arg(long, conflicts_with = "no_envelope")]
    envelope: bool,

    /// Send the data of the message as the body, and the rest in headers
    #[arg(long)]
    no_envelope: bool,

    /// Send MessagePack
    #[arg(long, conflicts_with = "no_msgpack")]
    msgpack: bool,

    /// Send JSON
    #[arg(long)]
    no_msgpack: bool,

    /// Sign requests with this key of the app; the id is the part of the key's name after the app id
    #[arg(long, value_name = "KEY_ID", conflicts_with = "no_sign")]
    sign: Option<String>,

    /// Do not sign requests
    #[arg(long)]
    no_sign: bool,

    /// Replace the headers of requests; repeat the option for several
    #[arg(
        long,
        value_name = "NAME: VALUE",
        value_parser = header,
        conflicts_with = "no_headers"
    )]
    header: Vec<Header>,

    /// Remove the headers of requests
    #[arg(long)]
    no_headers: bool,

    /// Read the fields to change from a JSON file, as of Ably's control API; `-` is standard input
    #[arg(long, value_name = "PATH", conflicts_with_all = FIELDS)]
    file: Option<PathBuf>,

    /// Print the rule as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

/// The options of `update` that are each a field of the rule.
const FIELDS: [&str; 15] = [
    "url",
    "source",
    "channels",
    "enable",
    "disable",
    "batch",
    "single",
    "envelope",
    "no_envelope",
    "msgpack",
    "no_msgpack",
    "sign",
    "no_sign",
    "header",
    "no_headers",
];

impl Update {
    async fn run(self) -> Result<(), Failure> {
        let patch = match &self.file {
            Some(path) => json_file(path)?,
            None => self.patch(),
        };
        if patch.as_object().is_some_and(|fields| fields.is_empty()) {
            return Err(Failure::usage("there is nothing to change")
                .remedy("name what is to change, such as --url or --disable"));
        }
        let path = format!("/{}", self.rule);
        let updated = ask(&self.service, HttpMethod::Patch, &path, Some(patch)).await?;
        print(updated.first().unwrap_or(&Value::Null), self.json)
    }

    /// The fields that options name.
    fn patch(&self) -> Value {
        let mut patch = json!({});
        let mut set = |object: &str, field: &str, value: Value| match object {
            "" => patch[field] = value,
            _ => patch[object][field] = value,
        };
        let choice = |yes: bool, no: bool| (yes || no).then_some(yes);
        if let Some(enabled) = choice(self.enable, self.disable) {
            set("", "status", json!(if enabled { "enabled" } else { "disabled" }));
        }
        if let Some(batch) = choice(self.batch, self.single) {
            set("", "requestMode", json!(if batch { "batch" } else { "single" }));
        }
        if let Some(source) = self.source {
            set("source", "type", json!(source.name()));
        }
        if let Some(channels) = &self.channels {
            set("source", "channelFilter", json!(channels));
        }
        if let Some(url) = &self.url {
            set("target", "url", json!(url));
        }
        if let Some(enveloped) = choice(self.envelope, self.no_envelope) {
            set("target", "enveloped", json!(enveloped));
        }
        if let Some(msgpack) = choice(self.msgpack, self.no_msgpack) {
            set("target", "format", json!(if msgpack { "msgpack" } else { "json" }));
        }
        if self.sign.is_some() || self.no_sign {
            set("target", "signingKeyId", json!(self.sign));
        }
        if self.no_headers || !self.header.is_empty() {
            set("target", "headers", headers(&self.header));
        }
        patch
    }
}

/// Prints a rule that was created or updated.
fn print(rule: &Value, json: bool) -> Result<(), Failure> {
    let mut output = Output::stdout();
    if json {
        output.line(rule)?;
        return output.flush();
    }
    for line in pairs([
        ("rule", text(&rule["id"])),
        ("source", text(&rule["source"]["type"])),
        ("url", text(&rule["target"]["url"])),
    ]) {
        output.line(line)?;
    }
    output.flush()
}

fn headers(headers: &[Header]) -> Value {
    headers.iter().map(|Header(name, value)| json!({ "name": name, "value": value })).collect()
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
    require_endpoint(service)?;
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

fn rule_id(text: &str) -> Result<String, String> {
    if is_id(text) {
        Ok(text.to_owned())
    } else {
        Err("the id of a rule has letters, digits, _ and -".to_owned())
    }
}

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("write a name, a colon and a value")?;
    Ok(Header(name.trim().to_owned(), value.trim().to_owned()))
}
