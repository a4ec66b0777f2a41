//! The world of a schedule: clients, hubs and the log between them, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use capably_core::{
    ChannelId, ChannelOptions, Client, Config, Credentials, Event as ClientEvent, Instant, OpId,
    Outcome, Output, TransportEvent, TransportId as LinkId,
};
use capably_objects::{ObjectsEvent, SyncState};
use capably_protocol::{
    ChannelMode, ClientFrame, ErrorCode, ErrorInfo, Format, Limits, ObjectMessage, ServerFrame,
    Str, codec,
};
use fastrand::Rng;

use super::{
    Tally,
    model::{self, Model},
    node::{GRACE, Node, Snapshot, Work, stored_objects},
    writer::Known,
};
use crate::{
    engine::{Append, Appended, Kind},
    hub::{
        NodeId, Now, Position, Ticket, TransportId,
        log::proposal::{Body, Proposal},
        model::engine::ModelEngine,
        output::Notice,
        tests::simulation::{
            is_traced,
            time::{Agenda, Alarm, VirtualTime},
        },
    },
};

/// The channel of all clients.
pub(super) const CHANNEL: &str = "objects";

/// The client's number of the channel.
const ID: ChannelId = ChannelId(1);

const LIMITS: Limits = Limits { max_size: usize::MAX, max_depth: 128 };

/// The time after the last operation in which everything settles.
const QUIET: Duration = Duration::from_secs(240);

/// The codes with which operations may fail: the object was deleted; the connection, the node or the acknowledgement was
/// lost, or the sync that must end before the operation is applied.
const DELETED: u32 = 92_002;
const UNKNOWN: [u32; 9] = [50_003, 80_000, 80_001, 80_002, 80_003, 80_008, 80_018, 92_008, 90_001];

/// What happens, in the order of time.
#[derive(Debug)]
pub(super) enum Event {
    /// A client does something.
    Step(usize),
    /// Something is due at a client.
    Due(usize),
    /// A client dials, and names the connection that it continues.
    Dial(usize, LinkId, Option<Str>),
    /// A frame of a client arrives at its node.
    Up(NodeId, TransportId, Bytes),
    /// Frames of a node arrive at its client. `None` closes the transport.
    Down(TransportId, Vec<Option<ServerFrame>>),
    /// A node learns that a transport is closed.
    Closed(NodeId, TransportId),
    /// A client learns that its transport is lost.
    Lost(usize, TransportId),
    /// A proposal arrives at the engine.
    Arrive(NodeId, Ticket, Append),
    /// The result of a proposal arrives at its node.
    Result(NodeId, Ticket, Result<Appended, ErrorInfo>),
    /// The entries up to a position arrive at a node.
    Deliver(NodeId, Position),
    /// A notice of another node arrives.
    Notice(NodeId, Notice),
    /// A node learns which nodes are alive.
    Nodes(NodeId),
    /// Something is due at a node.
    Timer(NodeId),
    /// Work of a node's front goes on.
    Work(NodeId, Work),
    /// WebSocket pings of the nodes arrive at all clients.
    Pings,
    /// A node dies, and another starts.
    Fault,
}

/// A client.
#[derive(Debug)]
struct Replica {
    core: Client,
    format: Format,
    link: Option<Link>,
    up_until: Duration,
    next_op: u64,
    alarm: Alarm,
    /// The last connection.
    connection: Option<Str>,
    /// The client has no network until then.
    away_until: Duration,
}

/// The transport of a client.
#[derive(Clone, Copy, Debug)]
struct Link {
    core: LinkId,
    id: TransportId,
    node: NodeId,
}

/// An operation in the log.
#[derive(Debug, Default)]
struct Logged {
    /// The connections that have published it, and whether its object was not deleted before. A client that cannot resume sends
    /// it again on another connection (RTN19a2).
    by: BTreeMap<Option<Str>, bool>,
}

/// What can fail in a schedule.
#[derive(Clone, Copy, Debug)]
struct Profile {
    /// Several nodes share the engine.
    is_cluster: bool,
    drops: bool,
    deaths: bool,
    lost_acks: bool,
}

