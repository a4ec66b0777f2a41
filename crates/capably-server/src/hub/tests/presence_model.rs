//! The client's core against the hub, in virtual time. Several clients enter, update, leave and detach. They lose their
//! connections for a short or long time, and connect again. In the end, all clients must agree with a small model of the
//! members.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use capably_core::{
    self as core, ChannelId, ChannelOptions, ChannelState, Client, Config, ConnectionState,
    Credentials, Event, Instant, MembersQuery, OpId, Outcome, TransportEvent,
};
use capably_protocol::{ErrorInfo, PresenceAction, PresenceMessage};
use fastrand::Rng;

use super::*;

const CLIENTS: usize = 4;
const USERS: [&str; 3] = ["x", "y", "z"];
const STEPS: usize = 250;
const SEEDS: u64 = 60;
const CHANNEL: ChannelId = ChannelId(0);

/// The possible members and their data: the last change of each user by each client whose result is known.
#[derive(Debug)]
struct Model {
    possible: BTreeMap<(usize, &'static str), BTreeSet<Option<String>>>,
    /// How often each client was detached.
    detached: [u32; CLIENTS],
}

/// A client enters or updates a user with this data, or removes it.
#[derive(Clone, Debug)]
struct MemberChange {
    client: usize,
    user: &'static str,
    data: Option<String>,
    /// How often the client had been detached before.
    detached: u32,
}

impl Model {
    fn new() -> Self {
        let keys = (0..CLIENTS).flat_map(|client| USERS.map(|user| (client, user)));
        let possible = keys.map(|key| (key, [None].into())).collect();
        Self { possible, detached: [0; CLIENTS] }
    }

    /// A failed change may have been made or not. A change before a detach may have been made before or after it.
    fn ended(&mut self, change: MemberChange, succeeded: bool) {
        let possible = self.possible.entry((change.client, change.user)).or_default();
        if succeeded && change.detached == self.detached[change.client] {
            possible.clear();
        }
        possible.insert(change.data);
    }

    /// A detached or closed client has no members. A client that detaches without a transport, or while its channel is
    /// suspended, sends no DETACH: if it connects again soon, its members are still present.
    fn detached(&mut self, client: usize, away: bool) {
        self.detached[client] += 1;
        for user in USERS {
            let possible = self.possible.entry((client, user)).or_default();
            if !away {
                possible.clear();
            }
            possible.insert(None);
        }
    }
}

/// A WebSocket between a client and the hub. Each way, frames arrive in order.
struct Link {
    client: usize,
    transport: core::TransportId,
    up: VecDeque<ClientFrame>,
    down: VecDeque<ServerFrame>,
    /// The hub has closed the link. Frames in flight still arrive.
    closed: bool,
}

struct World {
    rng: Rng,
    bench: Bench,
    clients: Vec<Client>,
    /// Whether the network of each client is up.
    online: Vec<bool>,
    links: BTreeMap<TransportId, Link>,
    ops: BTreeMap<OpId, Option<MemberChange>>,
    next: u64,
    model: Model,
    /// The members that each client knows, with their data.
    known: Vec<BTreeMap<(Str, Str), Data>>,
    answers: BTreeMap<OpId, Vec<PresenceMessage>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let key = "app-id.key:secret".parse().unwrap();
        let config = Arc::new(Config::new(Credentials::Key(key)));
        let clients = (0..CLIENTS).map(|_| {
            let mut client = Client::new(Arc::clone(&config), rng.u64(..), core::Now::default());
            client.open_channel(CHANNEL, "a".into(), ChannelOptions::default());
            client.connect(core::Now::default());
            client
        });
        let clients = clients.collect();
        Self {
            rng,
            bench: Bench::new(),
            clients,
            online: vec![true; CLIENTS],
            links: BTreeMap::new(),
            ops: BTreeMap::new(),
            next: 0,
            model: Model::new(),
            known: vec![BTreeMap::new(); CLIENTS],
            answers: BTreeMap::new(),
        }
    }

    fn now(&self) -> core::Now {
        core::Now::at(Instant::from_start(self.bench.now.steady), self.bench.now.wall)
    }

    fn op(&mut self, change: Option<MemberChange>) -> OpId {
        self.next += 1;
        self.ops.insert(OpId(self.next), change);
        OpId(self.next)
    }

