//! Fault injection, to test how an application handles failures of the network and of the service.
//!
//! [`Faults`] has rules, and a log of all frames and requests. Give it to a server that you embed
//! ([`Builder::faults`](crate::Builder::faults)), or to a [`FaultProxy`] in front of another service. The rules apply to
//! every frame and every HTTP request between the clients and the service, in both directions. A frame or request that
//! matches no rule passes unchanged.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use capably_server::{Server, faults::{Faults, Rule}, protocol::frame::Action};
//!
//! let faults = Faults::new();
//! let server = Server::builder().faults(&faults).start().await?;
//!
//! // The service receives the first message, but the acknowledgement is lost, and the connection drops.
//! faults.add(Rule::to_client().action(Action::Ack).times(1).suppress().disconnect());
//! # server.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! The log shows how the client reacts. The page `guide::testing` of the SDK, `capably`, has complete tests.
//!
//! # Rules
//!
//! A [`Rule`] has a trigger, conditions that narrow it, and one or more faults:
//!
//! | trigger | conditions | faults |
//! |---|---|---|
//! | [`Rule::opening`]: a client opens a WebSocket | `nth`, `connection`, `param`, `has_param` | `refuse`, `respond`, `delay`, `close`, `disconnect` |
//! | [`Rule::after`]: a time after a client has opened a WebSocket | `nth`, `connection`, `param`, `has_param` | `inject_to_client`, `inject_to_server`, `close`, `disconnect` |
//! | [`Rule::to_client`], [`Rule::to_server`]: a frame passes | the same, and `action`, `channel` | the same, and `suppress`, `suppress_onwards`, `replace`, `delay` |
//! | [`Rule::request`]: an HTTP request arrives | `nth`, `method`, `path_contains` | `respond`, `replace_response`, `drop_request`, `delay` |
//!
//! Rules are tried in order, and only the first that matches applies. [`Faults::add_first`] adds a rule in front of the
//! others. `times` limits how often a rule applies. [`Faults::connections`] injects faults at once, without a rule.
//!
//! # The log
//!
//! [`Faults::log`] has every request for a WebSocket with its query, every frame as it arrived with its
//! [fate](Fate), every end of a WebSocket, and every HTTP request and response. In a test, wait for an entry of the log
//! with [`Faults::wait_until`], and do not sleep.
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
//! A [`FaultControl`] is an HTTP server for rules and the log, in the rule language of Ably's test proxy. `capably serve
//! --control` starts a server with one.

mod closing;
mod control;
mod json;
mod log;
mod proxy;
mod relay;
mod rule;
mod script;
mod stream;
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
#[cfg(feature = "console")]
pub(crate) use self::{
    control::answer,
    proxy::serve_on_demand,
    script::{client_frame_to_json, server_frame_to_json},
};

use self::{
    rule::{End, Strike, Treatment},
    table::{FrameFault, Link, OpeningFault, Passing, RequestFault, Table},
};
use crate::front::http::query::Query;

