//! Objects of a channel: frames, operations that wait, and deadlines (RTO).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use capably_core::{
    ChannelId, ChannelOptions, Config, Event, Now, OpId, Outcome, SharedObjects, Timer,
};
use capably_objects::{
    KeyChange, NewIds, ObjectsEvent, Path, SubscriptionId, SyncState, increment, remove, set,
};
use capably_protocol::{
    ChannelMode, ClientFrame, ErrorInfo, Flags, ObjectMessage, PublishResult, ServerFrame, Str,
    frame::{Ack, Attached, Delivery, ErrorFrame, Nack},
    object::{ObjectData, ObjectState, ObjectValue, ObjectsCounter, ObjectsMap, ObjectsMapEntry},
};
use support::*;

const CHANNEL: ChannelId = ChannelId(1);
const BOTH: [ChannelMode; 2] = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
const SECOND: Duration = Duration::from_secs(1);

/// A connected client with a channel that requests these modes, not attached.
fn opened(config: Config, modes: &[ChannelMode]) -> Bench {
    let mut bench = Bench::new(config);
    bench.client.connect(bench.now);
    bench.accept(connected_with("connection", |connected| {
        let details = connected.details.as_mut().unwrap();
        details.site_code = Some("site".into());
        details.objects_gc_grace_period = Some(3_600_000);
    }));
    let options = ChannelOptions { modes: modes.to_vec(), ..ChannelOptions::default() };
    bench.client.open_channel(CHANNEL, "ch".into(), options);
    bench.did();
    bench
}

/// The same, attached with both modes; no page of the sync has arrived.
fn syncing() -> Bench {
    let mut bench = opened(with_key(), &BOTH);
    bench.client.attach(CHANNEL, OpId(1_000), bench.now);
    bench.say(has_objects(&BOTH));
    bench.did();
    bench
}

/// The same, in sync.
fn synced() -> Bench {
    let mut bench = syncing();
    bench.say(states("s:"));
    bench.did();
    bench
}

fn attached_as(flags: Flags) -> ServerFrame {
    let attached = Attached { channel: "ch".into(), flags, ..Attached::default() };
    ServerFrame::Attached(Box::new(attached))
}

fn has_objects(modes: &[ChannelMode]) -> ServerFrame {
    attached_as(Flags::HAS_OBJECTS | modes.iter().copied().collect())
}

/// An OBJECT_SYNC with a counter of 100 at the key `score`.
fn states(serial: &'static str) -> ServerFrame {
    let entry = ObjectsMapEntry {
        timeserial: Some("01".into()),
        data: Some(ObjectData::reference("counter:score@1")),
        ..ObjectsMapEntry::default()
    };
    let map = ObjectsMap { entries: [("score".into(), entry)].into(), ..ObjectsMap::default() };
    let root = ObjectState {
        object_id: Some("root".into()),
        site_timeserials: [("a".into(), "01".into())].into(),
        map: Some(map),
        ..ObjectState::default()
    };
    let score = ObjectState {
        object_id: Some("counter:score@1".into()),
        site_timeserials: [("a".into(), "01".into())].into(),
        counter: Some(ObjectsCounter { count: Some(100.0) }),
        ..ObjectState::default()
    };
    let items = [root, score]
        .map(|state| ObjectMessage { object: Some(Box::new(state)), ..ObjectMessage::default() });
    let delivery = Delivery::new("ch", items.into());
    ServerFrame::ObjectSync(Delivery { channel_serial: Some(serial.into()), ..delivery })
}

/// An OBJECT of another client, with this serial of the site `b`.
fn operation(message: ObjectMessage, serial: &'static str) -> ServerFrame {
    let message =
        ObjectMessage { serial: Some(serial.into()), site_code: Some("b".into()), ..message };
    let delivery = Delivery::new("ch", vec![message]);
    ServerFrame::Object(Delivery {
        id: Some("frame".into()),
        connection_id: Some("other".into()),
        channel_serial: Some("position".into()),
        ..delivery
    })
}

fn plus(amount: f64) -> ObjectMessage {
    increment("counter:score@1", amount).unwrap()
}

fn publish(bench: &mut Bench, op: u64, amount: f64) {
    bench.client.publish_objects(CHANNEL, [plus(amount)].into(), OpId(op), bench.now);
}

fn accepted(msg_serial: u64, serial: &'static str) -> ServerFrame {
    let res = vec![PublishResult::new(vec![Some(serial.into())])];
    ServerFrame::Ack(Ack { msg_serial, count: 1, res })
}

