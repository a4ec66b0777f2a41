//! Clients: they send again what was not acknowledged, attach again where they were, and check what they receive.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{
    Annotation, AnnotationAction, ChannelMode, ClientFrame, Data, Flags, Message, MessageAction,
    Millis, PresenceAction, PresenceMessage, PublishResult, ServerFrame, Str,
    frame::{Ack, Attach, Attached, Connected, Nack, Publish},
};

use super::{
    CHANNELS,
    node::{REMAIN, TTL},
    time::VirtualTime,
    world::{Event, World},
};
use crate::hub::{NodeId, Position, TransportId};

/// The users as whom clients enter.
const USERS: [&str; 3] = ["x", "y", "z"];

/// The longest time between a client's return and the entry that tells the other nodes.
const MARGIN: Duration = Duration::from_secs(6);

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    index: usize,
    pub(super) transport: Option<TransportId>,
    /// Whether CONNECTED has arrived on the transport.
    is_connected: bool,
    key: Option<Str>,
    pub(super) connection: Option<Str>,
    /// Since when the client is not connected.
    away_since: Option<Duration>,
    next_serial: u64,
    /// The frames that are not acknowledged.
    pub(super) pending: VecDeque<Sent>,
    pub(super) channels: BTreeMap<Str, Channel>,
    texts: u64,
    up_until: Duration,
    /// Whether it has asked for the end of the connection.
    is_closing: bool,
    /// Whether its members enter again each time that it attaches again, as those of an SDK do. Otherwise it leaves to the nodes
    /// what they can mend.
    enters_always: bool,
    /// Whether it does not come back at the end.
    pub(super) stays_away: bool,
}

/// A frame that waits for its acknowledgement.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    serial: u64,
    frame: ClientFrame,
    /// The texts of the messages.
    texts: Vec<String>,
    /// The member that is changed.
    member: Option<(Str, Str)>,
}

/// A channel of a client.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) state: State,
    serial: Option<Str>,
    /// The position up to which the client has received everything.
    pub(super) seen: Position,
    /// The members that it has entered or let leave.
    pub(super) own: BTreeMap<Str, Own>,
    /// Serials of messages that it has received.
    messages: Vec<Str>,
    /// When it was attached, in ms since the epoch.
    attached_at: Millis,
    /// When the transport was lost on which it was attached.
    lost_at: Option<Duration>,
    /// When the client attached again too late for its members to stay.
    late_at: Option<Duration>,
    /// The connection with which it was attached last.
    connection: Option<Str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Detached,
    Attaching,
    Attached,
    Detaching,
}

/// A member of a client.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// `None` after it has left.
    pub(super) data: Option<String>,
    serial: u64,
    /// Whether the frame was acknowledged.
    pub(super) is_certain: bool,
}

impl Client {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            transport: None,
            is_connected: false,
            key: None,
            connection: None,
            away_since: None,
            next_serial: 0,
            pending: VecDeque::new(),
            channels: BTreeMap::new(),
            texts: 0,
            up_until: Duration::ZERO,
            is_closing: false,
            enters_always: index % 2 == 1,
            stays_away: false,
        }
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("{}-{}", self.index, self.texts)
    }

    /// A frame for the channel with the next serial.
    fn publish<T>(&mut self, name: &Str, items: Vec<T>) -> Publish<T> {
        let msg_serial = self.next_serial;
        self.next_serial += 1;
        Publish {
            channel: name.clone(),
            msg_serial,
            items: Arc::from(items),
            params: Default::default(),
        }
    }

    fn messages(&mut self, name: &Str, count: usize) -> Sent {
        let texts: Vec<String> = (0..count).map(|_| self.text()).collect();
        let items = texts.iter().map(|text| Message::new("m", text.as_str())).collect();
        let publish = self.publish(name, items);
        let serial = publish.msg_serial;
        Sent { serial, frame: ClientFrame::Message(publish), texts, member: None }
    }

    fn presence(&mut self, name: &Str, user: Str, data: Option<String>, id: Option<Str>) -> Sent {
        let action = match &data {
            Some(_) => PresenceAction::Enter,
            None => PresenceAction::Leave,
        };
        let item = PresenceMessage {
            id,
            action: Some(action),
            client_id: Some(user.clone()),
            data: data.as_deref().map_or(Data::None, Data::from),
            ..PresenceMessage::default()
        };
        let publish = self.publish(name, vec![item]);
        let serial = publish.msg_serial;
        if let Some(channel) = self.channels.get_mut(name) {
            channel.own.insert(user.clone(), Own { data, serial, is_certain: false });
        }
        let member = Some((name.clone(), user));
        Sent { serial, frame: ClientFrame::Presence(publish), texts: Vec::new(), member }
    }

    /// The frames of a new transport: ATTACH and DETACH, then everything that was not acknowledged.
    fn frames_of_transport(&mut self) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        for (name, channel) in &mut self.channels {
            match channel.state {
                State::Detached => {}
                State::Attaching | State::Attached => {
                    channel.state = State::Attaching;
                    frames.push(channel.attach(name));
                }
                State::Detaching => frames.push(ClientFrame::Detach { channel: name.clone() }),
            }
        }
        frames.extend(self.pending.iter().map(|sent| sent.frame.clone()));
        frames
    }

    /// The client is not connected any more.
    fn disconnected(&mut self, now: Duration) {
        self.transport = None;
        self.is_connected = false;
        if self.is_closing {
            return self.closed();
        }
        self.away_since.get_or_insert(now);
        for channel in self.channels.values_mut().filter(|it| it.state == State::Attached) {
            channel.lost_at.get_or_insert(now);
        }
    }

    /// The connection has ended.
    fn closed(&mut self) {
        self.is_closing = false;
        self.key = None;
        self.connection = None;
        self.away_since = None;
        self.next_serial = 0;
        self.pending.clear();
        self.channels.clear();
    }
}