/// Rules, and a log of all frames and requests. Clones share the rules and the log.
///
/// [The module](self) explains how to use it.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    start: Instant,
    state: Mutex<State>,
    /// Notified of every change of the log.
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
    strikes: mpsc::UnboundedSender<Strike>,
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

    /// Adds a rule after the others.
    pub fn add<T: Waits>(&self, rule: Rule<T>) -> RuleId {
        self.lock().table.add(rule.any())
    }

    /// Adds a rule in front of the others.
    pub fn add_first<T: Waits>(&self, rule: Rule<T>) -> RuleId {
        self.lock().table.add_first(rule.any())
    }

    /// Removes a rule. Returns `false` when it does not exist, as after the last of its [`times`](Rule::times).
    pub fn remove(&self, rule: RuleId) -> bool {
        self.lock().table.remove(rule)
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().table.clear();
    }

    /// All rules, in the order in which they are tried.
    pub fn rules(&self) -> Vec<Listed> {
        self.lock().table.list()
    }

    /// The log so far.
    pub fn log(&self) -> Log {
        self.lock().log.clone()
    }

    /// Removes all entries of the log.
    pub fn clear_log(&self) {
        self.lock().log.clear();
    }

    /// Waits until the log meets the condition, and returns the log. There is no timeout: add one if the condition may
    /// never be met.
    ///
    /// The condition is called after every new entry, and no frame passes during the call. It must not use these faults
    /// itself, which would be a deadlock.
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
            // The sender cannot be gone: `self` has it.
            let _ = changed.changed().await;
        }
    }

    /// The WebSockets that are open at this time.
    pub fn connections(&self) -> Connections {
        let state = self.lock();
        let open = state.open.iter();
        let each =
            open.map(|(number, open)| (*number, Arc::clone(&open.params), open.strikes.clone()));
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

    /// A client opens a WebSocket. Returns the fault for its request, too.
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

    /// A WebSocket is open. It receives strikes until the registration is dropped.
    fn open(
        &self,
        number: u64,
        params: &Arc<Query>,
    ) -> (mpsc::UnboundedReceiver<Strike>, Registration) {
        let (strikes, receiver) = mpsc::unbounded_channel();
        self.lock().open.insert(number, Open { params: Arc::clone(params), strikes });
        (receiver, Registration { faults: self.clone(), number })
    }

    /// A frame arrives. Returns the fault for it.
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

    /// A frame for which no rule is tried, because a rule has suppressed or injected it.
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

    /// A rule is due. Returns `None` when it was removed.
    fn moment(&self, rule: RuleId) -> Option<Strike> {
        self.lock().table.moment(rule)
    }

    /// A WebSocket has ended.
    fn disconnected(&self, number: u64, by: Side, code: Option<u16>) {
        self.record(self.lock(), number, None, Event::Disconnect { by, code }, 0);
    }

    /// An HTTP request arrives. Returns its number, and the fault for it.
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

    /// A request has a response.
    fn responded(&self, number: u64, status: u16) {
        self.record(self.lock(), number, None, Event::Response { status }, 0);
    }

    /// A request for a WebSocket has a response that opens none.
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

/// The WebSockets that were open when [`Faults::connections`] was called. A fault applies to all of them that are still
/// open.
#[derive(Clone)]
#[must_use]
pub struct Connections(Vec<(u64, Arc<Query>, mpsc::UnboundedSender<Strike>)>);

impl Connections {
    /// Only the WebSocket of this number.
    pub fn number(mut self, number: u64) -> Self {
        self.0.retain(|(known, ..)| *known == number);
        self
    }

    /// Only WebSockets whose query has this parameter with this value.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(_, params, _)| params.get(name) == Some(value));
        self
    }

    /// The number of WebSockets.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The numbers of the WebSockets, the oldest first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(number, ..)| *number)
    }

    /// Sends this frame to the clients, as if it came from the service.
    pub fn inject_to_client(&self, frame: impl Into<Frame>) {
        self.strike(&Strike { frames: vec![(Direction::ToClient, frame.into())], end: None });
    }

    /// Sends this frame to the service, as if it came from the clients.
    pub fn inject_to_server(&self, frame: impl Into<Frame>) {
        self.strike(&Strike { frames: vec![(Direction::ToServer, frame.into())], end: None });
    }

    /// Closes the clients' WebSockets with this code, after the frames that are queued for them. For the service, the
    /// connections drop.
    pub fn close(&self, code: u16) {
        self.strike(&Strike { frames: Vec::new(), end: Some(End::Close(code)) });
    }

    /// Cuts the clients' connections, without a close frame. For the service, the connections drop.
    pub fn disconnect(&self) {
        self.strike(&Strike { frames: Vec::new(), end: Some(End::Disconnect) });
    }

    fn strike(&self, strike: &Strike) {
        for (_, _, strikes) in &self.0 {
            // An error means that the WebSocket has ended.
            let _ = strikes.send(strike.clone());
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

/// A request for a WebSocket.
struct Connect {
    number: u64,
    params: Arc<Query>,
    /// The rules that apply to it later, with their times. Ordered backwards, so that the next one is popped from the end.
    moments: Vec<(Instant, RuleId)>,
}

impl Connect {
    /// When the next rule applies to it.
    fn next_due(&self) -> Option<Instant> {
        self.moments.last().map(|(time, _)| *time)
    }

    /// The next rule, if it is due.
    fn next_moment(&mut self, now: Instant) -> Option<RuleId> {
        self.moments.pop_if(|(time, _)| *time <= now).map(|(_, rule)| rule)
    }
}

/// An entry among the open WebSockets. Dropping it removes the entry.
struct Registration {
    faults: Faults,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.faults.lock().open.remove(&self.number);
    }
}

/// A frame, or bytes that cannot be decoded as one.
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
