//! Misfortune on order, for tests of what your application does about it.
//!
//! [`Faults`] holds rules and a log of what has passed. Give it to a server you embed
//! ([`Builder::faults`](crate::Builder::faults)), or to a [`FaultProxy`] in front of any other service. Then
//! every frame and every HTTP request between the clients and the service meets the rules, in either
//! direction; what no rule is about passes as it is.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use capably_server::{Server, faults::{Faults, Rule}, protocol::frame::Action};
//!
//! let faults = Faults::new();
//! let server = Server::builder().faults(&faults).start().await?;
//!
//! // The service gets the first message, its client is not told, and then the connection drops.
//! faults.add(Rule::to_client().action(Action::Ack).times(1).suppress().disconnect());
//! # server.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! What a client does about it is in the log: the page `guide::testing` of the SDK, `capably`, has whole
//! tests.
//!
//! # Rules
//!
//! A [`Rule`] waits for one of four things, and has one or more faults:
//!
//! | it waits for | narrowed by | faults |
//! |---|---|---|
//! | [`Rule::opening`]: a client asks for a WebSocket | `nth`, `connection`, `param`, `has_param` | `refuse`, `respond`, `delay`, `close`, `disconnect` |
//! | [`Rule::after`]: a time has passed since | `nth`, `connection`, `param`, `has_param` | `inject_to_client`, `inject_to_server`, `close`, `disconnect` |
//! | [`Rule::to_client`], [`Rule::to_server`]: a frame passes | also `action`, `channel` | these, and `suppress`, `suppress_onwards`, `replace`, `delay` |
//! | [`Rule::request`]: an HTTP request arrives | `nth`, `method`, `path_contains` | `respond`, `replace_response`, `drop_request`, `delay` |
//!
//! Rules are asked in their order and the first that matches applies; [`Faults::add_first`] puts one in front.
//! `times` limits how often a rule applies. What is to happen now rather than by rule is ordered through
//! [`Faults::connections`].
//!
//! # The log
//!
//! [`Faults::log`] has every request for a WebSocket with its query, every frame as it arrived with what
//! became of it, every end of a WebSocket, and every HTTP request and response. Wait for something to
//! happen with [`Faults::wait_until`] rather than for some time.
//!
//! # In front of another service
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use capably_server::{Server, faults::{FaultProxy, Faults, Response, Rule}};
//!
//! let service = Server::builder().start().await?;
//! let faults = Faults::new();
//! let target = service.local_addr().to_string();
//! let proxy = FaultProxy::builder(target).faults(&faults).start().await?;
//! faults.add(Rule::request().path_contains("/time").respond(Response::new(503).error(50300, "busy")));
//! // Clients connect to `proxy.endpoint()` and `proxy.port()`.
//! # proxy.shutdown().await;
//! # service.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! # From outside
//!
//! A [`FaultControl`] takes rules and gives the log over HTTP, in the rule language of Ably's test proxy;
//! `capably serve --control` starts one.

mod control;
mod json;
mod log;
mod proxy;
mod relay;
mod rule;
mod script;
mod table;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use capably_protocol::{ClientFrame, Format, Limits, Millis, ServerFrame, codec};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

pub(crate) use self::proxy::{Target, serve};
pub use self::{
    control::FaultControl,
    log::{Entry, Event, Fate, Log, Params, Side},
    proxy::{FaultProxy, ProxyBuilder},
    rule::{Any, Direction, Frames, Moment, Opening, Requests, Rule, Waits},
    script::{Frame, Response},
    table::{Listed, RuleId},
};

use self::{
    rule::{End, Strike, Treatment},
    table::{FrameFault, Link, OpeningFault, Passing, RequestFault, Table},
};
use crate::front::http::query::Query;

/// Rules, and a log of what has passed. Clones are the same rules and the same log.
///
/// [The module](self) says how to use it.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    start: Instant,
    state: Mutex<State>,
    /// Told of every change of the log.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    table: Table,
    log: Log,
    open: BTreeMap<u64, Open>,
    connections: u64,
    requests: u64,
}

/// An open WebSocket.
struct Open {
    params: Arc<Query>,
    orders: mpsc::UnboundedSender<Strike>,
}

impl Faults {
    /// No rules, and an empty log.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Adds a rule behind the others.
    pub fn add<T: Waits>(&self, rule: Rule<T>) -> RuleId {
        self.lock().table.add(rule.any())
    }

    /// Adds a rule in front of the others.
    pub fn add_first<T: Waits>(&self, rule: Rule<T>) -> RuleId {
        self.lock().table.add_first(rule.any())
    }

    /// Removes a rule; `false` when it is not there, as after the last of its [`times`](Rule::times).
    pub fn remove(&self, rule: RuleId) -> bool {
        self.lock().table.remove(rule)
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().table.clear();
    }

