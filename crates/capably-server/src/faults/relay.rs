//! A WebSocket between a client and a service, into which faults are injected.
//!
//! One task serves it in rounds, as a session of the server does: it reads from both sides, applies the rules, and writes
//! to both sides.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use capably_protocol::Format;
use futures_util::{Sink, SinkExt, Stream};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message as WsMessage, protocol::CloseFrame},
};

use super::{
    Connect, Fate, Faults, Frame, Registration, RuleId, Side, after,
    closing::{finish, hang_up},
    rule::{Direction, End, Strike, Treatment},
    table::{FrameFault, Link},
};
use crate::front::socket::closing::LINGER;

/// While so many frames wait to be written to one side, no frame is read from the other.
const MAX_QUEUE: usize = 64;

/// Rounds before other tasks run.
const MAX_ROUNDS: usize = 32;

/// The WebSocket of either side.
pub(super) type Socket = WebSocketStream<TcpStream>;

/// Relays until one side has ended, or a fault ends it.
pub(super) async fn run(
    faults: Faults,
    connect: Connect,
    format: Format,
    client: Socket,
    service: Socket,
) {
    let (strikes, registration) = faults.open(connect.number, &connect.params);
    let mut relay = Relay {
        faults,
        format,
        client: Peer::new(client),
        service: Peer::new(service),
        strikes,
        sleep: Box::pin(sleep_until(Instant::now())),
        connect,
        registration,
        end_is_known: false,
    };
    let ending = poll_fn(|cx| relay.poll(cx)).await;
    relay.finish(ending).await;
}

/// Ends a WebSocket that was never opened to the service.
pub(super) async fn end_at_once(faults: &Faults, number: u64, client: Socket, end: End) {
    let (ending, code) = ending(end);
    faults.disconnected(number, Side::Faults, code);
    close_client(client, ending).await;
}

struct Relay {
    faults: Faults,
    connect: Connect,
    /// The format of injected frames.
    format: Format,
    client: Peer,
    service: Peer,
    strikes: mpsc::UnboundedReceiver<Strike>,
    /// Until the next frame or rule is due.
    sleep: Pin<Box<Sleep>>,
    registration: Registration,
    /// The end of the connection is in the log already.
    end_is_known: bool,
}

/// One side.
struct Peer {
    socket: Socket,
    /// The frames to write to it.
    queue: VecDeque<Queued>,
    /// Frames were written, and not yet flushed.
    dirty: bool,
    /// No more frames come from it.
    ended: bool,
    /// Writing to it has failed.
    broken: bool,
    /// The rule that suppresses all frames from it.
    silenced: Option<RuleId>,
}

struct Queued {
    /// A rule delays it until then.
    not_before: Option<Instant>,
    item: Item,
}

enum Item {
    Message(WsMessage),
    /// The connection ends.
    End(Ending),
}

/// The way in which a client's connection ends.
enum Ending {
    Close(Option<CloseFrame>),
    HangUp,
}

