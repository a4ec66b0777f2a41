//! The data that outlives a transport, and the data that does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use capably_core::{
    AuthFailure, ChannelId, ChannelOptions, ChannelState, ConnectionState, Event, OpId, Timer,
};
use capably_protocol::{
    ClientFrame, Flags, Message, RecoveryKey, ServerFrame,
    frame::{Attached, Delivery},
};

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Spec: RTN15c6, RTN15c7, RTN19a2
#[test]
fn the_connection_id_and_not_an_error_decides_whether_it_was_resumed() {
    let mut bench = Bench::connected(with_key());
    bench.attached(CHANNEL, "ch");
    for (op, text) in [(1, "a"), (2, "b")] {
        bench.publish(CHANNEL, text, OpId(op));
    }
    bench.say(ack(0));
    assert_eq!(bench.did().published(), [(0, "a"), (1, "b")]);

    // The same id with an error: the service has the first message, and serials continue.
    bench.lose(80003);
    bench.accept(connected_with("connection", |connected| connected.error = error(80018, 400)));
    assert_eq!(bench.did().published(), [(1, "b")]);
    assert_eq!(bench.client.error_reason().unwrap().code.0, 80018);

    // Another id without an error: the service has no message, and serials start again at 0.
    bench.lose(80003);
    bench.accept(connected("another"));
    assert_eq!(bench.did().published(), [(0, "b")]);
    assert_eq!(bench.client.error_reason(), None);
}

// Spec: RTB1, RTN14d
#[test]
fn an_established_connection_resets_the_backoff() {
    let mut bench = Bench::connected(with_key());
    let waits = |bench: &mut Bench, count: usize| {
        bench.lose(80003);
        let mut waits = Vec::new();
        for _ in 0..count {
            bench.lose(80003);
            let wait = bench.did().states.last().unwrap().2.unwrap();
            bench.advance(wait);
            waits.push(wait.as_secs());
        }
        waits
    };
    let first = waits(&mut bench, 4);
    assert!((24..=30).contains(&first[3]), "the fourth wait is about twice as long: {first:?}");
    bench.accept(connected("connection"));
    let second = waits(&mut bench, 1);
    assert!((12..=15).contains(&second[0]), "{second:?}");
}

// Spec: RTN14e
#[test]
fn a_connected_client_does_not_wait_for_the_end_of_its_connection() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.advance(seconds(9));
    let quiet = |id| {
        connected_with(id, |connected| {
            connected.details.as_mut().unwrap().max_idle_interval = Some(0);
        })
    };
    bench.accept(quiet("connection"));
    // The service promises no heartbeats, so there is no silence to wait for either.
    assert_eq!(bench.next_timer(), None);
    bench.lose(80003);
    assert_eq!(bench.next_timer(), Some(Timer::Connect));
    bench.accept(quiet("connection"));
    assert_eq!(bench.next_timer(), None);
    bench.advance(seconds(600));
    assert_eq!(bench.client.connection_state(), ConnectionState::Connected);
}

// Spec: RTN11d, RTN16k, RTN16j, RTN16l
#[test]
fn a_closed_client_does_not_recover_its_connection() {
    let mut config = with_key();
    config.client_id = Some("me".into());
    config.recover = Some(recovery_key());
    let mut bench = Bench::new(config);
    bench.client.connect(bench.now);
    assert_eq!(bench.did().opened[0].param("recover"), Some("old!key"));
    bench.client.close(bench.now);
    bench.client.connect(bench.now);
    let request = bench.did().opened.remove(0);
    assert_eq!((request.param("recover"), request.param("resume")), (None, None));
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    bench.client.attach(CHANNEL, OpId(0), bench.now);
    bench.accept(connected("connection"));
    bench.publish(CHANNEL, "a", OpId(1));
    let did = bench.did();
    assert_eq!(did.published(), [(0, "a")]);
    let [ClientFrame::Attach(attach), _] = &did.sent[..] else { panic!("{did:?}") };
    assert_eq!(attach.channel_serial, None);
}

// Spec: RTN16k, RTN16f, RTN15c7
#[test]
fn only_the_first_connection_of_a_client_recovers() {
    let mut config = with_key();
    config.recover = Some(recovery_key());
    let mut bench = Bench::new(config);
    bench.client.connect(bench.now);
    bench.accept(connected("old"));
    bench.attached(CHANNEL, "ch");
    bench.publish(CHANNEL, "a", OpId(1));
    assert_eq!(bench.did().published(), [(7, "a")]);
    bench.lose(80003);
    let request = bench.did().opened.remove(0);
    assert_eq!((request.param("recover"), request.param("resume")), (None, Some("old!key")));
    // The connection id decides whether the connection continues.
    bench.accept(connected("another"));
    assert_eq!(bench.did().published(), [(0, "a")]);
}

