//! The hub in virtual time.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ChannelMode, ClientFrame, Data, Flags, Message, PublishResult, ServerFrame, Str,
    frame::{Ack, Attach, Attached, Connected, Delivery, Publish},
};

mod access;
mod annotations;
mod attaching;
mod changes;
mod claims;
mod credentials;
mod deltas;
mod departing;
mod ephemeral;
mod events;
mod folding;
mod history;
mod limits;
mod loading;
mod metachannels;
mod objects;
mod objects_convergence;
mod occupancy;
mod presence;
mod presence_model;
mod publishing;
mod push;
mod reentering;
mod resuming;
mod rewinding;
mod room;
mod simulation;
mod stats;
mod unanswered;
mod unapplied;
mod views;

use super::{
    App, AppSpec, ConnectRequest, Direction, HistoryQuery, Namespace, Now, Output, PageQuery,
    Retention, Settings, TransportId,
    access::{
        capability::{self, Capability},
        identity::{Identity, Key},
        secret::Secret,
    },
};

const APP: &str = "app-id";
const TTL: Duration = Duration::from_secs(120);

/// An app, its clock, and its outputs.
struct Bench {
    app: App,
    now: Now,
    key: Arc<Key>,
    transports: u64,
    outputs: Vec<Output>,
}

fn namespace(id: &str) -> Namespace {
    Namespace { id: id.into(), persisted: false, mutable: false, push_enabled: false }
}

fn spec(key: &Arc<Key>) -> AppSpec {
    AppSpec {
        id: APP.into(),
        keys: vec![Arc::clone(key)],
        namespaces: vec![
            Namespace { mutable: true, ..namespace("mutable") },
            Namespace { push_enabled: true, ..namespace("push") },
            Namespace { persisted: true, ..namespace("persisted") },
        ],
        ..AppSpec::default()
    }
}

impl Bench {
    fn new() -> Self {
        Self::with_retention(Retention {
            frames: 10_000,
            bytes: 100_000_000,
            age: Duration::from_secs(150),
        })
    }

    fn with_retention(retention: Retention) -> Self {
        let settings = Settings {
            server_id: "test".into(),
            connection_secret: Secret::new("connections"),
            connection_state_ttl: TTL,
            max_idle_interval: Duration::from_secs(15),
            max_message_size: 1000,
            max_frame_size: 524_288,
            max_presence_members: 250,
            presence_remain: Duration::from_secs(15),
            objects_grace_period: Duration::from_secs(24 * 3600),
            max_inbound_rate: None,
            max_channels: None,
            max_connections: None,
            max_request_rate: None,
            max_log_bytes: 1_000_000_000,
            max_objects: 10_000,
            max_objects_bytes: 10_000_000,
            retention,
        };
        let now = Now { steady: Duration::from_secs(10), wall: 1_726_585_978_590 };
        let key = Arc::new(Key::new("key", "secret", Capability::all()));
        let spec = spec(&key);
        let app = App::new(Arc::new(settings), spec, now);
        Self { app, now, key, transports: 0, outputs: Vec::new() }
    }

    fn advance(&mut self, by: Duration) {
        self.now.steady += by;
        self.now.wall += by.as_millis() as i64;
        self.app.handle_timeout(self.now, &mut self.outputs);
    }

    fn identity(&self) -> Identity {
        Identity::of_key(&self.key, None).unwrap()
    }

    fn connect(&mut self, resume: Option<&str>) -> (TransportId, Connected) {
        self.connect_with(resume, true)
    }

    fn connect_with(&mut self, resume: Option<&str>, echo: bool) -> (TransportId, Connected) {
        self.connect_as(self.identity(), resume, echo)
    }

    fn connect_as(
        &mut self,
        identity: Identity,
        resume: Option<&str>,
        echo: bool,
    ) -> (TransportId, Connected) {
        self.transports += 1;
        let transport = TransportId(self.transports);
        let mut entropy = [0; 9];
        entropy[..8].copy_from_slice(&self.transports.to_le_bytes());
        let request = ConnectRequest {
            identity,
            echo,
            remain: None,
            max_idle_interval: Duration::from_secs(15),
            resume: resume.map(Str::from),
            entropy,
        };
        self.app.connect(transport, request, self.now, &mut self.outputs);
        match self.frames(transport).pop() {
            Some(ServerFrame::Connected(connected)) => (transport, *connected),
            other => panic!("expected CONNECTED, got {other:?}"),
        }
    }

    fn send(&mut self, transport: TransportId, mut frames: Vec<ClientFrame>) {
        let need = self.app.receive(transport, &mut frames, None, self.now, &mut self.outputs);
        assert_eq!(need, None);
        assert!(frames.is_empty());
    }

    /// Removes and returns the frames for one transport. Continues its replays until they end.
    fn frames(&mut self, transport: TransportId) -> Vec<ServerFrame> {
        let mut frames = Vec::new();
        loop {
            let mut behind = false;
            self.outputs.retain(|output| match output {
                Output::Frame(to, frame) if *to == transport => {
                    frames.push(frame.clone());
                    false
                }
                Output::Broadcast(to, broadcast) if *to == transport => {
                    frames.push(broadcast.frame().clone());
                    false
                }
                Output::Behind(to) if *to == transport => {
                    behind = true;
                    false
                }
                _ => true,
            });
            if !behind {
                return frames;
            }
            self.app.fill(transport, self.now, &mut self.outputs);
        }
    }

