//! The reader of an event stream: the body of its response.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ClientFrame, ErrorInfo, ServerFrame, frame::Delivery};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::Span;

use super::{
    event_id::{Place, Places},
    framing::{self, EventData, Framing},
    request::{StreamChannel, StreamRequest},
};
#[cfg(feature = "console")]
use crate::front::operating::ClientFacts;
use crate::{
    front::{
        Shared, credentials,
        http::body::{BrokenOff, Pieces},
        random,
        socket::{
            counting::ConnectionCounts,
            outbox::{Item, Taken},
            registration::Registration,
        },
    },
    hub::{ConnectRequest, Position, error},
};

/// The longest time for which the channels wait for the engine.
const MAX_ATTACH_WAIT: Duration = Duration::from_secs(8);

/// About how much is given to the connection at once.
const CHUNK: usize = 32 * 1024;

/// A reader that is being served. What it has not read waits in its outbox, which has a limit.
pub(super) struct Reader {
    registration: Registration,
    counts: ConnectionCounts,
    span: Span,
    framing: Framing,
    places: Places,
    /// Frames that were taken from the outbox, and not yet written.
    items: VecDeque<Item>,
    /// Entries for a replay are being fetched from the engine.
    filling: Option<Filling>,
    /// Events that wait for the connection.
    unsent: Vec<u8>,
    /// The outbox has no more frames: the stream ends after the events that wait.
    ended: bool,
    interval: Duration,
    /// Ends with the interval.
    tick: Pin<Box<Sleep>>,
    sent_in_interval: bool,
}

type Filling = Pin<Box<dyn Future<Output = Result<(), ErrorInfo>> + Send>>;