    fn step(&mut self) {
        let client = self.rng.usize(..CLIENTS);
        let now = self.now();
        match self.rng.u8(..100) {
            0..30 => self.change_member(client),
            30..35 => {
                let op = self.op(None);
                self.clients[client].attach(CHANNEL, op, now);
            }
            35..38 => {
                let op = self.op(None);
                self.clients[client].detach(CHANNEL, op, now);
            }
            38..40 => {
                self.clients[client].close(now);
                self.drain(client);
                self.clients[client].connect(now);
            }
            40..48 => self.disconnect(client),
            48..50 => {
                self.online[client] = !self.online[client];
                if !self.online[client] {
                    self.disconnect(client);
                }
            }
            50..92 => self.deliver(client),
            step => {
                let most = if step < 98 { 5_000 } else { 150_000 };
                let span = Duration::from_millis(self.rng.u64(..most));
                self.advance(span);
            }
        }
        self.drain(client);
    }

    /// A client enters, updates or removes a user.
    fn change_member(&mut self, client: usize) {
        let user = self.rng.choice(USERS).unwrap();
        let actions = [PresenceAction::Enter, PresenceAction::Update, PresenceAction::Leave];
        let action = self.rng.choice(actions).unwrap();
        let data = (action != PresenceAction::Leave).then(|| self.next.to_string());
        let detached = self.model.detached[client];
        let op = self.op(Some(MemberChange { client, user, data: data.clone(), detached }));
        let message = PresenceMessage {
            action: Some(action),
            client_id: Some(user.into()),
            data: data.map_or(Data::None, |data| data.as_str().into()),
            ..PresenceMessage::default()
        };
        let now = self.now();
        self.clients[client].presence(CHANNEL, message, op, now);
    }

