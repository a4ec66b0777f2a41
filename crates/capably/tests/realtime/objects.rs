//! Objects of a channel (RTO, RTPO, RTINS), with the standard tree of the test specification.

mod instance;
mod mutations;
mod path_object;
mod preconditions;
mod public_message;
mod reading;
mod realtime_object;
mod subscribing;
mod value_types;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use capably::{
    Channel, ChannelMode, Error, PublishResult, Realtime, Str,
    realtime::{
        ConnectionState, PathObject, RealtimeChannelOptions,
        objects::{ObjectValue, SyncState},
    },
};
use capably_protocol::{
    ClientFrame, Flags, Format, ObjectMessage, ServerFrame,
    frame::{Ack, Attached, Connected, Delivery, Publish},
    object::{
        CounterCreate, CounterInc, MapClear, MapCreate, MapRemove, MapSet, ObjectData,
        ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectState,
        ObjectsCounter, ObjectsMap, ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    http::scripted_http::{ScriptedHttp, respond},
    support::{self, Peer, attached_with, client_with, connected_frame_with},
};

/// The site of the connection.
const SITE: &str = "test-site";

/// The serial of every entry of the standard tree.
const POOL_SERIAL: &str = "t:0";

/// The serial that the service gives to an operation of the client.
fn ack_serial(msg_serial: u64, at: usize) -> Str {
    format!("t:{}:{at}", msg_serial + 1).into()
}

/// A serial that is newer than the standard tree.
fn remote_serial(at: u64) -> String {
    format!("t:{}", at + 1)
}

/// How the service behaves.
#[derive(Clone)]
struct Script {
    /// The modes that the channel's options request.
    modes: Vec<ChannelMode>,
    /// The modes in ATTACHED.
    granted: Vec<ChannelMode>,
    /// The pages of the sync after an ATTACHED.
    sync: bool,
    /// The serials of an ACK; none if the service acknowledges nothing.
    ack: fn(u64, usize) -> Option<Vec<Option<Str>>>,
    site: Option<Str>,
    grace_period: Option<u64>,
    echo: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            modes: vec![ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish],
            granted: Vec::new(),
            sync: true,
            ack: |serial, count| Some((0..count).map(|at| Some(ack_serial(serial, at))).collect()),
            site: Some(SITE.into()),
            grace_period: Some(86_400_000),
            echo: true,
        }
    }
}

/// A connected client with a channel, and a service that plays a script.
struct World {
    client: Realtime,
    channel: Channel,
    inject: mpsc::UnboundedSender<ServerFrame>,
    sent: Arc<Mutex<Vec<ClientFrame>>>,
    /// The service's answers over HTTP.
    http: Arc<ScriptedHttp>,
}

impl World {
    /// The channel is not attached.
    async fn new(format: Format, script: impl FnOnce(&mut Script)) -> Self {
        let mut behaviour = Script::default();
        script(&mut behaviour);
        let echo = behaviour.echo;
        // The service's time, for the ids of new objects.
        let http = Arc::new(ScriptedHttp::new(|_, _| respond(200, json!([1_700_000_000_000_i64]))));
        let transport = Arc::clone(&http);
        let (client, mut service) =
            client_with(format, |options| options.echo_messages(echo).http_client(transport));
        let options = RealtimeChannelOptions::new().modes(behaviour.modes.clone());
        let channel = client.channels().get_with("test", options);
        client.connection().connect();
        let mut peer = service.accept().await;
        let (site, grace_period) = (behaviour.site.clone(), behaviour.grace_period);
        peer.send(connected_frame_with("conn-1", "key-1", |connected: &mut Connected| {
            let details = connected.details.as_mut().unwrap();
            details.site_code = site;
            details.objects_gc_grace_period = grace_period;
            details.max_idle_interval = Some(u64::from(u32::MAX));
        }));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let (inject, injected) = mpsc::unbounded_channel();
        let sent = Arc::default();
        tokio::spawn(serve(peer, service, injected, behaviour, Arc::clone(&sent)));
        Self { client, channel, inject, sent, http }
    }

    /// The channel is in sync with the standard tree.
    async fn synced(format: Format) -> (Self, PathObject) {
        Self::synced_with(format, |_| {}).await
    }

    async fn synced_with(format: Format, script: impl FnOnce(&mut Script)) -> (Self, PathObject) {
        let world = Self::new(format, script).await;
        let root = world.channel.objects().get().await.unwrap();
        (world, root)
    }

