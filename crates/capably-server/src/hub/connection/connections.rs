//! All connections of an app, with the timers of disconnected clients and of tokens.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, ServerFrame, Str};

use super::{Connection, ConnectionKey, Entropy};
use crate::hub::{
    Notice, Now, Output, TransportId, Turn,
    access::{identity::Identity, revocation::Revocations},
    channel::{
        Channels,
        order::{Origin, Ticket},
    },
    error,
    ids::ConnectionId,
};

/// The parameters of a client that connects. They hold secrets, so there is no `Debug`.
pub(crate) struct ConnectRequest {
    pub(crate) identity: Identity,
    /// Whether the client wants the messages of its own connection.
    pub(crate) echo: bool,
    /// The time for which members stay while the client is disconnected, if not the usual one.
    pub(crate) remain: Option<Duration>,
    /// The longest time without a frame to the client.
    pub(crate) max_idle_interval: Duration,
    /// The key of a connection to continue, from `resume` or `recover`.
    pub(crate) resume: Option<Str>,
    pub(crate) entropy: Entropy,
}

/// The time before a token's expiry at which the server asks the client for a new one, in ms.
const PROMPT_BEFORE: Millis = 30_000;

/// The connections of an app.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Boxed: a node of the map has room for eleven connections, and is rarely full.
    pub(super) map: BTreeMap<ConnectionId, Box<Connection>>,
    transports: HashMap<TransportId, ConnectionId>,
    /// Connections whose client is disconnected, by the time when their state is dropped.
    expiries: BTreeSet<(Duration, ConnectionId)>,
    /// Connected clients with a token, by the time of the next check of the token.
    pub(crate) token_watch: BTreeSet<(Duration, ConnectionId)>,
    ended: Ended,
    /// In a cluster, resumed connections whose members another node may own, by the time when the other nodes are told next
    /// that their client is connected on the transport.
    served: BTreeSet<(Duration, ConnectionId, Served)>,
    /// The transports of clients that have sent CLOSE, with the departures of members that the engine has yet to commit.
    closing: HashMap<TransportId, usize>,
}

/// A resumed connection, for the notices about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Served {
    transport: TransportId,
    /// The time of the last notice.
    until: Duration,
}

/// The notices in the time for which members stay while their client is disconnected. An announcement can be lost.
const NOTICES_SERVED: u32 = 3;

/// In a cluster, the connections that have ended, so that no node continues with them. Their keys are still valid.
#[derive(Debug, Default)]
struct Ended {
    /// The generation of the last key with which each has ended. Its client has a later one if it was at another node
    /// meanwhile, so that the connection has ended here alone.
    generations: HashMap<ConnectionId, u32>,
    /// By the time after which no client resumes them.
    by_time: VecDeque<(Duration, ConnectionId)>,
}

impl Ended {
    fn add(&mut self, key: ConnectionKey, now: Duration, ttl: Duration) {
        while let Some((until, _)) = self.by_time.front()
            && *until <= now
            && let Some((_, id)) = self.by_time.pop_front()
        {
            self.generations.remove(&id);
        }
        let ConnectionKey { id, generation } = key;
        match self.generations.get_mut(&id) {
            Some(known) => *known = generation.max(*known),
            None => {
                self.generations.insert(id.clone(), generation);
                self.by_time.push_back((now + ttl, id));
            }
        }
    }

    fn has(&self, key: &ConnectionKey) -> bool {
        self.generations.get(&key.id).is_some_and(|last| key.generation <= *last)
    }
}

impl Connections {
    pub(crate) fn get(&self, id: &ConnectionId) -> Option<&Connection> {
        self.map.get(id).map(|connection| &**connection)
    }

    pub(crate) fn get_mut(&mut self, id: &ConnectionId) -> Option<&mut Connection> {
        self.map.get_mut(id).map(|connection| &mut **connection)
    }

