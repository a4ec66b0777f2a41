//! A reliable publisher: it is killed while it publishes, and the next process sends what is left, each message once.
//!
//! ```text
//! cargo run -p capably --example outbox
//! ```
//!
//! The example starts its own server, and itself as the publisher. The publisher accepts readings while the service
//! cannot be reached, and kills itself. Then a second publisher opens the same outbox.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use capably::{ClientOptions, Realtime, Rest, outbox::FileOutbox};
use capably_server::Server;

const READINGS: &str = "example:readings";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(directory), Some(port), Some(key)) => {
            let connects = arguments.next().is_some();
            publisher(directory.into(), options(port.parse()?, &key), connects).await
        }
        _ => both().await,
    }
}

async fn both() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().start().await?;
    let directory = std::env::temp_dir().join(format!("capably-example-{}", process::id()));
    println!("* the first publisher has no connection, and is killed");
    let status = run(&directory, &server, false)?;
    println!("* it ended with: {status}");
    println!("* the second publisher has the same outbox");
    run(&directory, &server, true)?;
    std::fs::remove_dir_all(&directory)?;

    let rest = Rest::new(options(server.port(), server.key()))?;
    let mut readings: Vec<String> = Vec::new();
    for message in rest.channels().get(READINGS).history().await?.into_items() {
        readings.insert(0, message.data.as_str().unwrap_or_default().to_owned());
    }
    println!("* the service has {}", readings.join(", "));
    assert_eq!(readings, ["reading 1", "reading 2", "reading 3", "reading 4"]);
    Ok(())
}

fn run(directory: &Path, server: &Server, connects: bool) -> std::io::Result<process::ExitStatus> {
    let mut publisher = Command::new(std::env::current_exe()?);
    publisher.arg(directory).arg(server.port().to_string()).arg(server.key());
    if connects {
        publisher.arg("connect");
    }
    publisher.status()
}

async fn publisher(
    directory: PathBuf,
    options: ClientOptions,
    connects: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let options = options.outbox(FileOutbox::open(directory)?).auto_connect(connects);
    let client = Realtime::new(options)?;
    let channel = client.channels().get(READINGS);
    let outbox = client.outbox().ok_or("the client has an outbox")?;
    let numbers = if connects { 4..=4 } else { 1..=3 };
    for number in numbers {
        channel.publish("reading", format!("reading {number}")).await?;
        println!("accepted reading {number}");
    }
    if !connects {
        // As hard an end as a crash: no destructor runs.
        process::abort();
    }
    tokio::time::timeout(Duration::from_secs(30), outbox.flush()).await??;
    println!("{:?}", outbox.metrics());
    Ok(())
}

fn options(port: u16, key: &str) -> ClientOptions {
    ClientOptions::new(key).endpoint("127.0.0.1").port(port).tls(false)
}
