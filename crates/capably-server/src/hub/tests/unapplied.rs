//! Events of members that an engine has, and that a single server has not applied: the engine has refused them and stored
//! them all the same, or they had no effect.

use super::{
    departing::{CHANNEL, Fate, Node},
    *,
};
use crate::{
    engine::Append,
    hub::{Need, Position, Ticket, model::reads::Reader},
};

/// A server that has few entries in memory, and a client that has seen one.
fn server() -> (Node, Connected, Str) {
    let retention = Retention { frames: 2, bytes: 1_000_000, age: Duration::from_secs(150) };
    let mut node = Node::over(Bench::with_retention(retention), None);
    let (client, connected) = node.attached(None);
    node.bench.publish(client, &CHANNEL, 0, "first");
    node.settle();
    let (_, serial) = node.bench.texts(client);
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    (node, connected, serial.expect("a message"))
}

/// A second client enters, and publishes until memory has the ENTER no more. The engine has stored the ENTER, and has not
/// answered. Returns the proposal.
fn stored_enter(node: &mut Node) -> (Ticket, Append) {
    let (client, _) = node.attached(None);
    node.enter(client);
    let enter = node.proposals().remove(0);
    node.engine.append(enter.1.clone(), node.bench.now.wall);
    for msg_serial in 1..6 {
        node.bench.publish(client, &CHANNEL, msg_serial, "later");
    }
    node.settle();
    enter
}

/// Sends what a client has missed, from the engine too. Returns the clients that the frames show as members, by frame.
fn catch_up(node: &mut Node, client: TransportId) -> Vec<Vec<Str>> {
    let Node { bench, engine } = node;
    while let Some(need) = bench.app.fill(client, bench.now, &mut bench.outputs) {
        let Need::Entries { channel: name, after, until } = need else { panic!("{need:?}") };
        let reader = Reader { engine, app: &bench.app, name, now: bench.now };
        let found = reader.entries(after, until, 3);
        let (now, outputs) = (bench.now, &mut bench.outputs);
        bench.app.fill_from(client, &CHANNEL, &found, Position(0), now, outputs);
    }
    let frames = bench.frames(client).into_iter();
    let members = frames.filter_map(|frame| match frame {
        ServerFrame::Presence(delivery) | ServerFrame::Sync(delivery) => {
            let clients = delivery.items.iter().filter_map(|item| item.client_id.clone());
            Some(clients.collect())
        }
        _ => None,
    });
    members.collect()
}

#[test]
fn a_sync_follows_an_event_that_was_refused_and_stored_all_the_same() {
    let (mut node, connected, serial) = server();
    let enter = stored_enter(&mut node);
    node.decide_on(enter, Fate::Refused);
    assert_eq!(node.members(), 0);
    let (client, _) = node.bench.connect(Some(&*key(&connected)));
    node.bench.attach(client, &CHANNEL, Some(&serial));
    assert_eq!(catch_up(&mut node, client), [vec!["ada"], vec![]], "ENTER, then SYNC");
}

#[test]
fn a_sync_follows_such_an_event_to_a_client_that_has_attached_before_the_refusal() {
    let (mut node, connected, serial) = server();
    let enter = stored_enter(&mut node);
    let (client, _) = node.bench.connect(Some(&*key(&connected)));
    node.bench.attach(client, &CHANNEL, Some(&serial));
    node.decide_on(enter, Fate::Refused);
    assert_eq!(catch_up(&mut node, client), [vec!["ada"], vec![]], "ENTER, then SYNC");
}

/// The client has left with a DETACH, of which it has no answer, and has sent its ENTER again.
#[test]
fn a_sync_follows_a_repeated_event_that_had_no_effect() {
    let (mut node, connected, serial) = server();
    let (first, other) = node.attached(None);
    node.enter(first);
    node.settle();
    node.bench.send(first, vec![ClientFrame::Detach { channel: CHANNEL }]);
    node.settle();
    node.bench.app.transport_closed(first, node.bench.now, &mut node.bench.outputs);
    let (second, _) = node.attached(Some(&other));
    node.enter(second);
    for msg_serial in 1..6 {
        node.bench.publish(second, &CHANNEL, msg_serial, "later");
    }
    node.settle();
    assert_eq!(node.members(), 0);
    let (client, _) = node.bench.connect(Some(&*key(&connected)));
    node.bench.attach(client, &CHANNEL, Some(&serial));
    let seen = catch_up(&mut node, client);
    assert_eq!(seen.last(), Some(&Vec::new()), "SYNC");
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn no_sync_follows_when_nothing_was_refused() {
    let (mut node, connected, serial) = server();
    let enter = stored_enter(&mut node);
    let appended = crate::engine::Appended { position: Position(0), repeated: true };
    let Bench { app, now, outputs, .. } = &mut node.bench;
    app.committed(vec![(enter.0, Ok(appended))], *now, outputs);
    let (client, _) = node.bench.connect(Some(&*key(&connected)));
    node.bench.attach(client, &CHANNEL, Some(&serial));
    assert_eq!(catch_up(&mut node, client), [vec!["ada"]]);
}