// Spec: RTN16j, RTL12
#[test]
fn the_gap_of_a_channel_that_is_not_recovered_begins_where_the_earlier_client_was() {
    let mut config = with_key();
    config.recover = Some(recovery_key());
    let mut bench = Bench::new(config);
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    bench.client.connect(bench.now);
    bench.accept(connected("old"));
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.say(attached("ch"));
    let told = bench.did().told;
    let gap = told.iter().find_map(|event| match event {
        Event::Gap(CHANNEL, gap) => Some(gap.after.as_deref()),
        _ => None,
    });
    assert_eq!(gap, Some(Some("serial-of-ch")), "{told:?}");
}

/// The earlier client may have entered a channel that its recovery key does not name.
// Spec: RTN16, RTS4a
#[test]
fn a_recovered_client_detaches_released_channels_that_it_has_not_attached() {
    for (recover, expected) in [(Some(recovery_key()), 1), (None, 0)] {
        let mut config = with_key();
        config.recover = recover;
        let mut bench = Bench::new(config);
        bench.client.open_channel(CHANNEL, "other".into(), ChannelOptions::default());
        bench.client.connect(bench.now);
        bench.accept(connected("old"));
        bench.did();
        bench.client.release_channel(CHANNEL, bench.now);
        let detach = ClientFrame::Detach { channel: "other".into() };
        assert_eq!(bench.did().sent, vec![detach; expected]);
    }
}

// Spec: RTN16l
#[test]
fn a_recovery_with_an_error_counts_as_failed() {
    for (error, serial) in [(None, 7), (error(80018, 400), 0)] {
        let mut config = with_key();
        config.recover = Some(recovery_key());
        let mut bench = Bench::new(config);
        bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
        bench.publish(CHANNEL, "a", OpId(1));
        bench.client.connect(bench.now);
        bench.accept(connected_with("of another client", |connected| connected.error = error));
        assert_eq!(bench.did().published(), [(serial, "a")]);
    }
}

// Spec: RTN11d, RSA7b3
#[test]
fn the_confirmed_identity_ends_with_its_connection() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.accept(connected_with("connection", |connected| {
        connected.details.as_mut().unwrap().client_id = Some("somebody".into());
    }));
    assert_eq!(bench.client.client_id().map(|id| &**id), Some("somebody"));
    bench.say(fatal(40000, 400));
    bench.client.connect(bench.now);
    assert_eq!(bench.client.confirmed_client_id(), None);
    assert_eq!(bench.client.client_id(), None);
}

#[test]
fn a_short_lived_connection_is_measured_from_connected() {
    let mut bench = Bench::new(with_key());
    bench.advance(seconds(60));
    bench.client.connect(bench.now);
    bench.accept(connected("connection"));
    bench.did();
    for _ in 0..5 {
        bench.lose(80003);
        assert_eq!(bench.did().states[0].2, Some(Duration::ZERO));
        bench.accept(connected("connection"));
        bench.did();
    }
    bench.lose(80003);
    let did = bench.did();
    assert_eq!(did.entered(), [ConnectionState::Disconnected]);
    assert!(did.states[0].2.unwrap() >= seconds(12), "{did:?}");
}

#[test]
fn a_connection_that_lasted_a_second_is_not_short_lived() {
    let mut bench = Bench::connected(with_key());
    for _ in 0..20 {
        bench.advance(seconds(1));
        bench.lose(80003);
        assert_eq!(bench.did().states[0].2, Some(Duration::ZERO));
        bench.accept(connected("connection"));
        bench.did();
    }
}

// Spec: RTN12b, RTN12f
#[test]
fn closing_has_its_own_time_limit_once_the_service_has_accepted() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.open();
    bench.advance(seconds(5));
    bench.client.close(bench.now);
    bench.advance(seconds(4));
    bench.say(connected("connection"));
    assert_eq!(bench.did().sent, [ClientFrame::Close]);
    // The attempt's deadline passes, and the service has nine seconds left to answer.
    bench.advance(Duration::from_millis(9_999));
    assert_eq!(bench.client.connection_state(), ConnectionState::Closing);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.did().entered(), [ConnectionState::Closed]);
}

// Spec: RTN24, RTN23a
#[test]
fn an_update_changes_how_long_the_service_may_be_silent() {
    let mut bench = Bench::connected(with_key());
    bench.say(connected_with("connection", |connected| {
        connected.details.as_mut().unwrap().max_idle_interval = Some(1_000);
    }));
    bench.did();
    bench.advance(Duration::from_millis(10_999));
    assert_eq!(bench.did().entered(), []);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.did().entered()[0], ConnectionState::Disconnected);
}

