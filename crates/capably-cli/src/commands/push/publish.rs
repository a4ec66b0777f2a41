//! `capably push publish`.

use capably::{JsonObject, rest::PushRecipient};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{failure::Failure, output::Output, service::Service, visible::visible};

/// Push a notification to the devices of a client, or to one device
#[derive(Debug, Args)]
#[command(after_help = "\
To push to the subscribers of a channel, publish a message whose extras have `push`.

Examples:
  capably push publish --client ada --title Hello --body 'Tea is ready'
  capably push publish --device phone-1 --payload '{\"data\":{\"cups\":2}}'
  capably push publish --client ada --title Tea --payload '{\"data\":{\"cups\":2}}' --json")]
pub(super) struct Publish {
    /// Push to all devices of this client
    #[arg(long, value_name = "ID", required_unless_present = "device", conflicts_with = "device")]
    client: Option<String>,

    /// Push to this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,

    /// Title of the notification
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["body", "payload"])]
    title: Option<String>,

    /// Text of the notification
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,

    /// Payload, as a JSON object; --title and --body are added to it
    #[arg(long, value_name = "JSON", value_parser = object)]
    payload: Option<JsonObject>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Publish {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut payload = self.payload.unwrap_or_default();
        for (field, text) in [("title", self.title), ("body", self.body)] {
            let Some(text) = text else { continue };
            let entry = payload.entry("notification").or_insert_with(|| Value::Object(Map::new()));
            let Some(notification) = entry.as_object_mut() else {
                return Err(Failure::usage("`notification` of the payload is not an object"));
            };
            notification.insert(field.to_owned(), json!(text));
        }
        let (recipient, shown) = match (self.client, self.device) {
            (Some(client), _) => (PushRecipient::client(&client), client),
            (None, device) => {
                let device = device.unwrap_or_default();
                (PushRecipient::device(&device), device)
            }
        };
        self.service.rest()?.push().admin().publish(recipient, payload).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "recipient": shown, "pushed": true }))?;
        } else {
            output.line(format_args!("Pushed to {}", visible(&shown)))?;
        }
        output.flush()
    }
}

/// Reads a JSON object. For clap: an error is a text for the user.
pub(super) fn object(text: &str) -> Result<JsonObject, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