    fn attach(&mut self, transport: TransportId, channel: &str, serial: Option<&Str>) -> Attached {
        let attach = Attach {
            channel: channel.into(),
            channel_serial: serial.cloned(),
            ..Attach::default()
        };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let at = self
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Frame(to, _) if *to == transport));
        match self.outputs.remove(at.expect("no answer to the ATTACH")) {
            Output::Frame(_, ServerFrame::Attached(attached)) => *attached,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }

    fn publish(&mut self, transport: TransportId, channel: &str, serial: u64, text: &str) {
        self.send(transport, vec![publish(channel, serial, vec![Message::new("m", text)])]);
    }

    /// Removes the messages delivered to a transport, and returns their texts and the last channel serial.
    fn texts(&mut self, transport: TransportId) -> (Vec<String>, Option<Str>) {
        let mut texts = Vec::new();
        let mut serial = None;
        for frame in self.frames(transport) {
            if let ServerFrame::Message(delivery) = frame {
                assert!(serial < delivery.channel_serial, "channel serials grow");
                texts.extend(
                    delivery.items.iter().map(|item| item.data.as_str().unwrap().to_owned()),
                );
                serial = delivery.channel_serial;
            }
        }
        (texts, serial)
    }

    fn acks(&mut self, transport: TransportId) -> Vec<Ack> {
        let frames = self.frames(transport);
        frames
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Ack(ack) => Some(ack),
                _ => None,
            })
            .collect()
    }

    fn history(&mut self, channel: &str) -> Vec<Message> {
        let query = HistoryQuery { page: all(Direction::Forwards), from_serial: None };
        let identity = self.identity();
        self.app.history(&identity, channel, &query, self.now).unwrap().items
    }
}

fn capability(value: serde_json::Value) -> Capability {
    capability::read(&value).unwrap().0
}

fn all(direction: Direction) -> PageQuery {
    PageQuery { direction, limit: 1000, start: None, end: None, cursor: None }
}

fn publish(channel: &str, msg_serial: u64, messages: Vec<Message>) -> ClientFrame {
    ClientFrame::Message(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from(messages),
        params: Default::default(),
    })
}

fn key(connected: &Connected) -> Str {
    connected.details.as_ref().unwrap().connection_key.clone().unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn nack_code(frames: Vec<ServerFrame>) -> (u64, u32) {
    match &frames[..] {
        [ServerFrame::Nack(nack)] => (nack.msg_serial, nack.error.as_ref().unwrap().code.0),
        other => panic!("expected one NACK, got {other:?}"),
    }
}

#[test]
fn each_message_of_a_frame_has_its_own_serial() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "a", None);
    bench.send(transport, vec![publish("a", 0, vec![Message::new("m", "x"); 3])]);
    let frames = bench.frames(transport);
    let [ServerFrame::Message(delivery), ServerFrame::Ack(ack)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let channel_serial = delivery.channel_serial.as_deref().unwrap();
    let serials: Vec<_> =
        (0..3).map(|index| Some(Str::from(format!("{channel_serial}:00{index}")))).collect();
    let delivered: Vec<_> = delivery.items.iter().map(|item| item.serial.clone()).collect();
    assert_eq!(delivered, serials);
    assert_eq!(ack.res, [PublishResult::new(serials)]);
}

#[test]
fn rest_publishes_on_behalf_of_a_connection() {
    let mut bench = Bench::new();
    let (_, connected) = bench.connect(None);
    let identity = bench.identity();
    let message =
        |key: &str| Message { connection_key: Some(key.into()), ..Message::new("m", "x") };
    for (key, expected) in [(key(&connected), Ok(())), ("a!b-1".into(), Err(40006))] {
        let result = bench.app.publish(
            &identity,
            &"a".into(),
            vec![message(&key)],
            bench.now,
            &mut bench.outputs,
        );
        assert_eq!(result.map(drop).map_err(|error| error.code.0), expected);
    }
    let [message] = &bench.history("a")[..] else { panic!("one message") };
    assert_eq!(message.connection_id, connected.connection_id);
    assert_eq!(message.connection_key, None);
}

#[test]
fn an_ended_app_refuses_new_connections() {
    let mut bench = Bench::new();
    let (early, _) = bench.connect(None);
    let farewell = ServerFrame::Disconnected { error: None };
    bench.app.end(&farewell, &mut bench.outputs);
    let late = TransportId(99);
    let request = ConnectRequest {
        identity: bench.identity(),
        echo: true,
        remain: None,
        max_idle_interval: Duration::from_secs(15),
        resume: None,
        entropy: [0; 9],
    };
    bench.app.connect(late, request, bench.now, &mut bench.outputs);
    for transport in [early, late] {
        assert_eq!(bench.frames(transport), std::slice::from_ref(&farewell));
    }
    let closed: Vec<_> = bench
        .outputs
        .iter()
        .map(|output| match output {
            Output::Close(transport) => *transport,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(closed, [early, late]);
}
