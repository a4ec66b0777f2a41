//! The nodes: hubs over one log, and the work of their fronts.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use bytes::Bytes;
use capably_protocol::{ClientFrame, ErrorInfo, ServerFrame, Str};

use super::world::{CHANNEL, Event, World};
use crate::{
    engine::{Appended, Direction, Kind, Range},
    hub::{
        App, ChannelObjects, Need, NodeId, Now, Output, Position, Records, Retention, Settings,
        SnapshotDraft, SnapshotEnd, SnapshotPart, StoredMembers, StoredObjects, Ticket,
        TransportId,
        auth::Identity,
        model::{engine::ModelEngine, reads::Reader},
        output::Notice,
        tests::{
            Bench,
            simulation::{
                node::{connect_request, take_frames},
                time::{Alarm, VirtualTime},
            },
            spec,
        },
    },
};

/// The most entries of a channel in memory. Few, so that nodes often need what they have dropped.
const MEMORY: usize = 12;

/// The most entries that are loaded when a channel is first used.
const TAIL: usize = 8;

/// The most entries that are read at once.
const PAGE: usize = 5;

/// How long deleted objects and entries stay. Far longer than any operation is on its way.
pub(super) const GRACE: Duration = Duration::from_secs(600);

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) app: App,
    outputs: Vec<Output>,
    /// The position up to which the engine has sent entries, if the node follows the channel.
    pub(super) sent: Option<Position>,
    /// The longest time, in ms, that an entry needs to arrive.
    pub(super) lag: u64,
    sessions: BTreeMap<TransportId, Session>,
    /// Proposals and results arrive in their order.
    proposals_until: Duration,
    pub(super) results_until: Duration,
    alarm: Alarm,
}

/// A transport of a client.
#[derive(Debug, Default)]
struct Session {
    /// The frames that the hub has not handled yet.
    inbox: Vec<ClientFrame>,
    need: Option<Need>,
    down_until: Duration,
}

/// A stored snapshot.
pub(super) type Snapshot = (Position, Vec<Bytes>);

/// Work of a node's front.
#[derive(Debug)]
pub(super) enum Work {
    /// The channel is loaded: it is followed from here on, then its entries and objects are read.
    Follow,
    Load(Position),
    /// The queue of a transport has room.
    Fill(TransportId),
    /// Entries are read for a client that is behind.
    Entries {
        client: TransportId,
        after: Position,
        until: Position,
    },
    /// A snapshot of the objects is stored: the position of the one before is read, and then it is replaced.
    Replace(SnapshotDraft, Option<Position>),
    Save(SnapshotDraft),
}

impl Node {
    pub(super) fn new(id: Option<NodeId>, lag: u64, now: Now) -> Self {
        let bench = Bench::new();
        let age = Duration::from_secs(24 * 3600);
        let settings = Settings {
            connection_state_ttl: Duration::from_secs(60),
            objects_grace_period: GRACE,
            max_message_size: 65_536,
            retention: Retention { frames: MEMORY, bytes: usize::MAX, age },
            ..Settings::clone(&bench.app.settings)
        };
        Self {
            app: App::with_engine(Arc::new(settings), spec(&bench.key), id, now),
            outputs: Vec::new(),
            sent: None,
            lag,
            sessions: BTreeMap::new(),
            proposals_until: Duration::ZERO,
            results_until: Duration::ZERO,
            alarm: Alarm::default(),
        }
    }

    /// The channel's objects, if the channel is in memory and there was an operation.
    pub(super) fn objects(&self) -> Option<&ChannelObjects> {
        self.app.channels.get(CHANNEL)?.objects()
    }
}

/// The identity of all clients: they may do everything.
fn identity() -> Identity {
    Bench::new().identity()
}

