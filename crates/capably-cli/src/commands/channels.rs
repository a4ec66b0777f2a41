//! `capably channels`.

use capably::{ChannelDetails, ChannelMetrics, http::HttpMethod};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    listing::{ListOptions, Printer},
    output::Output,
    service::Service,
    table::pairs,
    visible::visible,
};

/// List the channels in use, or show the status or the occupancy of one
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably channels list
  capably channels list --prefix chat: --json
  capably channels status greetings
  capably channels occupancy greetings"
)]
pub(crate) struct Channels {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Status(Status),
    Occupancy(Occupancy),
}

impl Channels {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Status(status) => status.run().await,
            Action::Occupancy(occupancy) => occupancy.run().await,
        }
    }
}

/// List the channels in use, with how many clients use them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably channels list
  capably channels list --prefix chat: --all
  capably channels list --json | jq -r .channelId")]
struct List {
    /// List only channels whose names begin like this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut request = self.list.service.rest()?.request(HttpMethod::Get, "/channels");
        if let Some(prefix) = &self.prefix {
            request = request.param("prefix", prefix);
        }
        let heading = ["channel", "connections", "publishers", "subscribers", "members"];
        let mut printer = Printer::new(self.list.json, heading, cells);
        self.list.amount.each_answer(request, |items| printer.page(items)).await?;
        Ok(())
    }
}

/// The cells of a channel: a service may list names only.
fn cells(item: &Value) -> Vec<String> {
    let name = item.as_str().or_else(|| item["channelId"].as_str()).unwrap_or("-");
    let metrics = &item["status"]["occupancy"]["metrics"];
    let number = |name: &str| metrics[name].as_u64().map_or("-".to_owned(), |n| n.to_string());
    vec![
        visible(name).into_owned(),
        number("connections"),
        number("publishers"),
        number("subscribers"),
        number("presenceMembers"),
    ]
}

/// Show whether a channel is active, and its occupancy
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably channels status greetings
  capably channels status greetings --json | jq .status.isActive")]
struct Status {
    /// Channel to show
    channel: String,

    /// Print one JSON object, with the field names of the protocol
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Status {
    async fn run(self) -> Result<(), Failure> {
        let details = details(&self.service, &self.channel).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!(details))?;
        } else {
            let active = if details.status.is_active { "yes" } else { "no" };
            let head = [
                ("channel", visible(&details.channel_id).into_owned()),
                ("active", active.to_owned()),
            ];
            let metrics = metrics(&details.status.occupancy.metrics);
            for line in pairs(head.into_iter().chain(metrics)) {
                output.line(line)?;
            }
        }
        output.flush()
    }
}

/// Show how many clients use a channel, and how
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably channels occupancy greetings
  capably channels occupancy greetings --json | jq .subscribers")]
struct Occupancy {
    /// Channel to show
    channel: String,

    /// Print one JSON object, with the field names of the protocol
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Occupancy {
    async fn run(self) -> Result<(), Failure> {
        let details = details(&self.service, &self.channel).await?;
        let mut output = Output::stdout();
        if self.json {
            let mut line = json!(details.status.occupancy.metrics);
            line["channel"] = json!(self.channel);
            output.json(line)?;
        } else {
            for line in pairs(metrics(&details.status.occupancy.metrics)) {
                output.line(line)?;
            }
        }
        output.flush()
    }
}

async fn details(service: &Service, channel: &str) -> Result<ChannelDetails, Failure> {
    Ok(service.rest()?.channels().get(channel).status().await?)
}

fn metrics(metrics: &ChannelMetrics) -> [(&'static str, String); 8] {
    [
        ("connections", metrics.connections),
        ("publishers", metrics.publishers),
        ("subscribers", metrics.subscribers),
        ("presence connections", metrics.presence_connections),
        ("presence members", metrics.presence_members),
        ("presence subscribers", metrics.presence_subscribers),
        ("object publishers", metrics.object_publishers),
        ("object subscribers", metrics.object_subscribers),
    ]
    .map(|(name, number)| (name, number.to_string()))
}
