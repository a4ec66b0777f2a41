//! A server in virtual time: the hub, and a double of its front without sockets, tasks and a clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, ErrorInfo, Format, Millis, ServerFrame, Str, TokenParams, TokenRequest, codec,
    frame::ErrorFrame,
};

use super::{
    engine::ModelEngine,
    store::{Store, Work},
};
use crate::{
    engine::Append,
    hub::{
        App, AppSpec, ConnectRequest, Direction, MembersQuery, Need, Now, Output, PageQuery,
        Position, Refusal, Retention, Settings, Ticket, TransportId,
        access::{
            capability::Capability,
            identity::{Credentials, Identity, Key, PresentedKey},
            secret::Secret,
            token::PresentedToken,
        },
        error,
    },
};

/// The app of every service.
const APP: &str = "simapp";

/// Without an engine, the most frames of a client that are given to the hub at once.
const BATCH: usize = 4;

/// The time, on two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since an arbitrary start. It never goes back.
    pub steady: Duration,
    /// In ms since the epoch.
    pub wall: Millis,
}

impl From<Moment> for Now {
    fn from(Moment { steady, wall }: Moment) -> Self {
        Self { steady, wall }
    }
}

/// The limits of a service. They are low where a schedule is to reach them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection can be resumed.
    pub connection_state_ttl: Duration,
    /// How long members stay while their client is disconnected.
    pub presence_remain: Duration,
    /// The longest silence towards a client.
    pub max_idle_interval: Duration,
    /// The most entries of a channel in memory.
    pub entries: usize,
    /// The most bytes that wait for a client.
    pub queue: usize,
    /// How long an ATTACH waits for the engine. It is refused then: its client is about to send another.
    pub attach_wait: Duration,
}

/// An entry with messages that the service has committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The channel serial of the entry.
    pub serial: Str,
    /// The connection that published it.
    pub connection: Option<Str>,
    /// The payloads of its messages.
    pub texts: Vec<String>,
    /// The time of the server's clock at which the engine has stored the entry, in ms since the epoch. None without an engine.
    pub stored_at: Option<Millis>,
    /// Whether the engine has stored the entry, and the hub was told that it has not.
    pub is_hidden: bool,
}

/// The frames that the service has written to a client.
#[derive(Debug, Default)]
pub struct Written {
    /// The frames, encoded.
    pub frames: Vec<Bytes>,
    /// Whether the service closes the transport after them.
    pub closes: bool,
}

/// The state that a service holds, in numbers. Without clients, all but the channels become 0 after a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Connections that can be resumed, and those in use.
    pub connections: usize,
    /// Transports.
    pub transports: usize,
    /// Members of all channels.
    pub members: usize,
    /// Inputs that wait for the engine.
    pub waiting: usize,
    /// Channels in memory.
    pub channels: usize,
}

/// A server without sockets, tasks and a clock.
///
/// Its methods are inputs, each with its time. After each, [`take_ready`](Self::take_ready) names the transports for which
/// frames wait, and [`next_timeout`](Self::next_timeout) is the time of the next [`handle_timeout`](Self::handle_timeout).
/// With an engine, entries wait until [`commit`](Self::commit), and reads until [`work`](Self::work).
#[derive(Debug)]
pub struct Service {
    pub(super) app: App,
    key: Arc<Key>,
    /// The engine; none if the hub orders its entries itself.
    pub(super) engine: Option<ModelEngine>,
    outputs: Vec<Output>,
    pub(super) links: BTreeMap<u64, Link>,
    queue_limit: usize,
    max_idle_interval: Duration,
    attach_wait: Duration,
    /// Entries on their way to the engine.
    appends: VecDeque<(Ticket, Append)>,
    pub(super) works: VecDeque<Work>,
    /// Transports whose publishes have their results, so that the frames behind them go on.
    pub(super) resumable: VecDeque<u64>,
    /// The transports that wait for a channel that is being loaded.
    pub(super) loads: BTreeMap<Str, Vec<u64>>,
    ready: BTreeSet<u64>,
    committed: BTreeMap<Str, Vec<Committed>>,
    /// Without an engine, the positions of the newest entries in `committed`.
    seen: BTreeMap<Str, Position>,
    connections: u64,
}

