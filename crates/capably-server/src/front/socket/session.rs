//! One WebSocket from its first frame to its last.
//!
//! One task does everything for it, in rounds: read all that has arrived, hand it to the hub under one
//! lock, write all that is queued, flush once.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, DecodeError, ErrorInfo, Format, Limits, ServerFrame, codec, frame::ErrorFrame,
};
use futures_util::{Sink, SinkExt, Stream};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message as WsMessage, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::front::{
    Shared,
    app::{AppHandle, Pressure},
    closing::{LINGER, finish},
    heartbeat::{Beat, Heartbeat},
    outbox::{Item, Outbox, Taken},
    random,
    upgrade::Upgrade,
};
use crate::hub::{ConnectRequest, Refusal, TransportId, error};

/// Per connection, so small; tungstenite's own default costs 128 KiB each.
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 32 * 1024;

/// Most frames of one client that are handled under one lock.
const BATCH: usize = 256;

/// Rounds before other tasks get their turn.
const MAX_ROUNDS: usize = 32;

/// How long publishers wait for a client that reads slowly, before they no longer do.
const MAX_HOLD: Duration = Duration::from_secs(1);

/// Serves a WebSocket until it ends.
pub(crate) async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    already_read: Bytes,
    upgrade: Upgrade,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_frame_size(Some(shared.settings.max_frame_size))
        .max_message_size(Some(shared.settings.max_frame_size));
    let mut socket = WebSocketStream::from_partially_read(
        stream,
        already_read.into(),
        Role::Server,
        Some(config),
    )
    .await;
    let admitted = upgrade.admitted.and_then(|(app, identity)| {
        let entropy = random::bytes()
            .map_err(|_| ErrorInfo::new(50000.into(), 500, "the system gives no random bytes"))?;
        let (echo, remain, resume) = (upgrade.echo, upgrade.remain, upgrade.resume);
        let max_idle_interval = upgrade.max_idle_interval;
        let request = ConnectRequest { identity, echo, remain, max_idle_interval, resume, entropy };
        shared.take_transport()?;
        Ok((app, request))
    });
    match admitted {
        Ok((app, request)) => {
            let registration = Registration::new(Arc::clone(&shared), Arc::clone(&app));
            let transport = registration.transport;
            let client_type = request.identity.client_type().map(str::to_owned);
            let now = shared.clock.now();
            app.with(|hub, outputs| hub.connect(transport, request, now, outputs));
            let interval = upgrade.heartbeat.interval(upgrade.max_idle_interval);
            let mut session = Session {
                socket,
                registration,
                format: upgrade.format,
                heartbeat: upgrade.heartbeat,
                frames: Vec::new(),
                items: VecDeque::new(),
                dirty: false,
                deaf: false,
                held_by: None,
                interval,
                tick: Box::pin(sleep(interval)),
                sent_in_interval: false,
                stuck_in_interval: false,
            };
            tracing::debug!(transport = transport.0, client_type, "a client has connected");
            poll_fn(|cx| session.poll(cx)).await;
            tracing::debug!(transport = transport.0, "a client's transport has ended");
            let Session { socket, registration, .. } = session;
            drop(registration);
            finish(socket).await;
        }
        Err(error) => {
            let for_good = error.status_code < 500;
            let error = Some(error);
            let frame = if for_good {
                ServerFrame::Error(ErrorFrame { channel: None, error })
            } else {
                ServerFrame::Disconnected { error }
            };
            let message = encode(upgrade.format, &frame, 256);
            if matches!(timeout(LINGER, socket.send(message)).await, Ok(Ok(()))) {
                finish(socket).await;
            }
        }
    }
}

fn encode(format: Format, frame: &ServerFrame, expected_size: usize) -> WsMessage {
    let mut bytes = Vec::with_capacity(expected_size);
    codec::encode_server_frame(format, frame, &mut bytes);
    message(format, bytes.into())
}

fn message(format: Format, bytes: Bytes) -> WsMessage {
    match format {
        Format::MsgPack => WsMessage::Binary(bytes),
        Format::Json => match Utf8Bytes::try_from(bytes) {
            Ok(text) => WsMessage::Text(text),
            // JSON is UTF-8; a frame that is not would be the encoder's fault.
            Err(_) => WsMessage::Text(Utf8Bytes::from_static("{\"action\":9}")),
        },
    }
}

