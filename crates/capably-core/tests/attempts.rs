//! Attempts to connect that are interrupted: by sleep, by a change of the network, by a token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use capably_core::{
    AuthFailure, ChannelId, ChannelOptions, ChannelState, Client, Config, ConnectionState, OpId,
    Outcome, TokenNeed,
};
use capably_protocol::{ClientFrame, ErrorInfo, Message, ServerFrame};

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with_fallbacks(names: &[&'static str]) -> Config {
    let mut config = with_key();
    config.fallback_hosts = names.iter().map(|name| (*name).into()).collect();
    config
}

#[test]
fn after_a_protocol_error_the_client_waits_before_it_reconnects() {
    let mut bench = Bench::connected(with_key());
    bench.advance(seconds(5));
    bench.lose(80013);
    let did = bench.did();
    assert_eq!(did.entered(), [ConnectionState::Disconnected]);
    assert!(did.states[0].2.unwrap() >= seconds(12), "{did:?}");
}

// Spec: RTN14c
#[test]
fn an_attempt_to_open_a_transport_has_the_time_of_its_driver() {
    for (limit, expected) in [(None, 10), (Some(seconds(20)), 20)] {
        let mut config = with_key();
        config.connect_timeout = limit;
        let mut bench = Bench::new(config);
        bench.client.connect(bench.now);
        bench.advance(seconds(expected - 1));
        assert_eq!(bench.client.connection_state(), ConnectionState::Connecting);
        bench.advance(seconds(1));
        assert_eq!(bench.client.connection_state(), ConnectionState::Disconnected);
    }
}

// Spec: RTS4a
#[test]
fn an_unanswered_detach_of_a_released_channel_does_not_count_after_a_drop() {
    let mut bench = Bench::connected(with_key());
    bench.attached(CHANNEL, "ch");
    bench.client.release_channel(CHANNEL, bench.now);
    assert_eq!(bench.did().sent, [ClientFrame::Detach { channel: "ch".into() }]);
    // The service never answers, because the transport has ended.
    bench.lose(80003);
    bench.accept(connected("connection"));
    let successor = ChannelId(1);
    bench.attached(successor, "ch");
    bench.say(ServerFrame::Detached { channel: "ch".into(), error: None });
    assert_eq!(bench.client.channel(successor).unwrap().state(), ChannelState::Attaching);
}

// Spec: RTN19b, RTL13c
#[test]
fn an_attach_does_not_time_out_without_a_connection() {
    let mut bench = Bench::connected(with_key());
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.lose(80003);
    bench.lose(80003);
    bench.advance(seconds(11));
    assert_eq!(bench.client.connection_state(), ConnectionState::Disconnected);
    assert_eq!(bench.client.channel(CHANNEL).unwrap().state(), ChannelState::Attaching);
    assert_eq!(bench.did().done, []);
}

// Spec: RTN7e, TO3g
#[test]
fn without_queueing_a_drop_fails_unacknowledged_publishes() {
    let mut config = with_key();
    config.queue_messages = false;
    let mut bench = Bench::connected(config);
    bench.attached(CHANNEL, "ch");
    bench.publish(CHANNEL, "a", OpId(1));
    bench.lose(80003);
    assert_eq!(bench.did().done, [(OpId(1), Err(80003))]);
}

// Spec: RSA7b4, RTL6g4
#[test]
fn a_client_with_a_wildcard_identity_publishes_as_any_client() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.accept(connected_with("connection", |connected| {
        connected.details.as_mut().unwrap().client_id = Some("*".into());
    }));
    bench.attached(CHANNEL, "ch");
    assert_eq!(bench.client.client_id(), None);
    let message = Message { client_id: Some("ada".into()), ..Message::new("event", "a") };
    bench.client.publish(CHANNEL, [message].into(), Default::default(), OpId(1), bench.now);
    let did = bench.did();
    assert_eq!(did.published(), [(0, "a")]);
    assert_eq!(did.done, []);
}

#[test]
fn every_sleep_counts_as_silence() {
    let mut bench = Bench::connected(with_key());
    bench.advance(seconds(1));
    // The limit is 25 s: two sleeps reach it together, one alone does not.
    bench.client.woke(seconds(12), bench.now);
    assert_eq!(bench.client.connection_state(), ConnectionState::Connected);
    bench.client.woke(seconds(12), bench.now);
    assert_eq!(bench.did().entered()[0], ConnectionState::Disconnected);
}

// Spec: RTN14e
#[test]
fn sleep_counts_as_time_without_a_connection() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.lose(80003);
    bench.client.woke(seconds(115), bench.now);
    bench.lose(80003);
    bench.did();
    bench.advance(Duration::from_millis(4_999));
    assert_eq!(bench.did().entered(), []);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.did().entered(), [ConnectionState::Suspended]);
}

