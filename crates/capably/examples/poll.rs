//! A poll with counters. Several processes count at the same time, and no vote is lost.
//!
//! ```sh
//! cargo run -p capably --example poll
//! ```
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. Without it, the example starts its own server.
//! It then starts itself in several processes, each of which votes.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    collections::BTreeMap,
    env,
    process::{Child, Command},
};

use capably::{
    ChannelMode, ClientOptions, Realtime,
    realtime::{
        RealtimeChannelOptions,
        objects::{LiveCounter, LiveMap, PathObject},
    },
};
use capably_server::Server;

const PROCESSES: usize = 4;
/// The votes of each process.
const VOTES: usize = 25;
const DRINKS: [&str; 3] = ["tea", "coffee", "cocoa"];

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // A process that votes gets its number, and the address of the server if there is one.
        ["vote", number] => vote(number.parse()?, options(None)).await,
        ["vote", number, host, port] => {
            vote(number.parse()?, options(Some((host, port.parse()?)))).await
        }
        _ => count().await,
    }
}

/// Makes the poll, lets other processes vote, and watches the votes come in.
async fn count() -> Result<(), Failure> {
    let server = match env::var("ABLY_KEY") {
        Ok(_) => None,
        Err(_) => Some(Server::builder().start().await?),
    };
    let address = server.as_ref().map(|server| (server.endpoint(), server.port()));
    let options = match &server {
        Some(server) => options(address).key(server.key()),
        None => options(None),
    };
    let client = Realtime::connect(options).await?;
    let root = open(&client).await?;
    // A new poll takes the place of an earlier one.
    let votes = LiveMap::from_iter(DRINKS.map(|drink| (drink, LiveCounter::default())));
    root.set("votes", votes).await?;
    let votes = root.get("votes");
    let mut changes = votes.subscribe().await?;

    let key = server.as_ref().map(|server| server.key());
    let voters = (0..PROCESSES).map(|number| start(number, address, key));
    let voters = voters.collect::<Result<Vec<_>, _>>()?;
    let voted = tokio::task::spawn_blocking(|| finish(voters));

    let expected = (PROCESSES * VOTES) as u64;
    let mut voted = std::pin::pin!(voted);
    let (mut is_finished, mut shown) = (false, None);
    loop {
        let (total, text) = totals(&votes)?;
        if total % 10 == 0 && shown != Some(total) {
            println!("{total} votes: {text}");
            shown = Some(total);
        }
        if total == expected && is_finished {
            println!("{PROCESSES} processes have counted {total} votes: {text}");
            break;
        }
        tokio::select! {
            result = &mut voted, if !is_finished => {
                result??;
                is_finished = true;
            }
            change = changes.next() => drop(change.ok_or("the subscription ended")?),
        }
    }
    client.close().await;
    Ok(())
}

/// The number of all votes, and of each drink.
fn totals(votes: &PathObject) -> Result<(u64, String), Failure> {
    let votes: BTreeMap<String, u64> = votes.read_as()?.ok_or("the poll is gone")?;
    let text: Vec<_> = votes.iter().map(|(drink, count)| format!("{drink} {count}")).collect();
    Ok((votes.values().sum(), text.join(", ")))
}

/// Starts a process that votes.
fn start(
    number: usize,
    address: Option<(&str, u16)>,
    key: Option<&str>,
) -> Result<Child, std::io::Error> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["vote", &number.to_string()]);
    if let Some((host, port)) = address {
        command.args([host, &port.to_string()]);
    }
    // Not as an argument: the system shows arguments to all users.
    command.envs(key.map(|key| ("ABLY_KEY", key))).spawn()
}

fn finish(voters: Vec<Child>) -> Result<(), std::io::Error> {
    for mut voter in voters {
        if !voter.wait()?.success() {
            return Err(std::io::Error::other("a process could not vote"));
        }
    }
    Ok(())
}

/// Votes, one vote after the other. An increment of a counter needs no reading before it.
async fn vote(number: usize, options: ClientOptions) -> Result<(), Failure> {
    let client = Realtime::connect(options).await?;
    let root = open(&client).await?;
    for at in 0..VOTES {
        let drink = DRINKS[(number * VOTES + at) % DRINKS.len()];
        root.get("votes").get(drink).increment(1).await?;
    }
    client.close().await;
    Ok(())
}

/// Attaches the channel of the poll.
async fn open(client: &Realtime) -> Result<PathObject, capably::Error> {
    let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
    let options = RealtimeChannelOptions::new().modes(modes);
    client.channels().get_with("example:poll", options).objects().get().await
}

/// Options with the key of the environment, and for the example's own server if there is one.
fn options(address: Option<(&str, u16)>) -> ClientOptions {
    let options = match env::var("ABLY_KEY") {
        Ok(key) => ClientOptions::new(key),
        Err(_) => ClientOptions::default(),
    };
    match address {
        Some((host, port)) => options.endpoint(host).port(port).tls(false),
        None => options,
    }
}
