//! Connections of clients: their state, and the frames that they send.

mod ack;
mod connections;
#[cfg(feature = "console")]
mod inspect;
mod key;
pub(super) mod receive;

use std::{collections::VecDeque, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{
    ConnectionDetails, ErrorInfo, ServerFrame, Str,
    frame::{Connected, ErrorFrame},
};
use serde_json::json;

use self::ack::{Acks, Outcome, Outcomes};
pub(crate) use self::{
    connections::{ConnectRequest, Connections},
    key::ConnectionKey,
};
use super::{
    Output, Settings, TransportId, Turn,
    access::identity::{Client, Identity},
    channel::{Channels, Session, attachment::Attachments, order::Ticket},
    ids::ConnectionId,
    log::position::{Position, SITE},
    message::publish::Accepted,
    metachannel::Metachannel,
    pace::{ChannelPaces, Pace, USUAL_RATE},
};

/// The most frames of a client that wait for their answers. Beyond it, no frame is received until half of them are answered.
///
/// The limit on the bytes on their way to the engine does not hold for them: a frame that is refused at once, and one that the
/// client repeats, only wait behind those that the engine has not decided on.
const MAX_UNANSWERED: usize = 8192;

/// The state of a connection, which a client can resume on another transport.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    /// The number of transports so far. It is the last part of the connection key.
    generation: u32,
    identity: Identity,
    /// Whether the client wants the messages of its own connection.
    echo: bool,
    /// The time for which members stay while the client is disconnected.
    remain: Duration,
    /// The longest time without a frame to the client (CD2h).
    max_idle_interval: Duration,
    /// The transport in use. `None` while the client is disconnected.
    transport: Option<TransportId>,
    /// The time at which the state is dropped, while the client is disconnected.
    expires: Option<Duration>,
    /// The time of the next check of the token, while the client is connected with a token.
    token_due: Option<Duration>,
    /// Attachments end with the transport. After a resume the client attaches again, from the serial it had reached.
    pub(crate) attached: Attachments,
    /// The `msgSerial` of the next frame. Frames below it are repeated.
    next_msg_serial: u64,
    /// Frames below this `msgSerial` were acknowledged on the transport in use.
    acknowledged: u64,
    /// Frames below this `msgSerial` have arrived on the transport in use.
    received: u64,
    /// The frames that wait for the engine, and those behind them. An outcome may be known, but answers are in the order of
    /// the frames.
    unsettled: VecDeque<(u64, Option<Outcome>)>,
    /// Frames below those that the client has sent again: frames that may enter members again, until the engine has decided,
    /// and the frames behind them.
    repeated: VecDeque<Repeated>,
    outcomes: Outcomes,
    /// Whether the connection can have members of which this node does not know: the client has sent presence events here or
    /// to another node.
    may_have_members: bool,
    /// Whether another node had the connection before. The client may repeat frames that only the engine knows.
    is_foreign: bool,
    /// Whether a client has resumed the connection at another node since it used a transport here.
    has_moved: bool,
    /// In a cluster, the departure of the members of a DETACH that is not answered yet.
    detaching: Option<Ticket>,
    /// The position at which the next attachment to a channel starts, if the engine was asked for it.
    start: Option<(Str, Position)>,
    /// The bytes of replays that were queued since the queue was known to be empty.
    replayed: usize,
    pace: Pace,
    /// The rates of channels for which the token limits them.
    channel_paces: ChannelPaces,
}

/// Random bytes for the id of a new connection.
pub(crate) type Entropy = [u8; 9];

impl Connection {
    fn new(entropy: &Entropy, identity: Identity) -> Self {
        let key = ConnectionKey { id: URL_SAFE_NO_PAD.encode(entropy).into(), generation: 0 };
        Self::with_key(key, identity)
    }

    /// The connection of a key, which another node has made.
    fn with_key(key: ConnectionKey, identity: Identity) -> Self {
        let ConnectionKey { id, generation } = key;
        Self {
            id,
            generation,
            identity,
            echo: true,
            remain: Duration::ZERO,
            max_idle_interval: Duration::ZERO,
            transport: None,
            expires: None,
            token_due: None,
            attached: Attachments::default(),
            next_msg_serial: 0,
            acknowledged: 0,
            received: 0,
            unsettled: VecDeque::new(),
            repeated: VecDeque::new(),
            outcomes: Outcomes::default(),
            may_have_members: false,
            is_foreign: false,
            has_moved: false,
            detaching: None,
            start: None,
            replayed: 0,
            pace: Pace::default(),
            channel_paces: ChannelPaces::default(),
        }
    }

    pub(crate) fn id(&self) -> &ConnectionId {
        &self.id
    }

