//! Members of a client: those that enter again when their channel is attached again, and those that do not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use capably_core::{ChannelId, ChannelOptions, MembersQuery, OpId};
use capably_protocol::{
    ClientFrame, Flags, PresenceAction, PresenceMessage, ServerFrame, Str,
    frame::{Attached, Delivery},
};

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

/// The client sends this about a member, as the next operation.
fn send(bench: &mut Bench, op: u64, action: PresenceAction, member: &'static str) {
    let message = PresenceMessage {
        action: Some(action),
        client_id: Some(member.into()),
        ..PresenceMessage::default()
    };
    bench.client.presence(CHANNEL, message, OpId(op), bench.now);
}

/// The service sends this about a member of a connection.
fn tell(
    bench: &mut Bench,
    connection: &'static str,
    id: &'static str,
    action: PresenceAction,
    member: &'static str,
) {
    let message = PresenceMessage {
        id: Some(id.into()),
        action: Some(action),
        client_id: Some(member.into()),
        connection_id: Some(connection.into()),
        timestamp: Some(1),
        ..PresenceMessage::default()
    };
    bench.say(ServerFrame::Presence(Delivery::new("ch", vec![message])));
}

/// The channel is attached again, without continuity. Returns the members that enter again, with their ids.
fn entering_again(bench: &mut Bench) -> Vec<(Str, Option<Str>)> {
    bench.did();
    bench.say(attached("ch"));
    let entered = bench.did().sent.into_iter().map(|frame| match frame {
        ClientFrame::Presence(publish) => {
            let member = &publish.items[0];
            assert_eq!(member.action, Some(PresenceAction::Enter));
            // The service sets both for the new connection.
            assert_eq!((&member.connection_id, member.timestamp), (&None, None));
            (member.client_id.clone().unwrap(), member.id.clone())
        }
        other => panic!("not expected: {other:?}"),
    });
    entered.collect()
}

fn attached_to_ch() -> Bench {
    let mut bench = Bench::connected(with_key());
    bench.attached(CHANNEL, "ch");
    bench
}

// Spec: RTP17b, RTP17g, RTP17g1
#[test]
fn a_member_is_known_from_its_acknowledgement_on_with_the_id_of_its_frame() {
    let mut bench = attached_to_ch();
    send(&mut bench, 1, PresenceAction::Enter, "ada");
    bench.say(ack(0));
    send(&mut bench, 2, PresenceAction::Enter, "bob");
    bench.say(ack(1));
    let ids = |ids: [&'static str; 2]| {
        vec![("ada".into(), Some(ids[0].into())), ("bob".into(), Some(ids[1].into()))]
    };
    assert_eq!(entering_again(&mut bench), ids(["connection:0:0", "connection:1:0"]));
    // The id of another connection has no meaning on this one.
    bench.lose(80003);
    bench.did();
    bench.accept(connected("another"));
    let entered = entering_again(&mut bench);
    assert_eq!(entered, [("ada".into(), None), ("bob".into(), None)]);
}

// Spec: RTP17b
#[test]
fn a_member_of_another_connection_does_not_enter_again() {
    let mut bench = attached_to_ch();
    tell(&mut bench, "connection", "connection:0:0", PresenceAction::Enter, "ada");
    tell(&mut bench, "other", "other:0:0", PresenceAction::Enter, "bob");
    assert_eq!(entering_again(&mut bench), [("ada".into(), Some("connection:0:0".into()))]);
}

/// An ENTER that arrives after its LEAVE was acknowledged may have been sent before the LEAVE. It must not count even if the
/// service has acknowledged events of other members since.
// Spec: RTP17b
#[test]
fn an_enter_that_arrives_after_its_leave_was_acknowledged_does_not_bring_the_member_back() {
    let mut bench = attached_to_ch();
    send(&mut bench, 1, PresenceAction::Enter, "ada");
    send(&mut bench, 2, PresenceAction::Leave, "ada");
    for serial in 0..2 {
        bench.say(ack(serial));
    }
    tell(&mut bench, "connection", "connection:0:0", PresenceAction::Enter, "ada");
    assert_eq!(entering_again(&mut bench), []);
    send(&mut bench, 3, PresenceAction::Enter, "bob");
    bench.say(ack(2));
    tell(&mut bench, "connection", "connection:0:0", PresenceAction::Enter, "ada");
    assert_eq!(entering_again(&mut bench), [("bob".into(), Some("connection:2:0".into()))]);
}

