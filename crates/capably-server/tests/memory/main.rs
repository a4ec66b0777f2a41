//! The memory of a server: bounds on what each idle connection and each channel adds to it.
//!
//! Without a harness: this program is also the server that is measured.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[cfg(target_os = "linux")]
mod footprint;

/// The connections. With those before the measurement, they fit into the usual limit of 1024 open files.
#[cfg(target_os = "linux")]
const CONNECTIONS: usize = 800;

#[cfg(target_os = "linux")]
const CHANNELS: usize = 20_000;

/// The most bytes for an idle connection.
#[cfg(target_os = "linux")]
const CONNECTION: usize = 6 * 1024;

/// The most bytes for a channel with one subscriber.
#[cfg(target_os = "linux")]
const CHANNEL: usize = 2 * 1024;

#[cfg(target_os = "linux")]
fn main() {
    use capably_protocol::Format;

    if footprint::has_served() {
        return;
    }
    for format in [Format::Json, Format::MsgPack] {
        let connection = footprint::of_connections(CONNECTIONS, format);
        assert!(connection <= CONNECTION, "{connection} bytes for an idle connection, {format:?}");
    }
    println!("an_idle_connection_takes_little_memory ... ok");
    let channel = footprint::of_channels(CHANNELS, Format::MsgPack);
    assert!(channel <= CHANNEL, "{channel} bytes for a channel");
    println!("a_channel_with_one_subscriber_takes_little_memory ... ok");
}

/// Other systems do not show the memory of a process as a file.
#[cfg(not(target_os = "linux"))]
fn main() {}
