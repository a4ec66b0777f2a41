//! A to-do list in the terminal that several people share. A line adds an item, `done 2` ticks the second item, and `drop 2`
//! removes it. Changes by others appear at once. The example ends at the end of its input.
//!
//! ```sh
//! cargo run -p capably --example todo -- ada
//! ```
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. All users with the same key have the same list.
//! Without the variable, the example starts its own server, where a flatmate has begun the list.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{io::BufRead, time::SystemTime};

use capably::{
    ChannelMode, ClientOptions, Realtime,
    realtime::{
        RealtimeChannelOptions,
        objects::{LiveMap, PathObject},
    },
};
use capably_server::Server;
use serde::Deserialize;
use tokio::sync::mpsc;

/// An item of the list. Each is a map of its own, so that one can tick an item while another changes its text.
#[derive(Debug, Deserialize)]
struct Item {
    text: String,
    done: bool,
    by: String,
}

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
            begin(options.clone().client_id("bo")).await?;
            (Some(server), options)
        }
    };
    let client = Realtime::connect(options.client_id(name.as_str())).await?;
    let list = open(&client).await?;
    let mut changes = list.subscribe().await?;
    show(&list)?;

    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                // A refused change, such as that of an item that is gone, does not end the program.
                Some(line) => if let Err(error) = obey(&list, &name, line.trim()).await {
                    println!("that did not work: {error}");
                },
                None => break,
            },
            Some(change) = changes.next() => {
                let sender = change.message.as_ref().and_then(|message| message.client_id.as_deref());
                println!("{} has changed the list:", sender.unwrap_or("somebody"));
                show(&list)?;
            }
        }
    }
    client.close().await;
    Ok(())
}

/// Attaches the channel of the list. The items are keys of the root, which always exists.
async fn open(client: &Realtime) -> Result<PathObject, capably::Error> {
    let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
    let options = RealtimeChannelOptions::new().modes(modes);
    client.channels().get_with("example:todo", options).objects().get().await
}

/// The list of the flatmate.
async fn begin(options: ClientOptions) -> Result<(), capably::Error> {
    let client = Realtime::connect(options).await?;
    let list = open(&client).await?;
    for text in ["buy milk", "water the plants"] {
        obey(&list, "bo", text).await?;
    }
    obey(&list, "bo", "done 2").await?;
    client.close().await;
    Ok(())
}

/// Changes the list as a line asks.
async fn obey(list: &PathObject, name: &str, line: &str) -> Result<(), capably::Error> {
    let number = |text: &str| text.trim().parse::<usize>().ok()?.checked_sub(1);
    let item = |text| number(text).and_then(|at| items(list).ok()?.into_iter().nth(at));
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, item(rest)) {
        ("done", Some((key, _))) => list.get(key).set("done", true).await,
        ("drop", Some((key, _))) => list.remove(key).await,
        ("", _) => Ok(()),
        _ => {
            // Keys are in the order of time.
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
            let item = LiveMap::new().with("text", line).with("done", false).with("by", name);
            list.set(format!("{now:020} {name}"), item).await
        }
    }
}

/// The items with their keys. Others may write anything to the channel, so that what is no item is left out.
fn items(list: &PathObject) -> Result<Vec<(String, Item)>, capably::Error> {
    let entries = list.entries()?.into_iter();
    let items = entries.filter_map(|(key, place)| {
        let item = place.read_as::<Item>().ok().flatten()?;
        Some((key.to_string(), item))
    });
    Ok(items.collect())
}

fn show(list: &PathObject) -> Result<(), capably::Error> {
    for (at, (_, Item { text, done, by })) in items(list)?.into_iter().enumerate() {
        let mark = if done { 'x' } else { ' ' };
        // Escaped, so that the text of others does not control the terminal.
        println!("{} [{mark}] {} ({})", at + 1, text.escape_debug(), by.escape_debug());
    }
    Ok(())
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
