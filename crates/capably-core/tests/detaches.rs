//! Attachments that the client gives up before the service has confirmed it: their members leave, and their frames are not
//! taken for those of the next attachment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use capably_core::{
    ChannelId, ChannelOptions, ChannelState, ConnectionState, Event, MembersQuery, OpId, Outcome,
};
use capably_protocol::{
    ClientFrame, Message, PresenceAction, PresenceMessage, RecoveryKey, ServerFrame,
    frame::{Attached, Delivery, Nack},
};

use support::*;

mod support;

const FIRST: ChannelId = ChannelId(0);
const SECOND: ChannelId = ChannelId(1);

/// A client with an attached channel, which has entered presence as the operation 1. It has no acknowledgement yet.
fn entering() -> Bench {
    let mut bench = Bench::connected(with_key());
    bench.attached(FIRST, "ch");
    enter(&mut bench, FIRST, OpId(1));
    assert_eq!(names(&bench.did().sent), ["enter ada"]);
    bench
}

/// The same, with the acknowledgement.
fn entered() -> Bench {
    let mut bench = entering();
    bench.say(ack(0));
    bench.did();
    bench
}

fn enter(bench: &mut Bench, channel: ChannelId, op: OpId) {
    let message = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some("ada".into()),
        ..PresenceMessage::default()
    };
    bench.client.presence(channel, message, op, bench.now);
}

/// A new channel of the same name, to be attached as the operation 5.
fn open_again(bench: &mut Bench) {
    bench.client.open_channel(SECOND, "ch".into(), ChannelOptions::default());
    bench.client.attach(SECOND, OpId(5), bench.now);
}

/// The connection is lost, and resumed. Returns the frames that the client sends then.
fn resumed(bench: &mut Bench) -> Vec<&'static str> {
    bench.lose(80003);
    bench.did();
    bench.accept(connected("connection"));
    names(&bench.did().sent)
}

/// What frames are, in short.
fn names(frames: &[ClientFrame]) -> Vec<&'static str> {
    let name = |frame: &ClientFrame| match frame {
        ClientFrame::Attach(_) => "attach",
        ClientFrame::Detach { .. } => "detach",
        ClientFrame::Presence(publish) => match publish.items[0].client_id.as_deref() {
            Some("ada") => "enter ada",
            _ => "enter bob",
        },
        other => panic!("not expected: {other:?}"),
    };
    frames.iter().map(name).collect()
}

fn detached() -> ServerFrame {
    ServerFrame::Detached { channel: "ch".into(), error: None }
}

fn state(bench: &Bench, channel: ChannelId) -> ChannelState {
    bench.client.channel(channel).unwrap().state()
}

fn message(text: &str) -> ServerFrame {
    let mut delivery = Delivery::new("ch", vec![Message::new("event", text)]);
    delivery.channel_serial = Some("9".into());
    ServerFrame::Message(delivery)
}