impl Peer {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            dirty: false,
            ended: false,
            broken: false,
            silenced: None,
        }
    }

    fn push(&mut self, item: Item, not_before: Option<Instant>) {
        self.queue.push_back(Queued { not_before, item });
    }

    /// Writes the items that are due. Ready when the connection is to end.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        progress: &mut bool,
    ) -> Poll<Ending> {
        while let Some(next) = self.queue.front_mut() {
            if next.not_before.is_some_and(|time| time > now) {
                break;
            }
            next.not_before = None;
            if !self.broken {
                match Pin::new(&mut self.socket).poll_ready(cx) {
                    Poll::Ready(ready) => self.broken = ready.is_err(),
                    Poll::Pending => break,
                }
            }
            match self.queue.pop_front().map(|queued| queued.item) {
                Some(Item::Message(message)) if !self.broken => {
                    self.broken = Pin::new(&mut self.socket).start_send(message).is_err();
                    self.dirty = true;
                }
                Some(Item::Message(_)) | None => {}
                Some(Item::End(ending)) => return Poll::Ready(ending),
            }
            *progress = true;
        }
        if self.dirty && !self.broken {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    self.broken = flushed.is_err();
                    self.dirty = false;
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// When the next item is due, if it is delayed.
    fn next_due(&self) -> Option<Instant> {
        self.queue.front().and_then(|queued| queued.not_before)
    }
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        for _ in 0..MAX_ROUNDS {
            let mut progress = false;
            while let Poll::Ready(Some(strike)) = self.strikes.poll_recv(cx) {
                if let Some(ending) = self.strike(None, strike, None) {
                    return Poll::Ready(ending);
                }
            }
            let now = Instant::now();
            while let Some(rule) = self.connect.next_moment(now) {
                let Some(strike) = self.faults.moment(rule) else { continue };
                if let Some(ending) = self.strike(Some(rule), strike, None) {
                    return Poll::Ready(ending);
                }
            }
            for direction in [Direction::ToServer, Direction::ToClient] {
                if let Poll::Ready(ending) = self.poll_read(cx, direction, &mut progress) {
                    return Poll::Ready(ending);
                }
            }
            if let Poll::Ready(ending) = self.client.poll_write(cx, now, &mut progress) {
                return Poll::Ready(ending);
            }
            if let Poll::Ready(ending) = self.service.poll_write(cx, now, &mut progress) {
                return Poll::Ready(ending);
            }
            if !progress && !self.is_due(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether an item or a rule is due. If not, the task is woken when the next one is.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let next = [self.client.next_due(), self.service.next_due(), self.connect.next_due()];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        if self.sleep.deadline() != next {
            self.sleep.as_mut().reset(next);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// Reads one frame that goes in this direction.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        progress: &mut bool,
    ) -> Poll<Ending> {
        let (from, to) = match direction {
            Direction::ToServer => (&mut self.client, &mut self.service),
            Direction::ToClient => (&mut self.service, &mut self.client),
        };
        if from.ended || to.queue.len() >= MAX_QUEUE {
            return Poll::Pending;
        }
        let Poll::Ready(received) = Pin::new(&mut from.socket).poll_next(cx) else {
            return Poll::Pending;
        };
        *progress = true;
        let ending = match received {
            Some(Ok(WsMessage::Text(text))) => {
                let bytes = text.clone().into();
                return self.pass(direction, Format::Json, bytes, WsMessage::Text(text));
            }
            Some(Ok(WsMessage::Binary(bytes))) => {
                let message = WsMessage::Binary(bytes.clone());
                return self.pass(direction, Format::MsgPack, bytes, message);
            }
            Some(Ok(message @ WsMessage::Ping(_))) => {
                // tungstenite has queued the pong, but does not flush it. The ping is forwarded, too: a client may use
                // the pings of the service as heartbeats.
                from.dirty = true;
                if from.silenced.is_none() {
                    to.push(Item::Message(message), None);
                }
                return Poll::Pending;
            }
            Some(Ok(WsMessage::Pong(_) | WsMessage::Frame(_))) => return Poll::Pending,
            Some(Ok(WsMessage::Close(frame))) => Ending::Close(frame),
            Some(Err(_)) | None => Ending::HangUp,
        };
        from.ended = true;
        let code = match &ending {
            Ending::Close(Some(frame)) => Some(frame.code.into()),
            Ending::Close(None) | Ending::HangUp => None,
        };
        to.push(Item::End(ending), None);
        self.ended_by(
            if direction == Direction::ToServer { Side::Client } else { Side::Service },
            code,
        );
        Poll::Pending
    }

    /// Applies the rules to a frame.
    fn pass(
        &mut self,
        direction: Direction,
        format: Format,
        bytes: Bytes,
        message: WsMessage,
    ) -> Poll<Ending> {
        let number = self.connect.number;
        let silenced = match direction {
            Direction::ToServer => self.client.silenced,
            Direction::ToClient => self.service.silenced,
        };
        if silenced.is_some() {
            let fate = Fate::Suppressed;
            self.faults.frame_without_rules(number, silenced, fate, direction, format, bytes);
            return Poll::Pending;
        }
        let link = Link { number, params: &self.connect.params };
        let Some((rule, fault)) = self.faults.frame(link, direction, format, bytes) else {
            self.to(direction).push(Item::Message(message), None);
            return Poll::Pending;
        };
        let FrameFault { delay, treatment, strike } = fault;
        let not_before = (!delay.is_zero()).then(|| after(Instant::now(), delay));
        match treatment {
            Treatment::Pass => self.to(direction).push(Item::Message(message), not_before),
            Treatment::Suppress => {}
            Treatment::SuppressOnwards => match direction {
                Direction::ToServer => self.client.silenced = Some(rule),
                Direction::ToClient => self.service.silenced = Some(rule),
            },
            Treatment::Replace(frame) => self.inject(Some(rule), direction, &frame, not_before),
        }
        match self.strike(Some(rule), strike, not_before) {
            Some(ending) => Poll::Ready(ending),
            None => Poll::Pending,
        }
    }

    /// Queues the frames of a strike, and its end. Returns the end if it comes at once.
    fn strike(
        &mut self,
        rule: Option<RuleId>,
        strike: Strike,
        not_before: Option<Instant>,
    ) -> Option<Ending> {
        for (direction, frame) in &strike.frames {
            self.inject(rule, *direction, frame, not_before);
        }
        let (ending, code) = ending(strike.end?);
        self.ended_by(Side::Faults, code);
        if matches!(ending, Ending::HangUp) && strike.frames.is_empty() && not_before.is_none() {
            return Some(ending);
        }
        if not_before.is_none() {
            // A delayed frame in the queue would delay the end.
            self.client.queue.retain(|queued| queued.not_before.is_none());
        }
        self.client.push(Item::End(ending), not_before);
        None
    }

    fn inject(
        &mut self,
        rule: Option<RuleId>,
        direction: Direction,
        frame: &Frame,
        not_before: Option<Instant>,
    ) {
        let message = frame.message(self.format);
        let (format, bytes) = match &message {
            WsMessage::Text(text) => (Format::Json, text.clone().into()),
            other => (Format::MsgPack, other.clone().into_data()),
        };
        let (number, fate) = (self.connect.number, Fate::Injected);
        self.faults.frame_without_rules(number, rule, fate, direction, format, bytes);
        self.to(direction).push(Item::Message(message), not_before);
    }

    fn to(&mut self, direction: Direction) -> &mut Peer {
        match direction {
            Direction::ToServer => &mut self.service,
            Direction::ToClient => &mut self.client,
        }
    }

    /// Records which side has ended the connection. The end of the other side follows from it, and is not recorded.
    fn ended_by(&mut self, side: Side, code: Option<u16>) {
        if !self.end_is_known {
            self.end_is_known = true;
            self.faults.disconnected(self.connect.number, side, code);
        }
    }

    /// Ends both sides. The service still receives the frames that are queued for it, before its connection drops.
    async fn finish(self, ending: Ending) {
        let Self { client, mut service, registration, .. } = self;
        drop(registration);
        let end_service = async {
            let rest = async {
                for queued in service.queue.drain(..).filter(|queued| queued.not_before.is_none()) {
                    let Item::Message(message) = queued.item else { break };
                    service.socket.send(message).await?;
                }
                service.socket.flush().await
            };
            if matches!(timeout(LINGER, rest).await, Ok(Ok(()))) {
                finish(service.socket).await;
            }
        };
        tokio::join!(close_client(client.socket, ending), end_service);
    }
}

fn ending(end: End) -> (Ending, Option<u16>) {
    match end {
        End::Disconnect => (Ending::HangUp, None),
        End::Close(code) => {
            let frame = CloseFrame { code: code.into(), reason: "".into() };
            (Ending::Close(Some(frame)), Some(code))
        }
    }
}

async fn close_client(mut client: Socket, ending: Ending) {
    match ending {
        Ending::HangUp => hang_up(client).await,
        Ending::Close(frame) => {
            // An error means that the WebSocket is closed already.
            let _ = timeout(LINGER, client.send(WsMessage::Close(frame))).await;
            finish(client).await;
        }
    }
}