    /// The rules in force, in the order in which they are asked.
    pub fn rules(&self) -> Vec<Listed> {
        self.lock().table.list()
    }

    /// What has passed so far.
    pub fn log(&self) -> Log {
        self.lock().log.clone()
    }

    /// Forgets what has passed so far.
    pub fn clear_log(&self) {
        self.lock().log.clear();
    }

    /// Waits until the log is as it should be, and returns it. Whoever may wait in vain adds a timeout.
    ///
    /// The condition is asked whenever something has passed, and holds up what passes while it is asked; it
    /// must not use these faults itself.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Log) -> bool) -> Log {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let state = self.lock();
                if condition(&state.log) {
                    return state.log.clone();
                }
            }
            // The sender is ours, and lives as long as we do.
            let _ = changed.changed().await;
        }
    }

    /// The WebSockets that are open now.
    pub fn connections(&self) -> Connections {
        let state = self.lock();
        let open = state.open.iter();
        let each =
            open.map(|(number, open)| (*number, Arc::clone(&open.params), open.orders.clone()));
        Connections(each.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the log.
    fn record(
        &self,
        mut state: MutexGuard<'_, State>,
        number: u64,
        rule: Option<RuleId>,
        event: Event,
        bytes: usize,
    ) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX);
        state.log.push(Entry::new((self.0.start.elapsed(), wall), number, rule, event, bytes));
        drop(state);
        self.0.changed.send_replace(());
    }

    /// A client asks for a WebSocket. Returns what is to be done to the request, too.
    fn connect(&self, query: Query) -> (Connect, Option<OpeningFault>) {
        let params = Arc::new(query);
        let mut state = self.lock();
        state.connections += 1;
        let number = state.connections;
        let link = Link { number, params: &params };
        let fault = state.table.opening(link);
        let now = Instant::now();
        let mut moments: Vec<_> = state
            .table
            .moments(link)
            .into_iter()
            .map(|(rule, delay)| (after(now, delay), rule))
            .collect();
        moments.sort_by(|a, b| b.cmp(a));
        let event = Event::Connect { params: Params(Query::clone(&params)) };
        self.record(state, number, fault.as_ref().map(|(id, _)| *id), event, 0);
        (Connect { number, params, moments }, fault.map(|(_, fault)| fault))
    }

    /// A WebSocket is open, and takes orders until what is returned is dropped.
    fn open(
        &self,
        number: u64,
        params: &Arc<Query>,
    ) -> (mpsc::UnboundedReceiver<Strike>, Registration) {
        let (orders, receiver) = mpsc::unbounded_channel();
        self.lock().open.insert(number, Open { params: Arc::clone(params), orders });
        (receiver, Registration { faults: self.clone(), number })
    }

    /// A frame arrives. Returns what is to be done to it.
    fn frame(
        &self,
        link: Link<'_>,
        direction: Direction,
        format: Format,
        bytes: Bytes,
    ) -> Option<(RuleId, FrameFault)> {
        let size = bytes.len();
        let read = Read::new(direction, format, &bytes);
        let passing = Passing { direction, action: read.action(), channel: read.channel() };
        let mut state = self.lock();
        let fault = state.table.frame(link, passing);
        let fate = match &fault {
            None => Fate::Passed,
            Some((_, fault)) => match fault.treatment {
                Treatment::Pass => Fate::Passed,
                Treatment::Suppress | Treatment::SuppressOnwards => Fate::Suppressed,
                Treatment::Replace(_) => Fate::Replaced,
            },
        };
        let rule = fault.as_ref().map(|(id, _)| *id);
        self.record(state, link.number, rule, read.event(fate), size);
        fault
    }

    /// A frame passes that no rule is asked about, because one was already or made it.
    fn frame_without_rules(
        &self,
        number: u64,
        rule: Option<RuleId>,
        fate: Fate,
        direction: Direction,
        format: Format,
        bytes: Bytes,
    ) {
        let event = Read::new(direction, format, &bytes).event(fate);
        self.record(self.lock(), number, rule, event, bytes.len());
    }

    /// The time of a rule has come.
    fn moment(&self, rule: RuleId) -> Option<Strike> {
        self.lock().table.moment(rule)
    }

    /// A WebSocket has ended.
    fn disconnected(&self, number: u64, by: Side, code: Option<u16>) {
        self.record(self.lock(), number, None, Event::Disconnect { by, code }, 0);
    }

    /// An HTTP request arrives. Returns its number, and what is to be done to it.
    fn request(&self, method: &str, path: &str, query: Query) -> (u64, Option<RequestFault>) {
        let mut state = self.lock();
        state.requests += 1;
        let number = state.requests;
        let fault = state.table.request(method, path);
        let event = Event::Request {
            method: method.to_owned(),
            path: path.to_owned(),
            params: Params(query),
        };
        self.record(state, number, fault.as_ref().map(|(id, _)| *id), event, 0);
        (number, fault.map(|(_, fault)| fault))
    }

    /// A request was answered.
    fn responded(&self, number: u64, status: u16) {
        self.record(self.lock(), number, None, Event::Response { status }, 0);
    }

    /// A request for a WebSocket was answered with something else.
    fn refused(&self, number: u64, status: u16) {
        self.record(self.lock(), number, None, Event::Refused { status }, 0);
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Faults")
            .field("rules", &state.table.list().len())
            .field("connections", &state.open.len())
            .finish_non_exhaustive()
    }
}