impl Channel {
    fn attach(&self, name: &Str) -> ClientFrame {
        ClientFrame::Attach(Attach { channel_serial: self.serial.clone(), ..attach(name) })
    }
}

/// An ATTACH with all modes. A client that has missed versions of a message receives appends whole, so all do.
pub(super) fn attach(name: &Str) -> Attach {
    let modes = [
        ChannelMode::Presence,
        ChannelMode::Publish,
        ChannelMode::Subscribe,
        ChannelMode::PresenceSubscribe,
        ChannelMode::AnnotationPublish,
        ChannelMode::AnnotationSubscribe,
    ];
    Attach {
        channel: name.clone(),
        flags: modes.into_iter().collect(),
        params: [("appendMode".into(), "full".into())].into_iter().collect(),
        ..Attach::default()
    }
}

impl World {
    /// A client does something, and does the next thing later.
    pub(super) fn step(&mut self, index: usize) {
        let next = match self.rng.u8(..100) {
            _ if self.is_ending => self.rng.u64(500..1500),
            0..92 => self.rng.u64(..1000),
            92..99 => self.rng.u64(..12_000),
            _ => self.rng.u64(..70_000),
        };
        self.schedule(self.now.steady + Duration::from_millis(next), Event::Step(index));
        let client = &self.clients[index];
        match client.transport {
            None if self.is_ending && client.stays_away => {}
            None => {
                if self.is_ending || self.rng.u8(..3) > 0 {
                    self.open(index);
                }
            }
            Some(_) if !client.is_connected || client.is_closing => {}
            Some(_) if self.is_ending => self.attach_again(index),
            Some(_) => self.act(index),
        }
    }