// Spec: RTN24, RTN25
#[test]
fn an_unsolicited_update_leaves_the_error_reason() {
    let mut bench = Bench::connected(with_tokens());
    bench.say(ServerFrame::Auth);
    let (auth, _) = bench.did().tokens[0];
    let refusal = AuthFailure::Refused(error(40000, 500).unwrap());
    bench.client.handle_token(auth, Err(refusal), bench.now);
    assert_eq!(bench.client.error_reason().map(|error| error.code.0), Some(80019));
    bench.say(connected("connection"));
    assert_eq!(bench.client.error_reason().map(|error| error.code.0), Some(80019));
}

// Spec: RTL15b, RTL17, RTL4c1
#[test]
fn a_gap_from_before_two_drops_is_emitted_once_the_channel_is_attached() {
    let mut bench = Bench::connected(with_key());
    bench.attached(CHANNEL, "ch");
    bench.say(message("001"));
    bench.lose(80003);
    bench.accept(connected("connection"));
    // The message moves the channel, which is attaching, and is not delivered.
    bench.say(message("002"));
    for _ in 0..2 {
        bench.lose(80003);
        bench.accept(connected("connection"));
        let did = bench.did();
        let Some(ClientFrame::Attach(attach)) = did.sent.last() else { panic!("{did:?}") };
        assert_eq!(attach.channel_serial.as_deref(), Some("002"));
    }
    bench.say(ServerFrame::Attached(Box::new(Attached {
        channel: "ch".into(),
        flags: Flags::RESUMED,
        channel_serial: Some("002".into()),
        ..Attached::default()
    })));
    let told = bench.did().told;
    let gap = told.iter().find_map(|event| match event {
        Event::Gap(CHANNEL, gap) => Some((gap.after.as_deref(), gap.until.as_deref())),
        _ => None,
    });
    assert_eq!(gap, Some((Some("001"), Some("002"))), "{told:?}");
}

// Spec: RTN13b
#[test]
fn a_ping_fails_when_the_client_closes_and_not_only_when_it_is_closed() {
    let mut bench = Bench::connected(with_key());
    bench.client.ping(OpId(1), bench.now);
    bench.client.close(bench.now);
    assert_eq!(bench.did().done, [(OpId(1), Err(80017))]);
    assert_eq!(bench.client.connection_state(), ConnectionState::Closing);
}

// Spec: RTN8d, RTN9d
#[test]
fn a_client_that_closes_while_disconnected_has_no_id_or_key() {
    let mut bench = Bench::connected(with_key());
    bench.lose(80003);
    bench.lose(80003);
    assert_eq!(bench.client.connection_state(), ConnectionState::Disconnected);
    assert_eq!(bench.client.connection_id().map(|id| &**id), Some("connection"));
    bench.client.close(bench.now);
    assert_eq!(bench.client.connection_state(), ConnectionState::Closed);
    assert_eq!((bench.client.connection_id(), bench.client.connection_key()), (None, None));
}

#[test]
fn a_failed_client_requests_no_token() {
    let mut bench = Bench::connected(with_tokens());
    bench.say(ServerFrame::Auth);
    let (auth, _) = bench.did().tokens[0];
    bench.say(fatal(40000, 400));
    assert_eq!(bench.did().abandoned, [auth]);
    assert_eq!(bench.next_timer(), None);
}

// Spec: RTL3c
#[test]
fn a_suspended_connection_suspends_its_channels() {
    let mut bench = Bench::connected(with_key());
    bench.attached(CHANNEL, "ch");
    bench.lose(80003);
    bench.lose(80003);
    let state = |bench: &Bench| bench.client.channel(CHANNEL).unwrap().state();
    while bench.client.connection_state() != ConnectionState::Suspended {
        assert_eq!(state(&bench), ChannelState::Attached);
        bench.advance(seconds(10));
    }
    assert_eq!(state(&bench), ChannelState::Suspended);
}

/// A MESSAGE of the channel, with this serial.
fn message(serial: &'static str) -> ServerFrame {
    ServerFrame::Message(Delivery {
        channel_serial: Some(serial.into()),
        ..Delivery::new("ch", vec![Message::new("event", serial)])
    })
}

/// The recovery key of an earlier client, whose next frame has the serial 7.
fn recovery_key() -> RecoveryKey {
    RecoveryKey {
        connection_key: "old!key".into(),
        msg_serial: 7,
        channel_serials: [("ch".into(), "serial-of-ch".into())].into(),
    }
}
