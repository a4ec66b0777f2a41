//! Members that have left while their client was disconnected, and enter again when it repeats its events.

use capably_protocol::{PresenceAction, PresenceMessage};

use super::{
    departing::{CHANNEL, Fate, Node, is_detached},
    *,
};
use crate::hub::{MembersQuery, Need, NodeId};

/// A member leaves while its client is disconnected. The client comes back and repeats its ENTER, as it has no answer.
/// Returns its transport.
pub(super) fn repeated_enter(node: &mut Node) -> (TransportId, Connected) {
    let (first, connected) = node.attached(None);
    node.enter(first);
    node.settle();
    assert_eq!(node.members(), 1);
    lapse(node, first);
    let (second, _) = node.attached(Some(&connected));
    node.bench.frames(second);
    node.enter(second);
    (second, connected)
}

/// A transport ends, and the members of its client leave.
fn lapse(node: &mut Node, client: TransportId) {
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.advance(Duration::from_secs(16));
    node.settle();
    assert_eq!(node.members(), 0);
}

fn detach() -> Vec<ClientFrame> {
    vec![ClientFrame::Detach { channel: CHANNEL }]
}

/// The ACKs and NACKs: the serial, the number of frames, and whether they were accepted.
fn answers(node: &mut Node, client: TransportId) -> Vec<(u64, u64, bool)> {
    let frames = node.bench.frames(client).into_iter();
    let answers = frames.filter_map(|frame| match frame {
        ServerFrame::Ack(ack) => Some((ack.msg_serial, ack.count, true)),
        ServerFrame::Nack(nack) => Some((nack.msg_serial, nack.count, false)),
        _ => None,
    });
    answers.collect()
}

// Spec: RTN7a, RTN19a
#[test]
fn a_repeated_event_is_acknowledged_when_its_member_is_stored() {
    let mut node = Node::with_id(None);
    let (client, _) = repeated_enter(&mut node);
    assert_eq!(answers(&mut node, client), []);
    node.settle();
    assert_eq!(answers(&mut node, client), [(0, 1, true)]);
    assert_eq!(node.members(), 1);
}

// Spec: RTN7a, RTN19a
#[test]
fn a_client_whose_repeated_event_is_refused_learns_it_and_may_enter_anew() {
    for id in [None, Some(NodeId(1))] {
        let mut node = Node::with_id(id);
        let (client, _) = repeated_enter(&mut node);
        if id.is_some() {
            // The engine has the frame. The node proposes the event anew.
            assert_eq!(node.decide(Fate::Committed), 1);
        }
        assert_eq!(node.decide(Fate::Refused), 1);
        assert_eq!(answers(&mut node, client), [(0, 1, false)], "{id:?}");
        node.send_event(client, 1, PresenceAction::Enter);
        node.settle();
        assert_eq!(answers(&mut node, client), [(1, 1, true)], "{id:?}");
        assert_eq!(node.members(), 1);
    }
}

#[test]
fn frames_behind_a_repeated_event_are_answered_after_it() {
    let mut node = Node::with_id(None);
    let (first, connected) = node.attached(None);
    node.enter(first);
    node.bench.publish(first, &CHANNEL, 1, "one");
    node.bench.publish(first, &CHANNEL, 2, "two");
    node.settle();
    let (second, _) = node.attached(Some(&connected));
    node.bench.frames(second);
    node.enter(second);
    for msg_serial in 1..4 {
        node.bench.publish(second, &CHANNEL, msg_serial, "again");
    }
    let mut proposals = node.proposals();
    assert_eq!(proposals.len(), 2, "the ENTER, and the message that is new");
    node.decide_on(proposals.remove(1), Fate::Committed);
    assert_eq!(answers(&mut node, second), []);
    node.decide_on(proposals.remove(0), Fate::Committed);
    assert_eq!(answers(&mut node, second), [(0, 4, true)]);
}

#[test]
fn a_repeated_event_that_waits_is_proposed_and_answered_once() {
    let mut node = Node::with_id(None);
    let (second, connected) = repeated_enter(&mut node);
    let (third, _) = node.bench.connect(Some(&*key(&connected)));
    node.enter(third);
    let mut proposals = node.proposals();
    assert_eq!(proposals.len(), 1);
    node.decide_on(proposals.remove(0), Fate::Committed);
    assert_eq!(answers(&mut node, second), []);
    assert_eq!(answers(&mut node, third), [(0, 1, true)]);
    node.bench.attach(third, &CHANNEL, None);
    node.enter(third);
    node.settle();
    assert_eq!(answers(&mut node, third), [], "a second ACK would break the protocol");
    assert_eq!(node.members(), 1);
}