    /// Whether the client is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.transport.is_some()
    }

    /// The time for which members stay while the client is disconnected.
    pub(crate) fn remain(&self) -> Duration {
        self.remain
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The part of the connection that its channels use, on this transport.
    pub(crate) fn session(&mut self, transport: TransportId) -> Session<'_> {
        Session {
            connection: &self.id,
            transport,
            identity: &self.identity,
            echo: self.echo,
            remain: self.remain,
            may_have_members: self.may_have_members,
            attached: &mut self.attached,
            start: &mut self.start,
            replayed: &mut self.replayed,
        }
    }

    /// The queue of the transport is empty.
    pub(crate) fn queue_emptied(&mut self) {
        self.replayed = 0;
    }

    /// Starts to use a transport. The connection has a new key from then on (RTN15e).
    fn use_transport(&mut self, transport: TransportId) {
        self.generation += 1;
        self.transport = Some(transport);
        self.expires = None;
        self.has_moved = false;
        self.acknowledged = 0;
        self.received = 0;
        // The client sends its DETACH again.
        self.detaching = None;
        self.start = None;
        self.replayed = 0;
    }

    /// Publishes an event of the connection on its metachannel.
    fn report(&self, event: &'static str, channels: &mut Channels, turn: &mut Turn<'_>) {
        let data = || match &self.identity.client {
            Client::Named(client) => json!({ "connectionId": self.id, "clientId": client }),
            Client::Any | Client::Wildcard | Client::Anonymous => {
                json!({ "connectionId": self.id })
            }
        };
        channels.report(Metachannel::ConnectionLifecycle, Some(event), data, turn);
    }

    /// The CONNECTED for the transport in use.
    fn connected(&self, settings: &Settings, error: Option<ErrorInfo>) -> ServerFrame {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let details = ConnectionDetails {
            client_id: self.identity.client.wire_id(),
            connection_key: Some(self.key(settings)),
            max_message_size: Some(settings.max_message_size as u64),
            max_frame_size: Some(settings.max_frame_size as u64),
            max_inbound_rate: Some(settings.max_inbound_rate.unwrap_or(USUAL_RATE).into()),
            connection_state_ttl: Some(millis(settings.connection_state_ttl)),
            server_id: Some(settings.server_id.clone()),
            max_idle_interval: Some(millis(self.max_idle_interval)),
            objects_gc_grace_period: Some(millis(settings.objects_grace_period)),
            site_code: Some(Str::from_static(SITE)),
        };
        ServerFrame::Connected(Box::new(Connected {
            connection_id: Some(self.id.clone()),
            details: Some(details),
            error,
        }))
    }

    /// The connection key for the transport in use.
    pub(crate) fn key(&self, settings: &Settings) -> Str {
        let key = ConnectionKey { id: self.id.clone(), generation: self.generation };
        key.text(&settings.connection_secret)
    }

    /// Whether the key, which is of this connection, is its latest or an earlier one: the client may have lost its
    /// transport before it received the latest.
    fn has_issued(&self, key: &ConnectionKey) -> bool {
        key.generation <= self.generation
    }

    /// Whether the client has sent a frame before, and what came of it.
    fn arrived(&mut self, msg_serial: u64) -> Arrival {
        self.received = self.received.max(msg_serial.saturating_add(1));
        let is_unsettled = |first: &(u64, _)| first.0 <= msg_serial;
        let waits = || self.repeated.binary_search_by_key(&msg_serial, |it| it.msg_serial).is_ok();
        if msg_serial >= self.next_msg_serial {
            Arrival::First
        } else if self.unsettled.front().is_some_and(is_unsettled) || waits() {
            Arrival::Unsettled
        } else {
            Arrival::Repeated(self.outcomes.get(msg_serial))
        }
    }

    /// Sets the position at which the next attachment to a channel starts.
    pub(crate) fn set_start(&mut self, channel: Str, position: Position) {
        self.start = Some((channel, position));
    }

    /// Whether the client has the outcome of every frame.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty() && self.repeated.is_empty() && self.detaching.is_none()
    }

    fn unanswered(&self) -> usize {
        self.unsettled.len() + self.repeated.len()
    }

    /// Whether so many frames wait for their answers that no other is received.
    pub(crate) fn is_full(&self) -> bool {
        self.unanswered() >= MAX_UNANSWERED
    }

    /// Whether frames are received again after the connection was full.
    pub(crate) fn has_room(&self) -> bool {
        self.unanswered() <= MAX_UNANSWERED / 2
    }

    /// A DETACH waits for the departure of members.
    pub(crate) fn detaching(&mut self, departure: Ticket) {
        self.detaching = Some(departure);
    }

    /// The engine has decided on the departure of a DETACH. Returns the transport of the client that waits for it.
    pub(crate) fn take_detaching(&mut self, ticket: Ticket) -> Option<TransportId> {
        self.detaching.take_if(|detaching| *detaching == ticket)?;
        self.transport
    }

    /// Remembers what came of a frame, in case the client sends it again. `None` if the engine decides. Returns the outcome
    /// if it is time to answer.
    fn remember(&mut self, msg_serial: u64, outcome: Option<Outcome>) -> Option<Outcome> {
        self.next_msg_serial = msg_serial.saturating_add(1);
        match outcome {
            Some(outcome) if self.unsettled.is_empty() && self.repeated.is_empty() => {
                self.outcomes.add(msg_serial, &outcome);
                Some(outcome)
            }
            outcome => {
                self.unsettled.push_back((msg_serial, outcome));
                None
            }
        }
    }

    /// A frame has arrived again. `outcome` is the earlier one. With `waits`, the engine decides whether the frame enters
    /// members again. Returns the outcome if it is time to answer.
    fn repeat(&mut self, msg_serial: u64, outcome: Outcome, waits: bool) -> Option<Outcome> {
        let at = self.repeated.partition_point(|it| it.msg_serial < msg_serial);
        if at == 0 && !waits {
            return Some(outcome);
        }
        self.repeated.insert(at, Repeated { msg_serial, outcome, waits });
        None
    }

    /// The engine has decided on a frame that has arrived again. Its answer is the earlier one, unless it was refused now.
    pub(crate) fn settle_repeated(&mut self, msg_serial: u64, result: Result<Accepted, ErrorInfo>) {
        let at = self.repeated.binary_search_by_key(&msg_serial, |it| it.msg_serial);
        if let Some(repeated) = at.ok().and_then(|at| self.repeated.get_mut(at)) {
            repeated.waits = false;
            if let Err(error) = result {
                repeated.outcome = Outcome::Refused(error);
            }
        }
    }

    /// The engine has decided on a frame.
    pub(crate) fn settle(&mut self, msg_serial: u64, result: Result<Accepted, ErrorInfo>) {
        let at = self.unsettled.binary_search_by_key(&msg_serial, |(serial, _)| *serial);
        if let Some((_, outcome)) = at.ok().and_then(|at| self.unsettled.get_mut(at)) {
            *outcome = Some(result.into());
        }
    }

    /// Sends the answers whose turn it is.
    pub(crate) fn answer(&mut self, outputs: &mut Vec<Output>) {
        let mut acks = self.transport.map(Acks::new);
        while let Some((msg_serial, outcome)) = self.next_answer() {
            // After a resume, the client sends the frame again. It is acknowledged then.
            if let Some(acks) = &mut acks
                && msg_serial < self.received
                && self.acknowledges(msg_serial)
            {
                acks.add(msg_serial, outcome, outputs);
            }
        }
        if let Some(mut acks) = acks {
            acks.flush(outputs);
        }
    }

    /// Takes the frame that is answered next, if its outcome is known.
    fn next_answer(&mut self) -> Option<(u64, Outcome)> {
        if let Some(first) = self.repeated.front() {
            if first.waits {
                return None;
            }
            return self.repeated.pop_front().map(|it| (it.msg_serial, it.outcome));
        }
        let (msg_serial, outcome) = self.unsettled.front()?;
        let answer = (*msg_serial, outcome.clone()?);
        self.unsettled.pop_front();
        self.outcomes.add(answer.0, &answer.1);
        Some(answer)
    }

    /// Whether to acknowledge a frame: once on each transport. A second ACK or NACK on the same transport would break
    /// the protocol. On an earlier transport it may have been lost.
    fn acknowledges(&mut self, msg_serial: u64) -> bool {
        let is_first = msg_serial >= self.acknowledged;
        self.acknowledged = self.acknowledged.max(msg_serial.saturating_add(1));
        is_first
    }
}

/// A frame that the client has sent again, and that is not answered yet.
#[derive(Debug)]
struct Repeated {
    msg_serial: u64,
    outcome: Outcome,
    /// The engine has not decided yet.
    waits: bool,
}

/// A frame that is acknowledged, as it arrives.
#[derive(Debug, PartialEq)]
enum Arrival {
    First,
    /// The client has sent it before. The answer follows.
    Unsettled,
    /// The client has sent it before, with this outcome.
    Repeated(Outcome),
}

/// An ERROR for the whole connection.
pub(crate) fn error_frame(error: ErrorInfo) -> ServerFrame {
    ServerFrame::Error(ErrorFrame { channel: None, error: Some(error) })
}
