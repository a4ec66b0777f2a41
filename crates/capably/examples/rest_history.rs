//! Publishes to a channel over REST and reads its history back, page by page.
//!
//! With `ABLY_KEY` it uses Ably's service; without, a server of its own.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use capably::{ClientOptions, Message, Rest, rest::Direction};
use capably_server::Server;
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_server, options) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, ClientOptions::new(key)),
        Err(_) => {
            let server = Server::builder().start().await?;
            let options = ClientOptions::new(server.key())
                .endpoint(server.endpoint())
                .port(server.port())
                .tls(false);
            (Some(server), options)
        }
    };
    let rest = Rest::new(options)?;
    let channel = rest.channels().get("example:history");

    let published = channel.publish("greeting", "hello").await?;
    println!("published {:?}", published.serials);
    let messages: Vec<_> =
        (1..=5).map(|n| Message::new("count", serde_json::json!({ "n": n }))).collect();
    channel.publish_messages(messages).await?;

    let page = channel.history().direction(Direction::Forwards).limit(2).await?;
    let mut messages = std::pin::pin!(page.items_stream());
    while let Some(message) = messages.try_next().await? {
        println!("{:?} {:?}", message.name.as_deref(), message.data);
    }
    Ok(())
}
