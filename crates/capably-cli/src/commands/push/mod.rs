//! `capably push`.

mod devices;
mod publish;
mod subscriptions;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Administer push notifications: devices, channel subscriptions, and pushes
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
The key needs the right push-admin. Channels have push subscriptions only in a
namespace with push.

Examples:
  capably push publish --client ada --title Hello --body 'Tea is ready'
  capably push devices list
  capably push subscriptions save push:news --client ada
  capably push subscriptions list --channel push:news"
)]
pub(crate) struct Push {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Publish(publish::Publish),
    Devices(devices::Devices),
    Subscriptions(subscriptions::Subscriptions),
}

impl Push {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Publish(publish) => publish.run().await,
            Action::Devices(devices) => devices.run().await,
            Action::Subscriptions(subscriptions) => subscriptions.run().await,
        }
    }
}