#[test]
fn a_long_sleep_starts_an_attempt_again_and_a_short_one_does_not() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.did();
    bench.client.woke(Duration::from_millis(4_999), bench.now);
    let did = bench.did();
    assert_eq!((did.shut.len(), did.opened.len()), (0, 0));
    bench.client.woke(seconds(5), bench.now);
    let did = bench.did();
    assert_eq!((did.shut.len(), did.opened.len()), (1, 1));
    assert_eq!(did.states, []);
}

// Spec: RTC8b
#[test]
fn network_changes_do_not_end_the_wait_for_an_authorize_call() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.advance(seconds(5));
    bench.did();
    bench.client.authorize(OpId(1), bench.now);
    let did = bench.did();
    assert_eq!((did.shut.len(), did.tokens[0].1), (1, TokenNeed::Authorized(OpId(1))));
    let (auth, _) = did.tokens[0];
    bench.client.woke(seconds(60), bench.now);
    bench.client.network_available(bench.now);
    bench.client.network_lost(bench.now);
    // The deadline of the interrupted attempt does not count, either.
    bench.advance(seconds(9));
    let did = bench.did();
    assert_eq!((did.entered(), did.opened.len(), did.abandoned.len()), (vec![], 0, 0));
    bench.client.handle_token(auth, Ok(grant(1)), bench.now);
    assert_eq!(bench.did().opened[0].param("accessToken"), Some("token-1"));
    bench.accept(connected("connection"));
    assert_eq!(bench.did().done, [(OpId(1), Ok(Outcome::Done))]);
}

// Spec: RTC8b
#[test]
fn an_attempt_waits_for_the_last_of_two_authorize_calls() {
    let mut bench = Bench::new(with_key());
    bench.client.connect(bench.now);
    bench.client.authorize(OpId(1), bench.now);
    bench.client.authorize(OpId(2), bench.now);
    let tokens = bench.did().tokens;
    let [(first, _), (second, _)] = tokens[..] else { panic!("{tokens:?}") };
    let refused = || Err(AuthFailure::Refused(ErrorInfo::new(40100.into(), 401, "refused")));
    bench.client.handle_token(first, refused(), bench.now);
    let did = bench.did();
    assert_eq!((did.entered(), did.done.len()), (vec![], 1), "the other may succeed");
    bench.client.handle_token(second, refused(), bench.now);
    let did = bench.did();
    assert_eq!((did.entered(), did.done.len()), (vec![ConnectionState::Disconnected], 1));
}

// Spec: RTN17j
#[test]
fn only_the_last_connectivity_check_counts() {
    let mut bench = Bench::new(with_fallbacks(&["fallback"]));
    bench.client.connect(bench.now);
    bench.lose(80003);
    let first = bench.did().checks[0];
    bench.client.network_available(bench.now);
    bench.lose(80003);
    let second = bench.did().checks[0];
    assert_ne!(first, second);
    bench.client.handle_connectivity(first, false, bench.now);
    assert_eq!(bench.did().entered(), []);
    bench.client.handle_connectivity(second, true, bench.now);
    assert_eq!(bench.did().opened[0].host, "fallback");
}

// Spec: RTN17j
#[test]
fn fallback_domains_are_tried_in_random_order() {
    let names = ["a", "b", "c", "d"];
    let mut orders = BTreeSet::new();
    for seed in 0..50 {
        let mut bench = Bench::new(with_fallbacks(&names));
        bench.client = Client::new(with_fallbacks(&names).into(), seed, bench.now);
        bench.client.connect(bench.now);
        bench.lose(80003);
        let check = bench.did().checks[0];
        bench.client.handle_connectivity(check, true, bench.now);
        let mut order = Vec::new();
        for _ in names {
            order.push(bench.did().opened[0].host.to_string());
            bench.lose(80003);
        }
        orders.insert(order.clone());
        order.sort();
        assert_eq!(order, names);
    }
    assert!(orders.len() > 10, "{orders:?}");
}

// Spec: RTN17i, RTN17j
#[test]
fn each_attempt_begins_with_the_primary_domain_and_has_all_fallbacks() {
    let mut bench = Bench::new(with_fallbacks(&["fallback"]));
    bench.client.connect(bench.now);
    for _ in 0..3 {
        assert_eq!(bench.did().opened[0].host, "main.realtime.ably.net");
        bench.lose(80003);
        let check = bench.did().checks[0];
        bench.client.handle_connectivity(check, true, bench.now);
        assert_eq!(bench.did().opened[0].host, "fallback");
        bench.lose(80003);
        let did = bench.did();
        assert_eq!((did.entered(), did.checks), (vec![ConnectionState::Disconnected], vec![]));
        bench.advance(did.states[0].2.unwrap());
    }
    // A connection to a fallback domain does not change that.
    bench.lose(80003);
    let check = bench.did().checks[0];
    bench.client.handle_connectivity(check, true, bench.now);
    bench.accept(connected("connection"));
    assert_eq!(bench.client.host(), "fallback");
    bench.did();
    bench.lose(80003);
    assert_eq!(bench.did().opened[0].host, "main.realtime.ably.net");
}

