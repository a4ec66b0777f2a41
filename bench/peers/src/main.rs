//! Compares clients of one scripted service: `capably-peers <rounds> <peer…>`. `run` builds the clients and starts this.

mod bare;
mod peer;
mod service;
mod table;

use std::{env, process::ExitCode};

use capably_protocol::Format;

use self::{
    peer::{Peer, Sample},
    table::{Table, Unit},
};

/// The channels over which the memory of one is measured.
const CHANNELS: usize = 1_000;
/// The connections of which the median is taken.
const CONNECTIONS: usize = 100;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let rounds = arguments.next().and_then(|word| word.parse().ok()).filter(|rounds| *rounds > 0);
    let peers: Option<Vec<Peer>> = arguments.map(|name| Peer::named(&name)).collect();
    let peers = peers.filter(|peers| !peers.is_empty());
    let (Some(rounds), Some(peers)) = (rounds, peers) else {
        eprintln!("Usage: capably-peers <rounds> <capably|reliably|node|python…>");
        return ExitCode::FAILURE;
    };
    match compare(rounds, &peers) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: usize, peers: &[Peer]) -> Result<Table, String> {
    let port = service::start().map_err(|error| format!("the service does not start: {error}"))?;
    let mut table = Table::new(peers);
    for figure in ["receive", "publish"] {
        for format in [Format::MsgPack, Format::Json] {
            let mut alone = Vec::new();
            let samples = by_turns(rounds, peers, |peer| {
                if *peer == peers[0] {
                    alone.push(bare::run(figure, format, port)?);
                }
                peer.run(figure, format, port, peer.messages())
            })?;
            let messages = |peer: &Peer| peer.messages() as f64;
            let what = format!("{figure}, {}", name(format));
            let rate = |peer: &Peer, sample: &Sample| messages(peer) / sample["seconds"];
            table.add(&what, Unit::MessagesPerSecond, median(&samples, rate));
            let cpu = |peer: &Peer, sample: &Sample| sample["cpu"] / messages(peer);
            table.add(&what, Unit::CpuPerMessage, median(&samples, cpu));
            alone.sort_by(f64::total_cmp);
            table.limit(&what, alone[alone.len() / 2]);
        }
    }
    let format = Format::MsgPack;
    let samples = by_turns(rounds, peers, |peer| peer.run("connect", format, port, CONNECTIONS))?;
    table.add(
        "connect and attach, median",
        Unit::Time,
        median(&samples, |_, sample| sample["p50"]),
    );
    let samples = by_turns(rounds, peers, |peer| peer.run("memory", format, port, CHANNELS))?;
    table.add(
        "memory of an idle client",
        Unit::Memory,
        median(&samples, |_, sample| sample["idle"]),
    );
    table.add(
        "of it, the process's own memory",
        Unit::Memory,
        median(&samples, |_, sample| sample["own"]),
    );
    let channel = median(&samples, |_, sample| sample["channel"]);
    table.add("memory of one further channel", Unit::Memory, channel);
    Ok(table)
}

/// All samples of a peer.
type Samples<'a> = Vec<(&'a Peer, Vec<Sample>)>;

/// Runs each peer once a round, so that a change of the machine's load meets all of them.
fn by_turns<'a>(
    rounds: usize,
    peers: &'a [Peer],
    mut run: impl FnMut(&Peer) -> Result<Sample, String>,
) -> Result<Samples<'a>, String> {
    let mut samples: Samples<'a> = peers.iter().map(|peer| (peer, Vec::new())).collect();
    for _ in 0..rounds {
        for (peer, samples) in &mut samples {
            samples.push(run(peer)?);
        }
    }
    Ok(samples)
}

fn median(samples: &Samples<'_>, value: impl Fn(&Peer, &Sample) -> f64) -> Vec<f64> {
    let of = |(peer, samples): &(&Peer, Vec<Sample>)| {
        let mut values: Vec<f64> = samples.iter().map(|sample| value(peer, sample)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    samples.iter().map(of).collect()
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Json => "JSON",
        Format::MsgPack => "MessagePack",
    }
}
