//! A push device: it is activated, receives a notification, survives a restart, and is deactivated.
//!
//! ```sh
//! cargo run -p capably --example push_device
//! ```
//!
//! The example starts its own server. Its device has the transport `ablyChannel`, for which a notification is a message on
//! a channel. A phone would use `PushRecipient::fcm` or `PushRecipient::apns`, and receive it from its platform.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::path::Path;

use capably::{
    ClientOptions, DeviceFormFactor, DevicePlatform, Realtime, Rest,
    http::HttpMethod,
    push::{FilePushStorage, PushOptions, PushRecipient},
};
use capably_server::Server;
use serde_json::{Value, json};

/// The channel on which notifications arrive, and the one that the device subscribes to.
const INBOX: &str = "example:inbox";
const NEWS: &str = "news:weather";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().start().await?;
    let key = app_with_push(&server).await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("push-device");

    // The first run of the program.
    let rest = Rest::new(options(&server, &key).push(device(&file, &key)))?;
    rest.push().activate().await?;
    rest.channels().get(NEWS).push().subscribe_device().await?;
    let first = rest.push().device().await?.id;
    println!("* activated, and subscribed to {NEWS}");
    drop(rest);

    // The second run: the device is the same, and is still subscribed.
    let client = Realtime::connect(options(&server, &key).push(device(&file, &key))).await?;
    client.push().activate().await?;
    let second = client.push().device().await?.id;
    println!(
        "* after a restart it is {} device",
        if first == second { "the same" } else { "another" }
    );

    let mut inbox = client.channels().get(INBOX).subscribe().await?;
    // Somebody publishes a message that is pushed to the subscribers.
    let extras = json!({"push": {"notification": {"title": "Rain", "body": "Take an umbrella"}}});
    let publisher = Rest::new(options(&server, &key))?;
    publisher.channels().get(NEWS).publish("forecast", "rain").extras(extras).await?;

    let message = inbox.next().await.ok_or("the subscription has ended")?;
    let pushed: Value = serde_json::from_str(message.data.as_str().ok_or("a text")?)?;
    let notification = &pushed["notification"];
    println!("* a notification: {}. {}", notification["title"], notification["body"]);

    client.push().deactivate().await?;
    let left = publisher.push().admin().device_registrations().list().await?;
    println!("* deactivated: the service has {} devices", left.items().len());
    Ok(())
}

fn device(file: &Path, key: &str) -> PushOptions {
    let address = PushRecipient::ably_channel(INBOX, key);
    PushOptions::new(DevicePlatform::Android, FilePushStorage::new(file), address)
        .form_factor(DeviceFormFactor::Embedded)
}

fn options(server: &Server, key: &str) -> ClientOptions {
    ClientOptions::new(key).endpoint(server.endpoint()).port(server.port()).tls(false)
}

/// Makes an app in which devices can subscribe to the channels of the namespace `news`. Returns a key of it.
async fn app_with_push(server: &Server) -> Result<String, Box<dyn std::error::Error>> {
    let app = json!({"keys": [{}], "namespaces": [{"id": "news", "pushEnabled": true}]});
    let owner = Rest::new(options(server, server.key()))?;
    let made = owner.request(HttpMethod::Post, "/apps").body(app).await?;
    Ok(made.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?.to_owned())
}
