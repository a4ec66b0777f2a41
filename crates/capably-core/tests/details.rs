//! The details of a connection in CONNECTED.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use capably_core::{Client, Config, Credentials, Now, Output, TransportEvent};
use capably_protocol::{ConnectionDetails, ServerFrame, frame::Connected};

// Spec: CD2, CD2e, CD2g, CD2i, CD2j
#[test]
fn the_details_of_connected_apply_until_the_next_connected() {
    let now = Now::default();
    let key = Credentials::Key("app.key:secret".parse().unwrap());
    let mut client = Client::new(Arc::new(Config::new(key)), 1, now);
    assert_eq!(client.connection_details(), &ConnectionDetails::default());
    client.connect(now);
    let transport = loop {
        if let Output::Open { transport, .. } = client.poll_output() {
            break transport;
        }
    };
    client.handle_transport(transport, TransportEvent::Opened, now);
    let mut say = |details: ConnectionDetails| {
        let mut frame = ServerFrame::Connected(Box::new(Connected {
            connection_id: Some("id".into()),
            details: Some(details),
            error: None,
        }));
        client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
        client.connection_details().clone()
    };
    let limits = ConnectionDetails {
        max_inbound_rate: Some(50),
        server_id: Some("server-1".into()),
        objects_gc_grace_period: Some(86_400_000),
        site_code: Some("site-1".into()),
        ..ConnectionDetails::default()
    };
    // The key is not among the details: it is cleared at other times.
    let key = Some("key-1".into());
    assert_eq!(say(ConnectionDetails { connection_key: key, ..limits.clone() }), limits);
    let elsewhere =
        ConnectionDetails { site_code: Some("site-2".into()), ..ConnectionDetails::default() };
    let key = Some("key-2".into());
    assert_eq!(say(ConnectionDetails { connection_key: key, ..elsewhere.clone() }), elsewhere);
    assert_eq!(client.connection_key().map(|key| &**key), Some("key-2"));
}
