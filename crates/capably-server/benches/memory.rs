//! Memory of idle clients: the bytes of a server for each connection, and for each channel with one subscriber.
//!
//! `cargo bench -p capably-server --bench memory [-- [connections] [channels] [json|msgpack]]`, on Linux. The bytes are
//! those that the system counts for the server's process (`VmRSS`), so they contain what its allocator cannot use.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

#[path = "../tests/memory/footprint.rs"]
mod footprint;

use capably_protocol::Format;

use self::footprint::{SHARING, has_served, of_channels, of_connections};

fn main() {
    if has_served() {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let connections = numbers.next().unwrap_or(10_000);
    let channels = numbers.next().unwrap_or(100_000);
    let is_json = arguments.iter().any(|argument| argument == "json");
    let format = if is_json { Format::Json } else { Format::MsgPack };
    println!(
        "{:>6} bytes for each of {connections} idle connections, {format:?}",
        of_connections(connections, format)
    );
    println!(
        "{:>6} bytes for each of {channels} channels with one subscriber, on {SHARING} connections",
        of_channels(channels, format)
    );
}
