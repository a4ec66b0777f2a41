//! One app: its keys, connections and channels. Everything that happens to it comes in here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{
    ConnectionDetails, ErrorInfo, Flags, Message, Millis, PresenceMessage, ServerFrame, Str,
    frame::{Connected, ErrorFrame},
};

use super::{
    HistoryQuery, Namespace, Now, Output, Page, Published, Settings, TransportId,
    access::{
        capability::Operation,
        identity::{Client, Identity, Key},
        revocation::{IssueTimes, Revocations},
        token_request::Nonces,
    },
    channel::{Channels, attach, history, name as channel_name},
    connection::{self, Connection, Entropy},
    error,
    log::{position::SITE, room::Room, volume::Volume},
    message::publish::{self, Publisher},
    output::ConnectionId,
    pace::{Pace, USUAL_RATE},
    presence::{Presence, depart},
    settings::Limits,
    stats::{
        Stats,
        tally::{RequestKind, Way},
    },
};

/// How often channels are looked through for what need not be kept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How long tombstones of objects are kept, as `connectionDetails` tells.
const OBJECTS_GC_GRACE_PERIOD: u64 = 86_400_000;

/// What an app is made with.
#[derive(Debug, Default)]
pub(crate) struct AppSpec {
    pub(crate) id: Str,
    pub(crate) keys: Vec<Arc<Key>>,
    pub(crate) namespaces: Vec<Namespace>,
    /// Members that stay, by channel.
    pub(crate) members: Vec<(Str, Vec<PresenceMessage>)>,
    /// When it was made, in ms since the epoch; now, if it is being made.
    pub(crate) created: Option<Millis>,
    pub(crate) limits: Limits,
}

/// The inputs of a connection that is being made. They hold secrets, so it has no `Debug`.
pub(crate) struct ConnectRequest {
    pub(crate) identity: Identity,
    /// Whether the client wants its own messages.
    pub(crate) echo: bool,
    /// How long its members stay while the client is away, if not as long as usual.
    pub(crate) remain: Option<Duration>,
    /// The longest silence towards the client.
    pub(crate) max_idle_interval: Duration,
    /// The key of a connection to go on with: `resume` or `recover`.
    pub(crate) resume: Option<Str>,
    pub(crate) entropy: Entropy,
}

/// An app. Inputs are its methods; each appends what follows from it to `outputs`.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: Str,
    pub(crate) settings: Arc<Settings>,
    pub(crate) keys: Vec<Arc<Key>>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) transports: HashMap<TransportId, ConnectionId>,
    /// Connections whose client is away, by when they are dropped.
    expiries: BTreeSet<(Duration, ConnectionId)>,
    /// Connections that came with a token, by when it is to be looked at.
    pub(crate) token_watch: BTreeSet<(Duration, ConnectionId)>,
    pub(crate) tokens_issued: u64,
    pub(crate) issue_times: IssueTimes,
    pub(crate) nonces: Nonces,
    pub(crate) revocations: Revocations,
    pub(crate) channels: Channels,
    pub(crate) presence: Presence,
    pub(crate) stats: Stats,
    pub(crate) request_pace: Pace,
    next_sweep: Duration,
    /// What every client is told since the app has ended.
    ended: Option<ServerFrame>,
}

impl App {
    pub(crate) fn new(settings: Arc<Settings>, spec: AppSpec, now: Now) -> Self {
        let AppSpec { id, keys, namespaces, members, created, limits } = spec;
        let settings = limits.apply(settings);
        let room = Room::new(settings.max_channels, settings.max_log_bytes);
        let channels = Channels::new(settings.retention, room, namespaces, now.wall);
        Self {
            id,
            settings,
            keys,
            connections: BTreeMap::new(),
            transports: HashMap::new(),
            expiries: BTreeSet::new(),
            token_watch: BTreeSet::new(),
            tokens_issued: 0,
            issue_times: IssueTimes::default(),
            nonces: Nonces::default(),
            revocations: Revocations::default(),
            channels,
            presence: Presence::of_fixtures(members, created.unwrap_or(now.wall)),
            stats: Stats::default(),
            request_pace: Pace::default(),
            next_sweep: now.steady + SWEEP_INTERVAL,
            ended: None,
        }
    }

