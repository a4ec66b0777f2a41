//! Events of members that an engine has, and that a single server has not applied: the engine has refused them and stored
//! them all the same, or they had no effect.

use capably_protocol::{
    ChannelMode, ObjectMessage,
    object::{MapSet, ObjectOperation, ObjectOperationAction, ObjectValue},
};

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

/// As [`stored_enter`], with an operation on the channel's objects instead of an ENTER.
fn stored_operation(node: &mut Node) -> (Ticket, Append) {
    let (client, operation) = proposed_operation(node);
    node.engine.append(operation.1.clone(), node.bench.now.wall);
    for msg_serial in 1..6 {
        node.bench.publish(client, &CHANNEL, msg_serial, "later");
    }
    node.settle();
    operation
}

/// A client publishes an operation. Returns the proposal.
fn proposed_operation(node: &mut Node) -> (TransportId, (Ticket, Append)) {
    let (client, _) = node.bench.connect(None);
    attach_objects(node, client, None);
    let set = MapSet { key: "key".into(), value: ObjectValue::String("text".into()).into() };
    let operation = ObjectOperation {
        action: Some(ObjectOperationAction::MapSet),
        object_id: Some("root".into()),
        map_set: Some(set),
        ..ObjectOperation::default()
    };
    let items = [ObjectMessage { operation: Some(Box::new(operation)), ..Default::default() }];
    let (items, params) = (items.into(), Default::default());
    let publish = Publish { channel: CHANNEL, msg_serial: 0, items, params };
    node.bench.send(client, vec![ClientFrame::Object(publish)]);
    (client, node.proposals().remove(0))
}

fn attach_objects(node: &mut Node, client: TransportId, serial: Option<&Str>) {
    let modes = [
        ChannelMode::Publish,
        ChannelMode::Subscribe,
        ChannelMode::ObjectSubscribe,
        ChannelMode::ObjectPublish,
    ];
    let attach = Attach {
        channel: CHANNEL,
        channel_serial: serial.cloned(),
        flags: modes.into_iter().collect(),
        ..Attach::default()
    };
    node.bench.send(client, vec![ClientFrame::Attach(attach)]);
}

/// Sends what a client has missed, from the engine too.
fn fill(node: &mut Node, client: TransportId) -> Vec<ServerFrame> {
    let Node { bench, engine } = node;
    while let Some(need) = bench.app.fill(client, bench.now, &mut bench.outputs) {
        let Need::Entries { channel: name, after, until } = need else { panic!("{need:?}") };
        let reader = Reader { engine, app: &bench.app, name, now: bench.now };
        let found = reader.entries(after, until, 3);
        let (now, outputs) = (bench.now, &mut bench.outputs);
        bench.app.fill_from(client, &CHANNEL, &found, Position(0), now, outputs);
    }
    bench.frames(client)
}

/// Sends what a client has missed. Returns the clients that the frames show as members, by frame.
fn catch_up(node: &mut Node, client: TransportId) -> Vec<Vec<Str>> {
    let frames = fill(node, client).into_iter();
    let members = frames.filter_map(|frame| match frame {
        ServerFrame::Presence(delivery) | ServerFrame::Sync(delivery) => {
            let clients = delivery.items.iter().filter_map(|item| item.client_id.clone());
            Some(clients.collect())
        }
        _ => None,
    });
    members.collect()
}

/// Sends what a client has missed. Returns each operation, and the keys of the root in each sync of the objects.
fn catch_up_objects(node: &mut Node, client: TransportId) -> Vec<String> {
    let mut seen = Vec::new();
    for frame in fill(node, client) {
        match frame {
            ServerFrame::Object(_) => seen.push("operation".to_owned()),
            ServerFrame::ObjectSync(delivery) => {
                let maps =
                    delivery.items.iter().filter_map(|item| item.object.as_ref()?.map.as_ref());
                let keys: Vec<_> = maps.flat_map(|map| map.entries.keys()).collect();
                seen.push(format!("sync {keys:?}"));
            }
            _ => {}
        }
    }
    seen
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

#[test]
fn the_sync_of_the_objects_is_not_followed_by_an_operation_that_was_refused_and_stored_all_the_same()
 {
    let (mut node, connected, serial) = server();
    let operation = stored_operation(&mut node);
    node.decide_on(operation, Fate::Refused);
    let (client, _) = node.bench.connect(Some(&*key(&connected)));
    attach_objects(&mut node, client, Some(&serial));
    assert_eq!(catch_up_objects(&mut node, client), ["sync []"]);
}

/// A client that has attached, and has not received yet what only the engine has.
fn behind(node: &mut Node, connected: &Connected, serial: &Str) -> TransportId {
    let (publisher, _) = node.attached(None);
    for msg_serial in 0..5 {
        node.bench.publish(publisher, &CHANNEL, msg_serial, "earlier");
    }
    node.settle();
    let (client, _) = node.bench.connect(Some(&*key(connected)));
    attach_objects(node, client, Some(serial));
    client
}

#[test]
fn such_an_operation_is_not_sent_to_a_client_that_has_attached_before_it() {
    let (mut node, connected, serial) = server();
    let client = behind(&mut node, &connected, &serial);
    let operation = stored_operation(&mut node);
    node.decide_on(operation, Fate::Refused);
    assert_eq!(catch_up_objects(&mut node, client), ["sync []", "sync []"]);
}

#[test]
fn an_operation_that_is_committed_follows_the_sync_of_a_client_that_is_behind() {
    let (mut node, connected, serial) = server();
    let client = behind(&mut node, &connected, &serial);
    let (_, operation) = proposed_operation(&mut node);
    node.decide_on(operation, Fate::Committed);
    assert_eq!(catch_up_objects(&mut node, client), ["sync []", "operation"]);
}