fn objects(bench: &Bench) -> &SharedObjects {
    bench.client.objects(CHANNEL).unwrap()
}

fn score(bench: &Bench) -> Option<ObjectValue> {
    let objects = objects(bench).read();
    objects.pool().resolve(&Path::parse("score")).and_then(|value| value.value())
}

fn is_score(bench: &Bench, number: f64) -> bool {
    score(bench) == Some(ObjectValue::Number(number))
}

fn sync_states(did: &Did) -> Vec<SyncState> {
    let states = did.told.iter().filter_map(|event| match event {
        Event::Objects(CHANNEL, ObjectsEvent::Sync(state)) => Some(*state),
        _ => None,
    });
    states.collect()
}

// Spec: RTO23, RTO23c, RTO23e, RTO4, RTO5, RTO17b
#[test]
fn a_call_attaches_and_waits_for_the_last_page_of_the_sync() {
    let mut bench = opened(with_key(), &BOTH);
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    let did = bench.did();
    assert!(matches!(&did.sent[..], [ClientFrame::Attach(_)]), "{did:?}");
    bench.say(has_objects(&BOTH));
    bench.say(states("s:more"));
    let did = bench.did();
    assert_eq!((did.done.len(), sync_states(&did)), (0, vec![SyncState::Syncing]));
    bench.say(states("s:"));
    let did = bench.did();
    assert_eq!(did.done, [(OpId(1), Ok(Outcome::Done))]);
    assert_eq!(sync_states(&did), [SyncState::Synced]);
    assert!(is_score(&bench, 100.0));
    // In sync, a call ends at once.
    bench.client.await_objects(CHANNEL, OpId(2), bench.now);
    assert_eq!(bench.did().done, [(OpId(2), Ok(Outcome::Done))]);
}

// Spec: RTO4b, RTO23c
#[test]
fn a_channel_without_objects_is_in_sync_at_once() {
    let mut bench = opened(with_key(), &BOTH);
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    bench.say(attached_as(BOTH.iter().copied().collect()));
    assert_eq!(bench.did().done, [(OpId(1), Ok(Outcome::Done))]);
    assert!(objects(&bench).read().pool().root().is_empty());
    // The service announces objects, and nobody has used them: one sync.
    let mut bench = opened(with_key(), &BOTH);
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.say(has_objects(&BOTH));
    assert_eq!(sync_states(&bench.did()), [SyncState::Syncing]);
}

// Spec: RTO8b, OM2a, OM2c, RTL15b
#[test]
fn operations_are_applied_and_change_subscribers() {
    let mut bench = synced();
    let id = SubscriptionId(7);
    objects(&bench).subscribe_path(id, Path::parse("score"), None).unwrap();
    bench.say(operation(plus(5.0), "02"));
    let did = bench.did();
    let [Event::Objects(CHANNEL, ObjectsEvent::PathChanged { subscription, message, .. })] =
        &did.told[..]
    else {
        panic!("{did:?}")
    };
    let message = message.as_ref().unwrap();
    assert_eq!((*subscription, message.id.as_deref()), (id, Some("frame:0")));
    assert_eq!(message.connection_id.as_deref(), Some("other"));
    assert!(is_score(&bench, 105.0));
    let channel = bench.client.channel(CHANNEL).unwrap();
    assert_eq!(channel.channel_serial().map(Str::as_str), Some("position"));
    // A sync moves the objects, not the channel.
    bench.say(states("s:"));
    let channel = bench.client.channel(CHANNEL).unwrap();
    assert_eq!(channel.channel_serial().map(Str::as_str), Some("position"));
    objects(&bench).unsubscribe(id);
    bench.did();
    bench.say(operation(plus(5.0), "03"));
    assert!(bench.did().told.is_empty());
}

// Spec: RTO15, RTO15h, RTO20, RTO20d2, RTO20f, RTO9a3
#[test]
fn operations_are_applied_when_they_are_acknowledged_and_not_again_by_their_echo() {
    let mut bench = synced();
    objects(&bench).subscribe_path(SubscriptionId(1), Path::root(), None).unwrap();
    publish(&mut bench, 1, 10.0);
    let did = bench.did();
    let [ClientFrame::Object(frame)] = &did.sent[..] else { panic!("{did:?}") };
    assert_eq!((&*frame.channel, frame.msg_serial, frame.items.len()), ("ch", 0, 1));
    assert!(is_score(&bench, 100.0));
    bench.say(accepted(0, "09"));
    let did = bench.did();
    let published = Outcome::Published(PublishResult::new(vec![Some("09".into())]));
    assert_eq!(did.done, [(OpId(1), Ok(published))]);
    assert_eq!(did.told.len(), 1);
    assert!(is_score(&bench, 110.0));
    let mut echo = operation(plus(10.0), "09");
    if let ServerFrame::Object(delivery) = &mut echo {
        delivery.items[0].site_code = Some("site".into());
    }
    bench.say(echo);
    assert!(bench.did().told.is_empty());
    assert!(is_score(&bench, 110.0));
}

