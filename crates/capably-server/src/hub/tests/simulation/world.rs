//! The world of a schedule: nodes, clients and the engine between them, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ClientFrame, ErrorInfo, ServerFrame, Str};
use fastrand::Rng;

use super::{
    Profile,
    client::Client,
    node::Node,
    oracle::Oracle,
    time::{Agenda, VirtualTime},
};
use crate::{
    engine::{Append, Appended},
    hub::{
        NodeId, Now, Occupancy, Place, Position, Ticket, TransportId, model::engine::ModelEngine,
        output::Notice,
    },
};

/// The time that a lease lasts after the node was last heard of, at least and at most, in ms.
const LEASE: std::ops::Range<u64> = 7_000..10_000;

/// What happens, in the order of time.
#[derive(Debug)]
pub(super) enum Event {
    /// A client does something.
    Step(usize),
    /// Frames of a client arrive at its node.
    Up(TransportId, Vec<ClientFrame>),
    /// Frames of a node arrive at its client. `None` closes the transport.
    Down(TransportId, Vec<Option<ServerFrame>>),
    /// A node learns that a transport is closed.
    Closed(NodeId, TransportId),
    /// A client learns that its transport is lost.
    Lost(TransportId),
    /// A proposal arrives at the engine.
    Arrive(NodeId, Ticket, Append),
    /// The result of a proposal arrives at its node.
    Result(NodeId, Ticket, Result<Appended, ErrorInfo>),
    /// The entries of a channel up to a position arrive at a node.
    Deliver(NodeId, Str, Position),
    /// A notice of another node arrives.
    Notice(NodeId, Notice),
    /// The counts of another node arrive.
    Counts { to: NodeId, from: NodeId, all: bool, counts: Vec<(Str, Occupancy)> },
    /// A node tells its counts.
    Tell(NodeId),
    /// A node learns which nodes are alive.
    Nodes(NodeId),
    /// A lease ends, unless it was renewed.
    LeaseEnds(NodeId, u64),
    /// Something is due at a node.
    Timer(NodeId),
    /// Work of a node's front goes on.
    Work(NodeId, Work),
    /// A node, its link or the engine fails or recovers.
    Fault,
}

/// Work of a node's front.
#[derive(Debug)]
pub(super) enum Work {
    /// A channel is loaded: its bounds are read, and it is followed.
    Follow(Str),
    /// Its entries and members are read.
    Load(Str, Position),
    /// A message is read for a client's frame, or for an entry of another node.
    Message { name: Str, at: Place, until: Position, client: Option<TransportId> },
    /// Entries are read for a client that is behind.
    Entries { client: TransportId, name: Str, after: Position, until: Position },
    /// The queue of a transport has room.
    Fill(TransportId),
    /// What a client's frame needs is there, or cannot be had.
    Resume(TransportId, Option<ErrorInfo>),
    /// A client has waited for its node to catch up for too long.
    GiveUp(TransportId, Str),
    /// Members are stored.
    Save(Str, Option<Bytes>),
}

/// The state of everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) profile: Profile,
    pub(super) now: Now,
    agenda: Agenda<Event>,
    pub(super) engine: ModelEngine,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// The nodes with a lease.
    alive: BTreeSet<NodeId>,
    /// The times up to which proposals of nodes that are dead still arrive.
    graves: BTreeMap<NodeId, Duration>,
    next_node: u64,
    pub(super) clients: Vec<Client>,
    /// The client and the node of each transport that is open at the client.
    pub(super) transports: BTreeMap<TransportId, (usize, NodeId)>,
    /// The nodes at which frames of transports arrive, those that the client has given up among them.
    pub(super) routes: BTreeMap<TransportId, NodeId>,
    pub(super) next_transport: u64,
    pub(super) oracle: Oracle,
    /// Nothing fails any more, and everybody comes back.
    pub(super) is_ending: bool,
}

impl VirtualTime for World {
    type Event = Event;

    fn time(&mut self) -> (&mut Agenda<Event>, &mut Rng, &mut Now) {
        (&mut self.agenda, &mut self.rng, &mut self.now)
    }

