//! A node: a hub, and the work of its front, as `front/app` and `front/cluster` do it.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, LazyLock},
    time::Duration,
};

use capably_protocol::{ClientFrame, ErrorInfo, ServerFrame, Str};

use super::{
    CHANNELS,
    time::{Alarm, VirtualTime},
    world::{Event, Work, World, unavailable},
};
use crate::{
    engine::Appended,
    hub::{
        App, ConnectRequest, Need, NodeId, Now, Output, Position, Retention, Settings, Ticket,
        TransportId,
        auth::{Identity, Key},
        model::reads::{LAST, Reader},
        output::Notice,
        tests::{Bench, spec},
    },
};

/// The most entries of a channel in memory. Few, so that nodes often need what they have dropped.
const MEMORY: usize = 6;

/// The most entries that are loaded when a channel is first used.
const TAIL: usize = 4;

/// The most entries that are read at once.
const PAGE: usize = 3;

/// The longest time for which a client waits until its node has caught up.
const MAX_LAG: Duration = Duration::from_secs(10);

/// The time between two attempts to fetch what an entry of another node needs.
const RETRY: Duration = Duration::from_millis(200);

/// The time for which members stay while their client is disconnected.
pub(super) const REMAIN: Duration = Duration::from_secs(15);

/// The time for which a connection can be resumed.
pub(super) const TTL: Duration = Duration::from_secs(60);

/// The settings of all nodes, and their key.
static SETUP: LazyLock<(Settings, Arc<Key>)> = LazyLock::new(|| {
    let bench = Bench::new();
    let settings = Settings {
        connection_state_ttl: TTL,
        presence_remain: REMAIN,
        objects_grace_period: Duration::from_secs(24 * 3600),
        max_presence_members: 8,
        ..Settings::clone(&bench.app.settings)
    };
    (settings, bench.key)
});

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) app: App,
    outputs: Vec<Output>,
    /// The channels that the engine sends to the node, with the positions that were sent last.
    pub(super) follows: BTreeMap<Str, Position>,
    /// The longest time, in ms, that an entry needs to arrive.
    pub(super) lag: u64,
    sessions: BTreeMap<TransportId, Session>,
    /// The clients that wait for a channel to be loaded.
    loads: BTreeMap<Str, Vec<TransportId>>,
    /// While the node is cut off: the time up to which its proposals arrived.
    pub(super) cut: Option<Duration>,
    /// How often the node was cut off.
    pub(super) cuts: u64,
    /// Proposals, results and notices arrive in their order.
    proposals_until: Duration,
    pub(super) results_until: Duration,
    pub(super) notices_until: BTreeMap<NodeId, Duration>,
    alarm: Alarm,
}

/// A transport of a client.
#[derive(Debug, Default)]
struct Session {
    /// The frames that the hub has not handled yet.
    inbox: Vec<ClientFrame>,
    waiting: Option<Waiting>,
    down_until: Duration,
}

/// What the frames of a client wait for.
#[derive(Debug)]
enum Waiting {
    Work,
    Settled,
    Reached(Str, Position),
}

