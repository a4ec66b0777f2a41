//! Outputs come in the order of their causes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use capably_core::{
    ChannelId, ChannelOptions, ChannelState, Client, Config, ConnectionState, Credentials, Event,
    Now, OpId, Output, TransportEvent, TransportId,
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, ServerFrame,
    frame::{Attached, Connected},
};

/// The outputs that this test looks at: states, and frames about channels.
#[derive(Debug, PartialEq)]
enum Said {
    Connection(ConnectionState),
    Channel(ChannelId, ChannelState),
    Attach(String),
}

/// The outputs of the client, and the transport that it requests, if any.
fn drain(client: &mut Client) -> (Vec<Said>, Option<TransportId>) {
    let (mut said, mut opened) = (Vec::new(), None);
    loop {
        match client.poll_output() {
            Output::Timeout(_) => return (said, opened),
            Output::Open { transport, .. } => opened = Some(transport),
            Output::Event(Event::Connection(change)) => said.push(Said::Connection(change.current)),
            Output::Event(Event::Channel(id, change)) => {
                said.push(Said::Channel(id, change.current))
            }
            Output::Send { frame: ClientFrame::Attach(attach), .. } => {
                said.push(Said::Attach(attach.channel.to_string()));
            }
            _ => {}
        }
    }
}

fn connected() -> ServerFrame {
    ServerFrame::Connected(Box::new(Connected {
        connection_id: Some("connection".into()),
        details: Some(ConnectionDetails {
            connection_key: Some("key".into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    }))
}

// Spec: RTL3d1
#[test]
fn channels_attach_before_the_connection_emits_connected() {
    let now = Now::default();
    let key = Credentials::Key("app.key:secret".parse().unwrap());
    let mut client = Client::new(Arc::new(Config::new(key)), 1, now);
    let (attached, waiting, idle) = (ChannelId(0), ChannelId(1), ChannelId(2));
    for (id, name) in [(attached, "attached"), (waiting, "waiting"), (idle, "idle")] {
        client.open_channel(id, name.into(), ChannelOptions::default());
    }
    client.connect(now);
    let transport = drain(&mut client).1.unwrap();
    client.handle_transport(transport, TransportEvent::Opened, now);
    client.handle_transport(transport, TransportEvent::Frame(&mut connected()), now);
    client.attach(attached, OpId(0), now);
    let frame = Attached { channel: "attached".into(), ..Attached::default() };
    let mut frame = ServerFrame::Attached(Box::new(frame));
    client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
    let lost = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "lost"));
    client.handle_transport(transport, lost, now);
    client.attach(waiting, OpId(1), now);
    let (_, transport) = drain(&mut client);
    let transport = transport.unwrap();
    client.handle_transport(transport, TransportEvent::Opened, now);
    client.handle_transport(transport, TransportEvent::Frame(&mut connected()), now);
    assert_eq!(
        drain(&mut client).0,
        [
            Said::Channel(attached, ChannelState::Attaching),
            Said::Attach("attached".into()),
            Said::Attach("waiting".into()),
            Said::Connection(ConnectionState::Connected),
        ]
    );
}