#[test]
fn a_detach_waits_for_a_repeated_event_so_that_its_member_leaves() {
    let mut node = Node::with_id(None);
    let (client, _) = repeated_enter(&mut node);
    let Bench { app, now, outputs, .. } = &mut node.bench;
    let need = app.receive(client, &mut detach(), None, *now, outputs);
    assert_eq!(need, Some(Need::Settled));
    node.settle();
    assert_eq!(node.members(), 1);
    node.bench.send(client, detach());
    node.settle();
    assert_eq!(node.members(), 0);
    assert!(node.bench.frames(client).iter().any(is_detached));
}

/// The members and their data, in the order in which they entered.
fn present(node: &Node) -> Vec<(Str, Option<Str>)> {
    let query =
        MembersQuery { page: all(Direction::Forwards), client_id: None, connection_id: None };
    let page = node.bench.app.members(&node.bench.identity(), &CHANNEL, &query).unwrap();
    let members = page
        .items
        .iter()
        .map(|member| (member.client_id.clone().unwrap(), member.data.as_str().map(Str::from)));
    members.collect()
}

fn event(action: PresenceAction, client: &'static str, data: &'static str) -> PresenceMessage {
    PresenceMessage {
        action: Some(action),
        client_id: Some(client.into()),
        data: data.into(),
        ..PresenceMessage::default()
    }
}

/// A client sends frames, with serials from 0. Its transport ends, and its members leave. It comes back and repeats the
/// frames from this one on, each before or after the one before it is stored.
fn repeated(
    node: &mut Node,
    frames: impl Fn(&Connected) -> Vec<Vec<PresenceMessage>>,
    from: usize,
    is_slow: bool,
) -> (TransportId, Connected) {
    let (first, connected) = node.attached(None);
    let frames = frames(&connected);
    for (serial, items) in (0..).zip(frames.clone()) {
        node.send_items(first, serial, items);
        node.settle();
    }
    lapse(node, first);
    let (second, _) = node.attached(Some(&connected));
    node.bench.frames(second);
    for (serial, items) in (0..).zip(frames).skip(from) {
        node.send_items(second, serial, items);
        if is_slow {
            node.settle();
        }
    }
    node.settle();
    (second, connected)
}

/// The client has entered again in a second frame, as when its channel is attached again. Then it left, and entered anew.
/// Only the last of these frames says what the member is.
// Spec: RTN19a, RTP17g
#[test]
fn repeated_events_bring_back_what_the_client_sent_last() {
    for (id, is_slow) in
        [None, Some(NodeId(1))].into_iter().flat_map(|id| [(id, false), (id, true)])
    {
        let mut node = Node::with_id(id);
        let enter = |connected: &Connected, serial: u64, data: &'static str| {
            let connection = connected.connection_id.as_ref().unwrap();
            let id = Some(format!("{connection}:{serial}:0").into());
            vec![PresenceMessage { id, ..event(PresenceAction::Enter, "ada", data) }]
        };
        let frames = |connected: &Connected| {
            vec![
                vec![event(PresenceAction::Enter, "ada", "one")],
                enter(connected, 0, "one"),
                vec![event(PresenceAction::Leave, "ada", "")],
                vec![event(PresenceAction::Enter, "ada", "two")],
            ]
        };
        let (client, connected) = repeated(&mut node, frames, 1, is_slow);
        let two = [("ada".into(), Some("two".into()))];
        assert_eq!(present(&node), two, "{id:?}, slow: {is_slow}");
        assert_eq!(answers(&mut node, client).iter().map(|answer| answer.1).sum::<u64>(), 3);
        node.send_items(client, 4, enter(&connected, 3, "two"));
        node.settle();
        assert_eq!(present(&node), two, "{id:?}, slow: {is_slow}");
    }
}

/// One frame may have several members. Those that have left since it was sent stay away.
// Spec: RTN19a
#[test]
fn a_repeated_frame_brings_back_only_the_members_that_its_client_still_has() {
    for (id, is_slow) in
        [None, Some(NodeId(1))].into_iter().flat_map(|id| [(id, false), (id, true)])
    {
        let mut node = Node::with_id(id);
        let frames = |_: &Connected| {
            vec![
                ["ada", "bob", "cyd"]
                    .map(|name| event(PresenceAction::Enter, name, "here"))
                    .to_vec(),
                vec![event(PresenceAction::Leave, "ada", "")],
                vec![event(PresenceAction::Update, "cyd", "there")],
            ]
        };
        repeated(&mut node, frames, 0, is_slow);
        let mut present = present(&node);
        present.sort();
        let expected = [("bob".into(), Some("here".into())), ("cyd".into(), Some("there".into()))];
        assert_eq!(present, expected, "{id:?}, slow: {is_slow}");
    }
}