impl Node {
    pub(super) fn new(id: NodeId, lag: u64, now: Now) -> Self {
        Self {
            app: app(id, MEMORY, now),
            outputs: Vec::new(),
            follows: BTreeMap::new(),
            lag,
            sessions: BTreeMap::new(),
            loads: BTreeMap::new(),
            cut: None,
            cuts: 0,
            proposals_until: Duration::ZERO,
            results_until: Duration::ZERO,
            notices_until: BTreeMap::new(),
            alarm: Alarm::default(),
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether what the node has sent still arrives.
    pub(super) fn is_reached(&self, now: Duration) -> bool {
        self.cut.is_none_or(|until| now <= until)
    }
}

/// A hub that has so many entries of each channel in memory.
pub(super) fn app(id: NodeId, memory: usize, now: Now) -> App {
    let (settings, key) = &*SETUP;
    let age = Duration::from_secs(24 * 3600);
    let retention = Retention { frames: memory, bytes: usize::MAX, age };
    let settings = Settings { retention, ..settings.clone() };
    App::with_engine(Arc::new(settings), spec(key), Some(id), now)
}

/// The identity of all clients: they may do everything, as anybody.
pub(super) fn identity() -> Identity {
    Identity::of_key(&SETUP.1, None).expect("a key without a client id")
}

/// The request of a transport that is opened.
pub(in crate::hub::tests) fn connect_request(
    identity: Identity,
    transport: TransportId,
    resume: Option<Str>,
) -> ConnectRequest {
    let mut entropy = [0; 9];
    entropy[..8].copy_from_slice(&transport.0.to_le_bytes());
    ConnectRequest {
        identity,
        echo: true,
        remain: None,
        max_idle_interval: Duration::from_secs(15),
        resume,
        entropy,
    }
}

/// Collects what goes to clients, by transport. `None` closes a transport. Returns every other output.
pub(in crate::hub::tests) fn take_frames(
    output: Output,
    down: &mut BTreeMap<TransportId, Vec<Option<ServerFrame>>>,
) -> Option<Output> {
    let (to, frame) = match output {
        Output::Frame(to, frame) => (to, Some(frame)),
        Output::Broadcast(to, broadcast) => (to, Some(broadcast.frame().clone())),
        Output::Close(to) => (to, None),
        other => return Some(other),
    };
    down.entry(to).or_default().push(frame);
    None
}

impl World {
    /// Gives an input to a hub, and carries out its outputs.
    pub(super) fn input<R>(
        &mut self,
        id: NodeId,
        input: impl FnOnce(&mut App, Now, &mut Vec<Output>) -> R,
    ) -> Option<R> {
        let node = self.nodes.get_mut(&id)?;
        let result = input(&mut node.app, self.now, &mut node.outputs);
        self.carry_out(id);
        Some(result)
    }

    fn carry_out(&mut self, id: NodeId) {
        let mut down: BTreeMap<TransportId, Vec<Option<ServerFrame>>> = BTreeMap::new();
        loop {
            let Some(node) = self.nodes.get_mut(&id) else { return };
            for name in node.app.take_dropped(self.now, &mut node.outputs) {
                node.follows.remove(&name);
            }
            if node.outputs.is_empty() {
                break;
            }
            for output in mem::take(&mut node.outputs) {
                if let Some(other) = take_frames(output, &mut down) {
                    self.carry(id, other);
                }
            }
        }
        for (transport, frames) in down {
            let at = self.now.steady + self.delay(40);
            let Some(node) = self.nodes.get_mut(&id) else { return };
            let is_closing = frames.iter().any(Option::is_none);
            let Some(session) = node.sessions.get_mut(&transport) else { continue };
            session.down_until = session.down_until.max(at);
            let at = session.down_until;
            if is_closing {
                node.sessions.remove(&transport);
            }
            self.schedule(at, Event::Down(transport, frames));
        }
        self.wake(id);
        self.arm(id);
        self.oracle.compare(id, &self.nodes[&id]);
    }

    fn carry(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Append(ticket, append, _) => {
                let at = self.now.steady + self.delay(40);
                let Some(node) = self.nodes.get_mut(&id) else { return };
                node.proposals_until = node.proposals_until.max(at);
                let at = node.proposals_until;
                self.schedule(at, Event::Arrive(id, ticket, append));
            }
            Output::Behind(to) => self.soon(30, Event::Work(id, Work::Fill(to))),
            Output::Fetch(Need::Message(name, at)) => self.fetch_message(id, name, at, None),
            Output::Snapshot(name, members) => {
                self.soon(100, Event::Work(id, Work::Save(name, members)));
            }
            Output::Notice(notice) => {
                let others = self.nodes.keys().copied().filter(|it| *it != id);
                for to in others.collect::<Vec<_>>() {
                    let at = self.notice_time(id, to);
                    if !self.nodes[&id].is_cut() {
                        self.schedule(at, Event::Notice(to, notice.clone()));
                    }
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Goes on with frames whose wait is over.
    fn wake(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut woken = Vec::new();
        for (transport, session) in &mut node.sessions {
            let is_over = match &session.waiting {
                Some(Waiting::Settled) => node.app.is_settled(*transport),
                Some(Waiting::Reached(name, position)) => {
                    let reached = node.app.reached(name);
                    let is_over = reached.is_none_or(|reached| reached >= *position);
                    if is_over {
                        node.app.set_start(*transport, name, *position);
                    }
                    is_over
                }
                Some(Waiting::Work) | None => false,
            };
            if is_over {
                session.waiting = Some(Waiting::Work);
                woken.push(*transport);
            }
        }
        for transport in woken {
            self.soon(1, Event::Work(id, Work::Resume(transport, None)));
        }
    }

    fn arm(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Some(at) = node.alarm.set(node.app.next_timeout(), self.now.steady) {
            self.schedule(at, Event::Timer(id));
        }
    }

    pub(super) fn handle_timer(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.alarm.is_due(self.now.steady) {
            self.input(id, |app, now, outputs| app.handle_timeout(now, outputs));
        }
    }

    /// A client opens a transport.
    pub(super) fn connect(&mut self, id: NodeId, transport: TransportId, resume: Option<Str>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.sessions.insert(transport, Session::default());
        let request = connect_request(identity(), transport, resume);
        self.input(id, |app, now, outputs| app.connect(transport, request, now, outputs));
    }

    /// The node learns that a transport is closed.
    pub(super) fn close_session(&mut self, id: NodeId, transport: TransportId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.sessions.remove(&transport);
            self.input(id, |app, now, outputs| app.transport_closed(transport, now, outputs));
        }
    }

    /// Frames of a client arrive.
    pub(super) fn receive_frames(&mut self, transport: TransportId, frames: Vec<ClientFrame>) {
        let Some(id) = self.routes.get(&transport).copied() else { return };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(session) = node.sessions.get_mut(&transport) else { return };
        session.inbox.extend(frames);
        if session.waiting.is_none() {
            self.dispatch(id, transport, None);
        }
    }

    /// Gives frames to the hub. `refused` says why what the first needs cannot be had.
    fn dispatch(&mut self, id: NodeId, transport: TransportId, refused: Option<ErrorInfo>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(session) = node.sessions.get_mut(&transport) else { return };
        session.waiting = None;
        let mut frames = mem::take(&mut session.inbox);
        let need = self.input(id, |app, now, outputs| {
            app.receive(transport, &mut frames, refused, now, outputs)
        });
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(session) = node.sessions.get_mut(&transport) else { return };
        session.inbox = frames;
        let Some(need) = need.flatten() else { return };
        session.waiting = Some(match &need {
            Need::Settled | Need::Answers => Waiting::Settled,
            Need::Reached(name, position) => Waiting::Reached(name.clone(), *position),
            _ => Waiting::Work,
        });
        match need {
            Need::Settled | Need::Answers => self.wake(id),
            Need::Reached(name, _) => {
                let give_up = Event::Work(id, Work::GiveUp(transport, name));
                self.schedule(self.now.steady + MAX_LAG, give_up);
            }
            Need::Channel(name) => self.load(id, name, transport),
            Need::Message(name, at) => self.fetch_message(id, name, at, Some(transport)),
            Need::Rewind(..) | Need::Entries { .. } => panic!("unexpected {need:?}"),
        }
    }

    /// One node loads the channels that no client uses. Members of nodes that are gone leave only when a node has their
    /// channel in memory.
    pub(super) fn load_all(&mut self) {
        let Some(id) = self.nodes.keys().next().copied() else { return };
        for name in CHANNELS.map(Str::from) {
            let is_followed = self.nodes.values().any(|node| node.app.reached(&name).is_some());
            if !is_followed {
                self.load(id, name, TransportId(0));
            }
        }
    }

    fn load(&mut self, id: NodeId, name: Str, transport: TransportId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let waiting = node.loads.entry(name.clone()).or_default();
        waiting.push(transport);
        if waiting.len() == 1 {
            node.app.begin_load(&name);
            self.soon(60, Event::Work(id, Work::Follow(name)));
        }
    }

    fn fetch_message(
        &mut self,
        id: NodeId,
        name: Str,
        at: (Position, usize),
        client: Option<TransportId>,
    ) {
        let Some(node) = self.nodes.get(&id) else { return };
        let until = node.app.reached(&name).unwrap_or(LAST);
        self.soon(60, Event::Work(id, Work::Message { name, at, until, client }));
    }

    /// A part of the front's work.
    pub(super) fn work(&mut self, id: NodeId, work: Work) {
        let Self { nodes, engine, now, .. } = self;
        let Some(node) = nodes.get_mut(&id) else { return };
        let is_cut = node.is_cut();
        let reader = |name: &Str| Reader { engine, app: &node.app, name: name.clone(), now: *now };
        match work {
            Work::Follow(name) | Work::Load(name, _) if is_cut => {
                node.app.abandon_load(&name);
                node.follows.remove(&name);
                self.loaded(id, &name, Some(unavailable()));
            }
            Work::Follow(name) => {
                let last = engine.bounds(&name).1;
                node.follows.insert(name.clone(), last);
                self.soon(60, Event::Work(id, Work::Load(name, last)));
            }
            Work::Load(name, last) => {
                let reader = reader(&name);
                let (excerpt, members) = (reader.tail(last, TAIL), reader.members(last));
                let bounds = (Position(0), last);
                self.input(id, |app, now, outputs| {
                    app.finish_load(&name, excerpt, bounds, members.into(), now, outputs);
                });
                self.loaded(id, &name, None);
            }
            Work::Message { name, client: None, at, .. } if is_cut => {
                // It is tried again until that succeeds.
                if node.app.is_stalled(&name) {
                    let until = node.app.reached(&name).unwrap_or(LAST);
                    let work = Work::Message { name, at, until, client: None };
                    self.schedule(self.now.steady + RETRY, Event::Work(id, work));
                }
            }
            Work::Message { client, .. } if is_cut => {
                let refused = Some(unavailable());
                client.into_iter().for_each(|it| self.resume(id, it, refused.clone()));
            }
            Work::Message { name, at, until, client } => {
                let found = reader(&name).message(at, until);
                self.input(id, |app, now, outputs| {
                    app.add_message(&name, at, found, now, outputs);
                });
                client.into_iter().for_each(|client| self.resume(id, client, None));
            }
            Work::Fill(client) => {
                let need = self.input(id, |app, now, outputs| app.fill(client, now, outputs));
                if let Some(Some(Need::Entries { channel: name, after, until })) = need {
                    let work = Work::Entries { client, name, after, until };
                    self.soon(60, Event::Work(id, work));
                }
            }
            Work::Entries { client, .. } if is_cut => {
                self.input(id, |app, now, outputs| {
                    app.disconnect(client, unavailable(), now, outputs);
                });
            }
            Work::Entries { client, name, after, until } => {
                let found = reader(&name).entries(after, until, PAGE);
                let floor = Position(0);
                self.input(id, |app, now, outputs| {
                    app.fill_from(client, &name, &found, floor, now, outputs);
                });
            }
            Work::Resume(client, refused) => self.dispatch(id, client, refused),
            Work::GiveUp(client, name) => {
                let session = node.sessions.get(&client);
                let waiting = session.and_then(|session| session.waiting.as_ref());
                if matches!(waiting, Some(Waiting::Reached(own, _)) if *own == name) {
                    self.resume(id, client, Some(crate::hub::error::not_stored()));
                }
            }
            Work::Save(name, _) if is_cut => node.app.snapshot_failed(&name, *now),
            Work::Save(name, Some(members)) => drop(self.engine.snapshots.insert(name, members)),
            Work::Save(name, None) => drop(self.engine.snapshots.remove(&name)),
        }
    }

    /// A channel is loaded, or could not be: the frames that wait for it go on.
    fn loaded(&mut self, id: NodeId, name: &Str, refused: Option<ErrorInfo>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for client in node.loads.remove(name).unwrap_or_default() {
            self.resume(id, client, refused.clone());
        }
    }

    fn resume(&mut self, id: NodeId, client: TransportId, refused: Option<ErrorInfo>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Some(session) = node.sessions.get_mut(&client) {
            session.waiting = Some(Waiting::Work);
            self.soon(1, Event::Work(id, Work::Resume(client, refused)));
        }
    }

    pub(super) fn receive_result(
        &mut self,
        id: NodeId,
        ticket: Ticket,
        result: Result<Appended, ErrorInfo>,
    ) {
        let is_cut = self.nodes.get(&id).is_some_and(Node::is_cut);
        let result = if is_cut { Err(unavailable()) } else { result };
        self.input(id, |app, now, outputs| app.committed(vec![(ticket, result)], now, outputs));
    }

    /// Entries of a channel arrive.
    pub(super) fn deliver(&mut self, id: NodeId, name: &Str, until: Position) {
        let Self { nodes, engine, .. } = self;
        let Some(node) = nodes.get_mut(&id).filter(|node| !node.is_cut()) else { return };
        let Some(sent) = node.follows.get_mut(name) else { return };
        // Sometimes entries arrive twice.
        let repeated = if until.0.is_multiple_of(5) { 3 } else { 0 };
        let after = Position(sent.0.saturating_sub(repeated));
        let entries = engine.after(name, after).filter(|entry| entry.position <= until);
        let entries: Vec<_> = entries.map(|it| (Box::from(&**name), it.clone())).collect();
        *sent = until.max(*sent);
        self.input(id, |app, now, outputs| app.follow(entries, now, outputs));
    }

    pub(super) fn receive_notice(&mut self, id: NodeId, notice: Notice) {
        if self.nodes.get(&id).is_none_or(Node::is_cut) {
            return;
        }
        self.input(id, |app, now, outputs| match notice {
            Notice::Resumed(connection) => app.resumed_elsewhere(&connection, now, outputs),
            Notice::Serving(connection) => app.served_elsewhere(&connection, now),
            Notice::Ended(connection) => app.ended_elsewhere(connection, now, outputs),
            Notice::Ephemeral { channel, position, time, record } => {
                app.relay_ephemeral(&channel, (position, time), &record, now, outputs);
            }
        });
    }
}
