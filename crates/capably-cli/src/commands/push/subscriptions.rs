//! `capably push subscriptions`.

use capably::{PushChannelSubscription, Rest};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    failure::Failure,
    listing::{ListOptions, Printer},
    output::Output,
    service::Service,
    visible::visible,
};

/// List, make or remove the push subscriptions of channels
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably push subscriptions save push:news --client ada
  capably push subscriptions list --channel push:news
  capably push subscriptions channels
  capably push subscriptions remove push:news --client ada"
)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Channels(Channels),
    Save(Save),
    Remove(Remove),
}

impl Subscriptions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Channels(channels) => channels.run().await,
            Action::Save(Save { change }) => change.send(false).await,
            Action::Remove(Remove { change }) => change.send(true).await,
        }
    }
}

/// List the push subscriptions of channels
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably push subscriptions list
  capably push subscriptions list --channel push:news --json | jq -r .clientId
  capably push subscriptions list --client ada")]
struct List {
    /// List only subscriptions to this channel
    #[arg(long)]
    channel: Option<String>,

    /// List only subscriptions of this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// List only subscriptions of this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut query = self.list.service.rest()?.push().admin().channel_subscriptions().list();
        if let Some(channel) = &self.channel {
            query = query.channel(channel);
        }
        if let Some(client) = &self.client {
            query = query.client_id(client);
        }
        if let Some(device) = &self.device {
            query = query.device_id(device);
        }
        let mut printer = Printer::new(self.list.json, ["channel", "client", "device"], cells);
        self.list.amount.each_page(query, |page| printer.page(page)).await?;
        Ok(())
    }
}

fn cells(it: &PushChannelSubscription) -> Vec<String> {
    let fields = [Some(it.channel()), it.client_id(), it.device_id()];
    fields.map(|field| visible(field.unwrap_or("-")).into_owned()).into()
}

/// List the channels that have push subscriptions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably push subscriptions channels
  capably push subscriptions channels --all --json | jq -r .channel")]
struct Channels {
    #[command(flatten)]
    list: ListOptions,
}

impl Channels {
    async fn run(self) -> Result<(), Failure> {
        let query =
            self.list.service.rest()?.push().admin().channel_subscriptions().list_channels();
        let mut output = Output::stdout();
        let read = |page: &[capably::Str]| {
            for channel in page {
                if self.list.json {
                    output.json(json!({ "channel": channel }))?;
                } else {
                    output.line(visible(channel))?;
                }
            }
            output.flush()
        };
        self.list.amount.each_page(query, read).await?;
        Ok(())
    }
}

/// Subscribe a client or a device to the pushes of a channel
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably push subscriptions save push:news --client ada
  capably push subscriptions save push:news --device phone-1 --json")]
struct Save {
    #[command(flatten)]
    change: Change,
}

/// Remove the subscription of a client or of a device
#[derive(Debug, Args)]
#[command(after_help = "\
A subscription that does not exist counts as removed.

Examples:
  capably push subscriptions remove push:news --client ada")]
struct Remove {
    #[command(flatten)]
    change: Change,
}

/// A subscription to make or to remove.
#[derive(Debug, Args)]
struct Change {
    /// Channel of the subscription
    channel: String,

    /// Client of the subscription: all of its devices
    #[arg(long, value_name = "ID", required_unless_present = "device", conflicts_with = "device")]
    client: Option<String>,

    /// Device of the subscription
    #[arg(long, value_name = "ID")]
    device: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Change {
    async fn send(self, remove: bool) -> Result<(), Failure> {
        let channel = self.channel.as_str();
        let (subscription, who) = match (&self.client, &self.device) {
            (Some(client), _) => {
                (PushChannelSubscription::for_client(channel, client), client.as_str())
            }
            (None, device) => {
                let device = device.as_deref().unwrap_or_default();
                (PushChannelSubscription::for_device(channel, device), device)
            }
        };
        let rest: Rest = self.service.rest()?;
        let subscriptions = rest.push().admin().channel_subscriptions();
        let mut output = Output::stdout();
        let (subscription, done) = if remove {
            subscriptions.remove(&subscription).await?;
            (subscription, "Unsubscribed")
        } else {
            (subscriptions.save(&subscription).await?, "Subscribed")
        };
        if self.json {
            output.json(json!(subscription))?;
        } else {
            let (who, channel) = (visible(who), visible(channel));
            output.line(format_args!("{done} {who}: pushes of {channel}"))?;
        }
        output.flush()
    }
}