    /// Connects to a random node.
    fn open(&mut self, index: usize) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(id) = self.rng.choice(nodes) else { return };
        self.next_transport += 1;
        let transport = TransportId(self.next_transport);
        self.transports.insert(transport, (index, id));
        self.routes.insert(transport, id);
        let client = &mut self.clients[index];
        client.transport = Some(transport);
        client.up_until = Duration::ZERO;
        let resume = client.key.clone();
        self.connect(id, transport, resume);
    }

    fn act(&mut self, index: usize) {
        let name = Str::from(*self.rng.choice(&CHANNELS).expect("not empty"));
        let user = Str::from(*self.rng.choice(&USERS).expect("not empty"));
        let choice = self.rng.u8(..100);
        let count = self.rng.usize(1..4);
        let picked = self.rng.usize(..8);
        let client = &mut self.clients[index];
        let channel = client.channels.entry(name.clone()).or_default();
        let message = channel.messages.iter().rev().nth(picked).cloned();
        match (choice, channel.state) {
            (0..30, _) => {
                let sent = client.messages(&name, count);
                self.send(index, sent);
            }
            (30..52, State::Attached) => {
                let data = (choice < 46).then(|| client.text());
                let sent = client.presence(&name, user, data, None);
                self.send(index, sent);
            }
            (52..64, _) if name.starts_with("mutable") => {
                let Some(serial) = message else { return };
                let action = [MessageAction::Update, MessageAction::Append, MessageAction::Delete];
                let item = Message {
                    serial: Some(serial),
                    action: self.rng.choice(action),
                    data: Data::from(choice.to_string()),
                    ..Message::default()
                };
                let publish = client.publish(&name, vec![item]);
                let serial = publish.msg_serial;
                let frame = ClientFrame::Message(publish);
                self.send(index, Sent { serial, frame, texts: Vec::new(), member: None });
            }
            (64..72, State::Attached) if name.starts_with("mutable") => {
                let Some(serial) = message else { return };
                let item = Annotation {
                    action: Some(AnnotationAction::Create),
                    annotation_type: Some("reaction:total.v1".into()),
                    name: Some(user.clone()),
                    client_id: Some(user),
                    message_serial: Some(serial),
                    ..Annotation::default()
                };
                let publish = client.publish(&name, vec![item]);
                let serial = publish.msg_serial;
                let frame = ClientFrame::Annotation(publish);
                self.send(index, Sent { serial, frame, texts: Vec::new(), member: None });
            }
            (_, State::Detached) if choice < 90 => {
                channel.state = State::Attaching;
                let frame = channel.attach(&name);
                self.send_frames(index, vec![frame]);
            }
            (72..76, State::Attached) => {
                channel.state = State::Detaching;
                self.send_frames(index, vec![ClientFrame::Detach { channel: name }]);
            }
            (90..92, _) => {
                client.is_closing = true;
                self.send_frames(index, vec![ClientFrame::Close]);
            }
            (92..100, _) => self.drop_transport(index),
            _ => {}
        }
    }

    /// At the end, a client attaches where an attach has failed.
    fn attach_again(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let failed = client
            .channels
            .iter_mut()
            .filter(|(_, it)| it.state == State::Detached && it.serial.is_some());
        let frames: Vec<ClientFrame> = failed
            .map(|(name, channel)| {
                channel.state = State::Attaching;
                channel.attach(name)
            })
            .collect();
        self.send_frames(index, frames);
    }

    fn send(&mut self, index: usize, sent: Sent) {
        let frame = sent.frame.clone();
        self.clients[index].pending.push_back(sent);
        self.send_frames(index, vec![frame]);
    }

    fn send_frames(&mut self, index: usize, frames: Vec<ClientFrame>) {
        let at = self.now.steady + self.delay(40);
        let client = &mut self.clients[index];
        let Some(transport) = client.transport.filter(|_| !frames.is_empty()) else { return };
        client.up_until = client.up_until.max(at);
        let at = client.up_until;
        self.schedule(at, Event::Up(transport, frames));
    }

    /// The client gives its transport up. The node learns it later, maybe after the client has come back.
    fn drop_transport(&mut self, index: usize) {
        let Some(transport) = self.clients[index].transport else { return };
        let node = self.routes.get(&transport).copied();
        if self.rng.bool() {
            // What is on its way is lost.
            self.routes.remove(&transport);
        }
        if let Some(node) = node {
            self.soon(3000, Event::Closed(node, transport));
        }
        self.lose(transport);
    }

    /// The client has lost its transport.
    pub(super) fn lose(&mut self, transport: TransportId) {
        let Some((index, _)) = self.transports.remove(&transport) else { return };
        self.clients[index].disconnected(self.now.steady);
        // Often it comes back at once.
        if self.rng.bool() && !self.is_ending {
            self.open(index);
        }
    }

    /// Frames of a node arrive.
    pub(super) fn client_receives(
        &mut self,
        transport: TransportId,
        frames: Vec<Option<ServerFrame>>,
    ) {
        for frame in frames {
            let Some((index, node)) = self.transports.get(&transport).copied() else { return };
            match frame {
                None => {
                    self.soon(100, Event::Closed(node, transport));
                    self.lose(transport);
                }
                Some(frame) => self.client_receives_frame(index, frame),
            }
        }
    }

    fn client_receives_frame(&mut self, index: usize, frame: ServerFrame) {
        match frame {
            ServerFrame::Connected(connected) => self.connected(index, *connected),
            ServerFrame::Attached(attached) => self.attached(index, *attached),
            ServerFrame::Detached { channel, error: None } => {
                self.clients[index].channels.remove(&channel);
            }
            // The server could not attach the channel. The client does not lose what it knows, and attaches again later.
            ServerFrame::Detached { channel, error: Some(_) } => {
                if let Some(channel) = self.clients[index].channels.get_mut(&channel) {
                    channel.state = State::Detached;
                }
            }
            ServerFrame::Error(error) => {
                let name = error.channel.clone().unwrap_or_else(|| panic!("{error:?}"));
                if let Some(channel) = self.clients[index].channels.get_mut(&name) {
                    channel.state = State::Detached;
                }
            }
            ServerFrame::Ack(ack) => self.acknowledged(index, &ack),
            ServerFrame::Nack(nack) => self.refused(index, &nack),
            ServerFrame::Closed => self.clients[index].closed(),
            ServerFrame::Message(ref delivery) => {
                let (name, serial) = (delivery.channel.clone(), delivery.channel_serial.clone());
                let created = delivery.items.iter();
                let created = created.filter(|it| it.action == Some(MessageAction::Create));
                let serials: Vec<Str> = created.filter_map(|it| it.serial.clone()).collect();
                self.delivered(index, &name, serial, &frame);
                if let Some(channel) = self.clients[index].channels.get_mut(&name) {
                    channel.messages.extend(serials);
                }
            }
            ServerFrame::Presence(ref delivery) => {
                let (name, serial) = (delivery.channel.clone(), delivery.channel_serial.clone());
                self.delivered(index, &name, serial, &frame);
                self.check_leaves(index, &frame);
                self.enter_left(index, &frame);
            }
            ServerFrame::Annotation(ref delivery) => {
                let (name, serial) = (delivery.channel.clone(), delivery.channel_serial.clone());
                self.delivered(index, &name, serial, &frame);
            }
            ServerFrame::Sync(_) | ServerFrame::Disconnected { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn connected(&mut self, index: usize, connected: Connected) {
        let now = self.now.steady;
        let client = &mut self.clients[index];
        let details = connected.details.expect("the details of the connection");
        let is_resumed = connected.connection_id == client.connection;
        let away = client.away_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if let Some(connection) = &client.connection {
            assert!(
                is_resumed || away > TTL - MARGIN,
                "client {index} could not resume {connection} after {away:?}: {:?}",
                connected.error,
            );
        }
        if !is_resumed {
            // The outcome of the frames is unknown.
            client.pending.clear();
            client.next_serial = 0;
        }
        client.key = details.connection_key;
        client.connection = connected.connection_id;
        client.away_since = None;
        client.is_connected = true;
        let frames = client.frames_of_transport();
        self.send_frames(index, frames);
    }

    fn attached(&mut self, index: usize, attached: Attached) {
        let (now, wall) = (self.now.steady, self.now.wall);
        let name = attached.channel.clone();
        let client = &mut self.clients[index];
        let connection = client.connection.clone();
        let Some(channel) = client.channels.get_mut(&name) else { return };
        let is_resumed = attached.flags.contains(Flags::RESUMED);
        assert_eq!(
            is_resumed,
            channel.serial.is_some(),
            "client {index} on {name} from {:?}: {attached:?}",
            channel.serial
        );
        if !is_resumed {
            let serial = attached.channel_serial.clone().expect("a channel serial");
            channel.seen = Position::parse(&serial).expect("a position");
            channel.serial = Some(serial);
            // The members of an earlier attachment may be leaving.
            channel.late_at = Some(now);
        }
        if channel.state == State::Attaching {
            channel.state = State::Attached;
            channel.attached_at = wall;
        }
        let is_other =
            channel.connection.as_ref().is_some_and(|it| Some(it) != connection.as_ref());
        channel.connection = connection.clone();
        let lost_at = channel.lost_at.take();
        let is_late = lost_at.is_some_and(|lost| now.saturating_sub(lost) > REMAIN - MARGIN);
        if is_late || is_other {
            channel.late_at = Some(now);
        }
        // The members may have left meanwhile. They enter again (RTP17i).
        if is_late || is_other || (lost_at.is_some() && client.enters_always) {
            self.enter_again(index, &name, is_other, |_| true);
        }
    }

    /// Members of a client enter again.
    fn enter_again(
        &mut self,
        index: usize,
        name: &Str,
        is_other: bool,
        which: impl Fn(&Str) -> bool,
    ) {
        let client = &mut self.clients[index];
        let connection = client.connection.clone().filter(|_| !is_other);
        let Some(channel) = client.channels.get(name) else { return };
        let own: Vec<(Str, Own)> =
            channel.own.iter().map(|(user, own)| (user.clone(), own.clone())).collect();
        for (user, own) in own {
            let Some(data) = own.data.filter(|_| which(&user)) else { continue };
            let id = connection.as_ref().map(|id| Str::from(format!("{id}:{}:0", own.serial)));
            let sent = self.clients[index].presence(name, user, Some(data), id);
            self.send(index, sent);
        }
    }

    /// Own members have left before their client has attached here. They enter again.
    fn enter_left(&mut self, index: usize, frame: &ServerFrame) {
        let ServerFrame::Presence(delivery) = frame else { return };
        let client = &self.clients[index];
        let Some(channel) = client.channels.get(&delivery.channel) else { return };
        let is_own = delivery.connection_id == client.connection;
        let is_earlier = delivery.timestamp.is_some_and(|time| time < channel.attached_at);
        if !is_own || !is_earlier || channel.state != State::Attached {
            return;
        }
        let is_left = |item: &&PresenceMessage| {
            item.action == Some(PresenceAction::Leave)
                && item.id.as_deref().is_some_and(|id| id.starts_with("left:"))
        };
        let left: Vec<Str> =
            delivery.items.iter().filter(is_left).filter_map(|it| it.client_id.clone()).collect();
        self.enter_again(index, &delivery.channel, false, |user| left.contains(user));
    }

    fn acknowledged(&mut self, index: usize, ack: &Ack) {
        for offset in 0..ack.count {
            let sent = self.settled(index, ack.msg_serial + offset);
            let result = usize::try_from(offset).ok().and_then(|at| ack.res.get(at));
            let PublishResult { serials } = result.cloned().unwrap_or_default();
            if let ClientFrame::Message(publish) = &sent.frame {
                self.oracle.acknowledged(&publish.channel, &sent.texts, &serials);
            }
            let client = &mut self.clients[index];
            if let Some((name, user)) = sent.member
                && let Some(channel) = client.channels.get_mut(&name)
                && let Some(own) = channel.own.get_mut(&user)
                && own.serial == sent.serial
            {
                own.is_certain = true;
            }
        }
    }

    fn refused(&mut self, index: usize, nack: &Nack) {
        for offset in 0..nack.count {
            self.settled(index, nack.msg_serial + offset);
        }
    }

    /// The frame that is acknowledged: the oldest.
    fn settled(&mut self, index: usize, serial: u64) -> Sent {
        let sent = self.clients[index].pending.pop_front();
        let sent = sent.filter(|sent| sent.serial == serial);
        sent.unwrap_or_else(|| panic!("client {index} did not wait for an answer to {serial}"))
    }

    /// An entry of a channel arrives: the next that the client has not received.
    fn delivered(&mut self, index: usize, name: &Str, serial: Option<Str>, frame: &ServerFrame) {
        let serial = serial.expect("a channel serial");
        let position = Position::parse(&serial).expect("a position");
        let Some(channel) = self.clients[index].channels.get_mut(name) else { return };
        let seen = std::mem::replace(&mut channel.seen, position);
        channel.serial = Some(serial);
        let what = format!("client {index} on {name}");
        self.oracle.check_delivery(&what, name, seen, position, Some(frame));
    }

    /// Own members that leave without the wish of their client: only if it was away for too long, or its node was.
    fn check_leaves(&mut self, index: usize, frame: &ServerFrame) {
        let ServerFrame::Presence(delivery) = frame else { return };
        if self.profile.deaths || self.profile.cuts {
            return;
        }
        let client = &self.clients[index];
        let Some(channel) = client.channels.get(&delivery.channel) else { return };
        let time = Duration::from_millis(delivery.timestamp.unwrap_or_default().unsigned_abs());
        let now = Duration::from_millis(self.now.wall.unsigned_abs());
        let at = self.now.steady.saturating_sub(now.saturating_sub(time));
        for item in &delivery.items {
            let is_left = item.action == Some(PresenceAction::Leave)
                && item.id.as_deref().is_some_and(|id| id.starts_with("left:"));
            let is_own = item.connection_id.as_ref().or(delivery.connection_id.as_ref())
                == client.connection.as_ref();
            let may_leave = channel.state != State::Attached
                || channel.late_at.is_some_and(|late| at <= late + MARGIN);
            assert!(
                !is_left || !is_own || may_leave,
                "client {index} was attached when its member left at {at:?}: {item:?}"
            );
        }
    }
}
