//! Publishes a message and receives it.

use capably::{ClientOptions, Realtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::env::var("ABLY_KEY").map_err(|_| "set ABLY_KEY to an API key")?;
    let client = Realtime::connect(ClientOptions::new(key)).await?;
    let channel = client.channels().get("greetings");
    let mut messages = channel.subscribe().await?;
    channel.publish("greeting", "hello").await?;
    println!("{:?}", messages.next().await);
    client.close().await;
    Ok(())
}
