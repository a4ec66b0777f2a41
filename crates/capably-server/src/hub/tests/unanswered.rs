//! Frames that wait for their answers while the engine decides nothing.

use super::{
    departing::{CHANNEL, Fate, Node},
    reentering::repeated_enter,
    *,
};
use crate::hub::Need;

/// The most frames of a client that wait for their answers.
const MOST: usize = 8192;

/// A frame that the hub refuses at once.
fn refused(msg_serial: u64) -> ClientFrame {
    publish(&CHANNEL, msg_serial, Vec::new())
}

/// Gives the frames to the hub. Returns the need of the first that it has not handled.
fn receive(node: &mut Node, from: TransportId, frames: &mut Vec<ClientFrame>) -> Option<Need> {
    let Bench { app, now, outputs, .. } = &mut node.bench;
    app.receive(from, frames, None, *now, outputs)
}

/// The serials of the frames that are acknowledged or refused, in the order of the answers.
fn answered(node: &mut Node, client: TransportId) -> Vec<u64> {
    let frames = node.bench.frames(client).into_iter();
    let answered = frames.flat_map(|frame| match frame {
        ServerFrame::Ack(ack) => ack.msg_serial..ack.msg_serial + ack.count,
        ServerFrame::Nack(nack) => nack.msg_serial..nack.msg_serial + nack.count,
        _ => 0..0,
    });
    answered.collect()
}

#[test]
fn refused_frames_behind_an_undecided_one_are_limited_and_other_clients_go_on() {
    let mut node = Node::with_id(None);
    let (client, _) = node.bench.connect(None);
    let (other, _) = node.bench.connect(None);
    let total = 3 * MOST as u64;
    let mut frames: Vec<_> = (1..total).map(refused).collect();
    frames.insert(0, publish(&CHANNEL, 0, vec![Message::new("m", "undecided")]));
    assert_eq!(receive(&mut node, client, &mut frames), Some(Need::Answers));
    assert_eq!(frames.len(), 2 * MOST);
    // The next frame waits, too, even if it cannot be read. A ping is answered.
    assert_eq!(receive(&mut node, client, &mut frames), Some(Need::Answers));
    assert_eq!(frames.len(), 2 * MOST);
    assert_eq!(node.bench.app.need_of_fault(client, false), Some(Need::Answers));
    node.bench.send(client, vec![ClientFrame::Heartbeat { id: Some("ping".into()) }]);
    assert!(matches!(node.bench.frames(client)[..], [ServerFrame::Heartbeat { .. }]));

    let undecided = node.proposals();
    node.bench.publish(other, &CHANNEL, 0, "of another");
    node.settle();
    assert_eq!(answered(&mut node, other), [0]);
    assert_eq!(answered(&mut node, client), [0; 0]);

    for proposal in undecided {
        node.decide_on(proposal, Fate::Committed);
    }
    assert_eq!(node.bench.app.need_of_fault(client, false), None);
    assert_eq!(receive(&mut node, client, &mut frames), None);
    assert_eq!(answered(&mut node, client), Vec::from_iter(0..total));
}

#[test]
fn repeated_frames_behind_an_undecided_one_are_limited() {
    let mut node = Node::with_id(None);
    let (client, _) = repeated_enter(&mut node);
    // The serial is far ahead, so that all those before it count as repeated.
    let ahead = 100_000;
    let mut frames: Vec<_> = (1..3 * MOST as u64).map(refused).collect();
    frames.insert(0, refused(ahead));
    assert_eq!(receive(&mut node, client, &mut frames), Some(Need::Answers));
    // ENTER waits before them.
    assert_eq!(frames.len(), 2 * MOST + 1);
    node.settle();
    assert_eq!(receive(&mut node, client, &mut frames), None);
    let expected = (0..MOST as u64 - 1).chain([ahead]);
    assert_eq!(
        answered(&mut node, client),
        Vec::from_iter(expected),
        "then, none is answered twice"
    );
}

#[test]
fn frames_are_received_again_when_half_of_those_before_them_are_answered() {
    let mut node = Node::with_id(None);
    let (client, _) = node.bench.connect(None);
    for msg_serial in 0..MOST as u64 {
        assert!(node.bench.app.has_room(client) || msg_serial > MOST as u64 / 2);
        node.bench.publish(client, &CHANNEL, msg_serial, "x");
    }
    let proposals = node.proposals();
    assert_eq!(proposals.len(), MOST);
    for (index, proposal) in proposals.into_iter().enumerate() {
        assert_eq!(node.bench.app.has_room(client), index >= MOST / 2, "{index}");
        node.decide_on(proposal, Fate::Committed);
    }
    assert_eq!(answered(&mut node, client), Vec::from_iter(0..MOST as u64));
}