    /// The network fails: frames in flight are lost.
    fn disconnect(&mut self, client: usize) {
        let now = self.now();
        let transport =
            self.links.iter().find(|(_, link)| link.client == client).map(|(id, _)| *id);
        let Some(transport) = transport else { return };
        let link = self.links.remove(&transport).unwrap();
        self.bench.app.transport_closed(transport, self.bench.now, &mut self.bench.outputs);
        let lost = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "cut"));
        self.clients[client].handle_transport(link.transport, lost, now);
    }

    /// The network delivers some of the frames in flight, in both directions.
    fn deliver(&mut self, client: usize) {
        let now = self.now();
        let links: Vec<_> = self.links.iter().filter(|(_, link)| link.client == client).collect();
        let transports: Vec<TransportId> = links.into_iter().map(|(id, _)| *id).collect();
        for transport in transports {
            let link = self.links.get_mut(&transport).unwrap();
            let up = self.rng.usize(..=link.up.len());
            let mut frames: Vec<_> = link.up.drain(..up).collect();
            let bench = &mut self.bench;
            bench.app.receive(transport, &mut frames, None, bench.now, &mut bench.outputs);
            self.route();
            let Some(link) = self.links.get_mut(&transport) else { continue };
            let down = self.rng.usize(..=link.down.len());
            let frames: Vec<_> = link.down.drain(..down).collect();
            let (own, ended) = (link.transport, link.closed && link.down.is_empty());
            for mut frame in frames {
                self.clients[client].handle_transport(own, TransportEvent::Frame(&mut frame), now);
                self.drain(client);
            }
            if ended && self.links.remove(&transport).is_some() {
                self.bench.app.transport_closed(transport, self.bench.now, &mut self.bench.outputs);
                let end = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "closed"));
                self.clients[client].handle_transport(own, end, now);
            }
        }
        self.drain(client);
    }

    /// Sends the outputs of the hub.
    fn route(&mut self) {
        while !self.bench.outputs.is_empty() {
            for output in std::mem::take(&mut self.bench.outputs) {
                let (to, frame) = match output {
                    Output::Frame(to, frame) => (to, frame),
                    Output::Broadcast(to, broadcast) => (to, broadcast.frame().clone()),
                    Output::Behind(to) => {
                        let bench = &mut self.bench;
                        bench.app.fill(to, bench.now, &mut bench.outputs);
                        continue;
                    }
                    Output::Push(_)
                    | Output::Append(..)
                    | Output::Answer(..)
                    | Output::Fetch(_)
                    | Output::Snapshot(..)
                    | Output::SaveObjects(..)
                    | Output::Notice(_) => continue,
                    Output::Close(to) => {
                        if let Some(link) = self.links.get_mut(&to) {
                            link.closed = true;
                        }
                        continue;
                    }
                };
                if let Some(link) = self.links.get_mut(&to) {
                    link.down.push_back(frame);
                }
            }
        }
    }

    /// Advances the clock from one deadline to the next.
    fn advance(&mut self, span: Duration) {
        let end = self.bench.now.steady + span;
        loop {
            let deadlines: Vec<_> = (0..CLIENTS)
                .filter_map(|client| self.drain(client))
                .map(|at| at.since_start())
                .collect();
            let hub = self.bench.app.next_timeout();
            let next = deadlines.into_iter().chain(hub).min().filter(|at| *at <= end);
            let by = next.unwrap_or(end).saturating_sub(self.bench.now.steady);
            self.bench.advance(by);
            self.route();
            let now = self.now();
            for client in 0..CLIENTS {
                self.clients[client].handle_timeout(now);
                self.drain(client);
            }
            if next.is_none() {
                return;
            }
        }
    }

    /// Carries out the effects of a client. Returns its next deadline.
    fn drain(&mut self, client: usize) -> Option<Instant> {
        loop {
            let now = self.now();
            match self.clients[client].poll_output() {
                core::Output::Open { transport, request } => {
                    let event = if self.online[client] {
                        self.open(client, transport, &request);
                        TransportEvent::Opened
                    } else {
                        TransportEvent::Closed(ErrorInfo::new(80000.into(), 0, "offline"))
                    };
                    self.clients[client].handle_transport(transport, event, now);
                }
                core::Output::Send { transport, frame } => {
                    let own =
                        |link: &&mut Link| link.client == client && link.transport == transport;
                    if let Some(link) = self.links.values_mut().find(own) {
                        link.up.push_back(frame);
                    }
                }
                core::Output::Shut { transport } => {
                    let own = |link: &Link| link.client == client && link.transport == transport;
                    let id = self.links.iter().find(|(_, link)| own(link)).map(|(id, _)| *id);
                    if let Some(id) = id {
                        self.links.remove(&id);
                        self.bench.app.transport_closed(
                            id,
                            self.bench.now,
                            &mut self.bench.outputs,
                        );
                        self.route();
                    }
                }
                core::Output::CheckConnectivity { check } => {
                    let online = self.online[client];
                    self.clients[client].handle_connectivity(check, online, now);
                }
                core::Output::RequestToken { .. } | core::Output::AbandonToken { .. } => {
                    panic!("a client with a key needs no token");
                }
                core::Output::Event(event) => self.handle_event(client, event),
                core::Output::Timeout(deadline) => return deadline.map(|(at, _)| at),
            }
        }
    }

    fn open(
        &mut self,
        client: usize,
        transport: core::TransportId,
        request: &core::ConnectRequest,
    ) {
        let param = |name: &str| {
            request.params.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
        };
        let bench = &mut self.bench;
        bench.transports += 1;
        let id = TransportId(bench.transports);
        let mut entropy = [0; 9];
        entropy[..8].copy_from_slice(&bench.transports.to_le_bytes());
        let request = ConnectRequest {
            identity: bench.identity(),
            echo: true,
            max_idle_interval: Duration::from_secs(15),
            remain: None,
            resume: param("resume"),
            entropy,
        };
        let link =
            Link { client, transport, up: VecDeque::new(), down: VecDeque::new(), closed: false };
        self.links.insert(id, link);
        bench.app.connect(id, request, bench.now, &mut bench.outputs);
        self.route();
    }

    fn handle_event(&mut self, client: usize, event: Event) {
        match event {
            Event::Done(op, outcome) => {
                let change = self.ops.remove(&op).expect("an operation ends once");
                if let Some(change) = change {
                    self.model.ended(change, outcome.is_ok());
                }
                if let Ok(Outcome::Members(members)) = outcome {
                    self.answers.insert(op, members);
                }
            }
            // The service may have detached the channel all the same (RTL5f).
            Event::Channel(_, change)
                if change.previous == ChannelState::Detaching
                    && change.current == ChannelState::Attached =>
            {
                self.model.detached(client, true);
            }
            Event::Channel(_, change) => match change.current {
                ChannelState::Detached | ChannelState::Initialized | ChannelState::Failed => {
                    // The client sends no event when it forgets members.
                    self.known[client].clear();
                    let closed = self.clients[client].connection_state() == ConnectionState::Closed;
                    let away = change.previous != ChannelState::Detaching && !closed;
                    self.model.detached(client, away);
                }
                _ => {}
            },
            Event::Presence(_, batch) => {
                for message in batch.items {
                    let key = (message.connection_id.unwrap(), message.client_id.unwrap());
                    match message.action {
                        Some(PresenceAction::Leave) => self.known[client].remove(&key),
                        _ => self.known[client].insert(key, message.data),
                    };
                }
            }
            _ => {}
        }
    }

    /// All clients connect and stay connected for a while. Then all must know the same members.
    fn settle(&mut self) {
        self.online.fill(true);
        for client in 0..CLIENTS {
            let now = self.now();
            self.clients[client].connect(now);
            let op = self.op(None);
            self.clients[client].attach(CHANNEL, op, now);
        }
        let attached = |world: &Self| {
            let there = |client: &Client| {
                client.connection_state() == ConnectionState::Connected
                    && client.channel(CHANNEL).unwrap().state() == ChannelState::Attached
            };
            world.clients.iter().all(there)
        };
        for _ in 0..200 {
            for _ in 0..20 {
                for client in 0..CLIENTS {
                    self.drain(client);
                    self.deliver(client);
                }
            }
            // The service is alive, as its pings would show.
            let now = self.now();
            for link in self.links.values() {
                let client = &mut self.clients[link.client];
                client.handle_transport(link.transport, TransportEvent::Activity, now);
            }
            self.advance(Duration::from_secs(2));
            if !attached(self) {
                // The first attach may have failed together with the connection.
                for client in 0..CLIENTS {
                    let (op, now) = (self.op(None), self.now());
                    self.clients[client].attach(CHANNEL, op, now);
                }
            }
        }
        assert!(attached(self), "everybody is attached");
    }

    /// Checks that all clients agree. Returns the number of members.
    fn check(&mut self) -> usize {
        let asked: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (op, now) = (self.op(None), self.now());
                self.clients[client].members(CHANNEL, MembersQuery::default(), op, now);
                self.drain(client);
                op
            })
            .collect();
        let own: Vec<_> =
            self.clients.iter().map(|client| client.connection_id().unwrap().clone()).collect();
        let query = crate::hub::MembersQuery {
            page: all(Direction::Forwards),
            client_id: None,
            connection_id: None,
        };
        let members = self.bench.app.members(&self.bench.identity(), "a", &query).unwrap().items;
        let readable = |members: &[PresenceMessage]| -> BTreeMap<(Str, Str), Data> {
            let key = |it: &PresenceMessage| {
                (it.connection_id.clone().unwrap(), it.client_id.clone().unwrap())
            };
            members.iter().map(|member| (key(member), member.data.clone())).collect()
        };
        let expected = readable(&members);
        assert_eq!(expected.len(), members.len());
        for (client, op) in asked.into_iter().enumerate() {
            let answer = self.answers.remove(&op).expect("everybody is in sync");
            assert_eq!(readable(&answer), expected, "client {client} knows who is present");
            for (key, data) in &expected {
                assert_eq!(self.known[client].get(key), Some(data), "client {client} was told");
            }
        }
        for (connection, _) in expected.keys() {
            assert!(own.contains(connection), "members of connections that are gone have left");
        }
        for (client, connection) in own.iter().enumerate() {
            for user in USERS {
                let data = expected.get(&(connection.clone(), user.into()));
                let data = data.map(|data| data.as_str().unwrap().to_owned());
                let possible = &self.model.possible[&(client, user)];
                assert!(
                    possible.contains(&data),
                    "client {client} said of {user} {possible:?}, not {data:?}",
                );
            }
        }
        assert!(self.ops.is_empty(), "every operation has ended: {:?}", self.ops);
        expected.len()
    }
}

#[test]
fn all_clients_agree_with_the_model_on_presence() {
    let mut present = 0;
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
            world.check()
        });
        match run {
            Ok(members) => present += members,
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(present > SEEDS as usize, "nearly nobody is ever present: {present}");
}
