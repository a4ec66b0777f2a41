//! Tokens that arrive late, twice, or in another order than they were requested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use capably_core::{
    AuthId, Client, Config, ConnectionState, Credentials, Event, Grant, Now, OpId, Outcome, Output,
    TransportEvent, TransportId,
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, ServerFrame, frame::AuthDetails, frame::Connected,
};

/// The outputs that this test looks at.
#[derive(Default)]
struct Outputs {
    transport: Option<TransportId>,
    tokens: Vec<AuthId>,
    sent: Vec<String>,
    done: Vec<(OpId, Result<Outcome, ErrorInfo>)>,
}

fn drain(client: &mut Client) -> Outputs {
    let mut outputs = Outputs::default();
    loop {
        match client.poll_output() {
            Output::Open { transport, .. } => outputs.transport = Some(transport),
            Output::RequestToken { auth, .. } => outputs.tokens.push(auth),
            Output::Send { frame: ClientFrame::Auth(AuthDetails { access_token }), .. } => {
                outputs.sent.push(access_token.to_string());
            }
            Output::Event(Event::Done(op, outcome)) => outputs.done.push((op, outcome)),
            Output::Timeout(_) => return outputs,
            Output::Send { .. }
            | Output::Shut { .. }
            | Output::AbandonToken { .. }
            | Output::CheckConnectivity { .. }
            | Output::Event(_) => {}
        }
    }
}

fn grant(generation: u64) -> Grant {
    Grant { token: format!("token-{generation}").into(), generation, renewable: true }
}

/// The service sends a frame.
fn say(client: &mut Client, transport: TransportId, mut frame: ServerFrame, now: Now) {
    client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
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

/// A client that is connected with the token of generation 1.
fn connected_client(now: Now) -> (Client, TransportId) {
    let mut client = Client::new(Arc::new(Config::new(Credentials::Tokens)), 1, now);
    client.connect(now);
    let asked = drain(&mut client);
    assert_eq!((asked.tokens.len(), asked.transport), (1, None));
    client.handle_token(asked.tokens[0], Ok(grant(1)), now);
    let transport = drain(&mut client).transport.unwrap();
    client.handle_transport(transport, TransportEvent::Opened, now);
    say(&mut client, transport, connected(), now);
    assert_eq!(client.connection_state(), ConnectionState::Connected);
    drain(&mut client);
    (client, transport)
}

// Spec: RTC8a, RTC8a3
#[test]
fn a_token_that_arrives_after_a_newer_one_is_not_used() {
    let now = Now::default();
    let (mut client, transport) = connected_client(now);
    client.authorize(OpId(1), now);
    client.authorize(OpId(2), now);
    let asked = drain(&mut client).tokens;
    client.handle_token(asked[1], Ok(grant(3)), now);
    client.handle_token(asked[0], Ok(grant(2)), now);
    let outputs = drain(&mut client);
    assert_eq!((outputs.sent, outputs.done), (vec!["token-3".to_owned()], vec![]));
    say(&mut client, transport, connected(), now);
    let done = drain(&mut client).done;
    assert_eq!(done, [(OpId(2), Ok(Outcome::Done)), (OpId(1), Ok(Outcome::Done))]);

    // The same, once the service has answered the newer token.
    client.authorize(OpId(3), now);
    client.authorize(OpId(4), now);
    let asked = drain(&mut client).tokens;
    client.handle_token(asked[1], Ok(grant(5)), now);
    say(&mut client, transport, connected(), now);
    assert_eq!(drain(&mut client).done, [(OpId(4), Ok(Outcome::Done))]);
    client.handle_token(asked[0], Ok(grant(4)), now);
    let outputs = drain(&mut client);
    assert_eq!((outputs.sent.len(), outputs.done), (0, vec![(OpId(3), Ok(Outcome::Done))]));
}

#[test]
fn a_token_is_used_once_and_only_while_it_is_awaited() {
    let now = Now::default();
    let (mut client, transport) = connected_client(now);
    say(&mut client, transport, ServerFrame::Auth, now);
    let asked = drain(&mut client).tokens;
    assert_eq!(asked.len(), 1);
    let later = now + std::time::Duration::from_secs(11);
    client.handle_timeout(later);
    client.handle_token(asked[0], Ok(grant(2)), later);
    assert_eq!(drain(&mut client).sent.len(), 0, "it came too late");
    assert_eq!(client.error_reason().map(|error| error.code.0), Some(80019));

    say(&mut client, transport, ServerFrame::Auth, later);
    let asked = drain(&mut client).tokens;
    client.handle_token(asked[0], Ok(grant(3)), later);
    client.handle_token(asked[0], Ok(grant(4)), later);
    assert_eq!(drain(&mut client).sent, ["token-3"]);
}
