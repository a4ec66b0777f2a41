//! Presence of 10,000 members: how long the sync takes, and how much memory a member does.
//!
//! ```sh
//! cargo bench -p capably --bench presence
//! ```

#![allow(clippy::print_stdout, reason = "the figures are its output")]
#![allow(clippy::unwrap_used, reason = "a failed run has nothing to say")]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use capably::{ClientOptions, PresenceAction, PresenceMessage, Realtime};
use capably_core::{
    ChannelId, ChannelOptions, Client, Config, Credentials, Event, MembersQuery, Now, OpId,
    Outcome, Output, TransportEvent,
};
use capably_protocol::{
    ConnectionDetails, Flags, Format, Limits, ServerFrame, codec,
    frame::{Attached, Connected, Delivery},
};
use capably_server::Server;
use futures_util::future::try_join_all;

const MEMBERS: usize = 10_000;
const PAGE: usize = 100;
const RUNS: usize = 11;
/// The number of sets of members that are in memory at once for the measurement.
const HELD: usize = 10;

fn main() {
    // Before everything else: later, the allocator would reuse freed memory, and the figure would be too small.
    println!("{} bytes of memory a member", memory());
    for format in [Format::MsgPack, Format::Json] {
        let pages = pages(format);
        let size: usize = pages.iter().map(Vec::len).sum();
        let times = (0..RUNS).map(|_| synced(format, &pages).1).collect();
        println!(
            "{MEMBERS} members in {}: {} to decode and apply {} KiB of sync",
            format.name(),
            readable(times),
            size / 1024,
        );
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for binary in [true, false] {
        let times = runtime.block_on(through_a_server(binary));
        let name = if binary { Format::MsgPack.name() } else { Format::Json.name() };
        println!(
            "{MEMBERS} members in {name}: {} from attach to answer through the embedded server",
            readable(times)
        );
    }
}

/// Median and best.
fn readable(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    format!("{:.1} ms (best {:.1})", millis(times[times.len() / 2]), millis(times[0]))
}

/// What a member takes of a client's memory, in bytes.
fn memory() -> usize {
    let pages = pages(Format::MsgPack);
    let before = resident();
    let held: Vec<Client> = (0..HELD).map(|_| synced(Format::MsgPack, &pages).0).collect();
    let bytes = resident().saturating_sub(before);
    bytes / (held.len() * MEMBERS)
}

/// The frames of a sync.
fn pages(format: Format) -> Vec<Vec<u8>> {
    let members: Vec<_> = (0..MEMBERS)
        .map(|number| PresenceMessage {
            id: Some(format!("conn-{number:07}:{number}:0").into()),
            action: Some(PresenceAction::Present),
            client_id: Some(format!("user-{number:05}").into()),
            connection_id: Some(format!("conn-{number:07}").into()),
            data: format!("status of {number}").into(),
            timestamp: Some(1_700_000_000_000),
            ..PresenceMessage::default()
        })
        .collect();
    let last = MEMBERS.div_ceil(PAGE) - 1;
    let page = |(number, members): (usize, &[PresenceMessage])| {
        let mut delivery = Delivery::new("ch", members.to_vec());
        let cursor = if number == last { String::new() } else { number.to_string() };
        delivery.channel_serial = Some(format!("sync:{cursor}").into());
        let mut bytes = Vec::new();
        codec::encode_server_frame(format, &ServerFrame::Sync(delivery), &mut bytes);
        bytes
    };
    members.chunks(PAGE).enumerate().map(page).collect()
}

/// A client that has taken in the sync, and how long it took.
fn synced(format: Format, pages: &[Vec<u8>]) -> (Client, Duration) {
    let now = Now::default();
    let config = Config::new(Credentials::Key("app.key:secret".parse().unwrap()));
    let mut client = Client::new(Arc::new(config), 1, now);
    client.open_channel(ChannelId(0), "ch".into(), ChannelOptions::default());
    client.connect(now);
    let transport = loop {
        if let Output::Open { transport, .. } = client.poll_output() {
            break transport;
        }
    };
    client.handle_transport(transport, TransportEvent::Opened, now);
    client.members(ChannelId(0), MembersQuery::default(), OpId(0), now);
    let details =
        ConnectionDetails { connection_key: Some("key".into()), ..ConnectionDetails::default() };
    let connected = Connected {
        connection_id: Some("connection".into()),
        details: Some(details),
        ..Connected::default()
    };
    let attached =
        Attached { channel: "ch".into(), flags: Flags::HAS_PRESENCE, ..Attached::default() };
    for mut frame in
        [ServerFrame::Connected(connected.into()), ServerFrame::Attached(attached.into())]
    {
        client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
    }
    let start = Instant::now();
    let mut answer = 0;
    for page in pages {
        let bytes = page.clone().into();
        let mut frame = codec::decode_server_frame(format, &bytes, &Limits::default()).unwrap();
        client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
        loop {
            match client.poll_output() {
                Output::Timeout(_) => break,
                Output::Event(Event::Done(_, Ok(Outcome::Members(members)))) => {
                    answer = members.len();
                }
                _ => {}
            }
        }
    }
    let time = start.elapsed();
    assert_eq!(answer, MEMBERS);
    (client, time)
}

/// How long a client waits for the list of members, with the attach.
async fn through_a_server(binary: bool) -> Vec<Duration> {
    let server = Server::builder().max_presence_members(MEMBERS).start().await.unwrap();
    let options = || {
        ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .use_binary_protocol(binary)
    };
    let one = Realtime::connect(options()).await.unwrap();
    let channel = one.channels().get("ch");
    channel.attach().await.unwrap();
    let enters = (0..MEMBERS).map(|number| {
        let enter = channel.presence().enter_client(format!("user-{number:05}"));
        enter.data(format!("status of {number}")).into_future()
    });
    try_join_all(enters).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let other = Realtime::connect(options()).await.unwrap();
        let start = Instant::now();
        let members = other.channels().get("ch").presence().get().await.unwrap();
        times.push(start.elapsed());
        assert_eq!(members.len(), MEMBERS);
        other.close().await;
    }
    times
}

/// The memory of this process in use, in bytes, where the system tells.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}