/// A transport of a client.
#[derive(Debug)]
pub(super) struct Link {
    format: Format,
    /// Frames that the hub has not handled yet, and the fault behind them.
    inbox: Vec<ClientFrame>,
    fault: Option<Fault>,
    pub(super) waiting: Option<Waiting>,
    /// Since when the frames of the inbox have waited.
    waiting_since: Option<Duration>,
    outbox: Vec<Bytes>,
    bytes: usize,
    /// The transport closes after the outbox.
    closing: bool,
    /// A replay waits for room in the outbox.
    behind: bool,
    /// Entries are being read for the replay.
    pub(super) filling: bool,
}

/// The need of a client's first frame.
#[derive(Debug, PartialEq)]
pub(super) enum Waiting {
    Settled,
    Work,
}

/// Why the frames that follow are not read.
#[derive(Debug)]
enum Fault {
    Frame(Refusal),
    Connection(ErrorInfo),
}

impl Service {
    /// Starts a service, over the engine of an earlier one, or a new one. Without an engine, all data is in memory.
    ///
    /// `life` numbers the starts, so that connection ids differ.
    pub fn start(limits: &Limits, engine: Option<Store>, life: u64, now: Moment) -> Self {
        let retention = Retention {
            frames: limits.entries,
            bytes: usize::MAX,
            age: Duration::from_secs(24 * 3600),
        };
        let settings = Settings {
            server_id: Str::from_static("simulated"),
            connection_secret: Secret::new(format!("connections of life {life}")),
            connection_state_ttl: limits.connection_state_ttl,
            max_idle_interval: limits.max_idle_interval,
            max_message_size: 65_536,
            max_frame_size: 524_288,
            max_presence_members: 250,
            presence_remain: limits.presence_remain,
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
        let key = Arc::new(Key::new("key", "secret", Capability::all()));
        let spec = AppSpec {
            id: Str::from_static(APP),
            keys: vec![Arc::clone(&key)],
            ..AppSpec::default()
        };
        let settings = Arc::new(settings);
        let app = match &engine {
            Some(_) => App::with_engine(settings, spec, None, now.into()),
            None => App::new(settings, spec, now.into()),
        };
        Self {
            app,
            key,
            engine: engine.map(|Store(engine)| engine),
            outputs: Vec::new(),
            links: BTreeMap::new(),
            queue_limit: limits.queue,
            max_idle_interval: limits.max_idle_interval,
            attach_wait: limits.attach_wait,
            appends: VecDeque::new(),
            works: VecDeque::new(),
            resumable: VecDeque::new(),
            loads: BTreeMap::new(),
            ready: BTreeSet::new(),
            committed: BTreeMap::new(),
            seen: BTreeMap::new(),
            connections: life << 32,
        }
    }

    /// The key of the app, as the hub has it.
    pub(super) fn app_key(&self) -> &Arc<Key> {
        &self.key
    }

    /// The whole key of the app.
    pub fn key() -> String {
        format!("{APP}.key:secret")
    }

    /// The service is about to end at once: of the entries on their way to the engine, the first `stored` reach it, and
    /// nobody learns that.
    pub fn crash(&mut self, stored: usize, now: Moment) {
        for (_, append) in self.appends.drain(..).take(stored).collect::<Vec<_>>() {
            self.store(append, now);
        }
    }

    /// The engine, which outlasts the service.
    pub fn into_engine(self) -> Option<Store> {
        self.engine.map(Store)
    }

    /// A client opens a transport, with these query parameters.
    pub fn open(&mut self, link: u64, params: &[(Str, Str)], now: Moment) {
        let param =
            |name: &str| params.iter().find(|(own, _)| **own == *name).map(|(_, value)| value);
        let is_json = param("format").is_none_or(|format| **format == *"json");
        let format = if is_json { Format::Json } else { Format::MsgPack };
        self.links.insert(link, Link::new(format));
        let identity = match self.admit(&param, now) {
            Ok(identity) => identity,
            Err(error) => {
                let is_permanent = error.status_code < 500;
                let error = Some(error);
                let frame = match is_permanent {
                    true => ServerFrame::Error(ErrorFrame { channel: None, error }),
                    false => ServerFrame::Disconnected { error },
                };
                self.send(link, &frame);
                return self.close(link);
            }
        };
        self.connections += 1;
        let mut entropy = [0; 9];
        entropy[..8].copy_from_slice(&self.connections.to_be_bytes());
        let request = ConnectRequest {
            identity,
            echo: param("echo").is_none_or(|echo| **echo != *"false"),
            remain: None,
            max_idle_interval: self.max_idle_interval,
            resume: param("resume").or_else(|| param("recover")).cloned(),
            entropy,
        };
        self.input(|app, outputs| app.connect(TransportId(link), request, now.into(), outputs));
    }

    fn admit<'a>(
        &self,
        param: &impl Fn(&str) -> Option<&'a Str>,
        now: Moment,
    ) -> Result<Identity, ErrorInfo> {
        let credentials = match (param("key"), param("accessToken")) {
            (Some(key), _) => Credentials::Key(PresentedKey::parse(key)?),
            (None, Some(token)) => Credentials::Token(PresentedToken::parse(token)?),
            (None, None) => return Err(error::unauthorized("the request has no credentials")),
        };
        self.app.authenticate(&credentials, param("clientId").cloned(), now.into())
    }

