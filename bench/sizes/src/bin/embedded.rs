//! Publishes a message through a server in the same program, and receives it.

use capably::{ClientOptions, Realtime};
use capably_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().start().await?;
    let options =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    let client = Realtime::connect(options).await?;
    let channel = client.channels().get("greetings");
    let mut messages = channel.subscribe().await?;
    channel.publish("greeting", "hello").await?;
    println!("{:?}", messages.next().await);
    client.close().await;
    server.shutdown().await;
    Ok(())
}