    fn handle(&mut self, event: Event) {
        if super::is_traced() {
            println!("{:?} {event:?}", self.now.steady);
        }
        match event {
            Event::Step(client) => self.step(client),
            Event::Up(transport, frames) => self.receive_frames(transport, frames),
            Event::Down(transport, frames) => self.client_receives(transport, frames),
            Event::Closed(node, transport) => self.close_session(node, transport),
            Event::Lost(transport) => self.lose(transport),
            Event::Arrive(node, ticket, append) => self.arrive(node, ticket, append),
            Event::Result(node, ticket, result) => self.receive_result(node, ticket, result),
            Event::Deliver(node, name, until) => self.deliver(node, &name, until),
            Event::Notice(node, notice) => self.receive_notice(node, notice),
            Event::Counts { to, from, all, counts } => {
                if self.nodes.get(&to).is_none_or(Node::is_cut) {
                    return;
                }
                self.input(to, |app, now, outputs| {
                    app.set_remote_occupancy(from, all, counts, now, outputs);
                });
            }
            Event::Tell(node) => {
                self.tell(node, false);
                if !self.is_ending {
                    self.soon(1500, Event::Tell(node));
                }
            }
            Event::Nodes(node) => self.learn_nodes(node),
            Event::LeaseEnds(node, cut) => {
                if self.nodes.get(&node).is_none_or(|node| node.is_cut() && node.cuts == cut) {
                    self.alive.remove(&node);
                    self.announce_nodes();
                }
            }
            Event::Timer(node) => self.handle_timer(node),
            Event::Work(node, work) => self.work(node, work),
            Event::Fault => self.fault(),
        }
    }
}

impl World {
    pub(super) fn new(mut rng: Rng, profile: Profile) -> Self {
        let now = Now { steady: Duration::from_secs(10), wall: 1_726_585_978_590 };
        let clients = (0..rng.usize(2..5)).map(Client::new).collect();
        let nodes = rng.u64(2..4);
        let mut world = Self {
            rng,
            profile,
            now,
            agenda: Agenda::new(),
            engine: ModelEngine::default(),
            nodes: BTreeMap::new(),
            alive: BTreeSet::new(),
            graves: BTreeMap::new(),
            next_node: 0,
            clients,
            transports: BTreeMap::new(),
            routes: BTreeMap::new(),
            next_transport: 0,
            oracle: Oracle::new(now),
            is_ending: false,
        };
        for _ in 0..nodes {
            world.start_node();
        }
        world
    }

