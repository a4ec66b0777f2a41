//! Members that leave at a node of a cluster, in virtual time.

use std::collections::BTreeSet;

use capably_protocol::{ErrorInfo, PresenceAction, PresenceMessage};

use super::*;
use crate::{
    engine::{Append, EngineError},
    hub::{
        NodeId, Notice, Position, StoredState, Ticket, error,
        ids::ConnectionId,
        log::proposal::{Adoption, Body, Departure, Events, Owner, Proposal, Proposer},
        model::{engine::ModelEngine, reads::Reader},
    },
};

pub(super) const CHANNEL: Str = Str::from_static("c");

/// A node that follows a channel, and the engine that it shares with others.
pub(super) struct Node {
    pub(super) bench: Bench,
    pub(super) engine: ModelEngine,
}

/// What comes of a proposal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    Refused,
    /// It is committed, and the node is told that it may not be.
    LostAck,
}

fn unavailable() -> ErrorInfo {
    error::engine(&EngineError::Unavailable("the test says so".to_owned()))
}

impl Node {
    pub(super) fn new() -> Self {
        Self::with_id(Some(NodeId(1)))
    }

    /// A node of a cluster, or a server that has the engine alone.
    pub(super) fn with_id(id: Option<NodeId>) -> Self {
        Self::over(Bench::new(), id)
    }

    pub(super) fn over(mut bench: Bench, id: Option<NodeId>) -> Self {
        let settings = Arc::clone(&bench.app.settings);
        bench.app = App::with_engine(settings, spec(&bench.key), id, bench.now);
        let mut node = Self { bench, engine: ModelEngine::default() };
        let Self { bench, engine } = &mut node;
        let reader = Reader { engine, app: &bench.app, name: CHANNEL, now: bench.now };
        let (excerpt, stored) = (reader.tail(Position(0), 1), StoredState::default());
        bench.app.begin_load(&CHANNEL);
        let (bounds, now) = ((Position(0), Position(0)), bench.now);
        bench.app.finish_load(&CHANNEL, excerpt, bounds, stored, now, &mut bench.outputs);
        node
    }

    /// Connects a client that attaches the channel.
    pub(super) fn attached(&mut self, resume: Option<&Connected>) -> (TransportId, Connected) {
        let key = resume.map(key);
        let (transport, connected) = self.bench.connect(key.as_deref());
        self.bench.attach(transport, &CHANNEL, None);
        (transport, connected)
    }

    pub(super) fn enter(&mut self, transport: TransportId) {
        self.send_event(transport, 0, PresenceAction::Enter);
    }

    pub(super) fn send_event(
        &mut self,
        transport: TransportId,
        msg_serial: u64,
        action: PresenceAction,
    ) {
        let item = PresenceMessage {
            action: Some(action),
            client_id: Some("ada".into()),
            ..PresenceMessage::default()
        };
        self.send_items(transport, msg_serial, vec![item]);
    }

    pub(super) fn send_items(
        &mut self,
        transport: TransportId,
        msg_serial: u64,
        items: Vec<PresenceMessage>,
    ) {
        let items = Arc::from(items);
        let params = Default::default();
        let publish = Publish { channel: CHANNEL, msg_serial, items, params };
        self.bench.send(transport, vec![ClientFrame::Presence(publish)]);
    }

    fn detach(&mut self, transport: TransportId) {
        self.bench.send(transport, vec![ClientFrame::Detach { channel: CHANNEL }]);
    }

    /// Decides on the proposals so far. Returns how many there were.
    pub(super) fn decide(&mut self, fate: Fate) -> usize {
        let proposals = self.proposals();
        let count = proposals.len();
        for proposal in proposals {
            self.decide_on(proposal, fate);
        }
        count
    }

    /// Takes the proposals so far.
    pub(super) fn proposals(&mut self) -> Vec<(Ticket, Append)> {
        let outputs = std::mem::take(&mut self.bench.outputs);
        let mut proposals = Vec::new();
        for output in outputs {
            match output {
                Output::Append(ticket, append, _) => proposals.push((ticket, append)),
                other => self.bench.outputs.push(other),
            }
        }
        proposals
    }

