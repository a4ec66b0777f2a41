//! Random calls and random failures in virtual time. Whatever happens, every operation ends exactly once, states
//! change only as the specification allows, the error reason is the one that was emitted, each deadline takes
//! effect once, and the same seed gives the same outputs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use capably_core::{
    AuthFailure, AuthId, Batch, ChannelId, ChannelOptions, ChannelState, CheckId, Client, Config,
    ConnectionState, Credentials, Event, Grant, MembersQuery, Now, OpId, Outcome, Output,
    TransportEvent, TransportId,
};
use capably_protocol::{
    Annotation, ChannelMode, ClientFrame, ConnectionDetails, ErrorInfo, Flags, Message,
    PresenceAction, PresenceMessage, PublishResult, ServerFrame, Str,
    frame::{Ack, Attached, Connected, Delivery, ErrorFrame, Nack},
};
use fastrand::Rng;

use self::rules::Told;

#[path = "random/rules.rs"]
mod rules;

const STEPS: usize = 400;
const SEEDS: u64 = 500;
const CHANNELS: u64 = 3;

/// A client with a network and a service around it, and the model that they are compared with.
struct World {
    rng: Rng,
    /// How often, in a hundred, network and service answer at once.
    promptness: u8,
    /// How many, in a hundred, transports are refused.
    refusals: u8,
    now: Now,
    client: Client,
    transport: Option<(TransportId, bool)>,
    /// Token requests and connectivity checks under way.
    tokens: Vec<AuthId>,
    checks: Vec<CheckId>,
    generation: u64,
    /// The frames that the service is to send, in order.
    inbox: Vec<ServerFrame>,
    next_op: u64,
    /// Operations under way, and their calls.
    open: BTreeMap<OpId, &'static str>,
    told: Told,
    channels: BTreeMap<ChannelId, ChannelState>,
    /// Whether the members are known.
    synced: BTreeMap<ChannelId, bool>,
    connections: u64,
    /// The next serial that the service expects on this connection.
    next_serial: u64,
    deadline: Option<Now>,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let credentials = match rng.bool() {
            true => Credentials::Key("app.key:secret".parse().unwrap()),
            false => Credentials::Tokens,
        };
        let mut config = Config::new(credentials);
        config.queue_messages = rng.u8(..5) > 0;
        config.fallback_hosts = (0..rng.u8(..3)).map(|n| format!("fallback-{n}").into()).collect();
        let mut client = Client::new(Arc::new(config), rng.u64(..), Now::default());
        let mut channels = BTreeMap::new();
        for id in (0..CHANNELS).map(ChannelId) {
            let modes = vec![ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
            let options = ChannelOptions { modes, ..ChannelOptions::default() };
            client.open_channel(id, format!("ch{}", id.0).into(), options);
            channels.insert(id, ChannelState::Initialized);
        }
        Self {
            promptness: rng.choice([0, 40, 90]).unwrap(),
            refusals: rng.choice([20, 50, 95]).unwrap(),
            rng,
            now: Now::default(),
            client,
            transport: None,
            tokens: Vec::new(),
            checks: Vec::new(),
            generation: 0,
            inbox: Vec::new(),
            next_op: 0,
            open: BTreeMap::new(),
            told: Told::new(),
            channels,
            synced: BTreeMap::new(),
            connections: 0,
            next_serial: 0,
            deadline: None,
            log: Vec::new(),
        }
    }

    fn op(&mut self, what: &'static str) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.open.insert(op, what);
        op
    }

    fn channel(&mut self) -> ChannelId {
        ChannelId(self.rng.u64(..CHANNELS))
    }

    fn name(&mut self) -> String {
        format!("ch{}", self.channel().0)
    }

    /// A channel serial, or none.
    fn serial(&mut self) -> Option<Str> {
        (self.rng.u8(..4) > 0).then(|| format!("serial-{}", self.rng.u8(..8)).into())
    }

    fn error(&mut self) -> Option<ErrorInfo> {
        let code = self.rng.choice([40142, 40160, 50000, 80003, 80013, 90001]).unwrap();
        let status = if (40100..40200).contains(&code) { 401 } else { 500 };
        (self.rng.u8(..4) > 0).then(|| ErrorInfo::new(code.into(), status, "misfortune"))
    }