/// The state of everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    profile: Profile,
    pub(super) now: Now,
    agenda: Agenda<Event>,
    pub(super) engine: ModelEngine,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    next_node: u64,
    next_transport: u64,
    clients: Vec<Replica>,
    known: Known,
    model: Model,
    /// The published operations in the log, by their tags.
    logged: HashMap<u64, Logged>,
    next_tag: u64,
    /// The tags of the operations of each publish that has no result yet.
    pending: BTreeMap<(usize, OpId), Vec<u64>>,
    pub(super) tally: Tally,
    /// Nobody operates, and nothing fails.
    is_quiet: bool,
}

impl VirtualTime for World {
    type Event = Event;

    fn time(&mut self) -> (&mut Agenda<Event>, &mut Rng, &mut Now) {
        (&mut self.agenda, &mut self.rng, &mut self.now)
    }

    fn handle(&mut self, event: Event) {
        if is_traced() {
            println!("{:?} {event:?}", self.now.steady);
        }
        match event {
            Event::Step(index) => self.step(index),
            Event::Due(index) => {
                let now = self.now.steady;
                if self.clients[index].alarm.is_due(now) {
                    self.client(index, |core, now| core.handle_timeout(now));
                }
            }
            Event::Dial(index, link, resume) => self.dial(index, link, resume),
            Event::Up(node, transport, bytes) => {
                let format = if bytes[0] == b'{' { Format::Json } else { Format::MsgPack };
                let frame = codec::decode_client_frame(format, &bytes, &LIMITS);
                self.receive_frame(node, transport, frame.expect("a frame of the client"));
            }
            Event::Down(transport, frames) => self.client_receives(transport, frames),
            Event::Closed(node, transport) => self.close_session(node, transport),
            Event::Lost(index, transport) => self.lose(index, transport),
            Event::Arrive(node, ticket, append) => self.arrive(node, ticket, append),
            Event::Result(node, ticket, result) => self.receive_result(node, ticket, result),
            Event::Deliver(node, until) => self.deliver(node, until),
            Event::Notice(node, notice) => self.receive_notice(node, notice),
            Event::Nodes(node) => {
                let alive: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
                if self.profile.is_cluster {
                    self.input(node, |app, now, outputs| app.set_nodes(alive, now, outputs));
                }
            }
            Event::Timer(node) => self.handle_timer(node),
            Event::Work(node, work) => self.work(node, work),
            Event::Pings => {
                for index in 0..self.clients.len() {
                    if let Some(link) = self.clients[index].link {
                        self.client(index, |core, now| {
                            core.handle_transport(link.core, TransportEvent::Activity, now);
                        });
                    }
                }
                self.schedule(self.now.steady + Duration::from_secs(10), Event::Pings);
            }
            Event::Fault => self.fault(),
        }
    }
}

impl World {
    /// Runs a schedule.
    pub(super) fn run(seed: u64) -> Tally {
        let mut rng = Rng::with_seed(seed);
        let is_cluster = rng.u8(..4) > 0;
        let profile = Profile {
            is_cluster,
            drops: rng.u8(..4) > 0,
            deaths: is_cluster && rng.bool(),
            lost_acks: is_cluster && rng.bool(),
        };
        let rounds = rng.usize(1..4);
        let mut world = Self::new(rng, profile);
        for _ in 0..rounds {
            world.round();
        }
        world.tally
    }

    fn new(rng: Rng, profile: Profile) -> Self {
        let mut world = Self {
            rng,
            profile,
            now: Now { steady: Duration::from_secs(10), wall: 1_726_585_978_590 },
            agenda: Agenda::new(),
            engine: ModelEngine::default(),
            snapshot: None,
            nodes: BTreeMap::new(),
            next_node: 0,
            next_transport: 0,
            clients: Vec::new(),
            known: Known::default(),
            model: Model::default(),
            logged: HashMap::new(),
            next_tag: 0,
            pending: BTreeMap::new(),
            tally: Tally::default(),
            is_quiet: false,
        };
        world.start_node();
        if profile.is_cluster {
            world.start_node();
        }
        for index in 0..world.rng.usize(2..5) {
            world.start_client(index);
        }
        world.soon(1, Event::Pings);
        world.soon(20_000, Event::Fault);
        world
    }