    /// Messages of a WebSocket arrive together.
    pub fn receive(&mut self, link: u64, payloads: &[Bytes], now: Moment) {
        let Some(own) = self.links.get_mut(&link) else { return };
        for payload in payloads {
            if own.fault.is_some() {
                break;
            }
            let limits = codec_limits();
            match codec::decode_client_frame(own.format, payload, &limits) {
                Ok(frame) => own.inbox.push(frame),
                Err(reason) => {
                    let refusal = Refusal::of(own.format, payload, &limits, &reason);
                    own.fault = Some(match refusal {
                        Some(refusal) => Fault::Frame(refusal),
                        None => Fault::Connection(error::protocol(reason)),
                    });
                }
            }
        }
        if own.waiting.is_none() {
            self.dispatch(link, None, now);
        }
    }

    /// Gives frames to the hub. `refused` says why what the first needs cannot be had.
    pub(super) fn dispatch(&mut self, link: u64, refused: Option<ErrorInfo>, now: Moment) {
        let Some(own) = self.links.get_mut(&link) else { return };
        own.waiting = None;
        let mut frames = mem::take(&mut own.inbox);
        let transport = TransportId(link);
        let mut published = BTreeSet::new();
        for frame in &frames {
            if let ClientFrame::Message(publish) = frame {
                published.insert(publish.channel.clone());
            }
        }
        let mut need = None;
        if self.engine.is_some() {
            need = self.input(|app, outputs| {
                app.receive(transport, &mut frames, refused, now.into(), outputs)
            });
        } else {
            // In small batches: the log may not have room for the messages of a large one, and they are noted after each.
            while !frames.is_empty() {
                let rest = frames.split_off(frames.len().min(BATCH));
                let mut batch = mem::replace(&mut frames, rest);
                self.input(|app, outputs| {
                    app.receive(transport, &mut batch, None, now.into(), outputs)
                });
                published.iter().for_each(|name| self.note_committed(name));
            }
        }
        let Some(own) = self.links.get_mut(&link) else { return };
        own.inbox = frames;
        let is_failure = matches!(own.fault, Some(Fault::Connection(_)));
        if need.is_none() && own.fault.is_some() {
            need = self.app.need_of_fault(transport, is_failure);
        }
        if let Some(need) = need {
            own.waiting_since.get_or_insert(now.steady);
            own.waiting = Some(match need {
                Need::Settled | Need::Answers => Waiting::Settled,
                _ => Waiting::Work,
            });
            return self.want(link, need);
        }
        own.waiting_since = None;
        match own.fault.take() {
            Some(Fault::Frame(refusal)) => {
                self.input(|app, outputs| app.refuse(transport, refusal, now.into(), outputs));
            }
            Some(Fault::Connection(error)) => {
                self.input(|app, outputs| app.fail(transport, error, now.into(), outputs));
            }
            None => {}
        }
    }

    /// The transport is closed, by the client or by the network.
    pub fn closed(&mut self, link: u64, now: Moment) {
        if self.links.remove(&link).is_some() {
            self.ready.remove(&link);
            self.input(|app, outputs| {
                app.transport_closed(TransportId(link), now.into(), outputs);
            });
        }
    }

    /// Writes the frames of a transport, and goes on with its replays.
    pub fn write(&mut self, link: u64, now: Moment) -> Written {
        let Some(own) = self.links.get_mut(&link) else { return Written::default() };
        own.bytes = 0;
        let frames = mem::take(&mut own.outbox);
        if own.closing {
            return Written { frames, closes: true };
        }
        if frames.is_empty() && !own.filling && mem::take(&mut own.behind) {
            let transport = TransportId(link);
            let need = self.input(|app, outputs| app.fill(transport, now.into(), outputs));
            if let Some(Need::Entries { channel, after, until }) = need {
                if let Some(own) = self.links.get_mut(&link) {
                    own.filling = true;
                }
                self.works.push_back(Work::Entries { link, name: channel, after, until });
            }
        }
        Written { frames, closes: false }
    }