    fn step(&mut self) {
        let now = self.now;
        match self.rng.u8(..100) {
            0..8 => self.client.connect(now),
            8..10 => self.client.close(now),
            10..18 => {
                let (id, op) = (self.channel(), self.op("attach"));
                self.client.attach(id, op, now);
            }
            18..20 => {
                let (id, op) = (self.channel(), self.op("options"));
                let mut options = ChannelOptions::default();
                if self.rng.bool() {
                    options.params.insert("rewind".to_owned(), "1".to_owned());
                }
                if self.rng.u8(..4) == 0 {
                    options.modes.push(ChannelMode::Subscribe);
                }
                self.client.set_channel_options(id, options, op, now);
            }
            20..27 => {
                let (id, op) = (self.channel(), self.op("detach"));
                self.client.detach(id, op, now);
            }
            27..30 => {
                let (id, op) = (self.channel(), self.op("annotate"));
                self.client.annotate(id, Annotation::default(), op, now);
            }
            30..33 => {
                let (id, op) = (self.channel(), self.op("objects"));
                self.client.await_objects(id, op, now);
            }
            33..37 => {
                let (id, op) = (self.channel(), self.op("operation"));
                let message = capably_objects::remove("root", "key");
                self.client.publish_objects(id, [message].into(), op, now);
            }
            37..45 => {
                let (id, op) = (self.channel(), self.op("publish"));
                let messages: Vec<_> =
                    (0..=self.rng.usize(..3)).map(|_| Message::new("n", "d")).collect();
                self.client.publish(id, messages.into(), Default::default(), op, now);
            }
            45..48 => {
                let op = self.op("ping");
                self.client.ping(op, now);
            }
            48..50 => {
                let op = self.op("authorize");
                self.client.authorize(op, now);
            }
            50 => self.client.network_available(now),
            51 => {
                let id = self.channel();
                if self.rng.bool() {
                    let after = format!("serial-{}", self.rng.u8(..4));
                    self.client.replay(id, after.into(), now);
                } else {
                    self.client.stop_replay(id, now);
                }
            }
            52 => match self.rng.bool() {
                true => self.client.network_lost(now),
                false => self.client.woke(Duration::from_secs(self.rng.u64(2..300)), now),
            },
            53..55 => self.token_arrives(),
            55..57 => {
                if let Some(check) = self.checks.pop() {
                    let online = self.rng.u8(..4) > 0;
                    self.client.handle_connectivity(check, online, now);
                }
            }
            57..62 => {
                let (id, op) = (self.channel(), self.op("presence"));
                let message = self.presence_message(&[None, Some("ada"), Some("bob"), Some("*")]);
                self.client.presence(id, message, op, now);
            }
            62..65 => {
                let (id, op) = (self.channel(), self.op("members"));
                let query =
                    MembersQuery { wait_for_sync: self.rng.bool(), ..MembersQuery::default() };
                self.client.members(id, query, op, now);
            }
            65..83 => self.service_sends(),
            83..88 => self.network_acts(),
            88..92 => self.misfortune(),
            _ => self.time_passes(),
        }
        self.drain();
        if self.rng.u8(..100) < self.promptness {
            self.promptly();
        }
    }

    /// A token, a transport and answers arrive at once.
    fn promptly(&mut self) {
        if !self.tokens.is_empty() {
            self.token_arrives();
            self.drain();
        }
        if let Some((_, false)) = self.transport {
            self.network_acts();
            self.drain();
        }
        self.service_sends();
    }

    /// The service sends its answers, and perhaps a frame of its own accord.
    fn service_sends(&mut self) {
        let Some((transport, true)) = self.transport else { return };
        let mut frames: Vec<_> = self.inbox.drain(..).collect();
        if self.rng.u8(..4) == 0 {
            let mut delivery = Delivery::new(self.name(), vec![Message::new("n", "d")]);
            delivery.id = Some("conn:1".into());
            delivery.channel_serial = self.serial();
            frames.push(ServerFrame::Message(delivery));
        }
        if self.rng.u8(..4) == 0 {
            frames.push(self.presence_frame());
        }
        if self.rng.u8(..8) == 0 {
            let mut delivery = Delivery::new(self.name(), vec![Annotation::default()]);
            delivery.id = Some("conn:2".into());
            delivery.channel_serial = self.serial();
            frames.push(ServerFrame::Annotation(delivery));
        }
        if self.rng.u8(..4) == 0 {
            frames.push(self.object_frame());
        }
        for mut frame in frames {
            let event = TransportEvent::Frame(&mut frame);
            self.client.handle_transport(transport, event, self.now);
            self.drain();
        }
    }

