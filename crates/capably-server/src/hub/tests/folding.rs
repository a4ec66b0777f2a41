//! Applying entries is a fold: the same entries in the same order give the same state at every node, whether a node has
//! followed the channel from its start or has loaded it.

use std::collections::BTreeSet;

use capably_protocol::{
    Annotation, AnnotationAction, MessageAction, MessageVersion, ObjectMessage, PresenceAction,
    PresenceMessage,
    object::{
        CounterCreate, CounterInc, MapCreate, MapRemove, MapSet, ObjectData, ObjectOperation,
        ObjectOperationAction, ObjectValue, ObjectsMapEntry,
    },
};
use fastrand::Rng;

use super::*;
use crate::{
    engine::{Entry, Kind},
    hub::{
        ChannelObjects, Excerpt, Need, NodeId, Place, Position, Records, SnapshotDraft,
        SnapshotPart, StoredMembers, StoredObjects, StoredState, Ticket,
        ids::ConnectionId,
        log::proposal::{
            Adoption, Body, Change, Departure, Events, Items, Operations, Owner, Proposal,
            Proposer, Summary,
        },
        model::{
            engine::ModelEngine,
            reads::{LAST, Reader},
        },
    },
};

const SEEDS: u64 = 40;
const ENTRIES: usize = 60;
const CHANNEL: Str = Str::from_static("mutable:a");
const CONNECTIONS: [&str; 3] = ["c1", "c2", "c3"];
const CLIENTS: [&str; 4] = ["w", "x", "y", "z"];
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const UNLIMITED: usize = usize::MAX;

