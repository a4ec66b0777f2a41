//! An app: its keys, connections and channels. The front calls its methods, which route to the rooms.

mod access;
mod channels;
mod cluster;
mod events;
#[cfg(feature = "console")]
pub(crate) mod inspect;
mod log;
mod metachannels;
mod objects;
mod operate;
mod push;
pub(crate) mod spec;
mod stats;

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ClientFrame, ErrorInfo, Millis, PresenceMessage, ServerFrame, StatsInterval, Str,
};

use super::{
    ConnectRequest, Limits, Namespace, Now, Output, Refusal, Settings, TransportId, Turn,
    access::{Access, identity::Key},
    channel::{Channels, Room, need::Need, order::Order},
    connection::{
        Connections, error_frame,
        receive::{End, Receiver},
    },
    ids::NodeId,
    log::volume::Volume,
    presence::Presence,
    stats::{
        Stats,
        tally::{RequestKind, Way},
    },
};

/// The interval at which expired entries and unused channels are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The configuration of a new app.
#[derive(Debug, Default)]
pub(crate) struct AppSpec {
    pub(crate) id: Str,
    pub(crate) keys: Vec<Arc<Key>>,
    pub(crate) namespaces: Vec<Namespace>,
    /// The members that stay for as long as the app, by channel.
    pub(crate) members: Vec<(Str, Vec<PresenceMessage>)>,
    /// The time of the app's creation, in ms since the epoch. `None` for an app that is created now.
    pub(crate) created: Option<Millis>,
    pub(crate) limits: Limits,
}

/// An app.
///
/// Its methods are inputs, each with its time, which never goes back. They append their effects to `outputs`. After each
/// input, read [`next_timeout`](Self::next_timeout), and call [`handle_timeout`](Self::handle_timeout) at that time.
#[derive(Debug)]
pub(crate) struct App {
    pub(super) id: Str,
    pub(super) settings: Arc<Settings>,
    pub(super) access: Access,
    pub(super) connections: Connections,
    pub(super) channels: Channels,
    pub(super) stats: Stats,
    reports: StatsReports,
    next_sweep: Duration,
    /// The last frame for every client, once the app has ended.
    ended: Option<ServerFrame>,
}

/// The statistics that subscribers of their metachannel receive.
#[derive(Debug, Default)]
struct StatsReports {
    /// The end of the minute in progress, while there are subscribers.
    due: Option<Duration>,
    /// The last minute that was published.
    reported: Option<StatsInterval>,
}

impl App {
    /// An app that orders its entries itself, and has them in memory.
    pub(crate) fn new(settings: Arc<Settings>, spec: AppSpec, now: Now) -> Self {
        Self::with_order(settings, spec, Order::own(now.wall), now)
    }

    /// An app whose entries are ordered and stored by an engine. `node` is this node, if several share the engine.
    pub(crate) fn with_engine(
        settings: Arc<Settings>,
        spec: AppSpec,
        node: Option<NodeId>,
        now: Now,
    ) -> Self {
        let app = Self::with_order(settings, spec, Order::engine(node), now);
        Self { stats: Stats::stored(), ..app }
    }

    fn with_order(settings: Arc<Settings>, spec: AppSpec, order: Order, now: Now) -> Self {
        let AppSpec { id, keys, namespaces, members, created, limits } = spec;
        let settings = limits.apply(settings);
        let settings = Arc::new(Settings {
            // A connection is resumed in its own app only.
            connection_secret: settings.connection_secret.derive(&id),
            ..Settings::clone(&settings)
        });
        let room = Room::new(settings.max_channels, settings.max_log_bytes);
        let presence = Presence::of_fixtures(members, created.unwrap_or(now.wall));
        Self {
            access: Access::new(id.clone(), keys),
            connections: Connections::default(),
            channels: Channels::new(
                id.clone(),
                settings.retention,
                room,
                namespaces,
                presence,
                order,
            ),
            id,
            settings,
            stats: Stats::default(),
            reports: StatsReports::default(),
            next_sweep: now.steady + SWEEP_INTERVAL,
            ended: None,
        }
    }

    pub(crate) fn id(&self) -> &Str {
        &self.id
    }