    /// An OBJECT, or a page of a sync of objects, the last or not.
    fn object_frame(&mut self) -> ServerFrame {
        let message = capably_objects::remove("root", "key");
        let mut delivery = Delivery::new(self.name(), vec![message]);
        delivery.channel_serial = self.serial();
        if self.rng.bool() {
            return ServerFrame::Object(delivery);
        }
        let cursor = self.rng.choice(["", "1", "2"]).unwrap();
        delivery.channel_serial = Some(format!("sync-{}:{cursor}", self.rng.u8(..2)).into());
        ServerFrame::ObjectSync(delivery)
    }

    fn presence_message(&mut self, clients: &[Option<&str>]) -> PresenceMessage {
        let actions = [PresenceAction::Enter, PresenceAction::Update, PresenceAction::Leave];
        let client = *self.rng.choice(clients).unwrap();
        PresenceMessage {
            action: self.rng.choice(actions),
            client_id: client.map(Into::into),
            ..PresenceMessage::default()
        }
    }

    /// A PRESENCE or a page of a SYNC: of members of this connection or another.
    fn presence_frame(&mut self) -> ServerFrame {
        let connection = format!("connection-{}", self.rng.u64(..=self.connections));
        let items = (0..self.rng.usize(..3)).map(|_| PresenceMessage {
            action: Some(PresenceAction::from_number(self.rng.u32(..6))),
            ..self.presence_message(&[None, Some("ada"), Some("bob"), Some("eve")])
        });
        let mut delivery = Delivery::new("ch0", items.collect());
        delivery.channel = self.name().into();
        delivery.id = Some(format!("{connection}:{}", self.rng.u8(..9)).into());
        delivery.connection_id = Some(connection.into());
        if self.rng.bool() {
            return ServerFrame::Presence(delivery);
        }
        let serials = [None, Some("a:1"), Some("a:"), Some("b:1"), Some("b:"), Some("odd")];
        delivery.channel_serial = self.rng.choice(serials).unwrap().map(Into::into);
        ServerFrame::Sync(delivery)
    }

    /// A token arrives, or the error that there is none.
    fn token_arrives(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let auth = self.tokens.swap_remove(self.rng.usize(..self.tokens.len()));
        self.generation += 1;
        let error = |status| ErrorInfo::new(40170.into(), status, "no token");
        let outcome = match self.rng.u8(..20) {
            0 => Err(AuthFailure::Refused(error(403))),
            1 => Err(AuthFailure::NoMeans(error(401))),
            2 => Err(AuthFailure::WrongClient(error(401))),
            3..6 => Err(AuthFailure::Refused(error(500))),
            other => Ok(Grant {
                token: "token".into(),
                generation: self.generation,
                renewable: other > 6,
            }),
        };
        self.client.handle_token(auth, outcome, self.now);
    }