    pub(super) fn decide_on(&mut self, (ticket, append): (Ticket, Append), fate: Fate) {
        let result = match fate {
            Fate::Refused => Err(unavailable()),
            Fate::Committed => Ok(self.engine.append(append, self.bench.now.wall)),
            Fate::LostAck => {
                self.engine.append(append, self.bench.now.wall);
                Err(unavailable())
            }
        };
        let Bench { app, now, outputs, .. } = &mut self.bench;
        app.committed(vec![(ticket, result)], *now, outputs);
    }

    /// Lets the entries so far arrive.
    pub(super) fn follow(&mut self) {
        let Self { bench, engine } = self;
        let reached = bench.app.reached(&CHANNEL).expect("the channel is followed");
        let entries = engine.after(&CHANNEL, reached).cloned();
        let entries: Vec<_> = entries.map(|entry| (Box::from(&*CHANNEL), entry)).collect();
        bench.app.follow(entries, bench.now, &mut bench.outputs);
    }

    /// Commits all proposals, and those that follow from them.
    pub(super) fn settle(&mut self) {
        while self.decide(Fate::Committed) > 0 {
            if self.bench.app.channels.node().is_some() {
                self.follow();
            }
        }
    }

    /// Another node commits an entry. Returns its position.
    fn commit_elsewhere(&mut self, body: Body) -> Position {
        self.commit_at(NodeId(2), body)
    }

    /// A node commits an entry. Returns its position.
    pub(super) fn commit_at(&mut self, node: NodeId, body: Body) -> Position {
        let time = self.bench.now.wall;
        let proposer = Some(Proposer { node, ticket: Ticket(0) });
        let mut proposal = Proposal { channel: CHANNEL, time, proposer, body };
        let append = proposal.encode_append(APP, Duration::from_secs(60));
        self.engine.append(append, time).position
    }

    /// Another node lets the member of a connection of this node leave, as it thinks that this node is gone.
    fn depart_elsewhere(&mut self, connection: &ConnectionId) {
        let owner = self.bench.app.channels.presence.owner(&CHANNEL, connection);
        let since = owner.expect("the connection has members").since;
        let ada = PresenceMessage { client_id: Some("ada".into()), ..PresenceMessage::default() };
        self.commit_elsewhere(Body::Departure(Departure {
            connection: connection.clone(),
            members: vec![ada],
            repeated: false,
            lapsed: true,
            owner: Some(Owner { node: NodeId(1), since }),
        }));
    }

    /// Whether the transport is closed.
    fn closes(&self, client: TransportId) -> bool {
        self.bench.outputs.iter().any(|it| matches!(it, Output::Close(to) if *to == client))
    }

    pub(super) fn members(&self) -> usize {
        self.bench.app.channels.presence.count(&CHANNEL)
    }
}

/// A member of a connection enters.
fn entering(connection: &Connected, msg_serial: u64, client: &str, data: &str) -> Body {
    let item = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some(client.into()),
        data: Data::from(data),
        ..PresenceMessage::default()
    };
    Body::Presence(Events {
        connection: connection.connection_id.clone().unwrap(),
        msg_serial,
        repeated: false,
        items: vec![item],
        max_members: 10,
        remain: Duration::from_secs(15),
        again: None,
    })
}

pub(super) fn is_detached(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Detached { error: None, .. })
}

#[test]
fn detached_follows_when_the_members_have_left() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.settle();
    assert_eq!(node.members(), 1);
    node.bench.frames(client);
    node.detach(client);
    assert_eq!(node.bench.frames(client), []);
    node.decide(Fate::Committed);
    assert_eq!(node.bench.frames(client), [], "the departure has not arrived here");
    node.follow();
    assert!(node.bench.frames(client).iter().any(is_detached));
    assert_eq!(node.members(), 0);
}

#[test]
fn a_client_whose_departure_is_refused_is_disconnected_to_detach_elsewhere() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.frames(client);
    node.detach(client);
    node.decide(Fate::Refused);
    let frames = node.bench.frames(client);
    assert_eq!(frames, [ServerFrame::Disconnected { error: Some(unavailable()) }]);
    assert!(node.closes(client));

    let (again, _) = node.bench.connect(Some(&key(&connected)));
    node.detach(again);
    node.settle();
    assert!(node.bench.frames(again).iter().any(is_detached));
    assert_eq!(node.members(), 0);
}

