//! A chat in the terminal: it shows the members, their arrivals and departures, and their messages. The example
//! ends at the end of its input.
//!
//! ```sh
//! cargo run -p capably --example chat -- ada
//! ```
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. All users with the same key are in
//! the same room. Without the variable, the example starts its own server, where a host waits in the room.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::io::BufRead;

use capably::{Channel, ClientOptions, PresenceAction, PresenceMessage, Realtime};
use capably_server::Server;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "guest".to_owned());
    let (_server, options) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, ClientOptions::new(key)),
        Err(_) => {
            let server = Server::builder().start().await?;
            let options = ClientOptions::new(server.key())
                .endpoint(server.endpoint())
                .port(server.port())
                .tls(false);
            let host = enter(options.clone().client_id("host"), "glad to see you").await?;
            tokio::spawn(welcome(host));
            (Some(server), options)
        }
    };
    let client = Realtime::connect(options.client_id(name.as_str())).await?;
    let room = client.channels().get("example:chat");
    let mut messages = room.subscribe().await?;
    let mut events = room.presence().subscribe().await?;
    for member in room.presence().get().await? {
        println!("* {}", describe(&member));
    }
    room.presence().enter().data("chatting").await?;

    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    room.publish("line", line).await?;
                }
                None => break,
            },
            Some(event) = events.next() => {
                // The program has already listed the members that were present at the start.
                if event.action != Some(PresenceAction::Present) {
                    println!("* {}", describe(&event));
                }
            }
            Some(message) = messages.next() => {
                let who = message.client_id.as_deref().unwrap_or("somebody");
                println!("<{who}> {}", message.data.as_str().unwrap_or("…"));
            }
        }
    }
    room.presence().leave().data("good night").await?;
    client.close().await;
    Ok(())
}

/// Connects a client and enters it into the room.
async fn enter(options: ClientOptions, status: &str) -> Result<Channel, capably::Error> {
    let room = Realtime::connect(options).await?.channels().get("example:chat");
    room.presence().enter().data(status).await?;
    Ok(room)
}

/// Greets every member that enters.
async fn welcome(room: Channel) -> Result<(), capably::Error> {
    let mut entering = room.presence().subscribe().action(PresenceAction::Enter).await?;
    while let Some(member) = entering.next().await {
        let name = member.client_id.unwrap_or_default();
        if name != "host" {
            room.publish("line", format!("welcome, {name}")).await?;
        }
    }
    Ok(())
}

fn describe(member: &PresenceMessage) -> String {
    let who = member.client_id.as_deref().unwrap_or("somebody");
    let did = match member.action {
        Some(PresenceAction::Enter) => "enters",
        Some(PresenceAction::Leave) => "leaves",
        Some(PresenceAction::Update) => "is now",
        _ => "is here",
    };
    match member.data.as_str() {
        Some(status) => format!("{who} {did}: {status}"),
        None => format!("{who} {did}"),
    }
}

/// The lines of standard input. A thread reads them, because reading blocks.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