    fn network_acts(&mut self) {
        let Some((transport, opened)) = self.transport else { return };
        let event = if opened {
            TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "cut"))
        } else if self.rng.u8(..100) < self.refusals {
            TransportEvent::Closed(ErrorInfo::new(80000.into(), 0, "refused"))
        } else {
            TransportEvent::Opened
        };
        let opens = matches!(event, TransportEvent::Opened);
        self.transport = opens.then_some((transport, true));
        self.client.handle_transport(transport, event, self.now);
        if opens {
            self.send_connected();
        }
    }

    fn send_connected(&mut self) {
        if self.connections == 0 || self.rng.u8(..3) == 0 {
            self.connections += 1;
            self.next_serial = 0;
        }
        self.inbox.push(connected(format!("connection-{}", self.connections)));
    }

    /// The service sends a frame that it was not asked for.
    fn misfortune(&mut self) {
        let Some((transport, true)) = self.transport else { return };
        let error = self.error();
        let mut frame = match self.rng.u8(..10) {
            0 => ServerFrame::Error(ErrorFrame { channel: None, error }),
            1 => ServerFrame::Error(ErrorFrame { channel: Some(self.name().into()), error }),
            2 => ServerFrame::Detached { channel: self.name().into(), error },
            3 => ServerFrame::Disconnected { error },
            4 => ServerFrame::Attached(Box::new(Attached {
                channel: self.name().into(),
                flags: self
                    .rng
                    .choice([
                        Flags::NONE,
                        Flags::RESUMED,
                        Flags::HAS_PRESENCE,
                        Flags::RESUMED | Flags::HAS_PRESENCE,
                    ])
                    .unwrap(),
                error,
                ..Attached::default()
            })),
            5 => ServerFrame::Closed,
            6 => ServerFrame::Ack(Ack {
                msg_serial: self.rng.u64(..20),
                count: self.rng.u64(..20),
                res: vec![],
            }),
            7 => ServerFrame::Nack(Nack { msg_serial: self.rng.u64(..20), count: 1, error }),
            8 => ServerFrame::Auth,
            _ => ServerFrame::Connected(Box::default()),
        };
        self.client.handle_transport(transport, TransportEvent::Frame(&mut frame), self.now);
    }

    fn time_passes(&mut self) {
        let step = Duration::from_millis(self.rng.u64(1..40_000));
        let due = self.deadline;
        self.now = match due {
            // Mostly the next deadline is met exactly; sometimes the process sleeps past it.
            Some(deadline) if self.rng.u8(..3) > 0 => deadline,
            _ => self.now + step,
        };
        let is_due = due.is_some_and(|deadline| deadline.instant <= self.now.instant);
        self.handle_time(is_due);
        // Deadlines that have passed took effect, and do not do so again.
        self.handle_time(false);
    }

    /// Calls `handle_timeout`. Unless a deadline has passed, the client has no outputs.
    fn handle_time(&mut self, is_due: bool) {
        let before = self.log.len();
        self.client.handle_timeout(self.now);
        self.drain();
        let done = self.log.len() - before - 1;
        assert!(is_due || done == 0, "{:?}", &self.log[before..]);
        assert!(self.deadline.is_none_or(|next| next.instant > self.now.instant), "it is late");
    }

    fn drain(&mut self) {
        loop {
            let output = self.client.poll_output();
            self.log.push(format!("{output:?}"));
            match output {
                Output::Open { transport, .. } => {
                    assert!(self.transport.is_none(), "the old transport was shut first");
                    self.transport = Some((transport, false));
                    self.inbox.clear();
                }
                Output::Shut { transport } => {
                    if self.transport.is_some_and(|(own, _)| own == transport) {
                        self.transport = None;
                    }
                }
                Output::Send { transport, frame } => {
                    if self.transport == Some((transport, true)) {
                        self.service_receives(frame);
                    }
                }
                Output::RequestToken { auth, .. } => self.tokens.push(auth),
                Output::AbandonToken { auth } => self.tokens.retain(|own| *own != auth),
                Output::CheckConnectivity { check } => self.checks.push(check),
                Output::Event(event) => self.check(event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline.map(|(at, _)| Now::at(at, 0));
                    let settled = matches!(
                        self.told.state,
                        ConnectionState::Initialized
                            | ConnectionState::Connected
                            | ConnectionState::Closed
                            | ConnectionState::Failed
                    );
                    assert!(settled || deadline.is_some(), "nothing ends {}", self.told.state);
                    let timer = deadline.map(|(_, timer)| timer);
                    self.told.check(&self.client, timer);
                    if let Some(timer) = timer {
                        rules::check_channel_deadline(timer, &self.channels);
                    }
                    return;
                }
            }
        }
    }

    fn service_receives(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::Attach(attach) => {
                let mut flags = Flags::NONE;
                for flag in [Flags::HAS_PRESENCE, Flags::HAS_OBJECTS, Flags::RESUMED] {
                    flags = if self.rng.bool() { flags | flag } else { flags };
                }
                let channel_serial = attach.channel_serial.or_else(|| self.serial());
                self.inbox.push(ServerFrame::Attached(Box::new(Attached {
                    channel: attach.channel,
                    channel_serial,
                    flags,
                    ..Attached::default()
                })))
            }
            ClientFrame::Detach { channel } => {
                self.inbox.push(ServerFrame::Detached { channel, error: None });
            }
            ClientFrame::Message(publish) => {
                assert!(publish.msg_serial <= self.next_serial, "no serial is left out");
                assert!(!publish.items.is_empty(), "what is sent again is whole");
                self.next_serial = publish.msg_serial + 1;
                let res = vec![PublishResult::new(vec![None; publish.items.len()])];
                let ack = Ack { msg_serial: publish.msg_serial, count: 1, res };
                self.inbox.push(ServerFrame::Ack(ack));
            }
            ClientFrame::Annotation(publish) => {
                assert!(publish.msg_serial <= self.next_serial, "no serial is left out");
                assert_eq!(publish.items.len(), 1, "what is sent again is whole");
                self.next_serial = publish.msg_serial + 1;
                let ack = Ack { msg_serial: publish.msg_serial, count: 1, res: vec![] };
                self.inbox.push(ServerFrame::Ack(ack));
            }
            ClientFrame::Presence(publish) => {
                assert!(publish.msg_serial <= self.next_serial, "no serial is left out");
                self.next_serial = publish.msg_serial + 1;
                let client = publish.items[0].client_id.as_deref();
                assert!(client.is_none_or(|client| client != "*"), "nobody is present as `*`");
                if self.rng.u8(..4) == 0 {
                    let error = self.error();
                    let nack = Nack { msg_serial: publish.msg_serial, count: 1, error };
                    return self.inbox.push(ServerFrame::Nack(nack));
                }
                let ack = Ack { msg_serial: publish.msg_serial, count: 1, res: vec![] };
                self.inbox.push(ServerFrame::Ack(ack));
                let mut echo = Delivery::new(publish.channel, publish.items.to_vec());
                let connection = format!("connection-{}", self.connections);
                echo.id = Some(format!("{connection}:{}", publish.msg_serial).into());
                echo.connection_id = Some(connection.into());
                self.inbox.push(ServerFrame::Presence(echo));
            }
            ClientFrame::Object(publish) => {
                assert!(publish.msg_serial <= self.next_serial, "no serial is left out");
                assert_eq!(publish.items.len(), 1, "what is sent again is whole");
                self.next_serial = publish.msg_serial + 1;
                let serials = vec![Some(format!("operation-{}", publish.msg_serial).into())];
                let res = vec![PublishResult::new(serials)];
                let ack = Ack { msg_serial: publish.msg_serial, count: 1, res };
                self.inbox.push(ServerFrame::Ack(ack));
            }
            ClientFrame::Heartbeat { id } => self.inbox.push(ServerFrame::Heartbeat { id }),
            ClientFrame::Auth(_) => {
                if self.rng.u8(..5) > 0 {
                    let id = format!("connection-{}", self.connections);
                    self.inbox.push(connected(id));
                }
            }
            ClientFrame::Close => self.inbox.push(ServerFrame::Closed),
            other => panic!("not expected: {other:?}"),
        }
    }

    fn check(&mut self, event: Event) {
        match event {
            Event::Done(op, outcome) => {
                let what = self.open.remove(&op).expect("an operation ends once");
                match (what, outcome) {
                    (
                        "publish" | "annotate" | "presence" | "operation",
                        Ok(Outcome::Published(_)),
                    )
                    | ("members", Ok(Outcome::Members(_)))
                    | ("ping", Ok(Outcome::Pong(_)))
                    | (
                        "attach" | "detach" | "options" | "authorize" | "objects",
                        Ok(Outcome::Done),
                    ) => {}
                    (_, Err(error)) => assert!(error.code.0 >= 40000, "{error:?}"),
                    (what, Ok(outcome)) => panic!("{what} gave {outcome:?}"),
                }
            }
            Event::Connection(change) => {
                self.told.changed(&change);
            }
            Event::Channel(id, change) => {
                assert_eq!(change.previous, self.channels[&id], "no change is left out");
                rules::check_channel(&change);
                self.channels.insert(id, change.current);
            }
            Event::Presence(id, Batch { items: messages, .. }) => {
                let state = self.channels[&id];
                assert!(matches!(state, ChannelState::Attached | ChannelState::Detaching));
                assert!(messages.iter().all(|message| message.client_id.is_some()));
            }
            Event::PresenceSynced(id, synced) => {
                assert_ne!(self.synced.insert(id, synced).unwrap_or(false), synced, "it is news");
                let state = self.channels[&id];
                assert!(
                    !synced || matches!(state, ChannelState::Attached | ChannelState::Detaching)
                );
            }
            Event::ErrorReason => self.told.noted(),
            Event::ReplayEnded(id, end) => {
                let state = self.channels[&id];
                assert_eq!(state, ChannelState::Attached, "{end:?}");
            }
            Event::Granted(id) => {
                assert_eq!(self.channels[&id], ChannelState::Attached);
            }
            Event::Gap(id, gap) => {
                let state = self.channels[&id];
                assert!(
                    matches!(
                        state,
                        ChannelState::Attaching
                            | ChannelState::Attached
                            | ChannelState::Detaching
                            | ChannelState::Suspended
                    ),
                    "{gap:?} of a channel that is {state}"
                );
                assert_eq!(gap.time, self.now.wall);
            }
            Event::Messages(id, Batch { items: messages, .. }) => {
                assert_eq!(self.channels[&id], ChannelState::Attached, "RTL17");
                assert!(messages.iter().all(|message| message.id.is_some()));
            }
            Event::Annotations(id, Batch { items: annotations, .. }) => {
                assert_eq!(self.channels[&id], ChannelState::Attached, "RTL17");
                assert!(annotations.iter().all(|annotation| annotation.id.is_some()));
            }
            Event::Objects(id, event) => {
                assert!(self.channels.contains_key(&id), "{event:?} of a channel that is not open");
            }
        }
    }

    /// The application closes the client in the end: no transport or operation may be left.
    fn finish(&mut self) {
        self.client.close(self.now);
        self.drain();
        while let Some(deadline) = self.deadline {
            self.now = deadline;
            self.handle_time(true);
        }
        assert!(
            matches!(
                self.told.state,
                ConnectionState::Initialized | ConnectionState::Closed | ConnectionState::Failed
            ),
            "{:?}",
            self.told.state
        );
        assert_eq!(self.transport, None, "no transport is left");
        // Operations may wait for a connection that the application never requested: it does so now.
        self.client.connect(self.now);
        self.drain();
        self.client.close(self.now);
        self.drain();
        assert_eq!(self.open, BTreeMap::new(), "every operation has ended");
    }
}

