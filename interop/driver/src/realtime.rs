//! Our realtime client as a program.
//!
//! The first line of standard input contains the options as JSON. Each later line contains a command as JSON. The
//! program prints a line of JSON for each change of the connection or of a channel, and for the end of each publish.
//! The program ends at the end of its input.

use std::{
    error::Error as StdError,
    io::{self, BufRead, Write},
    thread,
    time::Duration,
};

use capably::{
    Channel, ClientOptions, Error, ErrorInfo, Realtime,
    realtime::{ChannelEvent, ConnectionEvent},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    endpoint: String,
    port: u16,
    format: String,
    key: Option<String>,
    token: Option<String>,
    auth_url: Option<String>,
    /// In ms, like all timeouts below.
    disconnected_retry_timeout: u64,
    suspended_retry_timeout: u64,
    channel_retry_timeout: u64,
    realtime_request_timeout: u64,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Command {
    Connect,
    Close,
    Attach { channel: String },
    Publish { channel: String, name: String },
}

pub(crate) async fn run() -> Result<(), Box<dyn StdError>> {
    let mut lines = lines();
    let settings = lines.recv().await.ok_or("there are no settings")?;
    let client = Realtime::new(options(serde_json::from_str(&settings)?))?;
    let mut changes = client.connection().changes();
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            let event = match change.event {
                ConnectionEvent::Update => "update".to_owned(),
                ConnectionEvent::State(state) => state.to_string(),
            };
            say(&json!({ "connection": event, "code": code(change.reason.as_ref()) }));
        }
    });
    while let Some(line) = lines.recv().await {
        match serde_json::from_str(&line)? {
            Command::Connect => client.connection().connect(),
            Command::Close => client.close().await,
            Command::Attach { channel } => {
                let channel = watched(&client, &channel);
                tokio::spawn(async move { channel.attach().await });
            }
            Command::Publish { channel, name } => {
                let channel = client.channels().get(channel);
                tokio::spawn(async move {
                    let result = channel.publish(name.as_str(), "data").await;
                    let code = result.err().map(|error: Error| error.code().0);
                    say(&json!({ "published": name, "code": code }));
                });
            }
        }
    }
    Ok(())
}

/// The lines of standard input. A thread reads them, because reading blocks.
pub(crate) fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn options(settings: Settings) -> ClientOptions {
    let mut options = ClientOptions::default()
        .endpoint(settings.endpoint)
        .port(settings.port)
        .tls(false)
        .auto_connect(false)
        .use_binary_protocol(settings.format == "msgpack")
        .disconnected_retry_timeout(Duration::from_millis(settings.disconnected_retry_timeout))
        .suspended_retry_timeout(Duration::from_millis(settings.suspended_retry_timeout))
        .channel_retry_timeout(Duration::from_millis(settings.channel_retry_timeout))
        .realtime_request_timeout(Duration::from_millis(settings.realtime_request_timeout));
    if let Some(key) = settings.key {
        options = options.key(key);
    }
    if let Some(token) = settings.token {
        options = options.token(token);
    }
    if let Some(url) = settings.auth_url {
        options = options.auth_url(url);
    }
    options
}

/// A channel; a task prints its changes.
fn watched(client: &Realtime, name: &str) -> Channel {
    let channel = client.channels().get(name);
    let mut changes = channel.changes();
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            let event = match change.event {
                ChannelEvent::Update => "update".to_owned(),
                ChannelEvent::State(state) => state.to_string(),
            };
            let (resumed, code) = (change.resumed, code(change.reason.as_ref()));
            say(&json!({ "channel": event, "resumed": resumed, "code": code }));
        }
    });
    channel
}

fn code(reason: Option<&ErrorInfo>) -> Option<u32> {
    reason.map(|reason| reason.code.0)
}

pub(crate) fn say(value: &Value) {
    let mut output = io::stdout().lock();
    // A failed write needs no handling: the test that read the output has ended.
    let _ = writeln!(output, "{value}").and_then(|()| output.flush());
}