/// On another connection its serials count anew, so a LEAVE of the one before says nothing about them.
// Spec: RTP17b
#[test]
fn a_leave_of_an_earlier_connection_does_not_count() {
    let mut bench = attached_to_ch();
    for (op, action) in [(1, PresenceAction::Enter), (2, PresenceAction::Leave)] {
        send(&mut bench, op, action, "ada");
        bench.say(ack(op - 1));
    }
    bench.lose(80003);
    bench.did();
    bench.accept(connected("another"));
    bench.say(attached("ch"));
    send(&mut bench, 3, PresenceAction::Enter, "ada");
    bench.say(ack(0));
    tell(&mut bench, "another", "another:0:0", PresenceAction::Enter, "ada");
    assert_eq!(entering_again(&mut bench), [("ada".into(), Some("another:0:0".into()))]);
}

/// An ENTER behind an UPDATE would bring back the data before it.
// Spec: RTP17g, RTN19a
#[test]
fn a_member_of_which_a_message_is_under_way_does_not_enter_again() {
    let mut bench = attached_to_ch();
    for (op, member) in [(1, "ada"), (2, "bob")] {
        send(&mut bench, op, PresenceAction::Enter, member);
        bench.say(ack(op - 1));
    }
    send(&mut bench, 3, PresenceAction::Update, "ada");
    assert_eq!(entering_again(&mut bench), [("bob".into(), Some("connection:1:0".into()))]);
}

// Spec: RTP11c1, RTP18a
#[test]
fn calls_that_wait_for_a_sync_end_when_no_further_page_of_it_arrives() {
    let mut bench = attached_to_ch();
    let page = || {
        let mut page = Delivery::new("ch", Vec::new());
        page.channel_serial = Some("sync:more".into());
        ServerFrame::Sync(page)
    };
    let ask = |bench: &mut Bench, op| {
        bench.client.members(CHANNEL, MembersQuery::default(), OpId(op), bench.now);
        assert_eq!(bench.did().done, [], "{op} waits");
    };
    bench.say(page());
    bench.advance(Duration::from_secs(5));
    ask(&mut bench, 1);
    bench.advance(Duration::from_secs(9));
    // A further call does not put the end off. A further page does.
    ask(&mut bench, 2);
    bench.say(page());
    bench.advance(Duration::from_secs(9));
    ask(&mut bench, 3);
    bench.advance(Duration::from_millis(999));
    assert_eq!(bench.did().done, []);
    bench.advance(Duration::from_millis(1));
    let done: Vec<_> =
        bench.did().done.into_iter().map(|(op, result)| (op, result.is_err())).collect();
    assert_eq!(done, [(OpId(1), true), (OpId(2), true), (OpId(3), true)]);
}

// Spec: RTP13
#[test]
fn the_members_are_known_once_the_sync_behind_the_attach_is_complete() {
    let mut bench = Bench::connected(with_key());
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    let are_known = |bench: &Bench| bench.client.channel(CHANNEL).unwrap().presence_synced();
    assert!(!are_known(&bench));
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    let attached =
        Attached { channel: "ch".into(), flags: Flags::HAS_PRESENCE, ..Attached::default() };
    bench.say(ServerFrame::Attached(Box::new(attached)));
    for (serial, expected) in [("sync:more", false), ("sync:", true)] {
        assert!(!are_known(&bench));
        let mut page = Delivery::new("ch", Vec::new());
        page.channel_serial = Some(serial.into());
        bench.say(ServerFrame::Sync(page));
        assert_eq!(are_known(&bench), expected, "{serial}");
    }
}