fn connected(id: String) -> ServerFrame {
    ServerFrame::Connected(Box::new(Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some("key".into()),
            site_code: Some("site".into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    }))
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.finish();
    world
}

// Spec: RTN4, RTN14d, RTN14e, RTN15a, RTN25, RTB1
#[test]
fn every_operation_ends_once_and_states_change_as_specified() {
    let mut went = BTreeSet::new();
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(seed).told.went);
        went.append(&mut outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert_eq!(went, rules::connection_ways(), "the test goes every way there is");
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    for seed in 0..20 {
        assert_eq!(run(seed).log, run(seed).log);
    }
    assert_ne!(run(1).log, run(2).log);
}

/// The waits of a client that the service always refuses.
fn waits(seed: u64) -> Vec<Duration> {
    let mut now = Now::default();
    let key = Credentials::Key("app.key:secret".parse().unwrap());
    let mut client = Client::new(Arc::new(Config::new(key)), seed, now);
    client.connect(now);
    let mut waits = Vec::new();
    while waits.len() < 4 {
        match client.poll_output() {
            Output::Open { transport, .. } => {
                let refused = ErrorInfo::new(80000.into(), 0, "refused");
                client.handle_transport(transport, TransportEvent::Closed(refused), now);
            }
            Output::Event(Event::Connection(change)) => waits.extend(change.retry_in),
            Output::Timeout(deadline) => {
                now = Now::at(deadline.unwrap().0, 0);
                client.handle_timeout(now);
            }
            Output::Event(_)
            | Output::Send { .. }
            | Output::Shut { .. }
            | Output::RequestToken { .. }
            | Output::AbandonToken { .. }
            | Output::CheckConnectivity { .. } => {}
        }
    }
    waits
}

// Spec: RTB1, RTB1b
#[test]
fn jitter_depends_on_the_seed_alone() {
    let all: BTreeSet<_> = (0..50).map(waits).collect();
    assert_eq!(all.len(), 50, "each seed has waits of its own");
    assert!((0..50).map(waits).all(|again| all.contains(&again)));
}