    /// All connections, those of disconnected clients among them.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.map.values().map(|connection| &**connection)
    }

    /// The number of connections, those of disconnected clients among them.
    #[cfg(feature = "sim")]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The number of connected clients.
    pub(crate) fn connected(&self) -> usize {
        self.transports.len()
    }

    /// The connection that uses the transport.
    pub(crate) fn on_transport(&mut self, transport: TransportId) -> Option<&mut Connection> {
        self.map.get_mut(self.transports.get(&transport)?).map(|connection| &mut **connection)
    }

    /// The connection with this connection key, if its state is still there.
    pub(crate) fn with_key(&self, key: &ConnectionKey, now: Duration) -> Option<&Connection> {
        let connection = self.map.get(&key.id)?;
        let live = connection.expires.is_none_or(|expires| now < expires);
        (live && connection.has_issued(key)).then_some(connection)
    }

    /// Connects a client: resumes a connection or creates one, and sends CONNECTED. Returns the number of connections
    /// created, or `None` if the app has too many.
    pub(crate) fn connect(
        &mut self,
        transport: TransportId,
        request: ConnectRequest,
        revocations: &Revocations,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) -> Option<usize> {
        let ConnectRequest { identity, echo, remain, max_idle_interval, resume, entropy } = request;
        let now = turn.now.steady;
        let secret = &turn.settings.connection_secret;
        let key = resume.as_deref().and_then(|key| ConnectionKey::read(key, secret));
        let resumed = key.as_ref().and_then(|key| self.with_key(key, now));
        if let Err(error) = self.require_room(resumed, turn.settings.max_connections) {
            // An ERROR would be final. A client that receives DISCONNECTED tries again later.
            let frame = ServerFrame::Disconnected { error: Some(error) };
            turn.outputs.push(Output::Frame(transport, frame));
            turn.outputs.push(Output::Close(transport));
            return None;
        }
        let resumed = resumed.map(|connection| connection.id.clone());
        // In a cluster, every node continues with the connections of the others.
        let foreign = key.filter(|key| channels.node().is_some() && !self.ended.has(key));
        let is_new = resumed.is_none();
        let is_resumed = !is_new || foreign.is_some();
        let error = (resume.is_some() && !is_resumed).then(error::bad_connection);
        if let Some(key) = &foreign {
            turn.outputs.push(Output::Notice(Notice::Resumed(key.id.clone())));
        }
        let id = match (resumed, foreign) {
            (Some(id), foreign) => {
                self.close(&id, channels, turn);
                if let (Some(key), Some(connection)) = (foreign, self.map.get_mut(&id)) {
                    connection.generation = connection.generation.max(key.generation);
                    connection.may_have_members = true;
                    connection.is_foreign = true;
                }
                id
            }
            (None, foreign) => {
                let connection = match foreign {
                    Some(key) => {
                        // What is left here of the connection is too old, or older than the key.
                        self.close(&key.id, channels, turn);
                        let stale = self.map.get(&key.id).and_then(|stale| stale.expires);
                        if let Some(expires) = stale {
                            self.expiries.remove(&(expires, key.id.clone()));
                        }
                        let connection = Connection::with_key(key, identity.clone());
                        Connection { may_have_members: true, is_foreign: true, ..connection }
                    }
                    None => Connection::new(&entropy, identity.clone()),
                };
                let id = connection.id.clone();
                self.map.insert(id.clone(), Box::new(connection));
                id
            }
        };
        let connection = self.map.get_mut(&id)?;
        if let Some(expires) = connection.expires {
            self.expiries.remove(&(expires, id.clone()));
        }
        connection.identity = identity;
        connection.echo = echo;
        connection.remain = remain.unwrap_or(turn.settings.presence_remain);
        connection.max_idle_interval = max_idle_interval;
        channels.expect_back(&id, now + connection.remain);
        connection.use_transport(transport);
        self.transports.insert(transport, id.clone());
        if is_resumed && channels.node().is_some() {
            channels.connection_served(&id, now);
            let (due, until) = (now + connection.remain / NOTICES_SERVED, now + connection.remain);
            self.served.insert((due, id.clone(), Served { transport, until }));
        }
        let connected = connection.connected(turn.settings, error);
        turn.outputs.push(Output::Frame(transport, connected));
        if !is_resumed {
            connection.report("connection.opened", channels, turn);
        }
        self.watch_token(&id, revocations, turn.now);
        Some(usize::from(is_new))
    }

    /// Checks that the app may have one more connection, or that the client takes the place of one.
    ///
    /// # Errors
    /// Code 40111 when the app has the maximum number of connections.
    fn require_room(
        &self,
        resumed: Option<&Connection>,
        max: Option<usize>,
    ) -> Result<(), ErrorInfo> {
        let Some(max) = max else { return Ok(()) };
        let replaces = resumed.is_some_and(|connection| connection.transport.is_some());
        if self.connected() < max || replaces {
            Ok(())
        } else {
            Err(error::too_many_connections(max))
        }
    }

    /// Ends the use of a connection's transport. The attachments end, the other state stays for a resume.
    fn release(
        &mut self,
        id: &ConnectionId,
        channels: &mut Channels,
        turn: &Turn<'_>,
    ) -> Option<TransportId> {
        let connection = self.map.get_mut(id)?;
        if let Some(due) = connection.token_due.take() {
            self.token_watch.remove(&(due, id.clone()));
        }
        let transport = connection.transport.take()?;
        channels.detach_all(transport, &mut connection.attached);
        let now = turn.now.steady;
        let expires = now + turn.settings.connection_state_ttl;
        connection.expires = Some(expires);
        channels.expect_back(id, now + connection.remain);
        self.expiries.insert((expires, id.clone()));
        self.transports.remove(&transport);
        Some(transport)
    }

    /// Closes the transport of a connection. The client may resume it.
    pub(super) fn close(
        &mut self,
        id: &ConnectionId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        if let Some(transport) = self.release(id, channels, turn) {
            turn.outputs.push(Output::Close(transport));
        }
    }

    /// Sends DISCONNECTED to the client on a transport, and closes the transport. The client may resume.
    pub(crate) fn disconnect(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = self.transports.get(&transport).cloned() else { return };
        let frame = ServerFrame::Disconnected { error: Some(error) };
        turn.outputs.push(Output::Frame(transport, frame));
        self.close(&id, channels, turn);
    }

    /// The transport was closed by the client or the network.
    pub(crate) fn transport_closed(
        &mut self,
        transport: TransportId,
        channels: &mut Channels,
        turn: &Turn<'_>,
    ) {
        self.closing.remove(&transport);
        if let Some(id) = self.transports.get(&transport).cloned() {
            self.release(&id, channels, turn);
        }
    }

    /// Closes the transport, and drops the state of its connection.
    pub(crate) fn end(
        &mut self,
        transport: TransportId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        turn.outputs.push(Output::Close(transport));
        self.drop_state(transport, channels, turn);
    }

    /// The client has sent CLOSE. CLOSED follows when its members have left: who learns that the client is closed must not
    /// find them.
    pub(crate) fn closed(
        &mut self,
        transport: TransportId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        let departures = self.drop_state(transport, channels, turn);
        if departures.is_empty() {
            send_closed(transport, turn.outputs);
        } else {
            self.closing.insert(transport, departures.len());
        }
        for ticket in departures {
            channels.set_origin(ticket, Origin::Close(transport));
        }
    }

    /// The engine has decided on a departure of members whose client has sent CLOSE.
    pub(crate) fn departed(&mut self, transport: TransportId, outputs: &mut Vec<Output>) {
        let Some(left) = self.closing.get_mut(&transport) else { return };
        *left -= 1;
        if *left == 0 {
            self.closing.remove(&transport);
            send_closed(transport, outputs);
        }
    }

    /// Drops the state of the connection on the transport. Returns the departures of its members that wait for the engine.
    fn drop_state(
        &mut self,
        transport: TransportId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) -> Vec<Ticket> {
        let Some(id) = self.transports.get(&transport).cloned() else { return Vec::new() };
        self.release(&id, channels, turn);
        if let Some(connection) = self.map.remove(&id) {
            if let Some(expires) = connection.expires {
                self.expiries.remove(&(expires, id.clone()));
            }
            connection.report("connection.closed", channels, turn);
        }
        let departures = channels.leave_all(&id, turn);
        channels.connection_ended(&id);
        if channels.node().is_some() {
            self.ended_elsewhere(id.clone(), turn);
            turn.outputs.push(Output::Notice(Notice::Ended(id)));
        }
        departures
    }

    /// Drops the state of a connection whose client is disconnected.
    #[cfg(feature = "console")]
    pub(super) fn expire(
        &mut self,
        id: &ConnectionId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.map.get_mut(id) else { return };
        let Some(expires) = connection.expires.replace(turn.now.steady) else { return };
        self.expiries.remove(&(expires, id.clone()));
        self.expiries.insert((turn.now.steady, id.clone()));
        self.handle_expiries(channels, turn);
    }

    /// A connection of the cluster has ended.
    pub(crate) fn ended_elsewhere(&mut self, id: ConnectionId, turn: &Turn<'_>) {
        let key = ConnectionKey { id, generation: u32::MAX };
        self.ended.add(key, turn.now.steady, turn.settings.connection_state_ttl);
    }

    /// Drops all connections. Clients that are connected receive `frame` first.
    pub(crate) fn drop_all(&mut self, frame: &ServerFrame, outputs: &mut Vec<Output>) {
        let closing = self.closing.keys().copied();
        let connected = self.map.values().filter_map(|connection| connection.transport);
        for transport in connected.chain(closing) {
            outputs.push(Output::Frame(transport, frame.clone()));
            outputs.push(Output::Close(transport));
        }
        *self = Self::default();
    }

    /// Drops the state of connections whose client was disconnected for too long.
    pub(crate) fn handle_expiries(&mut self, channels: &mut Channels, turn: &mut Turn<'_>) {
        while let Some((expires, id)) = self.expiries.first().cloned()
            && expires <= turn.now.steady
        {
            self.expiries.pop_first();
            let connection = self.map.remove(&id);
            let generation = connection.as_ref().map_or(0, |connection| connection.generation);
            channels.lapse_all(&id, turn);
            if let Some(connection) = connection.filter(|connection| !connection.has_moved) {
                connection.report("connection.closed", channels, turn);
            }
            if channels.node().is_some() {
                let key = ConnectionKey { id, generation };
                self.ended.add(key, turn.now.steady, turn.settings.connection_state_ttl);
            }
        }
    }

    /// Tells the other nodes which clients that have resumed are still connected.
    pub(crate) fn handle_served(&mut self, channels: &mut Channels, turn: &mut Turn<'_>) {
        let now = turn.now.steady;
        while self.served.first().is_some_and(|(due, ..)| *due <= now)
            && let Some((_, id, Served { transport, until })) = self.served.pop_first()
        {
            let Some(connection) = self.map.get(&id) else { continue };
            if connection.transport != Some(transport) {
                continue;
            }
            channels.connection_served(&id, now);
            turn.outputs.push(Output::Notice(Notice::Serving(id.clone())));
            let due = now + connection.remain / NOTICES_SERVED;
            // Half an interval more: a timer may be late.
            if due <= until + connection.remain / (2 * NOTICES_SERVED) && due > now {
                self.served.insert((due, id, Served { transport, until }));
            }
        }
    }

    /// A client has resumed the connection at another node of the cluster. Its transport here is closed.
    pub(crate) fn resumed_elsewhere(
        &mut self,
        id: &ConnectionId,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        self.close(id, channels, turn);
        if let Some(connection) = self.map.get_mut(id) {
            connection.has_moved = true;
        }
    }

    /// Schedules the next check of the token of the connection that uses the transport.
    pub(crate) fn watch_token_on(
        &mut self,
        transport: TransportId,
        revocations: &Revocations,
        now: Now,
    ) {
        if let Some(id) = self.transports.get(&transport).cloned() {
            self.watch_token(&id, revocations, now);
        }
    }

    fn watch_token(&mut self, id: &ConnectionId, revocations: &Revocations, now: Now) {
        let Some(connection) = self.map.get_mut(id) else { return };
        if let Some(due) = connection.token_due.take() {
            self.token_watch.remove(&(due, id.clone()));
        }
        if connection.transport.is_none() {
            return;
        }
        if let Some(token) = &connection.identity.token {
            let left = token.expires.saturating_sub(now.wall).max(0);
            let wait = if left > PROMPT_BEFORE { left - PROMPT_BEFORE } else { left };
            let revoked = revocations.applies_at(&connection.identity);
            let wait = revoked.map_or(wait, |at| wait.min(at.saturating_sub(now.wall).max(0)));
            let due = now.steady + Duration::from_millis(wait.unsigned_abs());
            connection.token_due = Some(due);
            self.token_watch.insert((due, id.clone()));
        }
    }

    /// Asks clients for a new token shortly before theirs expires, and disconnects those whose token has expired or is
    /// revoked.
    pub(crate) fn handle_tokens(
        &mut self,
        revocations: &Revocations,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        while let Some((due, id)) = self.token_watch.first().cloned()
            && due <= turn.now.steady
        {
            self.token_watch.pop_first();
            let Some(connection) = self.map.get_mut(&id) else { continue };
            connection.token_due = None;
            let (Some(transport), Some(token)) = (connection.transport, &connection.identity.token)
            else {
                continue;
            };
            if token.has_expired(turn.now.wall) {
                self.disconnect(transport, error::token_expired(), channels, turn);
            } else if revocations.has_revoked(&connection.identity, turn.now.wall) {
                self.disconnect(transport, error::token_revoked(), channels, turn);
            } else {
                turn.outputs.push(Output::Frame(transport, ServerFrame::Auth));
                self.watch_token(&id, revocations, turn.now);
            }
        }
    }

    /// Applies new revocations: disconnects clients whose token is revoked by now. Clients whose token is revoked later
    /// are asked for a new one if `prompts` is true for their identity.
    pub(crate) fn apply_revocations(
        &mut self,
        revocations: &Revocations,
        prompts: impl Fn(&Identity) -> bool,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) {
        let revoked: Vec<_> = self
            .map
            .values()
            .filter(|connection| revocations.applies_at(&connection.identity).is_some())
            .filter_map(|connection| {
                let prompt = prompts(&connection.identity);
                Some((connection.id.clone(), connection.transport?, prompt))
            })
            .collect();
        for (id, transport, prompt) in revoked {
            if prompt {
                turn.outputs.push(Output::Frame(transport, ServerFrame::Auth));
            }
            self.watch_token(&id, revocations, turn.now);
        }
        self.handle_tokens(revocations, channels, turn);
    }

    /// The time when a token is to be checked or a state is to be dropped next.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let expiry = self.expiries.first().map(|(expires, _)| *expires);
        let token = self.token_watch.first().map(|(due, _)| *due);
        let served = self.served.first().map(|(due, ..)| *due);
        [expiry, token, served].into_iter().flatten().min()
    }
}

fn send_closed(transport: TransportId, outputs: &mut Vec<Output>) {
    outputs.extend([Output::Frame(transport, ServerFrame::Closed), Output::Close(transport)]);
}
