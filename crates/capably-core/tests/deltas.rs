//! Recoveries from deltas that cannot be applied: where they begin, and what ends them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use capably_core::{ChannelId, ChannelOptions, ChannelState, DeltaError, OpId, VcdiffDecoder};
use capably_protocol::{
    ClientFrame, Data, Flags, Message, PresenceAction, PresenceMessage, ServerFrame,
    frame::{Attached, Delivery},
};
use serde_json::json;

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

/// A decoder that can apply no delta.
#[derive(Debug)]
struct Broken;

impl VcdiffDecoder for Broken {
    fn decode(&self, _delta: &[u8], _base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        Err("broken".into())
    }
}

/// A client whose channel is attached at `000`.
fn attached_at_000() -> Bench {
    let mut config = with_key();
    config.vcdiff = Some(Arc::new(Broken));
    let mut bench = Bench::connected(config);
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    say_attached(&mut bench, "000", Flags::NONE);
    bench.did();
    bench
}

fn say_attached(bench: &mut Bench, serial: &'static str, flags: Flags) {
    bench.say(ServerFrame::Attached(Box::new(Attached {
        channel: "ch".into(),
        channel_serial: Some(serial.into()),
        flags,
        ..Attached::default()
    })));
}

fn say(bench: &mut Bench, serial: &'static str, message: Message) {
    let delivery = Delivery::new("ch", vec![message]);
    let delivery = Delivery { channel_serial: Some(serial.into()), ..delivery };
    bench.say(ServerFrame::Message(delivery));
}

fn delta() -> Message {
    let extras = json!({"delta": {"from": "before:0", "format": "vcdiff"}});
    Message {
        encoding: Some("vcdiff".into()),
        extras: extras.as_object().cloned(),
        ..Message::new("n", Data::Binary(vec![1].into()))
    }
}

fn full() -> Message {
    Message { id: Some("before:0".into()), ..Message::new("n", "full") }
}

fn state(bench: &Bench) -> ChannelState {
    bench.client.channel(CHANNEL).unwrap().state()
}

/// The positions from which the channel asked to continue since the last call.
fn attaching_from(bench: &mut Bench) -> Vec<Option<String>> {
    let positions = bench.did().sent.into_iter().map(|frame| match frame {
        ClientFrame::Attach(attach) => attach.channel_serial.map(|serial| serial.to_string()),
        other => panic!("not expected: {other:?}"),
    });
    positions.collect()
}

// Spec: RTL18, RTL18c
#[test]
fn a_recovery_begins_before_the_delta_even_if_nothing_was_received_before() {
    let mut bench = attached_at_000();
    say(&mut bench, "001", delta());
    assert_eq!(state(&bench), ChannelState::Attaching);
    assert_eq!(attaching_from(&mut bench), [Some("000".into())]);
    // The service repeats frames that it has sent before ATTACHED, so they do not move the channel.
    say(&mut bench, "002", full());
    bench.lose(80003);
    bench.accept(connected("connection"));
    assert_eq!(attaching_from(&mut bench), [Some("000".into())]);
}

// Spec: RTL18, RTL18c, RTL15b
#[test]
fn frames_move_the_channel_again_once_it_is_attached() {
    let mut bench = attached_at_000();
    say(&mut bench, "001", full());
    say(&mut bench, "002", delta());
    assert_eq!(attaching_from(&mut bench), [Some("001".into())]);
    say_attached(&mut bench, "001", Flags::RESUMED);
    let member = PresenceMessage {
        id: Some("other:0:0".into()),
        action: Some(PresenceAction::Enter),
        client_id: Some("ada".into()),
        connection_id: Some("other".into()),
        timestamp: Some(1),
        ..PresenceMessage::default()
    };
    let delivery = Delivery::new("ch", vec![member]);
    let delivery = Delivery { channel_serial: Some("003".into()), ..delivery };
    bench.say(ServerFrame::Presence(delivery));
    bench.lose(80003);
    bench.accept(connected("connection"));
    assert_eq!(attaching_from(&mut bench), [Some("003".into())]);
}

/// The client does not ask for the same delta again and again.
// Spec: RTL18
#[test]
fn a_delta_that_fails_after_its_recovery_suspends_the_channel() {
    let mut bench = attached_at_000();
    say(&mut bench, "001", delta());
    say_attached(&mut bench, "000", Flags::RESUMED);
    say(&mut bench, "001", delta());
    assert_eq!(state(&bench), ChannelState::Suspended);
    assert_eq!(attaching_from(&mut bench).len(), 1);
}

// Spec: RTL18
#[test]
fn a_message_that_is_decoded_ends_a_recovery() {
    let mut bench = attached_at_000();
    for (at, next) in [("000", "001"), ("001", "002")] {
        say(&mut bench, "900", delta());
        assert_eq!(attaching_from(&mut bench), [Some(at.into())]);
        say_attached(&mut bench, at, Flags::RESUMED);
        say(&mut bench, next, full());
        assert_eq!(state(&bench), ChannelState::Attached);
    }
}

// Spec: RTL18, RTL15b2
#[test]
fn a_detach_ends_a_recovery() {
    let mut bench = attached_at_000();
    say(&mut bench, "001", delta());
    bench.client.detach(CHANNEL, OpId(2), bench.now);
    bench.say(ServerFrame::Detached { channel: "ch".into(), error: None });
    assert_eq!(state(&bench), ChannelState::Detached);
    bench.client.attach(CHANNEL, OpId(3), bench.now);
    say_attached(&mut bench, "005", Flags::NONE);
    bench.did();
    say(&mut bench, "006", delta());
    assert_eq!(state(&bench), ChannelState::Attaching);
    assert_eq!(attaching_from(&mut bench), [Some("005".into())]);
}