/// A transport's place in its app and in the server, which has been taken already: both are given back when the session ends for whatever reason.
struct Registration {
    shared: Arc<Shared>,
    app: Arc<AppHandle>,
    transport: TransportId,
    outbox: Arc<Outbox>,
}

impl Registration {
    fn new(shared: Arc<Shared>, app: Arc<AppHandle>) -> Self {
        let transport = shared.new_transport();
        let outbox = Outbox::new(shared.max_queue);
        app.add_transport(transport, Arc::clone(&outbox));
        Self { shared, app, transport, outbox }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.app.remove_transport(self.transport, self.shared.clock.now());
        self.shared.transports.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Session {
    socket: WebSocketStream<TcpStream>,
    registration: Registration,
    format: Format,
    heartbeat: Heartbeat,
    /// Frames read and not yet handed to the hub.
    frames: Vec<ClientFrame>,
    /// Frames taken from the outbox and not yet written.
    items: VecDeque<Item>,
    /// Something is written and not flushed.
    dirty: bool,
    /// The client has broken the protocol: nothing more is read from it.
    deaf: bool,
    /// What must come about before more is read from this client.
    held_by: Option<HeldBy>,
    interval: Duration,
    tick: Pin<Box<Sleep>>,
    sent_in_interval: bool,
    /// Nothing could be written since the interval began.
    stuck_in_interval: bool,
}

enum HeldBy {
    /// Another client must catch up, if it does in time.
    Client(Arc<Outbox>, Pin<Box<Sleep>>),
    /// What is to be kept must be.
    Storage,
}

/// How a part of a round ended.
enum Step {
    /// Something was done: there may be more.
    Progress,
    /// Nothing to do until woken.
    Idle,
    /// The session is over.
    End,
}

impl Session {
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

    /// Reads what has arrived and hands it to the hub.
    fn read(&mut self, cx: &mut Context<'_>) -> Step {
        if self.deaf || self.is_held(cx) {
            return Step::Idle;
        }
        let max_frame_size = self.registration.shared.settings.max_frame_size;
        let limits = Limits { max_size: max_frame_size, max_depth: codec::MAX_PUBLISH_DEPTH };
        let mut step = Step::Progress;
        let (mut failure, mut refusal) = (None, None);
        while self.frames.len() < BATCH {
            let received = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => {
                    step = Step::Idle;
                    break;
                }
                Poll::Ready(received) => received,
            };
            let (format, bytes) = match received {
                Some(Ok(WsMessage::Text(text))) => (Format::Json, text.into()),
                Some(Ok(WsMessage::Binary(bytes))) => (Format::MsgPack, bytes),
                Some(Ok(WsMessage::Ping(_))) => {
                    // The answer is queued in the socket already.
                    self.dirty = true;
                    continue;
                }
                Some(Ok(WsMessage::Pong(_) | WsMessage::Frame(_))) => continue,
                Some(Ok(WsMessage::Close(_))) | None => {
                    step = Step::End;
                    break;
                }
                Some(Err(ws_error)) => {
                    match ws_error {
                        WsError::Capacity(_) => {
                            failure = Some(error::frame_too_large(max_frame_size));
                        }
                        WsError::Utf8(_) => failure = Some(error::protocol(ws_error)),
                        _ => {}
                    }
                    step = Step::End;
                    break;
                }
            };
            match codec::decode_client_frame(format, &bytes, &limits) {
                Ok(ClientFrame::Pong { id }) => self.heartbeat.pong(id.as_deref()),
                Ok(frame) => self.frames.push(frame),
                Err(DecodeError::TooLarge { .. }) => {
                    failure = Some(error::frame_too_large(max_frame_size));
                    break;
                }
                Err(reason) => {
                    match Refusal::of(format, &bytes, &limits, &reason) {
                        Some(refused) => refusal = Some(refused),
                        None => failure = Some(error::protocol(reason)),
                    }
                    break;
                }
            }
        }
        if self.frames.is_empty() && failure.is_none() && refusal.is_none() {
            return step;
        }
        let Registration { shared, app, transport, .. } = &self.registration;
        let now = shared.clock.now();
        self.deaf = failure.is_some();
        let ((), pressure) = app.with_pressure(|hub, outputs| {
            hub.receive(*transport, &mut self.frames, now, outputs);
            if let Some(refusal) = refusal {
                hub.refuse(*transport, refusal, now, outputs);
            }
            if let Some(error) = failure {
                hub.fail(*transport, error, now, outputs);
            }
        });
        self.held_by = pressure.map(|pressure| match pressure {
            Pressure::Client(outbox) => HeldBy::Client(outbox, Box::pin(sleep(MAX_HOLD))),
            Pressure::Storage => HeldBy::Storage,
        });
        match step {
            // The socket can still be written to; the outbox says when to end.
            _ if self.deaf => Step::Progress,
            Step::Idle => Step::Progress,
            other => other,
        }
    }

    fn is_held(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.held_by {
            None => return false,
            Some(HeldBy::Client(outbox, hold)) => {
                if outbox.poll_relief(cx).is_pending() {
                    if hold.as_mut().poll(cx).is_pending() {
                        return true;
                    }
                    outbox.ignore();
                }
            }
            Some(HeldBy::Storage) => {
                if self.registration.app.poll_room(cx).is_pending() {
                    return true;
                }
            }
        }
        self.held_by = None;
        false
    }

    /// Writes what is queued, and flushes.
    fn write(&mut self, cx: &mut Context<'_>) -> Step {
        let mut progress = false;
        let outcome = self.write_items(cx, &mut progress);
        if let Poll::Ready(end @ (Step::End | Step::Progress)) = outcome {
            if matches!(end, Step::End) {
                return end;
            }
            progress = true;
        }
        if self.dirty {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.dirty = false;
                    self.stuck_in_interval = false;
                }
                Poll::Ready(Err(_)) => return Step::End,
                Poll::Pending => {}
            }
        }
        if progress { Step::Progress } else { Step::Idle }
    }

    fn write_items(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<Step> {
        loop {
            if self.items.is_empty() {
                let Registration { shared, app, transport, outbox } = &self.registration;
                match ready!(outbox.poll_take(cx, &mut self.items)) {
                    Taken::Items => {}
                    Taken::Behind => {
                        let now = shared.clock.now();
                        app.with(|hub, outputs| hub.fill(*transport, now, outputs));
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
                match Pin::new(&mut self.socket).poll_ready(cx) {
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
                let message = match item {
                    Item::Frame(frame) => encode(self.format, &frame, size),
                    Item::Broadcast(broadcast) => {
                        message(self.format, broadcast.encoded(self.format))
                    }
                };
                if Pin::new(&mut self.socket).start_send(message).is_err() {
                    return Poll::Ready(Step::End);
                }
                self.dirty = true;
                self.sent_in_interval = true;
                self.stuck_in_interval = false;
            }
            self.registration.outbox.written(written);
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Lets the client hear something in every interval, and ends the session when it reads nothing.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Step {
        if self.tick.as_mut().poll(cx).is_pending() {
            return Step::Idle;
        }
        let blocked = self.dirty || !self.items.is_empty();
        if blocked && self.stuck_in_interval {
            tracing::debug!(transport = self.registration.transport.0, "the client reads nothing");
            return Step::End;
        }
        self.stuck_in_interval = blocked;
        if !blocked {
            self.beat();
        }
        self.sent_in_interval = false;
        self.tick.as_mut().reset(Instant::now() + self.interval);
        Step::Progress
    }

    fn beat(&mut self) {
        let Registration { shared, app, transport, outbox } = &self.registration;
        let mut wakers = Vec::new();
        match self.heartbeat.beat(self.held_by.is_none()) {
            Beat::Frame if !self.sent_in_interval => {
                outbox.push_frame(ServerFrame::Heartbeat { id: None }, &mut wakers);
            }
            Beat::Ping if !self.sent_in_interval => {
                let ping = WsMessage::Ping(Bytes::new());
                self.dirty |= Pin::new(&mut self.socket).start_send(ping).is_ok();
            }
            Beat::Frame | Beat::Ping => {}
            Beat::Bounce(id) => {
                outbox.push_frame(ServerFrame::Ping { id: Some(id) }, &mut wakers);
            }
            Beat::Unanswered => {
                tracing::debug!(transport = transport.0, "the client does not answer");
                self.deaf = true;
                let now = shared.clock.now();
                app.with(|hub, outputs| hub.unanswered(*transport, now, outputs));
            }
        }
    }
}