/// Random entries of one channel, of every type. Many are refused by the fold.
struct Generator {
    rng: Rng,
    engine: ModelEngine,
    tickets: u64,
    time: i64,
    created: Vec<Place>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let (rng, engine) = (Rng::with_seed(seed), ModelEngine::default());
        Self { rng, engine, tickets: 0, time: 1_726_585_978_590, created: Vec::new() }
    }

    /// The log of a channel after some entries.
    fn log(mut self) -> (ModelEngine, Vec<Place>) {
        for _ in 0..ENTRIES {
            let body = self.body();
            self.propose(body);
        }
        (self.engine, self.created)
    }

    fn propose(&mut self, body: Body) {
        self.tickets += 1;
        // The clocks of nodes differ.
        self.time += self.rng.i64(-300..1000);
        let node = self.node();
        let created = match &body {
            Body::Messages(frame) => frame.items.len(),
            _ => 0,
        };
        let proposer = Some(Proposer { node, ticket: Ticket(self.tickets) });
        let mut proposal = Proposal { channel: CHANNEL, time: self.time, proposer, body };
        let append = proposal.encode_append(APP, Duration::from_secs(3600));
        let appended = self.engine.append(append, self.time);
        if !appended.repeated {
            self.created.extend((0..created).map(|index| (appended.position, index)));
        }
    }

    fn node(&mut self) -> NodeId {
        self.rng.choice(NODES).unwrap()
    }

    fn connection(&mut self) -> ConnectionId {
        self.rng.choice(CONNECTIONS).unwrap().into()
    }

    fn client(&mut self) -> Str {
        self.rng.choice(CLIENTS).unwrap().into()
    }

    /// A message of the channel. Now and then, one that does not exist.
    fn place(&mut self) -> Place {
        let (position, index) = self.rng.choice(&self.created).copied().unwrap_or((Position(1), 0));
        if self.rng.u8(..12) == 0 { (position, index + 1) } else { (position, index) }
    }

    fn data(&mut self) -> Data {
        match self.rng.u8(..3) {
            0 => Data::from(vec![self.rng.u8(..); 3]),
            _ => Data::from(self.tickets.to_string()),
        }
    }

    fn frame<T>(&mut self, items: Vec<T>) -> Items<T> {
        let connection = self.rng.bool().then(|| self.connection());
        let id = connection.as_ref().map(|it| format!("{it}:{}", self.tickets).into());
        Items { id, connection, items }
    }

    fn body(&mut self) -> Body {
        if self.rng.u8(..4) == 0 {
            return self.operations();
        }
        match self.rng.u8(..100) {
            0..20 => {
                let count = self.rng.usize(1..4);
                let items = (0..count).map(|_| Message::new("m", self.data())).collect();
                Body::Messages(self.frame(items))
            }
            20..35 => self.change(),
            35..45 => self.annotations(),
            45..50 => Body::Summary(Summary { at: self.place(), max_size: 1000 }),
            50..75 => self.events(),
            75..90 => self.departure(),
            _ => {
                let remain = Duration::from_secs(self.rng.u64(..20));
                Body::Adoption(Adoption { connection: self.connection(), remain })
            }
        }
    }

    /// Operations on a few objects, among them some that a replica ignores.
    fn operations(&mut self) -> Body {
        let count = self.rng.usize(1..4);
        let items = (0..count).map(|_| ObjectMessage {
            operation: Some(Box::new(self.operation())),
            ..ObjectMessage::default()
        });
        let items = items.collect();
        let grace = Duration::from_millis(self.rng.choice([500, 3000, 20_000]).unwrap());
        Body::Objects(Operations { frame: self.frame(items), grace })
    }

    fn operation(&mut self) -> ObjectOperation {
        use ObjectOperationAction as Action;
        let (maps, counters) = (["root", "map:1", "map:2", "map:3"], ["counter:1", "counter:2"]);
        let key = |rng: &mut Rng| Str::from(rng.choice(["a", "b", "c"]).unwrap());
        let map = self.rng.choice(maps).unwrap();
        let number = f64::from(self.rng.i16(..));
        let reference =
            ObjectData::reference(self.rng.choice([&maps[..], &counters].concat()).unwrap());
        let text = ObjectValue::String(self.tickets.to_string().into()).into();
        let of = |action, id: &str| ObjectOperation {
            action: Some(action),
            object_id: Some(id.into()),
            ..ObjectOperation::default()
        };
        match self.rng.u8(..12) {
            0..3 => {
                let map_set = Some(MapSet { key: key(&mut self.rng), value: text });
                ObjectOperation { map_set, ..of(Action::MapSet, map) }
            }
            3..5 => {
                let map_set = Some(MapSet { key: key(&mut self.rng), value: reference });
                ObjectOperation { map_set, ..of(Action::MapSet, map) }
            }
            5..7 => {
                let map_remove = Some(MapRemove { key: key(&mut self.rng) });
                ObjectOperation { map_remove, ..of(Action::MapRemove, map) }
            }
            7 => {
                let data = Some(text);
                let entry = ObjectsMapEntry { data, ..ObjectsMapEntry::default() };
                let entries = [(key(&mut self.rng), entry)].into();
                let map_create = Some(MapCreate { entries, ..MapCreate::default() });
                ObjectOperation { map_create, ..of(Action::MapCreate, map) }
            }
            8 => {
                let counter_create = Some(CounterCreate { count: Some(number) });
                let id = self.rng.choice(counters).unwrap();
                ObjectOperation { counter_create, ..of(Action::CounterCreate, id) }
            }
            9 => {
                let counter_inc = Some(CounterInc { number: Some(number) });
                let id = self.rng.choice(counters).unwrap();
                ObjectOperation { counter_inc, ..of(Action::CounterInc, id) }
            }
            10 => of(Action::MapClear, map),
            _ => of(Action::ObjectDelete, self.rng.choice([map, "counter:1"]).unwrap()),
        }
    }

    fn change(&mut self) -> Body {
        use MessageAction::{Append, Delete, Update};
        let action = self.rng.choice([Update, Delete, Append, Append]);
        let Items { id, connection, .. } = self.frame::<Message>(Vec::new());
        Body::Change(Box::new(Change {
            at: self.place(),
            id,
            connection,
            message: Message { action, data: self.data(), ..Message::default() },
            version: MessageVersion { client_id: Some(self.client()), ..MessageVersion::default() },
            claim: None,
            max_size: if self.rng.u8(..5) == 0 { 3 } else { 1000 },
        }))
    }

    fn annotations(&mut self) -> Body {
        let count = self.rng.usize(1..3);
        let items = (0..count).map(|_| {
            let (position, index) = self.place();
            let kinds = ["a:total.v1", "b:flag.v1", "c:distinct.v1", "d:unique.v1", "e:other"];
            Annotation {
                action: self.rng.choice([AnnotationAction::Create, AnnotationAction::Delete]),
                annotation_type: self.rng.choice(kinds).map(Str::from),
                name: self.rng.choice(["n", "o"]).map(Str::from),
                client_id: Some(self.client()),
                message_serial: Some(position.message_serial(index)),
                ..Annotation::default()
            }
        });
        let items = items.collect();
        Body::Annotations(self.frame(items))
    }

    fn events(&mut self) -> Body {
        use PresenceAction::{Enter, Leave, Update};
        let connection = self.connection();
        let count = self.rng.usize(1..4);
        let items = (0..count).map(|_| {
            // A client that enters again names the event by which the member entered first.
            let earlier = self.rng.u64(..=self.tickets);
            let id = (self.rng.u8(..4) == 0).then(|| format!("{connection}:{earlier}:0").into());
            PresenceMessage {
                id,
                action: self.rng.choice([Enter, Enter, Update, Leave]),
                client_id: Some(self.client()),
                data: self.data(),
                ..PresenceMessage::default()
            }
        });
        let items = items.collect();
        Body::Presence(Events {
            connection,
            msg_serial: self.tickets,
            repeated: false,
            items,
            max_members: if self.rng.u8(..3) == 0 { 3 } else { 250 },
            remain: Duration::from_secs(self.rng.u64(..20)),
            again: None,
        })
    }

    /// A departure: with or without an owner, who may be the present one or another.
    fn departure(&mut self) -> Body {
        let last = self.engine.bounds(&CHANNEL).1;
        let since = Position(last.0.saturating_sub(self.rng.u64(..10)));
        let owner = self.rng.bool().then(|| Owner { node: self.node(), since });
        let clients: BTreeSet<Str> = (0..self.rng.usize(1..4)).map(|_| self.client()).collect();
        let connection = self.connection();
        let members = clients.into_iter().map(|client| PresenceMessage {
            id: Some(format!("{connection}:{}:0", self.rng.u64(..5)).into()),
            client_id: Some(client),
            ..PresenceMessage::default()
        });
        Body::Departure(Departure {
            members: members.collect(),
            repeated: self.rng.bool(),
            connection,
            lapsed: self.rng.bool(),
            owner,
        })
    }
}