impl Reader {
    /// Connects a reader, and attaches it to its channels.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub(super) async fn open(
        shared: &Arc<Shared>,
        request: StreamRequest,
    ) -> Result<Self, ErrorInfo> {
        let StreamRequest { credentials, client_id, channels, framing } = request;
        let (app, identity) = credentials::admit(shared, &credentials, client_id)?;
        let entropy = random::bytes()
            .map_err(|_| ErrorInfo::new(50000.into(), 500, "the system gives no random bytes"))?;
        let place = shared.take_place()?;
        let registration = Registration::new(Arc::clone(shared), Arc::clone(&app), place);
        let transport = registration.transport;
        let max_idle_interval = shared.settings.max_idle_interval;
        let request = ConnectRequest {
            identity,
            echo: true,
            remain: None,
            max_idle_interval,
            resume: None,
            entropy,
        };
        let now = shared.now();
        let connection = app.with(|hub, outputs| {
            hub.connect(transport, request, now, outputs);
            hub.connection_id(transport)
        });
        #[cfg(feature = "console")]
        let client = shared.console.as_ref().map(|_| {
            Arc::new(ClientFacts {
                connection: connection.clone(),
                since: now.wall,
                format: capably_protocol::Format::Json,
                address: None,
                agent: Some("event stream".into()),
            })
        });
        registration.connected(
            now,
            #[cfg(feature = "console")]
            client,
        );
        let span = tracing::info_span!(
            "stream",
            app = app.id(),
            connection = connection.as_deref(),
            transport = transport.0,
        );
        // Half of the longest silence: an interval in which something was sent counts as a sign of life.
        let interval = max_idle_interval / 2;
        let mut reader = Self {
            registration,
            counts: ConnectionCounts::new(Arc::clone(shared), transport),
            span,
            framing,
            places: Places::default(),
            items: VecDeque::new(),
            filling: None,
            unsent: Vec::new(),
            ended: false,
            interval,
            tick: Box::pin(sleep(interval)),
            sent_in_interval: false,
        };
        timeout(MAX_ATTACH_WAIT, reader.attach(&channels))
            .await
            .map_err(|_| error::unavailable())?;
        reader.begin(&channels)?;
        let names = channels.len();
        reader.span.in_scope(|| tracing::debug!(channels = names, "an event stream begins"));
        Ok(reader)
    }

    /// Attaches to all channels. The answers are in the outbox then.
    async fn attach(&mut self, channels: &[StreamChannel]) {
        let Registration { shared, app, transport, .. } = &self.registration;
        let attaches = channels.iter().map(|channel| ClientFrame::Attach(channel.attach.clone()));
        let mut frames = attaches.collect();
        let mut refused = None;
        loop {
            let now = shared.now();
            let need = app.with(|hub, outputs| {
                hub.receive(*transport, &mut frames, refused.take(), now, outputs)
            });
            match need {
                Some(need) => refused = app.fetch(need, Some(*transport)).await.err(),
                None => return,
            }
        }
    }

    /// Reads the answers of the hub, before any event is written: the id of the first event has the places in all channels.
    ///
    /// # Errors
    /// The reason why the connection or a channel is refused.
    fn begin(&mut self, channels: &[StreamChannel]) -> Result<(), ErrorInfo> {
        let mut answers = VecDeque::new();
        self.registration.outbox.take(&mut answers);
        let mut lost = Vec::new();
        for item in answers {
            let Item::Frame(frame) = &item else {
                self.items.push_back(item);
                continue;
            };
            match &**frame {
                ServerFrame::Attached(attached) => {
                    let start = attached.channel_serial.as_deref().and_then(Position::parse);
                    let asked = channels.iter().find(|it| it.attach.channel == attached.channel);
                    let asked = asked.and_then(|channel| channel.place);
                    let place = match (start, asked) {
                        (Some(start), Some(asked)) if start == asked.start() => Some(asked),
                        (start, _) => start.map(Place::after),
                    };
                    if let Some(place) = place {
                        self.places.set(&attached.channel, place);
                    }
                    lost.extend(attached.error.clone());
                }
                ServerFrame::Error(refused) => {
                    return Err(refused.error.clone().unwrap_or_else(error::unavailable));
                }
                ServerFrame::Disconnected { error } | ServerFrame::Detached { error, .. } => {
                    return Err(error.clone().unwrap_or_else(error::unavailable));
                }
                _ => {}
            }
            self.registration.outbox.written(item.size());
            self.counts.taken(&item);
        }
        self.framing.write_id(&mut self.unsent, &self.places.id());
        for error in lost {
            self.framing.write_error(&mut self.unsent, &error);
        }
        Ok(())
    }

    /// Writes the frames that wait, up to a chunk.
    fn write(&mut self, cx: &mut Context<'_>) {
        self.poll_filling(cx);
        let mut written = 0;
        while self.unsent.len() < CHUNK && !self.ended {
            let Some(item) = self.items.pop_front() else {
                match self.registration.outbox.poll_take(cx, &mut self.items) {
                    Poll::Pending => break,
                    Poll::Ready(Taken::Items) => {}
                    Poll::Ready(Taken::Behind) => self.fill(cx),
                    Poll::Ready(Taken::Closing) => self.ended = true,
                }
                continue;
            };
            written += item.size();
            self.counts.taken(&item);
            match &item {
                Item::Frame(frame) => self.write_frame(frame),
                Item::Broadcast(broadcast) => match broadcast.frame() {
                    ServerFrame::Message(delivery) if self.framing.enveloped => {
                        let items = broadcast.rendered(|_| framing::messages(delivery));
                        self.write_items(delivery, "message", items);
                    }
                    ServerFrame::Presence(delivery) if self.framing.enveloped => {
                        let items = broadcast.rendered(|_| framing::members(delivery));
                        self.write_items(delivery, "presence", items);
                    }
                    frame => self.write_frame(frame),
                },
            }
        }
        self.registration.outbox.written(written);
    }

    /// Writes a frame that no other reader shares.
    fn write_frame(&mut self, frame: &ServerFrame) {
        let Framing { enveloped, .. } = self.framing;
        match frame {
            ServerFrame::Message(delivery) if enveloped => {
                self.write_items(delivery, "message", &framing::messages(delivery));
            }
            ServerFrame::Message(delivery) => {
                let payloads = delivery.items.iter().map(|item| framing::payload(&item.data));
                self.write_items(delivery, "message", &payloads.collect::<Vec<_>>());
            }
            ServerFrame::Presence(delivery) if enveloped => {
                self.write_items(delivery, "presence", &framing::members(delivery));
            }
            ServerFrame::Presence(delivery) => {
                let payloads = delivery.items.iter().map(|item| framing::payload(&item.data));
                self.write_items(delivery, "presence", &payloads.collect::<Vec<_>>());
            }
            // Messages were lost before this place: the reader was behind for too long.
            ServerFrame::Attached(attached) => {
                if let Some(position) = attached.channel_serial.as_deref().and_then(Position::parse)
                {
                    self.places.set(&attached.channel, Place::after(position));
                }
                if let Some(error) = &attached.error {
                    self.framing.write_error(&mut self.unsent, error);
                    self.framing.write_id(&mut self.unsent, &self.places.id());
                }
            }
            ServerFrame::Error(refused) => self.end(refused.error.as_ref()),
            ServerFrame::Disconnected { error } | ServerFrame::Detached { error, .. } => {
                self.end(error.as_ref());
            }
            // Frames for SDKs. The members that are present when a stream begins are not sent: it has events only.
            _ => {}
        }
    }

    /// Writes the items of a frame as events.
    fn write_items<T>(&mut self, delivery: &Delivery<T>, event: &str, items: &[String]) {
        let channel = &delivery.channel;
        // Ephemeral messages have no position: no reader can go on from there.
        let position = delivery.channel_serial.as_deref().and_then(Position::parse);
        let sent = position.and_then(|position| {
            let place = self.places.get(channel)?;
            if place.position == position { place.index } else { None }
        });
        let first = sent.map_or(0, |index| usize::from(index) + 1);
        for (index, item) in items.iter().enumerate().skip(first) {
            let id = position.map(|position| {
                let is_last = index + 1 == items.len();
                let index = u16::try_from(index).ok().filter(|_| !is_last);
                self.places.set(channel, Place { position, index });
                self.places.id()
            });
            let data = match self.framing.enveloped {
                true => EventData::Json(item),
                false => EventData::Text(item),
            };
            self.framing.write(&mut self.unsent, id.as_deref(), event, data);
        }
        if let Some(position) = position {
            self.places.set(channel, Place::after(position));
        }
    }

    /// Ends the stream, with the reason as its last event.
    fn end(&mut self, reason: Option<&ErrorInfo>) {
        if let Some(error) = reason {
            self.framing.write_error(&mut self.unsent, error);
        }
        self.ended = true;
    }

    /// Goes on with the replays of the channels.
    fn fill(&mut self, cx: &mut Context<'_>) {
        let Registration { shared, app, transport, .. } = &self.registration;
        let (now, transport) = (shared.now(), *transport);
        if let Some(need) = app.with(|hub, outputs| hub.fill(transport, now, outputs)) {
            let app = Arc::clone(app);
            self.filling = Some(Box::pin(async move { app.fetch(need, Some(transport)).await }));
            self.poll_filling(cx);
        }
    }

    fn poll_filling(&mut self, cx: &mut Context<'_>) {
        let Some(filling) = &mut self.filling else { return };
        let Poll::Ready(filled) = filling.as_mut().poll(cx) else { return };
        self.filling = None;
        if let Err(reason) = filled {
            // The client connects again, and goes on from its last event.
            self.end(Some(&reason));
        }
    }
}

impl Pieces for Reader {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let this = self;
        let span = this.span.clone();
        let _entered = span.enter();
        this.write(cx);
        while this.unsent.is_empty() && !this.ended {
            if this.tick.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !this.sent_in_interval {
                this.framing.write_keepalive(&mut this.unsent);
            }
            this.sent_in_interval = false;
            this.tick.as_mut().reset(Instant::now() + this.interval);
        }
        if this.unsent.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = std::mem::take(&mut this.unsent);
        this.counts.written(chunk.len());
        this.counts.sent();
        this.sent_in_interval = true;
        Poll::Ready(Some(Ok(chunk.into())))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.span.in_scope(|| tracing::debug!("an event stream has ended"));
        // A reader goes on with a new connection, so the hub need not remember this one.
        let Registration { shared, app, transport, .. } = &self.registration;
        let (now, mut close) = (shared.now(), vec![ClientFrame::Close]);
        app.with(|hub, outputs| hub.receive(*transport, &mut close, None, now, outputs));
    }
}