// Spec: RTO15g, RTO20b
#[test]
fn refused_operations_end_with_the_reason_and_change_nothing() {
    let mut bench = synced();
    publish(&mut bench, 1, 10.0);
    let nack = Nack { msg_serial: 0, count: 1, error: error(40160, 401) };
    bench.say(ServerFrame::Nack(nack));
    assert_eq!(bench.did().done, [(OpId(1), Err(40160))]);
    assert!(is_score(&bench, 100.0));
}

// Spec: RTO20e
#[test]
fn acknowledged_operations_wait_for_the_sync() {
    let mut bench = synced();
    bench.say(has_objects(&BOTH));
    publish(&mut bench, 1, 10.0);
    bench.say(accepted(0, "09"));
    assert!(bench.did().done.is_empty());
    bench.say(states("t:"));
    assert_eq!(bench.did().done.len(), 1);
    assert!(is_score(&bench, 110.0));
}

// Spec: RTO20e1
#[test]
fn operations_that_wait_for_a_sync_end_with_the_channel() {
    for ending in ["failed", "detached", "late ack", "released"] {
        let mut bench = synced();
        bench.say(has_objects(&BOTH));
        publish(&mut bench, 1, 10.0);
        bench.client.await_objects(CHANNEL, OpId(2), bench.now);
        if ending != "late ack" {
            bench.say(accepted(0, "09"));
        }
        assert!(bench.did().done.is_empty());
        let failed = || {
            let error = Some(ErrorInfo::new(90000.into(), 400, "gone"));
            ServerFrame::Error(ErrorFrame { channel: Some("ch".into()), error })
        };
        let expected = match ending {
            "failed" => {
                bench.say(failed());
                [(OpId(1), Err(92008)), (OpId(2), Err(90001))]
            }
            "detached" => {
                bench.client.detach(CHANNEL, OpId(3), bench.now);
                bench.say(ServerFrame::Detached { channel: "ch".into(), error: None });
                [(OpId(1), Err(92008)), (OpId(2), Err(90001))]
            }
            "late ack" => {
                bench.say(failed());
                bench.say(accepted(0, "09"));
                [(OpId(2), Err(90001)), (OpId(1), Err(92008))]
            }
            _ => {
                bench.client.release_channel(CHANNEL, bench.now);
                [(OpId(2), Err(90001)), (OpId(1), Err(90001))]
            }
        };
        let mut done = bench.did().done;
        done.retain(|(op, _)| *op != OpId(3));
        assert_eq!(done, expected, "{ending}");
    }
}

// Spec: RTO2a, RTO2b, RTO23a, RTO26a, RTO26c, RTL33c
#[test]
fn calls_need_modes_and_the_echo() {
    for (requested, granted, read, write) in [
        (&BOTH[..], &BOTH[..], Ok(Outcome::Done), None),
        (&BOTH[..], &BOTH[..1], Ok(Outcome::Done), Some(40024)),
        (&BOTH[..], &BOTH[1..], Err(40024), None),
        (&BOTH[1..], &BOTH[1..], Err(40024), None),
        (&[][..], &[ChannelMode::Subscribe][..], Err(40024), Some(40024)),
    ] {
        let mut bench = opened(with_key(), requested);
        bench.client.attach(CHANNEL, OpId(9), bench.now);
        bench.client.await_objects(CHANNEL, OpId(1), bench.now);
        bench.say(attached_as(granted.iter().copied().collect()));
        let mut done = bench.did().done;
        done.retain(|(op, _)| *op == OpId(1));
        assert_eq!(done, [(OpId(1), read)], "{requested:?} {granted:?}");
        publish(&mut bench, 2, 1.0);
        let refused = bench.did().done.pop().map(|(_, outcome)| outcome.unwrap_err());
        assert_eq!(refused, write, "{requested:?} {granted:?}");
    }
    let mut bench = opened(Config { echo_messages: false, ..with_key() }, &BOTH);
    publish(&mut bench, 1, 1.0);
    assert_eq!(bench.did().done, [(OpId(1), Err(40000))]);
}