// Spec: RTC8b, RTN17i
#[test]
fn an_attempt_with_a_new_token_begins_with_the_primary_domain() {
    let mut bench = Bench::new(with_fallbacks(&["fallback"]));
    bench.client.connect(bench.now);
    bench.lose(80003);
    let check = bench.did().checks[0];
    bench.client.handle_connectivity(check, true, bench.now);
    assert_eq!(bench.did().opened[0].host, "fallback");
    bench.client.authorize(OpId(1), bench.now);
    let (auth, _) = bench.did().tokens[0];
    bench.client.handle_token(auth, Ok(grant(1)), bench.now);
    assert_eq!(bench.did().opened[0].host, "main.realtime.ably.net");
    bench.lose(80003);
    assert_eq!(bench.did().checks.len(), 1, "the fallback is tried once more");
}

// Spec: RTN22
#[test]
fn one_new_token_is_enough_for_two_requests_of_the_service() {
    let mut bench = Bench::connected(with_tokens());
    bench.say(ServerFrame::Auth);
    bench.say(ServerFrame::Auth);
    let tokens = bench.did().tokens;
    let [(auth, TokenNeed::Successor(1))] = tokens[..] else { panic!("{tokens:?}") };
    bench.client.handle_token(auth, Ok(grant(2)), bench.now);
    // The token is on its way to the service.
    bench.say(ServerFrame::Auth);
    assert_eq!(bench.did().tokens, []);
    bench.say(connected("connection"));
    bench.say(ServerFrame::Auth);
    assert_eq!(bench.did().tokens[0].1, TokenNeed::Successor(2));
}

// Spec: RTN11d
#[test]
fn a_closed_client_requests_the_current_token_when_it_connects() {
    let mut bench = Bench::connected(with_tokens());
    bench.say(ServerFrame::Disconnected { error: error(40142, 401) });
    let (auth, need) = bench.did().tokens[0];
    assert_eq!(need, TokenNeed::Replacement(1));
    bench.client.handle_token(auth, Ok(grant(2)), bench.now);
    bench.accept(fatal(40142, 401));
    assert_eq!(bench.did().entered().last(), Some(&ConnectionState::Disconnected));
    bench.client.close(bench.now);
    bench.client.connect(bench.now);
    assert_eq!(bench.did().tokens[0].1, TokenNeed::Current);
}

#[test]
fn a_closed_client_has_no_deadline() {
    let mut bench = Bench::connected(with_tokens());
    bench.say(ServerFrame::Auth);
    bench.client.authorize(OpId(1), bench.now);
    let asked: Vec<_> = bench.did().tokens.into_iter().map(|(auth, _)| auth).collect();
    bench.client.close(bench.now);
    bench.say(ServerFrame::Closed);
    let did = bench.did();
    assert_eq!(did.abandoned, asked);
    assert_eq!(did.done, [(OpId(1), Err(80017))]);
    assert_eq!(bench.next_timer(), None);
    bench.client.handle_token(
        asked[1],
        Err(AuthFailure::Refused(error(40000, 403).unwrap())),
        bench.now,
    );
    assert_eq!(bench.client.connection_state(), ConnectionState::Closed);
}

// Spec: RTN14e, RTN20c, RTC8b
#[test]
fn attempts_that_are_interrupted_again_and_again_do_not_put_off_suspended() {
    let interruptions: [fn(&mut Bench); 3] = [
        |bench| bench.client.network_available(bench.now),
        |bench| bench.client.woke(seconds(6), bench.now),
        |bench| {
            bench.client.authorize(OpId(99), bench.now);
            bench.grant(2);
        },
    ];
    for (number, interrupt) in interruptions.into_iter().enumerate() {
        let mut bench = Bench::new(with_key());
        bench.client.open_channel(ChannelId(0), "ch".into(), ChannelOptions::default());
        bench.client.connect(bench.now);
        // The second round begins while the client retries from SUSPENDED.
        for round in 0..2 {
            bench.client.attach(ChannelId(0), OpId(1), bench.now);
            bench.publish(ChannelId(0), "a", OpId(2));
            bench.client.ping(OpId(3), bench.now);
            let begun = bench.now.instant;
            let mut ended = Vec::new();
            while ended.len() < 3 {
                let waited = bench.now.instant.since(begun);
                assert!(waited <= seconds(130), "{number}, {round}: {ended:?}");
                bench.advance(seconds(8));
                interrupt(&mut bench);
                let did = bench.did();
                ended.extend(did.done.into_iter().filter(|(op, _)| op.0 < 99));
            }
            assert!(ended.iter().all(|(_, outcome)| *outcome == Err(80002)), "{ended:?}");
            // The attempt goes on.
            assert_eq!(bench.client.connection_state(), ConnectionState::Connecting);
        }
    }
}