#[test]
fn members_that_the_node_does_not_know_yet_leave_with_a_detach() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.decide(Fate::LostAck);
    assert_eq!(node.members(), 0);
    node.bench.frames(client);
    node.detach(client);
    assert_eq!(node.bench.frames(client), []);
    node.settle();
    assert!(node.bench.frames(client).iter().any(is_detached));
    assert_eq!(node.members(), 0);
}

#[test]
fn closed_follows_when_the_members_of_all_channels_have_left() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.frames(client);
    node.bench.send(client, vec![ClientFrame::Close]);
    assert_eq!(node.bench.frames(client), []);
    node.decide(Fate::Committed);
    assert_eq!(node.bench.frames(client), [], "the departure has not arrived here");
    node.follow();
    assert_eq!(node.bench.frames(client), [ServerFrame::Closed]);
    assert!(node.closes(client));
    assert_eq!(node.members(), 0);
}

#[test]
fn a_client_is_closed_though_the_departure_of_its_members_is_refused() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.frames(client);
    node.bench.send(client, vec![ClientFrame::Close]);
    node.decide(Fate::Refused);
    assert_eq!(node.bench.frames(client), [ServerFrame::Closed]);
    assert!(node.closes(client));
}

#[test]
fn a_client_that_is_gone_before_its_members_have_left_is_sent_nothing() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.send(client, vec![ClientFrame::Close]);
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.frames(client);
    node.settle();
    assert_eq!(node.bench.frames(client), []);
    assert_eq!(node.members(), 0);
}

#[test]
fn a_client_without_members_is_closed_at_once() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.bench.frames(client);
    node.bench.send(client, vec![ClientFrame::Close]);
    assert_eq!(node.bench.frames(client), [ServerFrame::Closed]);
}

#[test]
fn a_client_that_never_entered_is_detached_at_once() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.detach(client);
    assert!(node.bench.frames(client).iter().any(is_detached));
    assert_eq!(node.decide(Fate::Committed), 0);
}

#[test]
fn members_enter_again_whose_client_returns_while_their_departure_is_on_its_way() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.advance(Duration::from_secs(16));
    assert_eq!(node.decide(Fate::Committed), 1);
    node.attached(Some(&connected));
    node.follow();
    assert_eq!(node.members(), 0);
    node.settle();
    assert_eq!(node.members(), 1);
}

#[test]
fn members_stay_while_the_engine_is_away_and_for_as_long_afterwards() {
    let mut node = Node::new();
    let (client, _) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.advance(Duration::from_secs(10));
    node.bench.app.set_outage(true, node.bench.now);
    node.bench.advance(Duration::from_secs(20));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.app.set_outage(false, node.bench.now);
    node.bench.advance(Duration::from_secs(19));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.advance(Duration::from_secs(2));
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn members_whose_client_comes_back_after_an_outage_stay() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.app.set_outage(true, node.bench.now);
    node.bench.advance(Duration::from_secs(20));
    node.bench.app.set_outage(false, node.bench.now);
    node.bench.advance(Duration::from_secs(10));
    assert_eq!(node.decide(Fate::Committed), 0);
    // Only now can another node say that the client is there.
    let connection = connected.connection_id.unwrap();
    let remain = Duration::from_secs(15);
    node.commit_elsewhere(Body::Adoption(Adoption { connection, remain }));
    node.follow();
    node.bench.advance(Duration::from_secs(60));
    node.settle();
    assert_eq!(node.members(), 1);
}