    /// The transports for which frames wait, or a replay.
    pub fn take_ready(&mut self) -> BTreeSet<u64> {
        mem::take(&mut self.ready)
    }

    /// The time at which something is due.
    pub fn next_timeout(&self) -> Option<Duration> {
        let attaches = self.links.values().filter_map(|own| own.attach_due(self.attach_wait));
        self.app.next_timeout().into_iter().chain(attaches).min()
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.input(|app, outputs| app.handle_timeout(now.into(), outputs));
        let wait = self.attach_wait;
        let is_due = |own: &Link| own.attach_due(wait).is_some_and(|due| due <= now.steady);
        let due = self.links.iter().filter(|(_, own)| is_due(own)).map(|(link, _)| *link);
        for link in due.collect::<Vec<_>>() {
            self.dispatch(link, Some(error::unavailable()), now);
        }
    }

    /// The number of entries on their way to the engine.
    pub fn uncommitted(&self) -> usize {
        self.appends.len()
    }

    /// The engine commits so many entries, and reports it.
    pub fn commit(&mut self, count: usize, now: Moment) {
        let count = count.min(self.appends.len());
        let mut results = Vec::new();
        for (ticket, append) in self.appends.drain(..count).collect::<Vec<_>>() {
            if let Some(appended) = self.store(append, now) {
                results.push((ticket, Ok(appended)));
            }
        }
        self.report(results, now);
    }

    /// The engine refuses so many entries. With `stored`, it has committed them, and only the answer is lost.
    pub fn refuse(&mut self, count: usize, stored: bool, now: Moment) {
        let count = count.min(self.appends.len());
        let mut results = Vec::new();
        for (ticket, append) in self.appends.drain(..count).collect::<Vec<_>>() {
            if stored {
                let name = Str::from(&*append.channel.name);
                let known = self.committed(&name).len();
                self.store(append, now);
                let committed = self.committed.get_mut(&name).into_iter().flatten();
                committed.skip(known).for_each(|committed| committed.is_hidden = true);
            }
            results.push((ticket, Err(error::unavailable())));
        }
        self.report(results, now);
    }

    fn store(&mut self, append: Append, now: Moment) -> Option<crate::engine::Appended> {
        let name = Str::from(&*append.channel.name);
        let (time, payload) = (append.time, append.payload.clone());
        let appended = self.engine.as_mut()?.append(append, now.wall);
        if !appended.repeated
            && let Some(committed) =
                super::store::messages(&name, appended.position, time, now.wall, &payload)
        {
            self.committed.entry(name).or_default().push(committed);
        }
        Some(appended)
    }

