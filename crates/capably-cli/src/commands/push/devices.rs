//! `capably push devices`.

use std::path::PathBuf;

use capably::DeviceDetails;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    data_options::read_file,
    failure::Failure,
    listing::{ListOptions, Printer},
    output::Output,
    service::Service,
    table::pairs,
    visible::visible,
};

/// List, show, register or remove devices
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably push devices list --client ada
  capably push devices get phone-1
  capably push devices save --file device.json
  capably push devices remove phone-1"
)]
pub(super) struct Devices {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Get(Get),
    Save(Save),
    Remove(Remove),
}

impl Devices {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Get(get) => get.run().await,
            Action::Save(save) => save.run().await,
            Action::Remove(remove) => remove.run().await,
        }
    }
}

/// List the registered devices
#[derive(Debug, Args)]
#[command(after_help = "\
With --json, the addresses of the devices are printed, too: they may be secrets.

Examples:
  capably push devices list
  capably push devices list --client ada --json | jq -r .id")]
struct List {
    /// List only devices of this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut query = self.list.service.rest()?.push().admin().device_registrations().list();
        if let Some(client) = &self.client {
            query = query.client_id(client);
        }
        let mut printer = Printer::new(self.list.json, NAMES, cells);
        self.list.amount.each_page(query, |page| printer.page(page)).await?;
        Ok(())
    }
}

/// The names of the [`cells`].
const NAMES: [&str; 5] = ["device", "client", "platform", "form", "state"];

fn cells(device: &DeviceDetails) -> Vec<String> {
    let text = |text: Option<&str>| visible(text.unwrap_or("-")).into_owned();
    vec![
        text(Some(&device.id)),
        text(device.client_id.as_deref()),
        text(device.platform.as_ref().map(|it| it.as_str())),
        text(device.form_factor.as_ref().map(|it| it.as_str())),
        text(device.push.state.as_ref().map(|it| it.as_str())),
    ]
}

/// Show a device
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably push devices get phone-1
  capably push devices get phone-1 --json | jq .push.state")]
struct Get {
    /// Id of the device
    device: String,

    /// Print one JSON object, with the field names of the protocol
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let devices = self.service.rest()?.push().admin().device_registrations();
        let device = devices.get(&self.device).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!(device))?;
        } else {
            let error = device.push.error_reason.as_ref();
            let error = error.map(|it| ("error", visible(&it.to_string()).into_owned()));
            for line in pairs(NAMES.into_iter().zip(cells(&device)).chain(error)) {
                output.line(line)?;
            }
        }
        output.flush()
    }
}

/// Register a device, or replace its registration
#[derive(Debug, Args)]
#[command(after_help = "\
The file has the JSON of the device, with the field names of the protocol:
  {\"id\":\"phone-1\",\"clientId\":\"ada\",\"platform\":\"android\",\"formFactor\":\"phone\",
   \"push\":{\"recipient\":{\"transportType\":\"fcm\",\"registrationToken\":\"…\"}}}

Examples:
  capably push devices save --file device.json
  capably push devices save --file - --json < device.json")]
struct Save {
    /// File with the JSON of the device; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: PathBuf,

    /// Print one JSON object, as the service has registered it
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Save {
    async fn run(self) -> Result<(), Failure> {
        let device: DeviceDetails =
            serde_json::from_slice(&read_file(&self.file)?).map_err(|error| {
                Failure::usage(format!("the file does not describe a device: {error}"))
            })?;
        let devices = self.service.rest()?.push().admin().device_registrations();
        let saved = devices.save(&device).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!(saved))?;
        } else {
            output.line(format_args!("Saved device {}", visible(&saved.id)))?;
        }
        output.flush()
    }
}

/// Remove a device
#[derive(Debug, Args)]
#[command(after_help = "\
A device that does not exist counts as removed.

Examples:
  capably push devices remove phone-1")]
struct Remove {
    /// Id of the device
    device: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Remove {
    async fn run(self) -> Result<(), Failure> {
        let devices = self.service.rest()?.push().admin().device_registrations();
        devices.remove(&self.device).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "id": self.device, "removed": true }))?;
        } else {
            output.line(format_args!("Removed device {}", visible(&self.device)))?;
        }
        output.flush()
    }
}