#[test]
fn the_members_of_a_node_that_is_gone_stay_while_the_engine_is_away() {
    let mut node = Node::new();
    let (_, connected) = node.bench.connect(None);
    node.bench.app.set_nodes(
        BTreeSet::from([NodeId(1), NodeId(2)]),
        node.bench.now,
        &mut Vec::new(),
    );
    node.commit_elsewhere(entering(&connected, 0, "ada", "1"));
    node.follow();
    assert_eq!(node.members(), 1);
    node.bench.app.set_outage(true, node.bench.now);
    node.bench.app.set_nodes(BTreeSet::from([NodeId(1)]), node.bench.now, &mut Vec::new());
    node.bench.advance(Duration::from_secs(30));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.app.set_outage(false, node.bench.now);
    node.bench.advance(Duration::from_secs(25));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.advance(Duration::from_secs(7));
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn a_connection_that_was_at_another_node_meanwhile_has_not_ended() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.bench.app.transport_closed(client, node.bench.now, &mut node.bench.outputs);
    node.bench.advance(TTL + Duration::from_secs(1));
    let old = key(&connected);
    let (_, refused) = node.bench.connect(Some(&old));
    assert_eq!(refused.error.map(|error| error.code.0), Some(80018));
    // The generation that another node has given it.
    let (_, resumed) = node.bench.connect(Some(&old.replace("-1", "-2")));
    assert_eq!(resumed.connection_id, connected.connection_id);
}

#[test]
fn members_whose_connection_has_ended_before_its_adoption_arrives_leave() {
    let mut node = Node::new();
    let (client, connected) = node.bench.connect(None);
    node.commit_elsewhere(entering(&connected, 0, "ada", "1"));
    node.follow();
    node.bench.attach(client, &CHANNEL, None);
    node.commit_elsewhere(entering(&connected, 1, "bo", "2"));
    node.bench.send(client, vec![ClientFrame::Close]);
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn a_member_that_has_entered_elsewhere_meanwhile_stays_as_it_is() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    let connection = connected.connection_id.clone().unwrap();
    node.depart_elsewhere(&connection);
    node.commit_elsewhere(entering(&connected, 5, "ada", "new"));
    node.follow();
    node.settle();
    let members = node.bench.app.channels.presence.members_of(&connection, &CHANNEL);
    let data: Vec<_> = members.iter().map(|member| member.data.as_str()).collect();
    assert_eq!(data, [Some("new")]);
}

/// The LEAVE is committed after the departure, and arrives with it.
#[test]
fn a_member_whose_leave_is_under_way_does_not_enter_again() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    assert_eq!(node.members(), 1);
    node.send_event(client, 1, PresenceAction::Leave);
    node.depart_elsewhere(&connected.connection_id.unwrap());
    assert_eq!(node.decide(Fate::Committed), 1);
    node.follow();
    node.settle();
    assert_eq!(node.members(), 0);
}

/// The engine answers a frame that was sent again only after its members have left.
#[test]
fn a_client_that_has_gone_again_does_not_enter_by_a_late_answer() {
    let mut node = Node::new();
    let (first, connected) = node.attached(None);
    node.enter(first);
    node.settle();
    node.bench.app.transport_closed(first, node.bench.now, &mut node.bench.outputs);
    let (second, _) = node.attached(Some(&connected));
    node.enter(second);
    let repeated = node.proposals();
    assert_eq!(repeated.len(), 1);
    node.bench.app.transport_closed(second, node.bench.now, &mut node.bench.outputs);
    node.bench.advance(Duration::from_secs(16));
    node.settle();
    assert_eq!(node.members(), 0);
    for proposal in repeated {
        node.decide_on(proposal, Fate::Committed);
    }
    node.settle();
    assert_eq!(node.members(), 0);
}

/// The client sent an event at one node, and again in a new frame at another, which is committed first.
#[test]
fn an_event_that_is_committed_after_its_repetition_has_no_effect() {
    let mut node = Node::new();
    let (subscriber, _) = node.attached(None);
    let (_, connected) = node.bench.connect(None);
    let Body::Presence(mut repetition) = entering(&connected, 1, "ada", "1") else {
        panic!("an event")
    };
    let id = format!("{}:0:0", repetition.connection);
    repetition.items[0].id = Some(id.into());
    node.commit_elsewhere(Body::Presence(repetition));
    node.commit_elsewhere(entering(&connected, 0, "ada", "1"));
    node.follow();
    assert_eq!(node.members(), 1);
    let frames = node.bench.frames(subscriber);
    let events = frames.iter().filter(|frame| matches!(frame, ServerFrame::Presence(_)));
    assert_eq!(events.count(), 1, "{frames:?}");
}