// Spec: RTO15b, RTO26b, RTO23e
#[test]
fn calls_need_a_channel_that_has_not_failed() {
    let mut bench = synced();
    bench.say(ServerFrame::Error(ErrorFrame {
        channel: Some("ch".into()),
        error: error(90000, 400),
    }));
    bench.did();
    publish(&mut bench, 1, 1.0);
    bench.client.await_objects(CHANNEL, OpId(2), bench.now);
    assert_eq!(bench.did().done, [(OpId(1), Err(90001)), (OpId(2), Err(90001))]);
    bench.client.release_channel(CHANNEL, bench.now);
    bench.client.await_objects(CHANNEL, OpId(3), bench.now);
    publish(&mut bench, 4, 1.0);
    assert_eq!(bench.did().done, [(OpId(3), Err(90001)), (OpId(4), Err(90001))]);
    assert!(bench.client.objects(CHANNEL).is_none());
}

// Spec: RTO15d
#[test]
fn operations_have_a_limit_of_size() {
    let mut bench = opened(Config { max_message_size: 100, ..with_key() }, &BOTH);
    let large = set("root", "k", "x".repeat(101), &mut NewIds::new(0, || [0; 16])).unwrap();
    bench.client.publish_objects(CHANNEL, large.into(), OpId(1), bench.now);
    assert_eq!(bench.did().done, [(OpId(1), Err(40009))]);
}

#[test]
fn a_sync_that_breaks_off_ends_the_calls_that_wait_for_it() {
    let mut bench = synced();
    bench.say(has_objects(&BOTH));
    publish(&mut bench, 1, 10.0);
    bench.say(accepted(0, "09"));
    bench.client.await_objects(CHANNEL, OpId(2), bench.now);
    // A page puts the end off.
    bench.advance(9 * SECOND);
    bench.say(states("t:more"));
    bench.advance(9 * SECOND);
    assert!(bench.did().done.is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.did().done, [(OpId(2), Err(50003)), (OpId(1), Err(92008))]);
    // The sync continues for those who come later; the operation is applied with it.
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    bench.say(states("t:"));
    assert_eq!(bench.did().done, [(OpId(1), Ok(Outcome::Done))]);
    assert!(is_score(&bench, 110.0));
    assert!(!matches!(bench.next_timer(), Some(Timer::ObjectsSync(_))));
}

/// A page puts off the end of what waits for the sync, whether that is a call or an operation.
#[test]
fn a_sync_that_breaks_off_ends_what_waits_for_it_alone() {
    for calls in [true, false] {
        let mut bench = synced();
        bench.say(has_objects(&BOTH));
        let expected = if calls {
            bench.client.await_objects(CHANNEL, OpId(1), bench.now);
            50003
        } else {
            publish(&mut bench, 1, 10.0);
            bench.say(accepted(0, "09"));
            92008
        };
        for _ in 0..2 {
            bench.advance(9 * SECOND);
            bench.say(states("t:more"));
        }
        bench.advance(9 * SECOND);
        assert!(bench.did().done.is_empty());
        bench.advance(SECOND);
        assert_eq!(bench.did().done, [(OpId(1), Err(expected))]);
    }
}

#[test]
fn a_sync_that_never_begins_ends_the_calls_that_wait_for_it() {
    let mut bench = syncing();
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    bench.advance(9 * SECOND);
    assert!(bench.did().done.is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.did().done, [(OpId(1), Err(50003))]);
    publish(&mut bench, 2, 10.0);
    bench.say(accepted(0, "09"));
    bench.advance(9 * SECOND);
    assert!(bench.did().done.is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.did().done, [(OpId(2), Err(92008))]);
}

// Spec: RTO2b, RTO4b
#[test]
fn an_attach_that_announces_nothing_leaves_the_tree_empty() {
    // An ATTACHED without any mode states none: the requested modes count.
    let mut bench = opened(with_key(), &BOTH);
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.say(attached("ch"));
    assert!(bench.client.objects(CHANNEL).is_none());
    bench.did();
    bench.client.await_objects(CHANNEL, OpId(2), bench.now);
    assert_eq!(bench.did().done, [(OpId(2), Ok(Outcome::Done))]);
    let mut bench = synced();
    bench.say(attached("ch"));
    assert_eq!(sync_states(&bench.did()), [SyncState::Syncing, SyncState::Synced]);
    assert_eq!(score(&bench), None);
}