    fn report(
        &mut self,
        results: Vec<(Ticket, Result<crate::engine::Appended, ErrorInfo>)>,
        now: Moment,
    ) {
        self.input(|app, outputs| app.committed(results, now.into(), outputs));
        let settled: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, own)| own.waiting == Some(Waiting::Settled))
            .map(|(link, _)| *link)
            .collect();
        for link in settled {
            self.want(link, Need::Settled);
        }
    }

    /// Without an engine: adds the newest entries of a channel to those that are committed.
    fn note_committed(&mut self, name: &Str) {
        let Some(channel) = self.app.channels.get(name) else { return };
        let seen = self.seen.entry(name.clone()).or_default();
        let committed = self.committed.entry(name.clone()).or_default();
        for entry in channel.log.after(*seen) {
            *seen = entry.position();
            if entry.is_creation() {
                let texts = entry.items().iter();
                committed.push(Committed {
                    serial: entry.position().channel_serial(),
                    connection: entry.connection().cloned(),
                    texts: texts.filter_map(|it| it.data.as_str().map(str::to_owned)).collect(),
                    stored_at: None,
                    is_hidden: false,
                });
            }
        }
    }

    /// A token, which is valid for so long.
    ///
    /// # Errors
    /// The error of the hub.
    pub fn issue_token(
        &mut self,
        client_id: Option<Str>,
        ttl: Duration,
        now: Moment,
    ) -> Result<Str, ErrorInfo> {
        let params = TokenParams::new().ttl(ttl);
        let params = match client_id {
            Some(client_id) => params.client_id(client_id),
            None => params,
        };
        let request = TokenRequest::new(format!("{APP}.key"), params);
        self.app.issue_token(&self.key.id, &request, now.into()).map(|issued| issued.details.token)
    }

    /// The entries with messages of a channel that this service has committed, in their order.
    pub fn committed(&self, channel: &str) -> &[Committed] {
        self.committed.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The members of a channel: connection id, client id and data, in order.
    pub fn members(&self, channel: &str) -> Vec<(Str, Str, Option<String>)> {
        let identity = Identity::of_key(&self.key, None);
        let direction = Direction::Forwards;
        let page = PageQuery { direction, limit: 1000, start: None, end: None, cursor: None };
        let query = MembersQuery { page, client_id: None, connection_id: None };
        let page = identity.and_then(|identity| self.app.members(&identity, channel, &query));
        let members = page.map(|page| page.items).unwrap_or_default().into_iter().map(|member| {
            let data = member.data.as_str().map(str::to_owned);
            (member.connection_id.unwrap_or_default(), member.client_id.unwrap_or_default(), data)
        });
        let mut members: Vec<_> = members.collect();
        members.sort();
        members
    }

    /// The state that the service holds.
    pub fn size(&self) -> Size {
        let channels = self.app.channels.presence.channels();
        Size {
            connections: self.app.connections.len(),
            transports: self.links.len(),
            members: channels.map(|name| self.app.channels.presence.count(name)).sum(),
            waiting: self.appends.len() + self.works.len() + self.loads.len(),
            channels: self.app.channel_count(),
        }
    }

    /// Gives an input to the hub, and carries out its outputs.
    pub(super) fn input<R>(&mut self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        let mut outputs = mem::take(&mut self.outputs);
        let result = input(&mut self.app, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Frame(to, frame) => self.send(to.0, &frame),
                Output::Broadcast(to, broadcast) => {
                    if let Some(own) = self.links.get(&to.0) {
                        let mut bytes = Vec::new();
                        broadcast.write(own.format, &mut bytes);
                        self.put(to.0, bytes.into(), broadcast.size());
                    }
                }
                Output::Behind(to) => {
                    if let Some(own) = self.links.get_mut(&to.0) {
                        own.behind = true;
                        self.ready.insert(to.0);
                    }
                }
                Output::Close(to) => self.close(to.0),
                Output::Append(ticket, append, _) => self.appends.push_back((ticket, append)),
                Output::Fetch(need) => self.want(0, need),
                // The simulation has no requests, pushes, snapshots and other nodes, so nobody waits for these.
                Output::Answer(..)
                | Output::Push(_)
                | Output::Snapshot(..)
                | Output::SaveObjects(..)
                | Output::Notice(_) => {}
            }
        }
        self.outputs = outputs;
        result
    }

    fn send(&mut self, link: u64, frame: &ServerFrame) {
        let Some(own) = self.links.get(&link) else { return };
        let mut bytes = Vec::new();
        codec::encode_server_frame(own.format, frame, &mut bytes);
        let size = bytes.len();
        self.put(link, bytes.into(), size);
    }

    /// Puts a frame into the outbox. Beyond the limit, the client is disconnected, as by the front.
    fn put(&mut self, link: u64, bytes: Bytes, size: usize) {
        let Some(own) = self.links.get_mut(&link).filter(|own| !own.closing) else { return };
        self.ready.insert(link);
        if own.bytes + size <= self.queue_limit {
            own.bytes += size;
            return own.outbox.push(bytes);
        }
        own.outbox.clear();
        own.closing = true;
        let mut bytes = Vec::new();
        let frame = ServerFrame::Disconnected { error: Some(error::too_slow()) };
        codec::encode_server_frame(own.format, &frame, &mut bytes);
        own.outbox.push(bytes.into());
    }

    fn close(&mut self, link: u64) {
        if let Some(own) = self.links.get_mut(&link) {
            own.closing = true;
            self.ready.insert(link);
        }
    }
}

impl Link {
    /// The time at which the ATTACH that waits is refused, if one is the first frame of the inbox.
    fn attach_due(&self, wait: Duration) -> Option<Duration> {
        let is_attach = matches!(self.inbox.first(), Some(ClientFrame::Attach(_)));
        self.waiting_since.filter(|_| is_attach && self.waiting.is_some()).map(|since| since + wait)
    }

    fn new(format: Format) -> Self {
        Self {
            format,
            inbox: Vec::new(),
            fault: None,
            waiting: None,
            waiting_since: None,
            outbox: Vec::new(),
            bytes: 0,
            closing: false,
            behind: false,
            filling: false,
        }
    }
}

fn codec_limits() -> capably_protocol::Limits {
    capably_protocol::Limits { max_size: 524_288, max_depth: codec::MAX_PUBLISH_DEPTH }
}