    /// A client has connected: makes a connection or goes on with one, and says CONNECTED.
    pub(crate) fn connect(
        &mut self,
        transport: TransportId,
        request: ConnectRequest,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(frame) = &self.ended {
            outputs.push(Output::Frame(transport, frame.clone()));
            outputs.push(Output::Close(transport));
            return;
        }
        let ConnectRequest { identity, echo, remain, max_idle_interval, resume, entropy } = request;
        let found = resume.as_ref().and_then(|key| self.live_connection(key, now.steady));
        let is_new = found.is_none();
        let failed = resume.is_some() && is_new;
        if let Err(error) = self.require_connection(found.as_ref()) {
            // Not an ERROR, which would be for good: there is room when others go.
            let frame = ServerFrame::Disconnected { error: Some(error) };
            outputs.push(Output::Frame(transport, frame));
            outputs.push(Output::Close(transport));
            return;
        }
        let id = match found {
            Some(id) => {
                self.release_transport(&id, now.steady, outputs);
                id
            }
            None => {
                let connection = Connection::new(&entropy, identity.clone(), echo);
                let id = connection.id.clone();
                self.connections.insert(id.clone(), connection);
                id
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(expires) = connection.expires {
            self.expiries.remove(&(expires, id.clone()));
        }
        connection.identity = identity;
        connection.echo = echo;
        connection.remain = remain.unwrap_or(self.settings.presence_remain);
        connection.max_idle_interval = max_idle_interval;
        self.presence.expect_back(&id, Some(now.steady + connection.remain));
        let key = connection.take_transport(transport);
        let details = details(&self.settings, connection, key);
        self.transports.insert(transport, id.clone());
        let connected = Connected {
            connection_id: Some(id.clone()),
            details: Some(details),
            error: failed.then(error::bad_connection),
        };
        outputs.push(Output::Frame(transport, ServerFrame::Connected(Box::new(connected))));
        self.watch_token(&id, now);
        let opened = usize::from(is_new);
        self.stats.current(now).connections(self.transports.len(), opened);
        self.tell_occupancy(now, outputs);
    }

    /// The transport's queue has room: goes on with replays on it.
    pub(crate) fn fill(&mut self, transport: TransportId, now: Now, outputs: &mut Vec<Output>) {
        let connection = self.transports.get(&transport).and_then(|id| self.connections.get(id));
        if let Some(connection) = connection {
            let sent = outputs.len();
            let (channels, presence) = (&mut self.channels, &mut self.presence);
            attach::fill(connection, channels, presence, transport, outputs);
            self.count(&outputs[sent..], now);
        }
    }

    /// The client has broken the protocol: tells it why, and ends its connection.
    pub(crate) fn fail(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let frame = ServerFrame::Error(ErrorFrame { channel: None, error: Some(error) });
        outputs.push(Output::Frame(transport, frame));
        outputs.push(Output::Close(transport));
        self.end_transport(transport, now, outputs);
        self.tell_occupancy(now, outputs);
    }

    /// The client has not answered: its transport is closed. The connection waits for it to come back.
    pub(crate) fn unanswered(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let Some(id) = self.transports.get(&transport).cloned() else { return };
        let error = Some(error::unanswered());
        outputs.push(Output::Frame(transport, ServerFrame::Disconnected { error }));
        self.release_transport(&id, now.steady, outputs);
        self.tell_occupancy(now, outputs);
    }

    /// The transport is gone. The connection waits for its client to come back.
    pub(crate) fn transport_closed(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(id) = self.transports.get(&transport).cloned() {
            self.release_transport(&id, now.steady, &mut Vec::new());
        }
        self.count(&[], now);
        self.tell_occupancy(now, outputs);
    }

    /// Publishes messages that came by REST.
    ///
    /// # Errors
    /// As [`publish::publish`], and 40006 for an unknown `connectionKey`.
    pub(crate) fn publish(
        &mut self,
        identity: &Identity,
        channel: &Str,
        messages: Vec<Message>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Published, ErrorInfo> {
        let key = messages.iter().find_map(|message| message.connection_key.clone());
        let on_behalf = match key {
            None => None,
            Some(key) => {
                let id =
                    self.live_connection(&key, now.steady).ok_or_else(error::bad_connection_key)?;
                self.connections.get(&id)
            }
        };
        let mut identity = identity.clone();
        if let Some(client @ Client::Named(_)) =
            on_behalf.map(|connection| &connection.identity.client)
        {
            identity.client = client.clone();
        }
        let publisher = Publisher {
            identity: &identity,
            connection: on_behalf.map(|connection| &connection.id),
            frame_id: None,
        };
        let limit = self.settings.max_message_size;
        let sent = outputs.len();
        let channels = &mut self.channels;
        let accepted =
            publish::publish(channels, channel, messages, publisher, limit, now, outputs)?;
        self.count_publish(Way::Rest, accepted.volume(), &outputs[sent..], now);
        self.channels.make_room(outputs);
        Ok(accepted.into())
    }

    /// A page of a channel's history.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40003 for a serial that is not one.
    pub(crate) fn history(
        &mut self,
        identity: &Identity,
        channel: &str,
        query: &HistoryQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        let view = channel_name::view(channel)?;
        let (resource, base) =
            view.as_ref().map_or((channel, channel), |view| (&*view.resource, &*view.base));
        identity.require(resource, Operation::History)?;
        match self.channels.get_mut(base) {
            Some(channel) => {
                channel.expire(now.steady);
                history::page(channel, view.as_ref(), query)
            }
            None => Ok(Page::default()),
        }
    }

    /// Does what is due by `now`.
    pub(crate) fn handle_timeout(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.handle_tokens(now, outputs);
        self.handle_departures(now, outputs);
        while let Some((expires, id)) = self.expiries.first().cloned()
            && expires <= now.steady
        {
            self.expiries.pop_first();
            self.connections.remove(&id);
            depart(&mut self.presence, &mut self.channels, &id, now, outputs);
        }
        self.handle_occupancy(now, outputs);
        self.tell_occupancy(now, outputs);
        if self.next_sweep <= now.steady {
            self.channels.sweep(now.steady, outputs);
            self.next_sweep = now.steady + SWEEP_INTERVAL;
        }
        self.channels.make_room(outputs);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next needed.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let expiry = self.expiries.first().map(|(expires, _)| *expires);
        let sweep = (!self.channels.is_empty()).then_some(self.next_sweep);
        let token = self.token_watch.first().map(|(due, _)| *due);
        let departure = self.presence.next_departure();
        let occupancy = self.channels.occupancy.next_due();
        [expiry, token, sweep, departure, occupancy].into_iter().flatten().min()
    }

    /// Ends the app: every transport, and any that comes later, is sent `frame` and closed.
    pub(crate) fn end(&mut self, frame: &ServerFrame, outputs: &mut Vec<Output>) {
        self.ended = Some(frame.clone());
        self.drop_connections(frame, outputs);
    }

    /// Drops every connection, with its transport if it has one, which is sent `frame` first.
    pub(crate) fn drop_connections(&mut self, frame: &ServerFrame, outputs: &mut Vec<Output>) {
        for transport in self.connections.values().filter_map(|connection| connection.transport) {
            outputs.push(Output::Frame(transport, frame.clone()));
            outputs.push(Output::Close(transport));
        }
        self.connections.clear();
        self.transports.clear();
        self.expiries.clear();
        self.token_watch.clear();
    }

    /// Counts a request that named this app.
    pub(crate) fn count_request(&mut self, kind: RequestKind, succeeded: bool, now: Now) {
        self.stats.current(now).request(kind, succeeded);
    }

    /// Counts what was published, and what follows from it.
    pub(crate) fn count_publish(&mut self, way: Way, volume: Volume, outputs: &[Output], now: Now) {
        self.stats.current(now).published(way, volume);
        self.count(outputs, now);
    }

    /// Counts what is sent, and what there is.
    fn count(&mut self, outputs: &[Output], now: Now) {
        let (channels, opened) = self.channels.count();
        let persisted = std::mem::take(&mut self.channels.persisted);
        let tally = self.stats.current(now);
        tally.sent(outputs);
        tally.persisted(persisted);
        tally.channels(channels, opened);
        tally.connections(self.transports.len(), 0);
    }

    /// Counts a REST request whose credentials are valid.
    ///
    /// # Errors
    /// Code 42918 when the app receives more requests than it may.
    pub(crate) fn admit_request(&mut self, now: Now) -> Result<(), ErrorInfo> {
        match self.settings.max_request_rate {
            Some(rate) if !self.request_pace.admit(1, rate, now.steady) => {
                Err(error::too_many_requests(rate))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the app may have one more connection, or that the client takes the place of one.
    ///
    /// # Errors
    /// Code 40111 when the app has as many connections as it may.
    fn require_connection(&self, resumed: Option<&ConnectionId>) -> Result<(), ErrorInfo> {
        let Some(max) = self.settings.max_connections else { return Ok(()) };
        let resumed = resumed.and_then(|id| self.connections.get(id));
        let replaces = resumed.is_some_and(|connection| connection.transport.is_some());
        if self.transports.len() < max || replaces {
            Ok(())
        } else {
            Err(error::too_many_connections(max))
        }
    }

    /// The connection that a connection key belongs to, if its state is still kept.
    fn live_connection(&self, key: &str, now: Duration) -> Option<ConnectionId> {
        let connection = self.connections.get(connection::id_in_key(key)?)?;
        let live = connection.expires.is_none_or(|expires| now < expires);
        (live && connection.has_key(key)).then(|| connection.id.clone())
    }

    /// Takes a connection's transport away, and with it the attachments; its other state stays.
    pub(crate) fn release_transport(
        &mut self,
        id: &ConnectionId,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(due) = connection.token_due.take() {
            self.token_watch.remove(&(due, id.clone()));
        }
        let Some(transport) = connection.transport.take() else { return };
        for (name, attachment) in std::mem::take(&mut connection.attached) {
            if let Some(channel) = self.channels.get_mut(attachment.channel(&name)) {
                channel.unsubscribe(transport, attachment.view.as_ref());
            }
            let base = attachment.channel(&name);
            self.channels.count_attachment(base, attachment.granted, Flags::NONE);
        }
        let expires = now + self.settings.connection_state_ttl;
        connection.expires = Some(expires);
        self.presence.expect_back(id, Some(now + connection.remain));
        self.expiries.insert((expires, id.clone()));
        self.transports.remove(&transport);
        outputs.push(Output::Close(transport));
    }

    /// Ends the connection on a transport; nothing of it is kept.
    pub(crate) fn end_transport(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let Some(id) = self.transports.get(&transport).cloned() else { return };
        self.release_transport(&id, Duration::ZERO, &mut Vec::new());
        if let Some(connection) = self.connections.remove(&id)
            && let Some(expires) = connection.expires
        {
            self.expiries.remove(&(expires, id.clone()));
        }
        depart(&mut self.presence, &mut self.channels, &id, now, outputs);
    }
}

pub(crate) fn details(settings: &Settings, connection: &Connection, key: Str) -> ConnectionDetails {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ConnectionDetails {
        client_id: connection.identity.client.told(),
        connection_key: Some(key),
        max_message_size: Some(settings.max_message_size as u64),
        max_frame_size: Some(settings.max_frame_size as u64),
        max_inbound_rate: Some(settings.max_inbound_rate.unwrap_or(USUAL_RATE).into()),
        connection_state_ttl: Some(millis(settings.connection_state_ttl)),
        server_id: Some(settings.server_id.clone()),
        max_idle_interval: Some(millis(connection.max_idle_interval)),
        objects_gc_grace_period: Some(OBJECTS_GC_GRACE_PERIOD),
        site_code: Some(Str::from_static(SITE)),
    }
}