/// A hub that follows the channel.
struct Follower<'a> {
    bench: Bench,
    engine: &'a ModelEngine,
    /// The most entries that are loaded.
    tail: usize,
    /// The parts of the snapshot of the objects, if there is one.
    objects: Vec<bytes::Bytes>,
}

impl<'a> Follower<'a> {
    /// A node that has this many entries of the channel in memory at most.
    fn new(engine: &'a ModelEngine, node: NodeId, most: usize) -> Self {
        let age = Duration::from_secs(3600);
        let retention = Retention { frames: most, bytes: UNLIMITED, age };
        let mut bench = Bench::with_retention(retention);
        let settings = Arc::clone(&bench.app.settings);
        // The clocks of nodes differ.
        bench.now.steady += Duration::from_secs(node.0);
        bench.app = App::with_engine(settings, spec(&bench.key), Some(node), bench.now);
        Self { bench, engine, tail: most, objects: Vec::new() }
    }

    fn reader(&self) -> Reader<'_> {
        let Self { bench, engine, .. } = self;
        Reader { engine, app: &bench.app, name: CHANNEL, now: bench.now }
    }

    /// Loads the channel as it was at a position.
    fn load(&mut self, last: Position, members: impl FnOnce(&Reader<'_>) -> StoredMembers) {
        let reader = self.reader();
        let (excerpt, members) = (reader.tail(last, self.tail), members(&reader));
        self.finish_load(excerpt, last, members);
    }

    fn finish_load(&mut self, excerpt: Excerpt, last: Position, members: StoredMembers) {
        let objects = self.stored_objects(last);
        let bench = &mut self.bench;
        let (now, bounds) = (bench.now, (Position(0), last));
        bench.app.begin_load(&CHANNEL);
        let state = StoredState { members, objects };
        bench.app.finish_load(&CHANNEL, excerpt, bounds, state, now, &mut bench.outputs);
    }

    /// The objects up to a position, as the front reads them.
    fn stored_objects(&self, last: Position) -> StoredObjects {
        let parts = self.objects.iter().map(|part| SnapshotPart::decode(part).unwrap());
        let parts: Vec<_> = parts.collect();
        let snapshot = (!parts.is_empty()).then(|| ChannelObjects::restore(parts).unwrap());
        let after = snapshot.as_ref().map_or(Position(0), ChannelObjects::position);
        let entries = self.engine.after(&CHANNEL, after).filter(|entry| entry.position <= last);
        let entries = entries.filter(|entry| entry.kind == Kind::Objects).cloned().collect();
        StoredObjects { snapshot, later: Records::read(&CHANNEL, entries).into_proposals() }
    }

    /// The states of the objects, by their ids.
    fn objects(&self) -> Vec<(Str, ObjectMessage)> {
        let channel = self.bench.app.channels.get(&CHANNEL).expect("the channel is in memory");
        let states = channel.objects().into_iter().flat_map(|objects| objects.pool().states());
        let by_id = states.map(|it| (it.object.as_ref().unwrap().object_id.clone().unwrap(), it));
        let mut by_id: Vec<_> = by_id.collect();
        by_id.sort_by(|(one, _), (other, _)| one.cmp(other));
        by_id
    }

    /// The snapshot of the objects that the node would write.
    fn objects_snapshot(&self) -> Vec<bytes::Bytes> {
        let channel = self.bench.app.channels.get(&CHANNEL).expect("the channel is in memory");
        let draft = channel.objects().map(ChannelObjects::snapshot);
        draft.into_iter().flat_map(SnapshotDraft::into_parts).collect()
    }

    /// Follows the channel up to a position.
    fn follow(&mut self, until: Position) {
        let reached = self.bench.app.reached(&CHANNEL).expect("the channel is followed");
        let entries = self.engine.after(&CHANNEL, reached).filter(|it| it.position <= until);
        for entry in entries.cloned().collect::<Vec<_>>() {
            self.apply(entry);
        }
    }

    fn apply(&mut self, entry: Entry) {
        let bench = &mut self.bench;
        bench.app.follow([(Box::from(&*CHANNEL), entry)], bench.now, &mut bench.outputs);
        loop {
            let fetch = self.bench.outputs.drain(..).find_map(|output| match output {
                Output::Fetch(Need::Message(_, at)) => Some(at),
                _ => None,
            });
            let Some(at) = fetch else { return };
            let until = self.bench.app.reached(&CHANNEL).expect("the channel is followed");
            let found = self.reader().message(at, until);
            let bench = &mut self.bench;
            bench.app.add_message(&CHANNEL, at, found, bench.now, &mut bench.outputs);
        }
    }

    fn members(&self) -> Option<bytes::Bytes> {
        let reached = self.bench.app.reached(&CHANNEL)?;
        self.bench.app.channels.presence.snapshot(&CHANNEL, reached)
    }

    /// The frames of the log, by position.
    fn frames(&self) -> Vec<(Position, ServerFrame)> {
        let channel = self.bench.app.channels.get(&CHANNEL).expect("the channel is in memory");
        channel.log.iter().map(|entry| (entry.position(), entry.frame().clone())).collect()
    }

    /// The messages with their versions and annotations.
    fn messages(&mut self, created: &[Place]) -> Vec<(Str, String)> {
        let serials = created.iter().map(|(position, index)| position.message_serial(*index));
        let messages = serials.filter_map(|serial| {
            let (bench, query) = (&mut self.bench, all(Direction::Forwards));
            let (identity, now) = (bench.identity(), bench.now);
            let app = &mut bench.app;
            let latest = app.message(&identity, &CHANNEL, &serial, now).ok()?;
            let versions = app.versions(&identity, &CHANNEL, &serial, &query, now).unwrap();
            let annotations = app.annotations(&identity, &CHANNEL, &serial, &query, now).unwrap();
            Some((serial, format!("{latest:?} {:?} {:?}", versions.items, annotations.items)))
        });
        messages.collect()
    }

    fn assert_same(&mut self, other: &mut Self, created: &[Place], what: &str) {
        assert_eq!(self.members(), other.members(), "{what}: members");
        for (own, other) in self.objects().into_iter().zip(other.objects()) {
            assert_eq!(own, other, "{what}: object");
        }
        assert_eq!(self.objects().len(), other.objects().len(), "{what}: objects");
        let occupancy = |it: &Self| it.bench.app.channels.occupancy_of(&CHANNEL);
        assert_eq!(occupancy(self), occupancy(other), "{what}: occupancy");
        assert_eq!(self.messages(created), other.messages(created), "{what}: messages");
        let ids = |it: &Self| {
            let ids = &it.bench.app.channels.get(&CHANNEL).unwrap().ids;
            ids.iter()
                .map(|(id, at)| (id.clone(), *at))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(ids(self), ids(other), "{what}: ids");
    }
}

#[test]
fn the_same_entries_give_the_same_state_at_every_node() {
    for seed in 0..SEEDS {
        let (engine, created) = Generator::new(seed).log();
        for most in [UNLIMITED, 5] {
            // One node is the proposer of a part of the entries, the other of none.
            let mut nodes = [NODES[0], NodeId(9)].map(|node| Follower::new(&engine, node, most));
            let (one, other) = nodes.split_at_mut(1);
            let (one, other) = (&mut one[0], &mut other[0]);
            for node in [&mut *one, other] {
                node.load(Position(0), |_| StoredMembers::default());
                node.follow(LAST);
            }
            let what = format!("seed {seed}, {most} in memory");
            one.assert_same(other, &created, &what);
            assert_eq!(one.frames(), other.frames(), "{what}: log");
        }
    }
}

#[test]
fn a_channel_loaded_at_any_position_is_as_if_followed_from_its_start() {
    for seed in 0..SEEDS {
        let (mut engine, created) = Generator::new(seed).log();
        let positions: Vec<Position> =
            engine.after(&CHANNEL, Position(0)).map(|entry| entry.position).collect();
        let mut rng = Rng::with_seed(seed);
        let loaded_at = rng.usize(..positions.len());
        let snapshot_at = rng.usize(..=loaded_at);

        let newest = positions[positions.len() - 1];
        let mut replayed = Follower::new(&engine, NodeId(8), UNLIMITED);
        replayed.load(newest, |reader| reader.members(newest));
        let replayed = replayed.members();

        let (snapshot, objects) = {
            let mut writer = Follower::new(&engine, NODES[1], UNLIMITED);
            writer.load(Position(0), |_| StoredMembers::default());
            writer.follow(positions[snapshot_at]);
            (writer.members(), writer.objects_snapshot())
        };
        engine.snapshots.extend(snapshot.map(|it| (CHANNEL, it)));

        let mut whole = Follower::new(&engine, NODES[0], UNLIMITED);
        whole.load(Position(0), |_| StoredMembers::default());
        whole.follow(positions[loaded_at]);
        let mut loaded = Follower::new(&engine, NodeId(9), UNLIMITED);
        loaded.objects = objects;
        loaded.load(positions[loaded_at], |reader| reader.members(positions[loaded_at]));
        let what = format!("seed {seed}, loaded at {loaded_at}, snapshot at {snapshot_at}");
        whole.assert_same(&mut loaded, &created, &format!("{what}, at once"));

        whole.follow(LAST);
        loaded.follow(LAST);
        whole.assert_same(&mut loaded, &created, &what);

        // Entries about members that were loaded stand in the log as their clients sent them.
        let of_messages = |node: &Follower<'_>, after: Position| {
            let mut frames = node.frames();
            frames.retain(|(position, frame)| {
                *position > after || !matches!(frame, ServerFrame::Presence(_))
            });
            frames
        };
        let after = positions[loaded_at];
        assert_eq!(of_messages(&whole, after), of_messages(&loaded, after), "{what}: log");
        assert_eq!(whole.members(), replayed, "{what}: members of the whole log");
    }
}