// Spec: RTO10, RTO10a, RTO10b1, RTO10c
#[test]
fn removed_keys_are_forgotten_after_the_grace_period() {
    let mut bench = synced();
    bench.now = Now::at(bench.now.instant, 1_700_000_000_000);
    bench.say(operation(remove("root", "score"), "02"));
    let score = |bench: &Bench| objects(bench).read().pool().object("counter:score@1").is_some();
    assert!(score(&bench));
    bench.say(operation(delete("counter:score@1"), "03"));
    live(&mut bench, 3_590);
    assert!(score(&bench), "a deleted object is kept for the grace period");
    live(&mut bench, 310);
    assert!(!score(&bench));
}

/// So many seconds pass, in which the service sends heartbeats.
fn live(bench: &mut Bench, seconds: u64) {
    for _ in 0..seconds / 10 {
        bench.advance(10 * SECOND);
        bench.say(ServerFrame::Heartbeat { id: None });
    }
}

fn delete(id: &'static str) -> ObjectMessage {
    use capably_protocol::object::{ObjectDelete, ObjectOperation, ObjectOperationAction};
    let operation = ObjectOperation {
        action: Some(ObjectOperationAction::ObjectDelete),
        object_id: Some(id.into()),
        object_delete: Some(ObjectDelete {}),
        ..ObjectOperation::default()
    };
    ObjectMessage { operation: Some(Box::new(operation)), ..ObjectMessage::default() }
}

#[test]
fn a_channel_that_does_not_use_objects_has_none() {
    let mut bench = opened(with_key(), &[]);
    bench.attached(ChannelId(2), "other");
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.say(attached("ch"));
    bench.say(operation(plus(1.0), "02"));
    assert!(bench.client.objects(CHANNEL).is_none());
    assert!(bench.client.objects(ChannelId(2)).is_none());
    assert!(!matches!(bench.next_timer(), Some(Timer::CollectObjects(_))));
    let channel = bench.client.channel(CHANNEL).unwrap();
    assert_eq!(channel.channel_serial().map(Str::as_str), Some("position"));
}

// Spec: RTO4c, RTO4d
#[test]
fn a_reconnect_syncs_anew() {
    let mut bench = synced();
    objects(&bench).subscribe_path(SubscriptionId(1), Path::root(), None).unwrap();
    bench.lose(80003);
    bench.advance(SECOND);
    bench.accept(connected("connection"));
    bench.say(operation(plus(1.0), "02"));
    bench.say(has_objects(&BOTH));
    let did = bench.did();
    assert_eq!(sync_states(&did), [SyncState::Syncing]);
    bench.say(attached_as(BOTH.iter().copied().collect()));
    let did = bench.did();
    assert_eq!(sync_states(&did), [SyncState::Synced]);
    let removed = did.told.iter().any(|event| {
        matches!(event, Event::Objects(_, ObjectsEvent::PathChanged { update, message: None, .. })
            if update.change == capably_objects::Change::Map(vec![("score".into(), KeyChange::Removed)]))
    });
    assert!(removed, "{did:?}");
    assert_eq!(score(&bench), None);
}

/// A channel without objects is in sync as soon as it is attached, whether a call has asked for them before or not.
// Spec: RTO4, RTO4b
#[test]
fn a_call_after_the_attach_of_a_channel_without_objects_waits_for_nothing() {
    let mut bench = opened(with_key(), &BOTH);
    bench.client.attach(CHANNEL, OpId(1_000), bench.now);
    bench.say(attached_as(BOTH.iter().copied().collect()));
    bench.did();
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    assert_eq!(bench.did().done, [(OpId(1), Ok(Outcome::Done))]);
}

/// The deadline of the sync does not end a call while there is no connection. Connections that come and go before the
/// channel is attached again must not put off the end of the call for ever.
// Spec: RTO23c
#[test]
fn a_call_ends_although_the_connection_flaps() {
    let mut bench = syncing();
    bench.client.await_objects(CHANNEL, OpId(1), bench.now);
    let start = bench.now.instant;
    let mut done = Vec::new();
    while done.is_empty() {
        assert!(bench.now.instant.since(start) < 200 * SECOND, "it is still waiting");
        bench.advance(9 * SECOND);
        bench.lose(80003);
        bench.advance(SECOND);
        bench.accept(connected("connection"));
        done = bench.did().done;
    }
    // The TTL of the connection and the time of a request.
    assert!(bench.now.instant.since(start) >= 130 * SECOND, "it ends early");
    assert!(matches!(done[..], [(OpId(1), Err(_))]), "{done:?}");
}