    /// A proposal arrives at the engine, which commits it.
    fn arrive(&mut self, id: NodeId, ticket: Ticket, append: Append) {
        let sent = match self.nodes.get(&id) {
            Some(node) => node.is_reached(self.now.steady),
            None => self.graves.get(&id).is_some_and(|until| self.now.steady <= *until),
        };
        let result = if sent {
            let name = Str::from(&*append.channel.name);
            let appended = self.engine.append(append, self.now.wall);
            if !appended.repeated {
                self.committed(&name, appended.position);
            }
            Ok(appended)
        } else {
            Err(unavailable())
        };
        let lost = self.profile.lost_acks && !self.is_ending && self.rng.u8(..20) == 0;
        let (result, most) = if lost { (Err(unavailable()), 3000) } else { (result, 60) };
        let at = self.now.steady + self.delay(most);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.results_until = node.results_until.max(at);
            let at = node.results_until;
            self.schedule(at, Event::Result(id, ticket, result));
        }
    }

    /// The entry at a position is committed. It is sent to the nodes that follow the channel, each at its own pace.
    fn committed(&mut self, name: &Str, position: Position) {
        let before = Position(position.0 - 1);
        let entry = self.engine.after(name, before).next().cloned().expect("it is committed");
        self.oracle.apply(name, entry, self.now);
        let following = self.nodes.iter().filter(|(_, node)| node.follows.contains_key(name));
        let following: Vec<(NodeId, u64)> = following.map(|(id, node)| (*id, node.lag)).collect();
        for (node, lag) in following {
            self.soon(lag, Event::Deliver(node, name.clone(), position));
        }
    }

    /// Starts a node.
    fn start_node(&mut self) {
        self.next_node += 1;
        let id = NodeId(self.next_node);
        let lag = *self.rng.choice(&[5, 50, 50, 400, 2500]).expect("not empty");
        self.nodes.insert(id, Node::new(id, lag, self.now));
        self.alive.insert(id);
        self.learn_nodes(id);
        self.announce_nodes();
        self.soon(1500, Event::Tell(id));
    }

    /// The nodes learn which of them are alive.
    fn announce_nodes(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.soon(300, Event::Nodes(id));
        }
    }

    fn learn_nodes(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_none_or(Node::is_cut) {
            return;
        }
        let mut alive = self.alive.clone();
        alive.insert(id);
        self.input(id, |app, now, outputs| app.set_nodes(alive, now, outputs));
        self.tell(id, true);
    }

    /// A node tells the others its counts: those that have changed, or all.
    pub(super) fn tell(&mut self, id: NodeId, all: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let counts = node.app.occupancy_to_tell(all);
        if node.is_cut() || (counts.is_empty() && !all) {
            return;
        }
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|it| *it != id).collect();
        for to in others {
            let counts = counts.clone();
            let at = self.notice_time(id, to);
            self.schedule(at, Event::Counts { to, from: id, all, counts });
        }
    }

    /// The time at which a notice to another node arrives: after those before it.
    pub(super) fn notice_time(&mut self, from: NodeId, to: NodeId) -> Duration {
        let at = self.now.steady + self.delay(100);
        let Some(node) = self.nodes.get_mut(&from) else { return at };
        let last = node.notices_until.entry(to).or_default();
        *last = at.max(*last);
        *last
    }

    /// A node dies, is cut off, is joined again, or starts.
    fn fault(&mut self) {
        if self.is_ending {
            return;
        }
        self.soon(20_000, Event::Fault);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(id) = self.rng.choice(&ids).copied() else { return };
        match self.rng.u8(..3) {
            0 if self.profile.deaths => {
                if self.nodes.len() > 1 {
                    self.kill(id);
                }
                if self.rng.bool() || self.nodes.len() < 2 {
                    self.start_node();
                }
            }
            1 if self.profile.cuts => match self.nodes.get(&id).is_some_and(Node::is_cut) {
                true => self.join(id),
                false => self.cut(id),
            },
            2 if self.profile.deaths && self.nodes.len() < 4 => self.start_node(),
            _ => {}
        }
    }

    /// A node ends without a word.
    fn kill(&mut self, id: NodeId) {
        let until = self.now.steady + self.delay(20);
        self.graves.insert(id, until);
        let cut = self.nodes.remove(&id).map_or(0, |node| node.cuts);
        let lease = Duration::from_millis(self.rng.u64(LEASE));
        self.schedule(self.now.steady + lease, Event::LeaseEnds(id, cut));
        let open: Vec<TransportId> = self
            .transports
            .iter()
            .filter(|(_, (_, node))| *node == id)
            .map(|(transport, _)| *transport)
            .collect();
        for transport in open {
            self.soon(2000, Event::Lost(transport));
        }
    }

    /// A node is cut off from the engine and the other nodes.
    fn cut(&mut self, id: NodeId) {
        let until = self.now.steady + self.delay(20);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.cuts += 1;
        node.cut = Some(until);
        let cut = node.cuts;
        let lease = Duration::from_millis(self.rng.u64(LEASE));
        self.schedule(self.now.steady + lease, Event::LeaseEnds(id, cut));
    }

    /// A node that was cut off is back: it receives what it has missed.
    pub(super) fn join(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.cut = None;
        let followed: Vec<Str> = node.follows.keys().cloned().collect();
        for name in followed {
            let last = self.engine.bounds(&name).1;
            self.soon(200, Event::Deliver(id, name, last));
        }
        self.alive.insert(id);
        self.announce_nodes();
    }
}

/// An error after which it is unknown whether the engine has committed.
pub(super) fn unavailable() -> ErrorInfo {
    let problem = crate::engine::EngineError::Unavailable("the model says so".to_owned());
    crate::hub::error::engine(&problem)
}