// Spec: RTS4a, RTN19b
#[test]
fn the_detach_of_a_released_channel_is_sent_again_before_the_next_attach() {
    let mut bench = entered();
    bench.client.release_channel(FIRST, bench.now);
    open_again(&mut bench);
    assert_eq!(names(&bench.did().sent), ["detach", "attach"]);
    assert_eq!(resumed(&mut bench), ["detach", "attach"]);
    bench.say(detached());
    bench.say(attached("ch"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attached);
    assert_eq!(bench.did().sent, [], "nobody enters again");
}

// Spec: RTL5l, RTN19b
#[test]
fn a_channel_that_is_detached_without_a_connection_is_detached_on_the_next_one() {
    let mut bench = entered();
    bench.lose(80003);
    bench.client.detach(FIRST, OpId(2), bench.now);
    let did = bench.did();
    assert_eq!((did.sent, did.done), (vec![], vec![(OpId(2), Ok(Outcome::Done))]));
    bench.accept(connected("connection"));
    assert_eq!(names(&bench.did().sent), ["detach"]);
    bench.say(detached());
    assert_eq!(state(&bench, FIRST), ChannelState::Detached);
    bench.client.attach(FIRST, OpId(3), bench.now);
    assert_eq!(names(&bench.did().sent), ["attach"]);
}

// Spec: RTN19a, RTL5l
#[test]
fn a_member_that_is_sent_again_leaves_with_the_attachment_that_it_was_sent_for() {
    let mut bench = entering();
    bench.lose(80003);
    bench.client.detach(FIRST, OpId(2), bench.now);
    bench.client.attach(FIRST, OpId(3), bench.now);
    bench.did();
    bench.accept(connected("connection"));
    // The service refuses the member, or lets it leave: it would stay behind an ATTACH.
    assert_eq!(names(&bench.did().sent), ["enter ada", "detach", "attach"]);
    let refused = Nack { msg_serial: 0, count: 1, error: error(91001, 400) };
    bench.say(ServerFrame::Nack(refused));
    assert_eq!(bench.did().done, [(OpId(1), Err(91001))]);
}

// Spec: RTN19a, RTN19b
#[test]
fn a_detach_under_way_is_sent_again_behind_the_members_that_entered_before_it() {
    let mut bench = entering();
    bench.client.detach(FIRST, OpId(2), bench.now);
    bench.client.attach(FIRST, OpId(3), bench.now);
    bench.did();
    // In the other order, DETACHED could arrive while ENTER is under way. Sent a third time, it would be behind ATTACH.
    assert_eq!(resumed(&mut bench), ["enter ada", "detach"]);
    bench.say(detached());
    assert_eq!(names(&bench.did().sent), ["attach"]);
}

// Spec: RTN19a, RTP5a
#[test]
fn a_member_that_is_sent_again_after_its_attachment_has_ended_does_not_enter_the_next_one() {
    for is_released in [false, true] {
        let mut bench = entering();
        if is_released {
            bench.client.release_channel(FIRST, bench.now);
            bench.say(detached());
            open_again(&mut bench);
        } else {
            bench.client.detach(FIRST, OpId(2), bench.now);
            bench.say(detached());
            bench.client.attach(FIRST, OpId(3), bench.now);
        }
        bench.did();
        bench.lose(80003);
        bench.did();
        bench.accept(connected("another"));
        let sent = bench.did().sent;
        assert_eq!(names(&sent), ["enter ada", "detach", "attach"], "released: {is_released}");
        bench.say(ServerFrame::Nack(Nack { msg_serial: 0, count: 1, error: error(91001, 400) }));
        bench.say(detached());
        bench.say(attached("ch"));
        let channel = if is_released { SECOND } else { FIRST };
        assert_eq!(state(&bench, channel), ChannelState::Attached);
        assert_eq!(bench.did().sent, [], "nobody enters again");
    }
}

// Spec: RTL11a, RTP5a
#[test]
fn an_acknowledgement_for_an_earlier_attachment_makes_no_member_of_this_one() {
    let mut bench = entering();
    bench.client.detach(FIRST, OpId(2), bench.now);
    bench.say(detached());
    bench.client.attach(FIRST, OpId(3), bench.now);
    bench.say(ack(0));
    let done: Vec<_> = bench.did().done.into_iter().map(|(op, _)| op).collect();
    assert_eq!(done, [OpId(2), OpId(1)]);
    bench.say(attached("ch"));
    assert_eq!(names(&bench.did().sent), [] as [&str; 0], "nobody enters again");
}

// Spec: RTL5j
#[test]
fn a_suspended_channel_with_members_is_detached_at_the_service() {
    let mut bench = entered();
    assert_eq!(resumed(&mut bench), ["attach"]);
    bench.advance(Duration::from_secs(10));
    assert_eq!(state(&bench, FIRST), ChannelState::Suspended);
    bench.client.detach(FIRST, OpId(2), bench.now);
    assert_eq!(state(&bench, FIRST), ChannelState::Detached);
    assert_eq!(names(&bench.did().sent), ["detach"]);
}

// Spec: RTS4a, RTN19b
#[test]
fn a_channel_without_members_is_not_detached_on_the_next_connection() {
    let mut bench = Bench::connected(with_key());
    bench.attached(FIRST, "ch");
    bench.client.release_channel(FIRST, bench.now);
    open_again(&mut bench);
    bench.did();
    assert_eq!(resumed(&mut bench), ["attach"]);
}

// Spec: RTN16j, RTS4a
#[test]
fn a_recovered_channel_that_is_released_may_have_members() {
    let mut config = with_key();
    config.recover = Some(RecoveryKey {
        connection_key: "connection!key".into(),
        msg_serial: 1,
        channel_serials: [("ch".into(), "5".into())].into(),
    });
    let mut bench = Bench::new(config);
    bench.client.open_channel(FIRST, "ch".into(), ChannelOptions::default());
    bench.client.release_channel(FIRST, bench.now);
    open_again(&mut bench);
    bench.client.connect(bench.now);
    bench.accept(connected("connection"));
    assert_eq!(names(&bench.did().sent), ["detach", "attach"]);
}

// Spec: RTS4a
#[test]
fn frames_of_a_released_channel_are_not_for_the_next_one() {
    let mut bench = Bench::connected(with_key());
    bench.client.open_channel(FIRST, "ch".into(), ChannelOptions::default());
    bench.client.attach(FIRST, OpId(1), bench.now);
    bench.client.release_channel(FIRST, bench.now);
    open_again(&mut bench);
    bench.did();
    // The answer to the first ATTACH, and what follows it.
    bench.say(attached("ch"));
    bench.say(message("early"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attaching);
    bench.say(detached());
    assert!(bench.did().told.is_empty());
    let second = Attached { channel: "ch".into(), ..Attached::default() };
    bench.say(ServerFrame::Attached(Box::new(second)));
    bench.say(message("late"));
    let told = bench.did().told;
    let texts = told.iter().filter_map(|event| match event {
        Event::Messages(SECOND, batch) => batch.items[0].data.as_str(),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["late"]);
}

// Spec: RTS4a
#[test]
fn a_channel_that_is_released_leaves_its_name_to_one_that_was_opened_since() {
    let mut bench = Bench::connected(with_key());
    bench.attached(FIRST, "ch");
    bench.client.open_channel(SECOND, "ch".into(), ChannelOptions::default());
    bench.client.release_channel(FIRST, bench.now);
    bench.client.attach(SECOND, OpId(5), bench.now);
    assert_eq!(names(&bench.did().sent), ["detach", "attach"]);
    bench.say(detached());
    bench.say(attached("ch"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attached);
    assert!(bench.client.channel(FIRST).is_none());
}

// Spec: RTS4a, RTN12
#[test]
fn a_detach_that_the_end_of_the_connection_has_made_needless_is_not_sent_on_the_next_one() {
    let mut bench = entered();
    bench.client.release_channel(FIRST, bench.now);
    bench.client.close(bench.now);
    bench.say(ServerFrame::Closed);
    bench.did();
    bench.client.connect(bench.now);
    bench.accept(connected("another"));
    let did = bench.did();
    assert_eq!((did.entered().last(), did.sent), (Some(&ConnectionState::Connected), vec![]));
}

// Spec: RTS4a, RTL13b
#[test]
fn a_refused_attach_of_a_released_channel_is_no_answer_to_the_detach_behind_it() {
    let mut bench = Bench::connected(with_key());
    bench.client.open_channel(FIRST, "ch".into(), ChannelOptions::default());
    bench.client.attach(FIRST, OpId(1), bench.now);
    bench.client.release_channel(FIRST, bench.now);
    open_again(&mut bench);
    assert_eq!(names(&bench.did().sent), ["attach", "detach", "attach"]);
    bench.say(ServerFrame::Detached { channel: "ch".into(), error: error(50003, 503) });
    bench.say(message("early"));
    bench.say(detached());
    assert_eq!(
        state(&bench, SECOND),
        ChannelState::Attaching,
        "its own ATTACH is not answered yet"
    );
    let serial = bench.client.channel(SECOND).unwrap().channel_serial();
    assert_eq!(serial, None, "the message was of the released channel");
    bench.say(attached("ch"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attached);
    let did = bench.did();
    assert_eq!(did.sent, [], "one ATTACH is enough");
    let is_message = |event: &Event| matches!(event, Event::Messages(..));
    assert_eq!(did.told.iter().filter(|event| is_message(event)).count(), 0);
}

// Spec: RTL5f, RTS4a
#[test]
fn a_detach_that_is_never_answered_holds_the_next_channel_up_for_a_limited_time() {
    let mut bench = Bench::connected(with_key());
    bench.attached(FIRST, "ch");
    bench.client.release_channel(FIRST, bench.now);
    bench.advance(Duration::from_secs(9));
    open_again(&mut bench);
    bench.say(attached("ch"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attaching);
    bench.advance(Duration::from_secs(1));
    bench.say(attached("ch"));
    assert_eq!(state(&bench, SECOND), ChannelState::Attached);
}

// Spec: RTL5f, RTP17g
#[test]
fn members_enter_with_new_ids_after_a_detach_that_the_service_did_not_confirm() {
    let mut bench = entered();
    bench.client.detach(FIRST, OpId(2), bench.now);
    bench.advance(Duration::from_secs(10));
    assert_eq!(state(&bench, FIRST), ChannelState::Attached);
    assert_eq!(resumed(&mut bench), ["attach"]);
    bench.say(attached("ch"));
    let sent = bench.did().sent;
    let [ClientFrame::Presence(publish)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&publish.items[0].id, &publish.items[0].client_id), (&None, &Some("ada".into())));
    // The next message of the member counts, whatever its time.
    bench.say(ack(1));
    let leave = PresenceMessage {
        action: Some(PresenceAction::Leave),
        client_id: Some("ada".into()),
        ..PresenceMessage::default()
    };
    bench.client.presence(FIRST, leave, OpId(6), bench.now);
    bench.say(ack(2));
    bench.did();
    assert_eq!(resumed(&mut bench), ["attach"]);
    bench.say(attached("ch"));
    bench.client.members(FIRST, MembersQuery::default(), OpId(7), bench.now);
    assert_eq!(bench.did().sent, [], "nobody enters again");
}

// Spec: RTP5a, RTP17b
#[test]
fn a_rewind_does_not_bring_back_a_member_of_an_earlier_attachment() {
    let mut bench = entered();
    bench.client.detach(FIRST, OpId(2), bench.now);
    bench.say(detached());
    bench.client.attach(FIRST, OpId(3), bench.now);
    bench.say(attached("ch"));
    bench.did();
    // The service sends what was before, and the LEAVE that it made of the DETACH.
    for (action, id) in
        [(PresenceAction::Enter, "connection:0:0"), (PresenceAction::Leave, "left:1")]
    {
        let event = PresenceMessage {
            action: Some(action),
            id: Some(id.into()),
            client_id: Some("ada".into()),
            connection_id: Some("connection".into()),
            timestamp: Some(1),
            ..PresenceMessage::default()
        };
        bench.say(ServerFrame::Presence(Delivery::new("ch", vec![event])));
    }
    assert_eq!(resumed(&mut bench), ["attach"]);
    bench.say(attached("ch"));
    assert_eq!(bench.did().sent, [], "nobody enters again");
}