/// WebSockets that were open when they were asked for, each by its number, and what can be done to all of
/// them. One that has ended since is left alone.
#[derive(Clone)]
#[must_use]
pub struct Connections(Vec<(u64, Arc<Query>, mpsc::UnboundedSender<Strike>)>);

impl Connections {
    /// The one of this number, if it is among them.
    pub fn number(mut self, number: u64) -> Self {
        self.0.retain(|(known, ..)| *known == number);
        self
    }

    /// Those whose query has this parameter with this value.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(_, params, _)| params.get(name) == Some(value));
        self
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Their numbers, the oldest first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(number, ..)| *number)
    }

    /// Sends this to the clients, as if the service had.
    pub fn inject_to_client(&self, frame: impl Into<Frame>) {
        self.strike(&Strike { frames: vec![(Direction::ToClient, frame.into())], end: None });
    }

    /// Sends this to the service, as if the clients had.
    pub fn inject_to_server(&self, frame: impl Into<Frame>) {
        self.strike(&Strike { frames: vec![(Direction::ToServer, frame.into())], end: None });
    }

    /// Closes the clients' WebSockets with this code, after what is queued for them. The service sees the
    /// transports go without a CLOSE.
    pub fn close(&self, code: u16) {
        self.strike(&Strike { frames: Vec::new(), end: Some(End::Close(code)) });
    }

    /// Cuts the clients' connections, without a close of the WebSocket. The service sees the transports go
    /// without a CLOSE.
    pub fn disconnect(&self) {
        self.strike(&Strike { frames: Vec::new(), end: Some(End::Disconnect) });
    }

    fn strike(&self, strike: &Strike) {
        for (_, _, orders) in &self.0 {
            // One that has ended takes no orders.
            let _ = orders.send(strike.clone());
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

/// A request for a WebSocket, as the rules see it.
struct Connect {
    number: u64,
    params: Arc<Query>,
    /// When rules have something to do to it, the last first.
    moments: Vec<(Instant, RuleId)>,
}

impl Connect {
    /// When a rule has something to do to it.
    fn next_due(&self) -> Option<Instant> {
        self.moments.last().map(|(time, _)| *time)
    }

    /// The rule whose time has come.
    fn next_moment(&mut self, now: Instant) -> Option<RuleId> {
        self.moments.pop_if(|(time, _)| *time <= now).map(|(_, rule)| rule)
    }
}

/// An open WebSocket's place among the others.
struct Registration {
    faults: Faults,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.faults.lock().open.remove(&self.number);
    }
}

/// A frame, if it is one.
enum Read {
    Client(ClientFrame),
    Server(ServerFrame),
    Unreadable(Direction, usize),
}

impl Read {
    fn new(direction: Direction, format: Format, bytes: &Bytes) -> Self {
        let limits = Limits::default();
        let read = match direction {
            Direction::ToServer => {
                codec::decode_client_frame(format, bytes, &limits).map(Self::Client)
            }
            Direction::ToClient => {
                codec::decode_server_frame(format, bytes, &limits).map(Self::Server)
            }
        };
        read.unwrap_or(Self::Unreadable(direction, bytes.len()))
    }

    fn action(&self) -> Option<u32> {
        match self {
            Self::Client(frame) => Some(frame.action()),
            Self::Server(frame) => Some(frame.action()),
            Self::Unreadable(..) => None,
        }
    }

    fn channel(&self) -> Option<&str> {
        match self {
            Self::Client(frame) => frame.channel().map(|channel| &**channel),
            Self::Server(frame) => frame.channel().map(|channel| &**channel),
            Self::Unreadable(..) => None,
        }
    }

    fn event(self, fate: Fate) -> Event {
        match self {
            Self::Client(frame) => Event::ToServer { frame, fate },
            Self::Server(frame) => Event::ToClient { frame, fate },
            Self::Unreadable(direction, bytes) => Event::Unreadable { direction, bytes, fate },
        }
    }
}

/// A century: longer than anything runs, and well within what every system's clock can add up.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment after a delay, however long that is.
fn after(now: Instant, delay: Duration) -> Instant {
    now + delay.min(NEVER)
}
