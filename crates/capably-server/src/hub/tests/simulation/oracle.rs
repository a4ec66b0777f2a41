//! The oracle: a hub that receives each entry as it is committed. All nodes and clients must agree with it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use capably_protocol::{ClientFrame, ServerFrame, Str};

use super::{
    CHANNELS,
    client::{self, State},
    node::{self, Node},
    world::World,
};
use crate::{
    engine::Entry,
    hub::{
        App, ConnectRequest, Direction, Excerpt, MembersQuery, NodeId, Now, Output, PageQuery,
        Place, Position, StoredMembers, TransportId,
        log::proposal::{Body, Proposal},
    },
};

const TRANSPORT: TransportId = TransportId(u64::MAX);

#[derive(Debug)]
pub(super) struct Oracle {
    app: App,
    outputs: Vec<Output>,
    /// The frames that follow from the entries of each channel.
    frames: BTreeMap<Str, BTreeMap<Position, ServerFrame>>,
    /// The members of channels after each entry.
    members: BTreeMap<(Str, Position), Option<Bytes>>,
    /// The messages in the log, by their texts.
    texts: BTreeMap<String, (Str, Place)>,
    /// The ids of the frames in the log.
    ids: BTreeSet<Str>,
    /// The entries that were compared last.
    compared: BTreeMap<(NodeId, Str), Position>,
}

impl Oracle {
    pub(super) fn new(now: Now) -> Self {
        let mut oracle = Self {
            app: node::app(NodeId(u64::MAX), usize::MAX, now),
            outputs: Vec::new(),
            frames: BTreeMap::new(),
            members: BTreeMap::new(),
            texts: BTreeMap::new(),
            ids: BTreeSet::new(),
            compared: BTreeMap::new(),
        };
        oracle.attach(now);
        oracle
    }

    fn attach(&mut self, now: Now) {
        let Self { app, outputs, .. } = self;
        let request = ConnectRequest {
            identity: node::identity(),
            echo: true,
            remain: None,
            max_idle_interval: node::TTL,
            resume: None,
            entropy: [255; 9],
        };
        app.connect(TRANSPORT, request, now, outputs);
        for name in CHANNELS.map(Str::from) {
            app.begin_load(&name);
            let reader = crate::hub::model::reads::Reader {
                engine: &Default::default(),
                app,
                name: name.clone(),
                now,
            };
            let excerpt: Excerpt = reader.tail(Position(0), 1);
            let members = StoredMembers::default();
            app.finish_load(&name, excerpt, Default::default(), members.into(), now, outputs);
            let frames = &mut vec![ClientFrame::Attach(client::attach(&name))];
            assert_eq!(app.receive(TRANSPORT, frames, None, now, outputs), None);
            self.members.insert((name, Position(0)), None);
        }
        outputs.clear();
    }