#[test]
fn nodes_do_not_answer_an_adoption_with_an_adoption_at_once() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    let connection = connected.connection_id.unwrap();
    let remain = Duration::from_secs(15);
    node.commit_elsewhere(Body::Adoption(Adoption { connection, remain }));
    node.follow();
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.advance(Duration::from_secs(1));
    assert_eq!(node.decide(Fate::Committed), 1);
}

#[test]
fn members_stay_while_a_node_serves_their_client_and_cannot_adopt_them_yet() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    let connection = connected.connection_id.unwrap();
    let Bench { app, now, outputs, .. } = &mut node.bench;
    app.resumed_elsewhere(&connection, *now, outputs);
    for _ in 0..6 {
        node.bench.advance(Duration::from_secs(5));
        node.bench.app.served_elsewhere(&connection, node.bench.now);
        assert_eq!(node.decide(Fate::Committed), 0);
    }
    // The client is connected nowhere.
    node.bench.advance(Duration::from_secs(14));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.advance(Duration::from_secs(2));
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn members_of_a_connection_that_ends_at_another_node_stay_no_longer_than_usual() {
    let mut node = Node::new();
    let (client, connected) = node.attached(None);
    node.enter(client);
    node.settle();
    let connection = connected.connection_id.unwrap();
    let Bench { app, now, outputs, .. } = &mut node.bench;
    app.resumed_elsewhere(&connection, *now, outputs);
    node.bench.advance(Duration::from_secs(10));
    let Bench { app, now, outputs, .. } = &mut node.bench;
    app.served_elsewhere(&connection, *now);
    app.ended_elsewhere(connection, *now, outputs);
    node.bench.advance(Duration::from_secs(6));
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn the_members_of_a_node_that_is_gone_stay_while_another_serves_their_client() {
    let mut node = Node::new();
    let (_, connected) = node.bench.connect(None);
    let alive = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    node.bench.app.set_nodes(alive(&[1, 2, 3]), node.bench.now, &mut Vec::new());
    node.commit_elsewhere(entering(&connected, 0, "ada", "1"));
    node.follow();
    assert_eq!(node.members(), 1);
    node.bench.app.set_nodes(alive(&[1, 3]), node.bench.now, &mut Vec::new());
    let connection = connected.connection_id.unwrap();
    node.bench.advance(Duration::from_secs(10));
    node.bench.app.served_elsewhere(&connection, node.bench.now);
    node.bench.advance(Duration::from_secs(14));
    assert_eq!(node.decide(Fate::Committed), 0);
    node.bench.advance(Duration::from_secs(2));
    node.settle();
    assert_eq!(node.members(), 0);
}

#[test]
fn a_node_says_that_it_serves_a_resumed_connection_for_as_long_as_members_stay() {
    let mut node = Node::new();
    let (first, connected) = node.attached(None);
    let connection = connected.connection_id.clone().unwrap();
    node.bench.app.transport_closed(first, node.bench.now, &mut node.bench.outputs);
    let notices = |node: &mut Node| {
        let outputs = std::mem::take(&mut node.bench.outputs);
        let notice = Notice::Serving(connection.clone());
        outputs.iter().filter(|it| matches!(it, Output::Notice(it) if *it == notice)).count()
    };
    node.attached(Some(&connected));
    assert_eq!(notices(&mut node), 0);
    let told = |node: &mut Node| {
        let seconds = (0..60).map(|_| {
            node.bench.advance(Duration::from_secs(1));
            notices(node)
        });
        seconds.collect::<Vec<_>>()
    };
    let all = told(&mut node);
    let times: Vec<_> = (1..).zip(&all).filter(|(_, count)| **count > 0).collect();
    assert_eq!(times, [(5, &1), (10, &1), (15, &1)]);
    // Not for a client that is disconnected again.
    let (third, _) = node.attached(Some(&connected));
    node.bench.advance(Duration::from_secs(5));
    assert_eq!(notices(&mut node), 1);
    node.bench.app.transport_closed(third, node.bench.now, &mut node.bench.outputs);
    assert_eq!(told(&mut node).iter().sum::<usize>(), 0);
}
