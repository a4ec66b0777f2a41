//! The transport of one client, from its first frame to its last.
//!
//! One task serves it, in rounds: it reads all frames that have arrived, gives them to the hub under one lock, writes
//! all frames of the outbox, and flushes once. A task per direction would take the lock and flush for every frame.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, DecodeError, ErrorInfo, Format, Limits, Message, ServerFrame, Str, codec,
    frame::ErrorFrame,
    websocket::{Broken, Kind},
};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tracing::{Instrument, Span};

#[cfg(feature = "console")]
use super::tap::Tap;
use super::{
    carrier::{Carrier, Received},
    counting::ConnectionCounts,
    heartbeat::{Beat, Heartbeat},
    opening::Opening,
    outbox::{Item, Outbox, Taken},
    registration::Registration,
    websocket::WebSocket,
};
#[cfg(feature = "console")]
use crate::front::operating::ClientFacts;
use crate::{
    front::{Shared, app::Pressure, random},
    hub::{ConnectRequest, Need, Refusal, error, items_of},
    service::Stream,
};

/// Most frames of a client that are given to the hub under one lock.
const BATCH: usize = 256;

/// With frames that take this much memory, in bytes, approximately, no further frame is read until the hub has them. A few
/// bytes on the wire may take hundreds of times as much: items without a payload.
const BATCH_BYTES: usize = 1024 * 1024;

/// Rounds before other tasks run.
const MAX_ROUNDS: usize = 32;

/// The longest pause of publishers for a client that reads slowly.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The longest time for which an ATTACH waits for the engine. It is shorter than the 10 seconds after which SDKs give up and
/// attach again: both requests would be answered, each with a replay.
const MAX_ATTACH_WAIT: Duration = Duration::from_secs(8);

/// A transport that is being served. A server may have many thousands, most of them idle: rare parts are boxed.
pub(in crate::front) struct Session {
    carrier: Carrier,
    registration: Registration,
    counts: ConnectionCounts,
    span: Span,
    format: Format,
    heartbeat: Heartbeat,
    reading: Reading,
    /// Frames that were read, and not yet given to the hub.
    frames: Vec<ClientFrame>,
    /// The memory that they take, approximately, in bytes.
    frame_bytes: usize,
    /// The fault behind these frames.
    fault: Option<Box<Fault>>,
    /// The time since which the client's frames wait for the engine. Frames that are read after the first has waited may have
    /// arrived before it, so it stays until the client has sent no more.
    waiting_since: Option<Instant>,
    /// Entries for a replay are being fetched from the engine.
    filling: Option<Fetch>,
    /// Frames that were taken from the outbox, and not yet written.
    items: VecDeque<Item>,
    interval: Duration,
    /// Ends with the interval.
    tick: Pin<Box<Sleep>>,
    sent_in_interval: bool,
    /// The client has read nothing since the interval began, although frames wait.
    blocked_in_interval: bool,
    /// Set if the server has a console.
    #[cfg(feature = "console")]
    tap: Option<Tap>,
}

/// Whether frames are read from the client.
enum Reading {
    On,
    /// Until another client has caught up, or the time is over.
    PausedForClient(Arc<Outbox>, Pin<Box<Sleep>>),
    /// Until the engine has caught up.
    PausedForStorage,
    /// Until the hub has the data that the next frame needs.
    Fetching(Fetch),
    /// Never again: the client has broken the protocol.
    Ended,
}

/// Something that the hub needs is fetched from the engine.
type Fetch = Pin<Box<dyn Future<Output = Result<(), ErrorInfo>> + Send>>;

/// Why the frames that follow are not read.
enum Fault {
    /// The hub refuses the frame with a NACK or an error, and the connection continues.
    Frame(Refusal),
    /// The connection fails.
    Connection(ErrorInfo),
}

/// How a part of a round ended.
enum Step {
    /// Work was done, and there may be more.
    Progress,
    /// There is no work until the task is woken.
    Idle,
    /// The session is over.
    End,
}

impl Session {
    /// Opens the session of a client over a WebSocket. A client that is refused gets the error, and there is no
    /// session.
    pub(in crate::front) async fn over_websocket(
        shared: Arc<Shared>,
        stream: Stream,
        already_read: &Bytes,
        opening: Opening,
    ) -> Option<Box<Self>> {
        let socket = WebSocket::new(stream, already_read, shared.settings.max_frame_size);
        let format = opening.format;
        match Self::open(Arc::clone(&shared), Carrier::WebSocket(socket), opening) {
            Ok(session) => Some(session),
            Err(refused) => {
                let Refused { carrier, error } = *refused;
                refuse(&shared, carrier, format, error).await;
                None
            }
        }
    }

