//! Writes the history of a channel to standard output as JSON: one message per line, the oldest first.
//!
//! Run `cargo run --example history_export -- <channel> [<from> [<to>]]`. The times are in ms since the epoch. With
//! the environment variable `ABLY_KEY`, the example reads from Ably's service. Without it, the example starts its
//! own server with some messages.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{env, error::Error};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{ClientOptions, Data, Message, Rest, rest::Direction};
use capably_server::Server;
use futures_util::TryStreamExt;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let channel = arguments.next().unwrap_or_else(|| "example:history".to_owned());
    let [from, to] = [arguments.next(), arguments.next()];

    let (_server, rest) = match env::var("ABLY_KEY") {
        Ok(key) => (None, Rest::new(key)?),
        Err(_) => {
            let (server, rest) = sample(&channel).await?;
            (Some(server), rest)
        }
    };

    let mut history = rest.channels().get(channel).history();
    history = history.direction(Direction::Forwards).limit(1000);
    if let Some(from) = from {
        history = history.start(from.parse::<capably::Millis>()?);
    }
    if let Some(to) = to {
        history = history.end(to.parse::<capably::Millis>()?);
    }
    // The stream fetches each page only when the loop needs its messages.
    let mut messages = std::pin::pin!(history.await?.items_stream());
    while let Some(message) = messages.try_next().await? {
        println!("{}", line(&message));
    }
    Ok(())
}

/// Converts a message to JSON. Text stays as it is; bytes become base64.
fn line(message: &Message) -> Value {
    let mut line = json!({
        "id": message.id,
        "timestamp": message.timestamp,
        "clientId": message.client_id,
        "name": message.name,
    });
    let (data, encoding) = match &message.data {
        Data::None => (Value::Null, None),
        Data::Text(text) => (json!(text), None),
        Data::Json(value) => (value.clone(), Some("json")),
        Data::Binary(bytes) => (json!(BASE64_STANDARD.encode(bytes)), Some("base64")),
    };
    line["data"] = data;
    line["encoding"] = json!(encoding);
    line
}

/// Starts a server with some messages on the channel, and creates a client for it.
async fn sample(channel: &str) -> Result<(Server, Rest), Box<dyn Error>> {
    let server = Server::builder().start().await?;
    let options =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    let rest = Rest::new(options)?;
    let channel = rest.channels().get(channel);
    channel.publish("greeting", "hello").client_id("ada").await?;
    let bytes = Message::new("bytes", vec![0, 159, 146, 150]);
    let json = Message::new("reading", json!({ "celsius": 21.5 }));
    channel.publish_messages([bytes, json]).await?;
    Ok((server, rest))
}