    /// The service sends this, and the client has received it.
    async fn send(&self, frame: ServerFrame) {
        self.inject.send(frame).unwrap();
        self.settle().await;
    }

    /// The service sends operations in one frame.
    async fn operate(&self, operations: impl Into<Vec<ObjectMessage>>) {
        self.send(ServerFrame::Object(Delivery::new("test", operations.into()))).await;
    }

    /// A round trip to the service.
    async fn settle(&self) {
        self.client.connection().ping().await.unwrap();
    }

    /// The OBJECT frames of the client.
    fn published(&self) -> Vec<Publish<ObjectMessage>> {
        let sent = self.sent.lock().unwrap();
        let objects = sent.iter().filter_map(|frame| match frame {
            ClientFrame::Object(publish) => Some(publish.clone()),
            _ => None,
        });
        objects.collect()
    }

    /// The operations that the client has published.
    fn operations(&self) -> Vec<ObjectOperation> {
        let items = self.published().into_iter().flat_map(|publish| publish.items.to_vec());
        items.map(|item| *item.operation.unwrap()).collect()
    }
}

/// Plays the service.
async fn serve(
    mut peer: Peer,
    _service: support::Service,
    mut injected: mpsc::UnboundedReceiver<ServerFrame>,
    script: Script,
    sent: Arc<Mutex<Vec<ClientFrame>>>,
) {
    loop {
        // Injected frames first: they arrive before the answer to the ping that follows them.
        tokio::select! {
            biased;
            Some(frame) = injected.recv() => peer.send(frame),
            frame = peer.receive() => {
                let Some(frame) = frame else { return };
                match &frame {
                    ClientFrame::Attach(_) => {
                        peer.send(attached("sync1:", &script.granted));
                        if script.sync {
                            peer.send(sync("sync1:", standard_pool()));
                        }
                    }
                    ClientFrame::Detach { channel } => {
                        let channel = channel.clone();
                        peer.send(ServerFrame::Detached { channel, error: None });
                    }
                    ClientFrame::Object(publish) => {
                        if let Some(serials) = (script.ack)(publish.msg_serial, publish.items.len()) {
                            peer.send(ack(publish.msg_serial, serials));
                        }
                    }
                    ClientFrame::Heartbeat { id } => {
                        peer.send(ServerFrame::Heartbeat { id: id.clone() });
                    }
                    _ => {}
                }
                sent.lock().unwrap().push(frame);
            }
        }
    }
}

/// An ATTACHED with HAS_OBJECTS.
fn attached(serial: &str, granted: &[ChannelMode]) -> ServerFrame {
    attached_with("test", |attached: &mut Attached| {
        attached.channel_serial = Some(serial.into());
        attached.flags = Flags::HAS_OBJECTS | granted.iter().copied().collect();
    })
}

fn ack(msg_serial: u64, serials: Vec<Option<Str>>) -> ServerFrame {
    ServerFrame::Ack(Ack { msg_serial, count: 1, res: vec![PublishResult::new(serials)] })
}

/// A page of a sync.
fn sync(serial: &str, states: Vec<ObjectMessage>) -> ServerFrame {
    let delivery = Delivery::new("test", states);
    ServerFrame::ObjectSync(Delivery { channel_serial: Some(serial.into()), ..delivery })
}

fn standard_pool() -> Vec<ObjectMessage> {
    let reference = |id: &str| ObjectData::reference(id);
    let tags = json!({ "tags": ["a", "b"] });
    vec![
        map_state(
            "root",
            [
                ("name", text("Alice")),
                ("age", ObjectValue::Number(30.0).into()),
                ("active", ObjectValue::Boolean(true).into()),
                ("score", reference("counter:score@1000")),
                ("profile", reference("map:profile@1000")),
                ("data", ObjectValue::Json(tags).into()),
                ("avatar", ObjectValue::Bytes(vec![1, 2, 3].into()).into()),
            ],
        ),
        counter_state("counter:score@1000", 100.0),
        map_state(
            "map:profile@1000",
            [
                ("email", text("alice@example.com")),
                ("nested_counter", reference("counter:nested@1000")),
                ("prefs", reference("map:prefs@1000")),
            ],
        ),
        counter_state("counter:nested@1000", 5.0),
        map_state("map:prefs@1000", [("theme", text("dark"))]),
    ]
}