    fn start_node(&mut self) {
        self.next_node += 1;
        let id = NodeId(self.next_node);
        let lag = *self.rng.choice(&[5, 50, 400, 2500]).expect("not empty");
        let node = Node::new(self.profile.is_cluster.then_some(id), lag, self.now);
        self.nodes.insert(id, node);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.soon(300, Event::Nodes(id));
        }
    }

    fn start_client(&mut self, index: usize) {
        let format = if self.rng.bool() { Format::Json } else { Format::MsgPack };
        let key = "app-id.key:secret".parse().expect("a key");
        let config = Config { format, ..Config::new(Credentials::Key(key)) };
        let now = self.client_now();
        let mut core = Client::new(Arc::new(config), self.rng.u64(..), now);
        let modes = vec![ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
        core.open_channel(
            ID,
            CHANNEL.into(),
            ChannelOptions { modes, ..ChannelOptions::default() },
        );
        core.connect(now);
        core.attach(ID, OpId(0), now);
        self.clients.push(Replica {
            core,
            format,
            link: None,
            up_until: Duration::ZERO,
            next_op: 1,
            alarm: Alarm::default(),
            connection: None,
            away_until: Duration::ZERO,
        });
        self.poll(index);
    }

    /// A time in which clients operate and things fail, and a quiet time, after which all agree.
    fn round(&mut self) {
        self.is_quiet = false;
        for index in 0..self.clients.len() {
            self.soon(500, Event::Step(index));
        }
        // In a long time, snapshots are written while clients operate.
        let is_long = self.rng.u8(..8) == 0;
        let active = self.rng.u64(if is_long { 60..100 } else { 5..25 });
        let active = Duration::from_secs(active);
        self.pass(active);
        self.is_quiet = true;
        self.pass(QUIET);
        self.compare();
        // Now and then, what was deleted is collected. Clients look for it every 5 minutes.
        if self.rng.u8(..4) == 0 {
            self.pass(GRACE + Duration::from_secs(400));
            self.compare();
            for objects in self.nodes.values().filter_map(|node| node.objects()) {
                assert_eq!(objects.collectable_at(0), None, "something is left to collect");
                let states = objects.pool().states();
                let is_left = |message: &ObjectMessage| {
                    let map = message.object.as_ref().and_then(|it| it.map.as_ref());
                    let mut entries = map.iter().flat_map(|map| map.entries.values());
                    message.serial_timestamp.is_some() || entries.any(|it| it.tombstone.is_some())
                };
                assert_eq!(states.filter(is_left).count(), 0, "deleted objects are left");
                self.tally.collected += 1;
            }
        }
    }

    fn client_now(&self) -> capably_core::Now {
        capably_core::Now::at(Instant::from_start(self.now.steady), self.now.wall)
    }

    /// A proposal arrives at the engine, which commits it.
    fn arrive(&mut self, id: NodeId, ticket: Ticket, append: Append) {
        // A node that is gone has sent it before, or not.
        if !self.nodes.contains_key(&id) && self.rng.bool() {
            return;
        }
        let appended = self.engine.append(append, self.now.wall);
        if !appended.repeated {
            self.committed(appended.position);
        }
        let lost = self.profile.lost_acks && !self.is_quiet && self.rng.u8(..20) == 0;
        let unavailable = crate::engine::EngineError::Unavailable("the model says so".to_owned());
        let result = if lost { Err(crate::hub::error::engine(&unavailable)) } else { Ok(appended) };
        let at = self.now.steady + self.delay(if lost { 3000 } else { 60 });
        if let Some(node) = self.nodes.get_mut(&id) {
            node.results_until = node.results_until.max(at);
            let at = node.results_until;
            self.schedule(at, Event::Result(id, ticket, result));
        }
    }

    /// The entry at a position is committed. It is sent to the nodes, each at its own pace.
    fn committed(&mut self, position: Position) {
        let before = Position(position.0 - 1);
        let entry = self.engine.after(CHANNEL, before).next().expect("it is committed");
        let name = Str::from_static(CHANNEL);
        let proposal = Proposal::decode(&name, entry.time, &entry.payload).expect("a proposal");
        if let Body::Objects(operations) = proposal.body {
            for message in &operations.frame.items {
                let id = message.operation.as_ref().and_then(|it| it.object_id.as_ref());
                let logged = self.logged.entry(tag_of(message)).or_default();
                let connection = operations.frame.connection.clone();
                let has_effect = id.is_some_and(|id| !self.model.is_deleted(id));
                let before = logged.by.insert(connection, has_effect);
                assert_eq!(before, None, "{message:?} is in the log twice");
                self.tally.committed += 1;
                self.model.apply(message);
                if let Some(id) = id.filter(|id| self.model.is_deleted(id)) {
                    self.known.forget(id);
                }
            }
        }
        if self.profile.is_cluster {
            let followers = self.nodes.iter().filter(|(_, node)| node.sent.is_some());
            let followers: Vec<_> = followers.map(|(id, node)| (*id, node.lag)).collect();
            for (node, lag) in followers {
                self.soon(lag, Event::Deliver(node, position));
            }
        }
    }

    /// A client does something.
    fn step(&mut self, index: usize) {
        if self.is_quiet {
            return;
        }
        self.soon(500, Event::Step(index));
        match self.rng.u8(..100) {
            0..4 if self.profile.drops => {
                if let Some(link) = self.clients[index].link {
                    if self.rng.u8(..10) == 0 {
                        let away = Duration::from_secs(self.rng.u64(1..100));
                        self.clients[index].away_until = self.now.steady + away;
                    }
                    self.lose(index, link.id);
                }
            }
            // The client attaches again, and gets a new sync.
            4..6 => {
                let modes = vec![ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
                let options = ChannelOptions { modes, ..ChannelOptions::default() };
                let op = self.next_op(index);
                self.client(index, |core, now| core.set_channel_options(ID, options, op, now));
            }
            6 | 7 => {
                self.tally.requested_syncs += 1;
                self.send_up(index, &ClientFrame::ObjectSync { channel: CHANNEL.into() });
            }
            _ => {
                for frame in self.known.frames(&mut self.rng, self.now.wall) {
                    self.publish(index, frame);
                }
            }
        }
    }

    fn next_op(&mut self, index: usize) -> OpId {
        let client = &mut self.clients[index];
        client.next_op += 1;
        OpId(client.next_op)
    }

    fn publish(&mut self, index: usize, mut messages: Vec<ObjectMessage>) {
        if messages.is_empty() {
            return;
        }
        let op = self.next_op(index);
        let mut tags = Vec::new();
        for message in &mut messages {
            self.next_tag += 1;
            tags.push(self.next_tag);
            message.extras =
                serde_json::json!({ "headers": { "tag": self.next_tag } }).as_object().cloned();
        }
        self.pending.insert((index, op), tags);
        self.client(index, |core, now| core.publish_objects(ID, messages.into(), op, now));
    }

    /// Gives an input to a client, and carries out its outputs.
    fn client(&mut self, index: usize, input: impl FnOnce(&mut Client, capably_core::Now)) {
        let now = self.client_now();
        input(&mut self.clients[index].core, now);
        self.poll(index);
    }

    fn poll(&mut self, index: usize) {
        loop {
            match self.clients[index].core.poll_output() {
                Output::Open { transport, request } => {
                    let resume = request.param("resume").map(Str::from);
                    self.soon(100, Event::Dial(index, transport, resume));
                }
                Output::Send { frame, .. } => self.send_up(index, &frame),
                Output::Shut { transport } => {
                    let link = self.clients[index].link.take_if(|link| link.core == transport);
                    if let Some(link) = link {
                        self.soon(3000, Event::Closed(link.node, link.id));
                    }
                }
                Output::Event(ClientEvent::Done(op, result)) => self.done(index, op, result),
                Output::Event(ClientEvent::Objects(_, ObjectsEvent::Sync(SyncState::Synced))) => {
                    self.tally.syncs += 1;
                }
                Output::Event(_) => {}
                Output::Timeout(deadline) => {
                    let next = deadline.map(|(at, _)| at.since_start());
                    if let Some(at) = self.clients[index].alarm.set(next, self.now.steady) {
                        self.schedule(at, Event::Due(index));
                    }
                    return;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn send_up(&mut self, index: usize, frame: &ClientFrame) {
        let at = self.now.steady + self.delay(40);
        let client = &mut self.clients[index];
        let Some(link) = client.link else { return };
        let mut bytes = Vec::new();
        codec::encode_client_frame(client.format, frame, &mut bytes);
        client.up_until = client.up_until.max(at);
        let at = client.up_until;
        self.schedule(at, Event::Up(link.node, link.id, bytes.into()));
    }

    fn dial(&mut self, index: usize, link: LinkId, resume: Option<Str>) {
        let fails = self.profile.drops && !self.is_quiet && self.rng.u8(..10) == 0;
        let refused = fails || self.now.steady < self.clients[index].away_until;
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(node) = self.rng.choice(&nodes).copied().filter(|_| !refused) else {
            let error = ErrorInfo::new(ErrorCode(80_000), 400, "refused");
            return self.client(index, |core, now| {
                core.handle_transport(link, TransportEvent::Closed(error), now);
            });
        };
        self.next_transport += 1;
        let id = TransportId(self.next_transport);
        self.clients[index].link = Some(Link { core: link, id, node });
        self.client(index, |core, now| core.handle_transport(link, TransportEvent::Opened, now));
        self.connect(node, id, resume);
    }

    /// The client has lost its transport. The node learns it later, maybe after the client has come back.
    fn lose(&mut self, index: usize, transport: TransportId) {
        let link = self.clients[index].link.take_if(|link| link.id == transport);
        let Some(link) = link else { return };
        self.tally.drops += 1;
        if self.rng.bool() {
            // What is on its way is lost.
            self.agenda.retain(|event| !matches!(event, Event::Up(_, to, _) if *to == transport));
        }
        self.soon(3000, Event::Closed(link.node, link.id));
        let error = ErrorInfo::new(ErrorCode(80_003), 400, "lost");
        self.client(index, |core, now| {
            core.handle_transport(link.core, TransportEvent::Closed(error), now);
        });
    }

    /// Frames of a node arrive.
    fn client_receives(&mut self, transport: TransportId, frames: Vec<Option<ServerFrame>>) {
        for frame in frames {
            let found = self
                .clients
                .iter()
                .position(|client| client.link.is_some_and(|link| link.id == transport));
            let Some(index) = found else { return };
            let Some(link) = self.clients[index].link else { return };
            let Some(frame) = frame else { return self.lose(index, transport) };
            if let ServerFrame::Connected(connected) = &frame {
                let id = connected.connection_id.clone();
                match std::mem::replace(&mut self.clients[index].connection, id.clone()) {
                    Some(before) if Some(&before) == id.as_ref() => self.tally.resumed += 1,
                    Some(_) => self.tally.not_resumed += 1,
                    None => {}
                }
            }
            let mut bytes = Vec::new();
            codec::encode_server_frame(self.clients[index].format, &frame, &mut bytes);
            let bytes = Bytes::from(bytes);
            // An operation of another client that arrives twice has no further effect. (Of its own operations, which it has
            // applied on their ACK, a client skips one copy alone: RTO9a3.)
            let own = self.clients[index].core.connection_id();
            let times = match &frame {
                ServerFrame::Object(delivery)
                    if delivery.connection_id.as_ref() != own && self.rng.u8(..20) == 0 =>
                {
                    2
                }
                _ => 1,
            };
            for _ in 0..times {
                let format = self.clients[index].format;
                let frame = codec::decode_server_frame(format, &bytes, &LIMITS);
                let mut frame = frame.expect("a frame of the server");
                self.client(index, |core, now| {
                    core.handle_transport(link.core, TransportEvent::Frame(&mut frame), now);
                });
            }
        }
    }

    /// A publish has its result.
    fn done(&mut self, index: usize, op: OpId, result: Result<Outcome, ErrorInfo>) {
        let Some(tags) = self.pending.remove(&(index, op)) else { return };
        let is_logged = |tag: &u64| self.logged.contains_key(tag);
        let connection = &self.clients[index].connection;
        let has_effect =
            |tag: &u64| self.logged.get(tag).is_some_and(|it| it.by.get(connection) == Some(&true));
        match result {
            Ok(Outcome::Published(result)) => {
                assert_eq!(result.serials.len(), tags.len());
                assert!(
                    tags.iter().all(is_logged),
                    "{tags:?} are acknowledged, and not in the log"
                );
            }
            Err(error) if error.code.0 == DELETED => {
                assert!(!tags.iter().any(has_effect), "{tags:?} are refused, and applied");
                self.tally.refused += tags.len() as u64;
            }
            Err(error) if UNKNOWN.contains(&error.code.0) => {
                self.tally.unknown += tags.len() as u64
            }
            other => panic!("client {index} got {other:?} for {tags:?}"),
        }
    }

    /// A node ends without a word, and another starts.
    fn fault(&mut self) {
        self.soon(20_000, Event::Fault);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        if self.is_quiet || !self.profile.deaths || self.rng.bool() {
            return;
        }
        let Some(id) = self.rng.choice(&ids).copied() else { return };
        self.tally.deaths += 1;
        self.nodes.remove(&id);
        for index in 0..self.clients.len() {
            if let Some(link) = self.clients[index].link.filter(|link| link.node == id) {
                self.soon(2000, Event::Lost(index, link.id));
            }
        }
        self.start_node();
    }

    /// After a quiet time, all replicas have the objects of the log.
    fn compare(&mut self) {
        let expected = self.model.seen();
        for (index, client) in self.clients.iter().enumerate() {
            let objects = client.core.objects(ID).expect("objects");
            let objects = objects.read();
            assert_eq!(objects.state(), SyncState::Synced, "client {index}");
            assert_same(&format!("client {index}"), &model::seen(objects.pool()), &expected);
            self.tally.compared += 1;
        }
        let last = self.engine.bounds(CHANNEL).1;
        let entries = self.engine.after(CHANNEL, Position(0)).rev();
        let newest = entries.filter(|it| it.kind == Kind::Objects).map(|it| it.position).next();
        let saved = self.snapshot.as_ref().map(|(position, _)| *position);
        assert_eq!(saved, newest, "the snapshot is older than the objects");
        let stored = stored_objects(&self.engine, self.snapshot.as_ref(), last);
        let stored = stored.fold(&Str::from_static(CHANNEL));
        let hubs =
            self.nodes.iter().filter_map(|(id, node)| Some((format!("{id:?}"), node.objects()?)));
        let hubs = hubs.chain(stored.iter().map(|it| ("a restored snapshot".to_owned(), it)));
        let mut first: Option<BTreeMap<Str, ObjectMessage>> = None;
        for (who, objects) in hubs {
            assert_same(&who, &model::seen(objects.pool()), &expected);
            // Hubs agree about the states of all objects, those of deleted objects too.
            let states = objects.pool().states().map(|state| (id_of(&state), state));
            let states: BTreeMap<_, _> = states.collect();
            assert_same(&who, &states, first.get_or_insert_with(|| states.clone()));
            self.tally.compared += 1;
        }
        assert!(self.pending.is_empty(), "without a result: {:?}", self.pending);
    }
}

fn id_of(state: &ObjectMessage) -> Str {
    state.object.as_ref().and_then(|it| it.object_id.clone()).expect("a state of an object")
}

fn tag_of(message: &ObjectMessage) -> u64 {
    let extras = serde_json::to_value(&message.extras).expect("JSON");
    extras["headers"]["tag"].as_u64().expect("a tag")
}

fn assert_same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    who: &str,
    own: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let keys: BTreeSet<&K> = own.keys().chain(expected.keys()).collect();
    let different: Vec<_> = keys
        .into_iter()
        .filter(|key| own.get(*key) != expected.get(*key))
        .map(|key| (key, own.get(key), expected.get(key)))
        .collect();
    assert!(different.is_empty(), "{who} differs: {different:#?}");
}
