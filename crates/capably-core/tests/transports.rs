//! Events count only if they are of the current transport.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use capably_core::{
    Client, Config, ConnectionState, Credentials, Now, Output, TransportEvent, TransportId,
};
use capably_protocol::{
    ConnectionDetails, ErrorInfo, ServerFrame,
    frame::{Connected, ErrorFrame},
};

/// The transport that the client requests next, if any.
fn opened(client: &mut Client) -> Option<TransportId> {
    let mut opened = None;
    loop {
        match client.poll_output() {
            Output::Open { transport, .. } => opened = Some(transport),
            Output::Timeout(_) => return opened,
            Output::Send { .. }
            | Output::Shut { .. }
            | Output::RequestToken { .. }
            | Output::AbandonToken { .. }
            | Output::CheckConnectivity { .. }
            | Output::Event(_) => {}
        }
    }
}

fn connected(id: &str) -> ServerFrame {
    ServerFrame::Connected(Box::new(Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some("key".into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    }))
}

#[test]
fn events_of_an_old_transport_are_ignored() {
    let now = Now::default();
    let key = Credentials::Key("app.key:secret".parse().unwrap());
    let mut client = Client::new(Arc::new(Config::new(key)), 1, now);
    client.connect(now);
    let old = opened(&mut client).unwrap();
    client.handle_transport(old, TransportEvent::Opened, now);
    client.handle_transport(old, TransportEvent::Frame(&mut connected("first")), now);
    let lost = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "lost"));
    client.handle_transport(old, lost, now);
    let new = opened(&mut client).unwrap();
    assert_ne!(old, new);

    let error = Some(ErrorInfo::new(40101.into(), 401, "wrong"));
    let fatal = || {
        let error = error.clone();
        ServerFrame::Error(ErrorFrame { channel: None, error })
    };
    let (mut stray, mut error) = (connected("old"), fatal());
    let frames = [&mut stray, &mut error].map(TransportEvent::Frame);
    for event in frames.into_iter().chain([TransportEvent::Opened]) {
        client.handle_transport(old, event, now);
        assert_eq!(client.connection_state(), ConnectionState::Connecting);
    }
    client.handle_transport(new, TransportEvent::Opened, now);
    client.handle_transport(new, TransportEvent::Frame(&mut connected("first")), now);
    client.handle_transport(old, TransportEvent::Frame(&mut fatal()), now);
    assert_eq!(client.connection_state(), ConnectionState::Connected);
    assert_eq!(client.connection_id().map(|id| &**id), Some("first"));
    client.handle_transport(new, TransportEvent::Frame(&mut fatal()), now);
    assert_eq!(client.connection_state(), ConnectionState::Failed);
}