fn text(text: &str) -> ObjectData {
    ObjectValue::String(text.into()).into()
}

fn state(id: &str, state: ObjectState) -> ObjectMessage {
    let object = ObjectState {
        object_id: Some(id.into()),
        site_timeserials: [("aaa".into(), POOL_SERIAL.into())].into(),
        ..state
    };
    ObjectMessage { object: Some(Box::new(object)), ..ObjectMessage::default() }
}

fn map_state<const N: usize>(id: &str, entries: [(&str, ObjectData); N]) -> ObjectMessage {
    let entry = |data| ObjectsMapEntry {
        timeserial: Some(POOL_SERIAL.into()),
        data: Some(data),
        ..ObjectsMapEntry::default()
    };
    let entries = entries.into_iter().map(|(key, data)| (key.into(), entry(data))).collect();
    let semantics = Some(ObjectsMapSemantics::Lww);
    let create = ObjectOperation {
        action: Some(Action::MapCreate),
        object_id: Some(id.into()),
        map_create: Some(MapCreate { semantics, ..MapCreate::default() }),
        ..ObjectOperation::default()
    };
    let map = ObjectsMap { semantics, entries, ..ObjectsMap::default() };
    state(id, ObjectState { map: Some(map), create_op: Some(create), ..ObjectState::default() })
}

fn counter_state(id: &str, count: f64) -> ObjectMessage {
    let create = ObjectOperation {
        action: Some(Action::CounterCreate),
        object_id: Some(id.into()),
        counter_create: Some(CounterCreate { count: Some(count) }),
        ..ObjectOperation::default()
    };
    let counter = ObjectsCounter { count: Some(0.0) };
    state(
        id,
        ObjectState { counter: Some(counter), create_op: Some(create), ..ObjectState::default() },
    )
}

/// An operation as the service delivers it.
fn operation(
    action: Action,
    id: &str,
    serial: impl AsRef<str>,
    site: &str,
    fill: impl FnOnce(&mut ObjectOperation),
) -> ObjectMessage {
    let mut operation = ObjectOperation {
        action: Some(action),
        object_id: Some(id.into()),
        ..ObjectOperation::default()
    };
    fill(&mut operation);
    ObjectMessage {
        serial: Some(serial.as_ref().into()),
        site_code: Some(site.into()),
        operation: Some(Box::new(operation)),
        ..ObjectMessage::default()
    }
}

fn counter_inc(id: &str, number: f64, serial: impl AsRef<str>, site: &str) -> ObjectMessage {
    operation(Action::CounterInc, id, serial, site, |operation| {
        operation.counter_inc = Some(CounterInc { number: Some(number) });
    })
}

fn map_set(
    id: &str,
    key: &str,
    value: ObjectData,
    serial: impl AsRef<str>,
    site: &str,
) -> ObjectMessage {
    operation(Action::MapSet, id, serial, site, |operation| {
        operation.map_set = Some(MapSet { key: key.into(), value });
    })
}

fn map_remove(id: &str, key: &str, serial: impl AsRef<str>, site: &str) -> ObjectMessage {
    operation(Action::MapRemove, id, serial, site, |operation| {
        operation.map_remove = Some(MapRemove { key: key.into() });
    })
}

fn map_clear(id: &str, serial: impl AsRef<str>, site: &str) -> ObjectMessage {
    operation(Action::MapClear, id, serial, site, |operation| {
        operation.map_clear = Some(MapClear {});
    })
}

fn object_delete(id: &str, serial: impl AsRef<str>, site: &str) -> ObjectMessage {
    operation(Action::ObjectDelete, id, serial, site, |operation| {
        operation.object_delete = Some(ObjectDelete {});
    })
}

/// The number at a path.
fn number(object: &PathObject) -> Option<f64> {
    match object.value().unwrap() {
        Some(ObjectValue::Number(number)) => Some(number),
        None => None,
        other => panic!("not a number: {other:?}"),
    }
}

/// The string at a path.
fn string(object: &PathObject) -> Option<String> {
    match object.value().unwrap() {
        Some(ObjectValue::String(text)) => Some(text.to_string()),
        None => None,
        other => panic!("not a string: {other:?}"),
    }
}

/// The code and status of the error.
fn refusal<T: fmt::Debug>(result: Result<T, Error>) -> (u32, Option<u16>) {
    let error = result.unwrap_err();
    (error.code().0, error.status())
}