/// The objects of the channel as they are stored.
pub(super) fn stored_objects(
    engine: &ModelEngine,
    snapshot: Option<&Snapshot>,
    until: Position,
) -> StoredObjects {
    let snapshot = snapshot.map(|(_, parts)| {
        let parts = parts.iter().map(|part| SnapshotPart::decode(part).expect("a snapshot"));
        ChannelObjects::restore(parts.collect()).expect("a whole snapshot")
    });
    let after = snapshot.as_ref().map_or(Position(0), ChannelObjects::position);
    let range = Range {
        after,
        until,
        kind: Some(Kind::Objects),
        direction: Direction::Forwards,
        limit: usize::MAX,
        max_bytes: usize::MAX,
    };
    let entries = engine.read(CHANNEL, &range);
    let later = Records::read(&Str::from_static(CHANNEL), entries).into_proposals();
    StoredObjects { snapshot, later }
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
            if !node.app.take_dropped(self.now, &mut node.outputs).is_empty() {
                node.sent = None;
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
            let Some(session) = node.sessions.get_mut(&transport) else { continue };
            session.down_until = session.down_until.max(at);
            let at = session.down_until;
            if frames.iter().any(Option::is_none) {
                node.sessions.remove(&transport);
            }
            self.schedule(at, Event::Down(transport, frames));
        }
        self.wake(id);
        self.arm(id);
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
            Output::SaveObjects(_, draft) => {
                self.soon(2000, Event::Work(id, Work::Save(draft)));
            }
            Output::Notice(notice) => {
                let others = self.nodes.keys().copied().filter(|it| *it != id);
                for to in others.collect::<Vec<_>>() {
                    self.soon(100, Event::Notice(to, notice.clone()));
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
            let is_over = match &session.need {
                Some(Need::Settled) => node.app.is_settled(*transport),
                Some(Need::Reached(name, position)) => {
                    let is_over = node.app.reached(name).is_none_or(|reached| reached >= *position);
                    if is_over {
                        node.app.set_start(*transport, name, *position);
                    }
                    is_over
                }
                _ => false,
            };
            if is_over {
                session.need = None;
                woken.push(*transport);
            }
        }
        for transport in woken {
            self.dispatch(id, transport, None);
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

    /// A node learns that a transport is closed.
    pub(super) fn close_session(&mut self, id: NodeId, transport: TransportId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.sessions.remove(&transport);
            self.input(id, |app, now, outputs| app.transport_closed(transport, now, outputs));
        }
    }

    /// A frame of a client arrives.
    pub(super) fn receive_frame(&mut self, id: NodeId, transport: TransportId, frame: ClientFrame) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(session) = node.sessions.get_mut(&transport) else { return };
        session.inbox.push(frame);
        if session.need.is_none() {
            self.dispatch(id, transport, None);
        }
    }

    /// Gives frames to the hub. `refused` says why what the first needs cannot be had.
    fn dispatch(&mut self, id: NodeId, transport: TransportId, refused: Option<ErrorInfo>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(session) = node.sessions.get_mut(&transport) else { return };
        let mut frames = mem::take(&mut session.inbox);
        let need = node.app.receive(transport, &mut frames, refused, self.now, &mut node.outputs);
        session.inbox = frames;
        session.need = need;
        let wants_channel = matches!(session.need, Some(Need::Channel(_)));
        let waits = |it: &&Session| matches!(it.need, Some(Need::Channel(_)));
        if wants_channel && node.sessions.values().filter(waits).count() == 1 {
            node.app.begin_load(&Str::from_static(CHANNEL));
            self.soon(60, Event::Work(id, Work::Follow));
        }
        self.carry_out(id);
    }

    /// A part of the front's work.
    pub(super) fn work(&mut self, id: NodeId, work: Work) {
        let name = Str::from_static(CHANNEL);
        let Self { nodes, engine, snapshot, now, .. } = self;
        let Some(node) = nodes.get_mut(&id) else { return };
        let reader = Reader { engine, app: &node.app, name: name.clone(), now: *now };
        match work {
            Work::Follow => {
                let last = engine.bounds(CHANNEL).1;
                node.sent = Some(last);
                self.soon(60, Event::Work(id, Work::Load(last)));
            }
            Work::Load(last) => {
                let excerpt = reader.tail(last, TAIL);
                let members = StoredMembers::default();
                let objects = stored_objects(engine, snapshot.as_ref(), last);
                let state = crate::hub::StoredState { members, objects };
                self.tally.restored += 1;
                let bounds = (Position(0), last);
                self.input(id, |app, now, outputs| {
                    app.finish_load(&name, excerpt, bounds, state, now, outputs);
                });
                let Some(node) = self.nodes.get_mut(&id) else { return };
                let waiting = node.sessions.iter_mut().filter_map(|(client, session)| {
                    session.need.take_if(|need| matches!(need, Need::Channel(_))).map(|_| *client)
                });
                for client in waiting.collect::<Vec<_>>() {
                    self.dispatch(id, client, None);
                }
            }
            Work::Fill(client) => {
                let need = self.input(id, |app, now, outputs| app.fill(client, now, outputs));
                if let Some(Some(Need::Entries { after, until, .. })) = need {
                    self.soon(60, Event::Work(id, Work::Entries { client, after, until }));
                }
            }
            Work::Entries { client, after, until } => {
                let found = reader.entries(after, until, PAGE);
                self.input(id, |app, now, outputs| {
                    app.fill_from(client, &name, &found, Position(0), now, outputs);
                });
            }
            Work::Save(_) if self.rng.u8(..10) == 0 => {
                self.input(id, |app, now, _| {
                    app.objects_saved(&name, SnapshotEnd::Failed, now);
                });
            }
            Work::Save(draft) => {
                let newest = snapshot.as_ref().map(|(position, _)| *position);
                self.soon(2000, Event::Work(id, Work::Replace(draft, newest)));
            }
            Work::Replace(draft, newest) => {
                // What was read may have changed since, at another node: there is no check together with the write.
                let position = draft.position();
                let is_newer = newest.is_none_or(|newest| newest < position);
                if is_newer {
                    *snapshot = Some((position, draft.into_parts().collect()));
                    self.tally.snapshots += 1;
                }
                let end = if is_newer { SnapshotEnd::Written } else { SnapshotEnd::NotNeeded };
                self.input(id, |app, now, _| app.objects_saved(&name, end, now));
            }
        }
    }

    pub(super) fn receive_result(
        &mut self,
        id: NodeId,
        ticket: Ticket,
        result: Result<Appended, ErrorInfo>,
    ) {
        self.input(id, |app, now, outputs| app.committed(vec![(ticket, result)], now, outputs));
    }

    /// Entries arrive at a node that follows the channel.
    pub(super) fn deliver(&mut self, id: NodeId, until: Position) {
        let Self { nodes, engine, .. } = self;
        let Some(sent) = nodes.get_mut(&id).and_then(|node| node.sent.as_mut()) else { return };
        // Sometimes entries arrive twice.
        let repeated = if until.0.is_multiple_of(5) { 3 } else { 0 };
        let after = Position(sent.0.saturating_sub(repeated));
        let entries = engine.after(CHANNEL, after).filter(|entry| entry.position <= until);
        let entries: Vec<_> = entries.map(|it| (Box::from(CHANNEL), it.clone())).collect();
        *sent = until.max(*sent);
        self.input(id, |app, now, outputs| app.follow(entries, now, outputs));
    }

    pub(super) fn receive_notice(&mut self, id: NodeId, notice: Notice) {
        self.input(id, |app, now, outputs| match notice {
            Notice::Resumed(connection) => app.resumed_elsewhere(&connection, now, outputs),
            Notice::Ended(connection) => app.ended_elsewhere(connection, now, outputs),
            Notice::Serving(connection) => app.served_elsewhere(&connection, now),
            Notice::Ephemeral { .. } => panic!("nobody publishes ephemeral messages"),
        });
    }
}