    /// An entry is committed.
    pub(super) fn apply(&mut self, name: &Str, entry: Entry, now: Now) {
        let position = entry.position;
        let proposal = Proposal::decode(name, entry.time, &entry.payload).expect("a proposal");
        if super::is_traced() {
            println!("{:?} committed {position:?} {proposal:?}", now.steady);
        }
        let id = match proposal.body {
            Body::Messages(frame) => {
                for (index, item) in frame.items.iter().enumerate() {
                    let text = item.data.as_str().expect("a text").to_owned();
                    let known = self.texts.insert(text, (name.clone(), (position, index)));
                    assert_eq!(known, None, "{item:?} is in the log twice");
                }
                frame.id
            }
            Body::Change(change) => change.id,
            Body::Annotations(frame) => frame.id,
            Body::Summary(_)
            | Body::Presence(_)
            | Body::Departure(_)
            | Body::Adoption(_)
            | Body::Objects(_) => None,
        };
        if let Some(id) = id {
            assert!(self.ids.insert(id.clone()), "the frame {id} is in the log twice");
        }
        self.app.follow([(Box::from(&**name), entry)], now, &mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Broadcast(TRANSPORT, broadcast) => {
                    let frames = self.frames.entry(name.clone()).or_default();
                    let known = frames.insert(position, broadcast.frame().clone());
                    assert_eq!(known, None, "one entry is one frame");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let members = self.app.channels.presence.snapshot(name, position);
        self.members.insert((name.clone(), position), members);
    }

    /// Compares the members that a node has with those that the entries give.
    pub(super) fn compare(&mut self, id: NodeId, node: &Node) {
        for name in CHANNELS.map(Str::from) {
            let Some(reached) = node.app.reached(&name) else { continue };
            let key = (id, name.clone());
            if self.compared.insert(key, reached) == Some(reached) {
                continue;
            }
            let members = node.app.channels.presence.snapshot(&name, reached);
            let expected = &self.members[&(name.clone(), reached)];
            assert_eq!(members, *expected, "members of {name} at node {id}, {reached:?}");
        }
    }

    /// Checks the serials of messages that are acknowledged.
    pub(super) fn acknowledged(&self, name: &Str, texts: &[String], serials: &[Option<Str>]) {
        for (index, text) in texts.iter().enumerate() {
            let serial = serials.get(index).cloned().flatten();
            let place = serial.as_deref().and_then(Position::parse_message);
            let place = place.map(|place| (name.clone(), place));
            assert_eq!(place.as_ref(), self.texts.get(text), "{text} is acknowledged");
        }
    }

    /// Checks that a client which has received everything up to `seen` receives the frame of the next entry.
    pub(super) fn check_delivery(
        &self,
        what: &str,
        name: &Str,
        seen: Position,
        position: Position,
        frame: Option<&ServerFrame>,
    ) {
        assert!(position > seen, "{what} has received {position:?} after {seen:?}");
        let none = BTreeMap::new();
        let frames = self.frames.get(name).unwrap_or(&none);
        let after = Position(seen.0 + 1);
        if let Some((missed, frame)) = frames.range(after..position).next() {
            panic!("{what} has missed {missed:?} before {position:?}: {frame:?}");
        }
        match (frame, frames.get(&position)) {
            (Some(ServerFrame::Presence(delivery)), expected) => {
                // In a replay, events stand as they were sent: some may have had no effect.
                let Some(ServerFrame::Presence(expected)) = expected else { return };
                for item in &expected.items {
                    let is_same = delivery.items.iter().any(|it| it.client_id == item.client_id);
                    assert!(is_same, "{what}: {delivery:?}, not {expected:?}");
                }
            }
            (frame, expected) => assert_eq!(frame, expected, "{what}: {position:?}"),
        }
    }

    /// Checks that a client has received everything.
    fn check_complete(&self, what: &str, name: &Str, seen: Position) {
        let frames = self.frames.get(name);
        let missed = frames.and_then(|frames| frames.range(Position(seen.0 + 1)..).next());
        assert!(missed.is_none(), "{what} has missed {missed:?} after {seen:?}");
    }

    fn messages_of(app: &mut App, name: &Str, place: Place, now: Now) -> Option<String> {
        let identity = node::identity();
        let serial = place.0.message_serial(place.1);
        let direction = Direction::Forwards;
        let query = PageQuery { direction, limit: 1000, start: None, end: None, cursor: None };
        let latest = app.message(&identity, name, &serial, now).ok()?;
        let versions = app.versions(&identity, name, &serial, &query, now).ok()?.items;
        let annotations = app.annotations(&identity, name, &serial, &query, now).ok()?.items;
        Some(format!("{latest:?} {versions:?} {annotations:?}"))
    }
}

impl World {
    /// Checks that everybody agrees at the end.
    pub(super) fn check(&mut self) {
        let now = self.now;
        for (id, node) in &mut self.nodes {
            for name in CHANNELS.map(Str::from) {
                let Some(reached) = node.app.reached(&name) else { continue };
                assert_eq!(reached, self.engine.bounds(&name).1, "{name} at node {id}");
                let used = node.app.channels.get(&name).map(|channel| channel.log.floor());
                let floor = used.unwrap_or_default();
                for (_, place) in self.oracle.texts.values().filter(|(of, _)| *of == name) {
                    let known = Oracle::messages_of(&mut node.app, &name, *place, now);
                    if known.is_none() && place.0 <= floor {
                        continue;
                    }
                    let expected = Oracle::messages_of(&mut self.oracle.app, &name, *place, now);
                    assert_eq!(known, expected, "{place:?} of {name} at node {id}");
                }
            }
        }
        let mut attached: BTreeMap<Str, BTreeSet<TransportId>> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            let Some(transport) = client.transport else { continue };
            assert!(client.pending.is_empty(), "client {index} waits for {:?}", client.pending);
            for (name, channel) in &client.channels {
                let what = format!("client {index} on {name}");
                match channel.state {
                    State::Detached => {}
                    State::Attaching | State::Detaching => {
                        panic!("{what} waits in {:?}", channel.state)
                    }
                    State::Attached => {
                        attached.entry(name.clone()).or_default().insert(transport);
                        self.oracle.check_complete(&what, name, channel.seen);
                    }
                }
            }
        }
        self.check_members();
        for (id, node) in &self.nodes {
            for name in CHANNELS.map(Str::from) {
                let expected = attached.get(&name).map_or(0, BTreeSet::len);
                let occupancy = node.app.channels.occupancy_of(&name);
                assert_eq!(occupancy.connections as usize, expected, "{name} at node {id}");
                let members = self.oracle.app.channels.presence.count(&name);
                assert_eq!(occupancy.presence_members as usize, members, "{name} at node {id}");
            }
        }
    }

    fn check_members(&self) {
        let identity = node::identity();
        for name in CHANNELS.map(Str::from) {
            let direction = Direction::Forwards;
            let page = PageQuery { direction, limit: 1000, start: None, end: None, cursor: None };
            let query = MembersQuery { page, client_id: None, connection_id: None };
            let members = self.oracle.app.members(&identity, &name, &query).expect("members");
            let mut actual = BTreeMap::new();
            for member in members.items {
                let data = member.data.as_str().map(str::to_owned);
                let key = (member.connection_id.unwrap_or_default(), member.client_id);
                actual.insert((key.0, key.1.unwrap_or_default()), data);
            }
            for (index, client) in self.clients.iter().enumerate() {
                let (Some(_), Some(connection)) = (client.transport, &client.connection) else {
                    continue;
                };
                let Some(channel) = client.channels.get(&name) else { continue };
                if channel.state != State::Attached {
                    continue;
                }
                for (user, own) in &channel.own {
                    let found = actual.remove(&(connection.clone(), user.clone()));
                    if own.is_certain {
                        let is = found.flatten();
                        assert_eq!(is, own.data, "client {index} as {user} on {name}");
                    }
                }
            }
            assert!(actual.is_empty(), "ghosts on {name}: {actual:?}");
        }
    }
}