    /// Opens the session of a client.
    ///
    /// # Errors
    /// The reason why the client is refused: codes 40101, 40142, 40144, 40400 for the credentials; 40003, 40012,
    /// 40017, 40102 for the parameters; 50004 when the server is full.
    pub(in crate::front) fn open(
        shared: Arc<Shared>,
        carrier: Carrier,
        opening: Opening,
    ) -> Result<Box<Self>, Box<Refused>> {
        let admitted = opening.admitted.and_then(|(app, identity)| {
            let entropy = random::bytes().map_err(|_| {
                ErrorInfo::new(50000.into(), 500, "the system gives no random bytes")
            })?;
            let (echo, remain, resume) = (opening.echo, opening.remain, opening.resume);
            let max_idle_interval = opening.max_idle_interval;
            let request =
                ConnectRequest { identity, echo, remain, max_idle_interval, resume, entropy };
            Ok((app, request, shared.take_place()?))
        });
        let (app, request, place) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return Err(Box::new(Refused { carrier, error })),
        };
        let registration = Registration::new(Arc::clone(&shared), Arc::clone(&app), place);
        let transport = registration.transport;
        let client_type = request.identity.client_type().map(str::to_owned);
        let now = shared.now();
        let connection = app.with(|hub, outputs| {
            hub.connect(transport, request, now, outputs);
            hub.connection_id(transport)
        });
        #[cfg(feature = "console")]
        let tap = shared.console.as_ref().map(|console| {
            let address = opening.address.or_else(|| carrier.peer_addr());
            let client = ClientFacts {
                connection: connection.clone(),
                since: now.wall,
                format: opening.format,
                address: address.map(|address| console.relayed.client(address)),
                agent: opening.agent,
            };
            Tap::new(Arc::new(client), Arc::clone(&console.frames))
        });
        registration.connected(
            now,
            #[cfg(feature = "console")]
            tap.as_ref().map(Tap::client),
        );
        let span = tracing::info_span!(
            "connection",
            app = app.id(),
            connection = connection.as_deref(),
            transport = transport.0,
        );
        span.in_scope(|| tracing::debug!(client_type, "a client has connected"));
        let interval = opening.heartbeat.interval(opening.max_idle_interval);
        Ok(Box::new(Self {
            carrier,
            registration,
            counts: ConnectionCounts::new(shared, transport),
            span,
            format: opening.format,
            heartbeat: opening.heartbeat,
            frames: Vec::new(),
            frame_bytes: 0,
            fault: None,
            waiting_since: None,
            filling: None,
            items: VecDeque::new(),
            reading: Reading::On,
            interval,
            tick: Box::pin(sleep(interval)),
            sent_in_interval: false,
            blocked_in_interval: false,
            #[cfg(feature = "console")]
            tap,
        }))
    }

    /// The key of the client's connection. `None` if the hub has refused the client.
    pub(in crate::front) fn connection_key(&self) -> Option<Str> {
        let Registration { app, transport, .. } = &self.registration;
        app.with(|hub, _| hub.connection_key(*transport))
    }

    /// The id of the client's app.
    pub(in crate::front) fn app_id(&self) -> Str {
        self.registration.app.id().into()
    }

    /// Serves the client until the session ends.
    pub(in crate::front) async fn run(mut self: Box<Self>) {
        let span = self.span.clone();
        poll_fn(|cx| self.poll(cx)).instrument(span).await;
        Box::pin(self.close()).await;
    }

    /// Frees the client's place, and closes the socket.
    fn close(self: Box<Self>) -> impl Future<Output = ()> + Send {
        let Self { carrier, registration, counts, span, .. } = *self;
        span.in_scope(|| {
            tracing::debug!(ending = ?counts.ending(), "a client's transport has ended");
        });
        drop((registration, counts));
        carrier.close()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_ROUNDS {
            let mut progress = false;
            for step in [Self::read, Self::write, Self::keep_alive] {
                match step(self, cx) {
                    Step::Progress => progress = true,
                    Step::Idle => {}
                    Step::End => return Poll::Ready(()),
                }
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the frames that have arrived, and gives them to the hub.
    fn read(&mut self, cx: &mut Context<'_>) -> Step {
        if !self.is_reading(cx) {
            return Step::Idle;
        }
        let (step, fault) = self.receive(cx);
        self.counts.received(&self.frames);
        if self.frames.is_empty() && fault.is_none() {
            self.waiting_since = None;
            return step;
        }
        self.dispatch(fault, None);
        match step {
            // Not the end yet: the frames in the outbox can still be written. The outbox knows when to end.
            // Nor before the hub has the data that the frames need.
            _ if matches!(self.reading, Reading::Ended | Reading::Fetching(_)) => Step::Progress,
            Step::Idle => Step::Progress,
            other => other,
        }
    }

    /// Reads and decodes up to a batch of frames, or up to the first fault.
    fn receive(&mut self, cx: &mut Context<'_>) -> (Step, Option<Fault>) {
        self.frame_bytes = 0;
        while self.frames.len() < BATCH && self.frame_bytes < BATCH_BYTES {
            let Poll::Ready(received) = self.carrier.poll_receive(cx) else {
                return (Step::Idle, None);
            };
            let fault = match received {
                Received::Message(Kind::Text, text) => match str::from_utf8(&text) {
                    Ok(_) => self.decode(Format::Json, &text),
                    Err(problem) => Some(Fault::Connection(error::protocol(problem))),
                },
                Received::Message(Kind::Binary, bytes) => self.decode(Format::MsgPack, &bytes),
                Received::Control => None,
                Received::End | Received::Broken(Broken::Protocol(_)) => return (Step::End, None),
                Received::Broken(Broken::TooLarge { .. }) => {
                    return (Step::End, Some(Fault::Connection(self.frame_too_large())));
                }
            };
            if fault.is_some() {
                return (Step::Progress, fault);
            }
        }
        (Step::Progress, None)
    }

    fn decode(&mut self, format: Format, bytes: &Bytes) -> Option<Fault> {
        self.counts.read(bytes.len());
        let max_size = self.registration.shared.settings.max_frame_size;
        let limits = Limits { max_size, max_depth: codec::MAX_PUBLISH_DEPTH };
        match codec::decode_client_frame(format, bytes, &limits) {
            Ok(ClientFrame::Pong { id }) => {
                self.heartbeat.pong(id.as_deref());
                None
            }
            Ok(frame) => {
                self.tap_received(Some(&frame), bytes.len());
                if let Some(refusal) = Refusal::of_too_many(&frame) {
                    return Some(Fault::Frame(refusal));
                }
                self.frame_bytes += memory_of(&frame, bytes.len());
                self.frames.push(frame);
                None
            }
            Err(DecodeError::TooLarge { .. }) => Some(Fault::Connection(self.frame_too_large())),
            Err(reason) => {
                self.tap_received(None, bytes.len());
                Some(match Refusal::of(format, bytes, &limits, &reason) {
                    Some(refusal) => Fault::Frame(refusal),
                    None => Fault::Connection(error::protocol(reason)),
                })
            }
        }
    }

    /// Shows the console a WebSocket message of the client; `None` if it is no frame.
    #[cfg(feature = "console")]
    fn tap_received(&self, frame: Option<&ClientFrame>, bytes: usize) {
        if let Some(tap) = &self.tap {
            let Registration { shared, app, .. } = &self.registration;
            tap.received(shared, app, frame, bytes);
        }
    }

    #[cfg(not(feature = "console"))]
    fn tap_received(&self, _: Option<&ClientFrame>, _: usize) {}

    fn frame_too_large(&self) -> ErrorInfo {
        error::frame_too_large(self.registration.shared.settings.max_frame_size)
    }

    /// Gives the frames to the hub, and then the fault behind them. `refused` says why what the first frame needs cannot be
    /// fetched.
    fn dispatch(&mut self, mut fault: Option<Fault>, refused: Option<ErrorInfo>) {
        let Registration { shared, app, transport, .. } = &self.registration;
        let now = shared.now();
        let is_failure = matches!(fault, Some(Fault::Connection(_)));
        let (need, pressure) = app.with_pressure(|hub, outputs| {
            let need = hub.receive(*transport, &mut self.frames, refused, now, outputs);
            let need = need.or_else(|| match &fault {
                Some(_) => hub.need_of_fault(*transport, is_failure),
                None => None,
            });
            match if need.is_none() { fault.take() } else { None } {
                Some(Fault::Frame(refusal)) => hub.refuse(*transport, refusal, now, outputs),
                Some(Fault::Connection(error)) => hub.fail(*transport, error, now, outputs),
                None => {}
            }
            need
        });
        if let Some(need) = need {
            self.fault = fault.map(Box::new);
            self.reading = Reading::Fetching(self.fetch_for_frame(need));
            return;
        }
        self.reading = match pressure {
            _ if is_failure => Reading::Ended,
            Some(Pressure::Client(outbox)) => {
                Reading::PausedForClient(outbox, Box::pin(sleep(MAX_PAUSE)))
            }
            Some(Pressure::Storage) => Reading::PausedForStorage,
            None => Reading::On,
        };
    }

    /// Fetches what the first frame needs.
    fn fetch_for_frame(&mut self, need: Need) -> Fetch {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let fetch = self.fetch(need);
        if !matches!(self.frames.first(), Some(ClientFrame::Attach(_))) {
            return fetch;
        }
        let fetch = timeout_at(since + MAX_ATTACH_WAIT, fetch);
        Box::pin(async { fetch.await.unwrap_or_else(|_| Err(error::unavailable())) })
    }

    fn fetch(&self, need: Need) -> Fetch {
        let Registration { app, transport, .. } = &self.registration;
        let (app, transport) = (Arc::clone(app), *transport);
        Box::pin(async move { app.fetch(need, Some(transport)).await })
    }

    /// Whether frames are read from the client. Ends a pause that is over.
    fn is_reading(&mut self, cx: &mut Context<'_>) -> bool {
        while let Reading::Fetching(fetch) = &mut self.reading {
            let Poll::Ready(fetched) = fetch.as_mut().poll(cx) else { return false };
            let fault = self.fault.take().map(|fault| *fault);
            self.dispatch(fault, fetched.err());
        }
        match &mut self.reading {
            Reading::On => return true,
            Reading::Ended | Reading::Fetching(_) => return false,
            Reading::PausedForClient(outbox, pause) => {
                if outbox.poll_caught_up(cx).is_pending() {
                    if pause.as_mut().poll(cx).is_pending() {
                        return false;
                    }
                    outbox.give_up();
                }
            }
            Reading::PausedForStorage => {
                if self.registration.app.poll_storage(cx).is_pending() {
                    return false;
                }
            }
        }
        self.reading = Reading::On;
        true
    }

    /// Writes the frames of the outbox, and flushes.
    fn write(&mut self, cx: &mut Context<'_>) -> Step {
        let mut progress = false;
        self.poll_filling(cx);
        let outcome = self.write_items(cx, &mut progress);
        if let Poll::Ready(end @ (Step::End | Step::Progress)) = outcome {
            if matches!(end, Step::End) {
                return end;
            }
            progress = true;
        }
        if !self.carrier.is_flushed() {
            match self.carrier.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.blocked_in_interval = false,
                Poll::Ready(Err(_)) => return Step::End,
                Poll::Pending => {}
            }
        }
        if progress { Step::Progress } else { Step::Idle }
    }

    /// Goes on with the replay whose entries are being fetched.
    fn poll_filling(&mut self, cx: &mut Context<'_>) {
        let Some(filling) = &mut self.filling else { return };
        let Poll::Ready(filled) = filling.as_mut().poll(cx) else { return };
        self.filling = None;
        if let Err(reason) = filled {
            // The client resumes from where it is, and finds an engine that works, or is told so again.
            let Registration { shared, app, transport, .. } = &self.registration;
            let now = shared.now();
            app.with(|hub, outputs| hub.disconnect(*transport, reason, now, outputs));
        }
    }

    fn write_items(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<Step> {
        loop {
            if self.items.is_empty() {
                let Registration { shared, app, transport, outbox, .. } = &self.registration;
                match ready!(outbox.poll_take(cx, &mut self.items)) {
                    Taken::Items => {}
                    Taken::Behind => {
                        let now = shared.now();
                        let need = app.with(|hub, outputs| hub.fill(*transport, now, outputs));
                        if let Some(need) = need {
                            self.filling = Some(self.fetch(need));
                            self.poll_filling(cx);
                        }
                    }
                    Taken::Closing => return Poll::Ready(Step::End),
                }
                *progress = true;
                if self.items.is_empty() {
                    continue;
                }
            }
            let mut written = 0;
            let mut end = None;
            while !self.items.is_empty() {
                match self.carrier.poll_ready(cx) {
                    Poll::Pending => {
                        end = Some(Poll::Pending);
                        break;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Step::End),
                    Poll::Ready(Ok(())) => {}
                }
                let Some(item) = self.items.pop_front() else { break };
                let size = item.size();
                written += size;
                self.counts.taken(&item);
                let (format, carrier) = (self.format, &mut self.carrier);
                let bytes = match &item {
                    Item::Frame(frame) => carrier.send(format, size, |out| {
                        codec::encode_server_frame(format, frame, out);
                    }),
                    Item::Broadcast(broadcast) => match broadcast.encoded(format) {
                        Some(encoded) => carrier
                            .send(format, encoded.len(), |out| out.extend_from_slice(encoded)),
                        None => carrier.send(format, size, |out| broadcast.write(format, out)),
                    },
                };
                #[cfg(feature = "console")]
                if let Some(tap) = &self.tap {
                    let Registration { shared, app, .. } = &self.registration;
                    tap.sent(shared, app, &item, bytes);
                }
                self.counts.written(bytes);
                self.sent_in_interval = true;
            }
            self.registration.outbox.written(written);
            self.counts.sent();
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Sends a heartbeat when the interval was silent, and ends the session of a client that reads nothing.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Step {
        if self.tick.as_mut().poll(cx).is_pending() {
            return Step::Idle;
        }
        if self.carrier.was_read(self.sent_in_interval) {
            self.blocked_in_interval = false;
        }
        let blocked = !self.carrier.is_flushed() || !self.items.is_empty();
        if blocked && self.blocked_in_interval {
            tracing::debug!("the client reads nothing");
            self.counts.is_unresponsive();
            return Step::End;
        }
        self.blocked_in_interval = blocked;
        if !blocked {
            self.beat();
        }
        self.sent_in_interval = false;
        self.trim();
        self.tick.as_mut().reset(Instant::now() + self.interval);
        Step::Progress
    }

    /// Frees the space that a burst of frames has left empty.
    fn trim(&mut self) {
        self.frames.shrink_to_fit();
        self.items.shrink_to_fit();
        self.registration.outbox.trim();
    }

    fn beat(&mut self) {
        let Registration { shared, app, transport, outbox, .. } = &self.registration;
        let mut wakers = Vec::new();
        match self.heartbeat.beat(matches!(self.reading, Reading::On)) {
            Beat::Frame if !self.sent_in_interval => {
                outbox.push_frame(ServerFrame::Heartbeat { id: None }, &mut wakers);
            }
            Beat::Ping if !self.sent_in_interval => {
                self.carrier.ping();
            }
            Beat::Frame | Beat::Ping => {}
            Beat::Bounce(id) => {
                outbox.push_frame(ServerFrame::Ping { id: Some(id) }, &mut wakers);
            }
            Beat::Unanswered => {
                tracing::debug!("the client does not answer");
                self.reading = Reading::Ended;
                let now = shared.now();
                let reason = error::unanswered();
                app.with(|hub, outputs| hub.disconnect(*transport, reason, now, outputs));
            }
        }
    }
}

/// The memory that a frame takes which was read from so many bytes, approximately.
fn memory_of(frame: &ClientFrame, bytes: usize) -> usize {
    let items = items_of(frame).map_or(0, |(_, items)| items);
    bytes + items * size_of::<Message>()
}

/// A client that is refused, and why.
pub(in crate::front) struct Refused {
    carrier: Carrier,
    pub(in crate::front) error: ErrorInfo,
}

/// Sends a client the reason why it is refused, and closes its transport.
async fn refuse(shared: &Shared, mut carrier: Carrier, format: Format, error: ErrorInfo) {
    tracing::debug!(code = error.code.0, "a client is refused");
    shared.operating.metrics.refused(&error, 1);
    let is_permanent = error.status_code < 500;
    let error = Some(error);
    let frame = if is_permanent {
        ServerFrame::Error(ErrorFrame { channel: None, error })
    } else {
        ServerFrame::Disconnected { error }
    };
    carrier.send(format, 256, |out| codec::encode_server_frame(format, &frame, out));
    carrier.close().await;
}