    /// A client has opened a transport: resumes its connection or creates one, and sends CONNECTED.
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
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let (revocations, channels) = (&self.access.revocations, &mut self.channels);
        let opened = self.connections.connect(transport, request, revocations, channels, turn);
        if let Some(opened) = opened {
            self.stats.current(now).connections(self.connections.connected(), opened);
            self.channels.send_occupancy(turn);
        }
    }

    /// Frames have arrived on a transport, in this order. Frames on a transport that was replaced are dropped.
    ///
    /// Frames that need something from the engine stay in `frames`, with those behind them. Call this again with them once
    /// the [`Need`] is met, or with the reason why it could not be met.
    pub(crate) fn receive(
        &mut self,
        transport: TransportId,
        frames: &mut Vec<ClientFrame>,
        refused: Option<ErrorInfo>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Option<Need> {
        let Some(connection) = self.connections.on_transport(transport) else {
            frames.clear();
            return None;
        };
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let mut receiver = Receiver::new(connection, transport, &self.access, &mut self.channels);
        let need = receiver.receive_all(frames, refused, turn);
        let received = receiver.finish(turn);
        if received.renewed {
            self.connections.watch_token_on(transport, &self.access.revocations, now);
        }
        match (received.end, received.disconnected) {
            (Some(End::Closed), _) => self.connections.closed(transport, &mut self.channels, turn),
            (Some(End::Failed), _) => self.connections.end(transport, &mut self.channels, turn),
            (None, Some(error)) => {
                self.connections.disconnect(transport, error, &mut self.channels, turn);
            }
            (None, None) => {}
        }
        self.stats.current(now).presence(received.presence);
        self.stats.current(now).operations(Way::Realtime, received.objects);
        self.count_publish(Way::Realtime, received.messages, &outputs[sent..], now);
        self.channels.make_room();
        self.send_metadata(now, outputs);
        need
    }

    /// A frame has arrived that cannot be decoded.
    pub(crate) fn refuse(
        &mut self,
        transport: TransportId,
        refusal: Refusal,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.on_transport(transport) else { return };
        let sent = outputs.len();
        connection.refuse(transport, refusal, outputs);
        self.count_publish(Way::Realtime, Volume::default(), &outputs[sent..], now);
    }

    /// The transport's queue has room again: continues its replays. Returns the entries that they need from the engine.
    pub(crate) fn fill(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Option<Need> {
        let connection = self.connections.on_transport(transport)?;
        connection.queue_emptied();
        let sent = outputs.len();
        let need = self.channels.fill(&connection.session(transport), outputs);
        self.count(&outputs[sent..], now);
        need
    }

    /// The client has violated the protocol: sends an ERROR, and ends the connection.
    pub(crate) fn fail(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        turn.outputs.push(Output::Frame(transport, error_frame(error)));
        self.connections.end(transport, &mut self.channels, turn);
        self.channels.send_occupancy(turn);
    }

    /// The transport is closed. The client may resume.
    pub(crate) fn transport_closed(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.connections.transport_closed(transport, &mut self.channels, turn);
        self.count(&[], now);
        self.send_metadata(now, outputs);
    }

    /// Does everything that is due by `now`.
    pub(crate) fn handle_timeout(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let Self { access, connections, channels, .. } = self;
        connections.handle_tokens(&access.revocations, channels, turn);
        connections.handle_served(channels, turn);
        let has_returned = |id: &Str, name: &Str| {
            connections.get(id).is_some_and(|it| it.attached.can_have_members(name))
        };
        channels.handle_departures(has_returned, turn);
        let attached = |id: &Str, name: &Str| {
            let connection = connections.get(id)?;
            connection.attached.can_have_members(name).then(|| connection.remain())
        };
        channels.handle_refused(attached, turn);
        connections.handle_expiries(channels, turn);
        channels.handle_overdue(turn);
        channels.handle_gone_nodes(turn);
        channels.handle_summaries(turn);
        channels.handle_snapshots(turn);
        channels.handle_collections(turn);
        channels.handle_unsaved_objects(turn);
        channels.handle_occupancy(turn);
        channels.send_occupancy(turn);
        if self.next_sweep <= now.steady {
            channels.sweep(turn);
            self.next_sweep = now.steady + SWEEP_INTERVAL;
        }
        channels.make_room();
        let settled = self.channels.take_settled();
        self.settle_all(settled, now, outputs);
        self.report_stats(now, outputs);
    }

    /// The time at which [`handle_timeout`](Self::handle_timeout) is needed next.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let connections = self.connections.next_timeout();
        let sweep = (!self.channels.is_empty()).then_some(self.next_sweep);
        let departure = self.channels.presence.next_departure();
        let occupancy = self.channels.next_occupancy();
        let nodes = self.channels.next_for_nodes();
        let overdue = self.channels.next_overdue();
        let unsaved = self.channels.next_unsaved_objects();
        let collection = self.channels.next_collection();
        let event = self.channels.next_event();
        let stats = self.reports.due;
        let channels = [sweep, departure, occupancy, nodes, overdue, unsaved, collection, event];
        channels.into_iter().chain([connections, stats]).flatten().min()
    }

    /// Ends the app: sends `frame` on every transport, and on every later one, and closes it.
    pub(crate) fn end(&mut self, frame: &ServerFrame, outputs: &mut Vec<Output>) {
        self.ended = Some(frame.clone());
        self.connections.drop_all(frame, outputs);
    }

    /// Counts a REST request to the app.
    pub(crate) fn count_request(&mut self, kind: RequestKind, succeeded: bool, now: Now) {
        self.stats.current(now).request(kind, succeeded);
    }

    /// Counts published messages, and the frames that deliver them.
    fn count_publish(&mut self, way: Way, volume: Volume, outputs: &[Output], now: Now) {
        self.stats.current(now).published(way, volume);
        self.count(outputs, now);
    }

    /// Counts the frames that are sent, and the open connections and channels.
    fn count(&mut self, outputs: &[Output], now: Now) {
        let (channels, opened) = self.channels.count();
        let persisted = std::mem::take(&mut self.channels.persisted);
        let tally = self.stats.current(now);
        tally.sent(outputs);
        tally.persisted(persisted);
        tally.channels(channels, opened);
        tally.connections(self.connections.connected(), 0);
    }

    /// Sends occupancy and statistics to the clients that want them.
    fn send_metadata(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.send_occupancy(turn);
        self.report_stats(now, outputs);
    }
}
