//! Publishes messages to the channels of many users with a single request.
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. Without it, the example starts its
//! own server. The client's token allows only the channels `user:*`, so the service refuses the channel `staff` and
//! accepts the others.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use capably::{BatchPublishSpec, Capability, ClientOptions, Message, Operation, Rest, TokenParams};
use capably_server::Server;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_server, key, elsewhere) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, key, ClientOptions::default()),
        Err(_) => {
            let server = Server::builder().start().await?;
            let options =
                ClientOptions::default().endpoint(server.endpoint()).port(server.port()).tls(false);
            let key = server.key().to_owned();
            (Some(server), key, options)
        }
    };
    let params = TokenParams::new()
        .capability(Capability::new().allow("user:*", [Operation::Publish, Operation::History]));
    let options = elsewhere.key(key).use_token_auth(true).default_token_params(params);
    let rest = Rest::new(options)?;

    let news = BatchPublishSpec::new(
        ["user:ada", "user:bo", "staff"],
        [Message::new("release", json!({ "version": "2.0" }))],
    );
    let reminder = BatchPublishSpec::new(["user:bo"], [Message::new("reminder", "10:30, room 4")]);
    for result in rest.batch_publish_all([news, reminder]).await? {
        println!("{} published, {} refused", result.success_count, result.failure_count);
        for outcome in &result.results {
            match outcome {
                Ok(published) => println!("  {}: {:?}", published.channel, published.serials),
                Err(failure) => println!("  {}: {}", failure.channel, failure.error),
            }
        }
    }

    let page = rest.channels().get("user:bo").history().await?;
    let names: Vec<_> = page.items().iter().filter_map(|message| message.name.as_deref()).collect();
    println!("bo has, the newest first: {}", names.join(", "));
    Ok(())
}
