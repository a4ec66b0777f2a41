//! The driver's transport: dialling, then an open WebSocket.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use capably_core::{ConnectRequest, TransportEvent, TransportId};
use capably_protocol::{ClientFrame, ErrorInfo, Format, Limits, ServerFrame, codec};
use tracing::Span;

use crate::{
    Result,
    options::Config,
    rest::append_pair,
    transport::{DialRequest, Dialling, Packet, WebSocket},
};

/// The most packets in a row before the driver looks at its other sources. The messages in so many are still in the
/// processor's nearest caches when their listener reads them.
const RECEIVE_BATCH: usize = 64;

/// The transport. There is at most one at a time.
#[derive(Default)]
pub(super) enum Link {
    #[default]
    None,
    Dialling {
        id: TransportId,
        format: Format,
        dialling: Dialling,
        /// The log span of the connection attempt.
        span: Span,
    },
    Open(Box<OpenLink>),
}

pub(super) struct OpenLink {
    id: TransportId,
    format: Format,
    socket: Box<dyn WebSocket>,
    limits: Limits,
    unsent: VecDeque<ClientFrame>,
    unflushed: bool,
    packets: Vec<Packet>,
    /// The last received frame. Its allocations are reused for the next one.
    frame: ServerFrame,
}

impl Link {
    pub(super) fn dial(id: TransportId, format: Format, dialling: Dialling, span: Span) -> Self {
        Self::Dialling { id, format, dialling, span }
    }

    /// Sends a frame on this transport with the next flush. Drops it without an open socket: the core sends frames that
    /// matter again on the next transport.
    pub(super) fn send(&mut self, id: TransportId, frame: ClientFrame, cx: &mut Context<'_>) {
        if let Self::Open(link) = self
            && link.id == id
        {
            link.send(frame, cx);
        }
    }

    /// Closes this transport, or stops dialling it.
    pub(super) fn shut(&mut self, id: TransportId) {
        match self {
            Self::Dialling { id: own, .. } if *own == id => *self = Self::None,
            Self::Open(link) if link.id == id => {
                link.socket.close();
                *self = Self::None;
            }
            Self::None | Self::Dialling { .. } | Self::Open(_) => {}
        }
    }

    /// Passes the events of the transport to `on_event`. `Closed` is the last event of a transport.
    pub(super) fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        mut on_event: impl FnMut(TransportId, TransportEvent<'_>),
    ) -> Poll<()> {
        match self {
            Self::None => Poll::Pending,
            Self::Dialling { id, format, dialling, span } => {
                let (id, format) = (*id, *format);
                let dialled = span.in_scope(|| dialling.as_mut().poll(cx));
                match ready!(dialled) {
                    Ok(socket) => {
                        *self = Self::Open(Box::new(OpenLink {
                            id,
                            format: socket.format().unwrap_or(format),
                            socket,
                            limits: *limits,
                            unsent: VecDeque::new(),
                            unflushed: false,
                            packets: Vec::new(),
                            frame: ServerFrame::Closed,
                        }));
                        on_event(id, TransportEvent::Opened);
                    }
                    Err(error) => {
                        *self = Self::None;
                        on_event(id, TransportEvent::Closed(error.into_info()));
                    }
                }
                Poll::Ready(())
            }
            Self::Open(link) => {
                let id = link.id;
                if let Err(error) = ready!(link.poll_receive(cx, |event| on_event(id, event))) {
                    *self = Self::None;
                    on_event(id, TransportEvent::Closed(error));
                }
                Poll::Ready(())
            }
        }
    }

    /// Sends the buffered frames, then flushes once. After an error the next poll of events reports the transport
    /// as closed.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::None | Self::Dialling { .. } => Poll::Ready(()),
            Self::Open(link) => match ready!(link.poll_send(cx)) {
                Ok(()) => Poll::Ready(()),
                Err(error) => {
                    tracing::debug!(%error, "sending failed");
                    // Without this, every round would try to send again until the socket reports its end.
                    link.unsent.clear();
                    Poll::Ready(())
                }
            },
        }
    }
}

impl OpenLink {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut on_event: impl FnMut(TransportEvent<'_>),
    ) -> Poll<Result<(), ErrorInfo>> {
        let received = ready!(self.socket.poll_receive(cx, &mut self.packets, RECEIVE_BATCH));
        for packet in self.packets.drain(..) {
            let (format, bytes) = match packet {
                Packet::Text(bytes) => (Format::Json, bytes),
                Packet::Binary(bytes) => (Format::MsgPack, bytes),
                Packet::Ping => {
                    on_event(TransportEvent::Activity);
                    continue;
                }
            };
            match codec::read_server_frame(format, &bytes, &self.limits, &mut self.frame) {
                Ok(()) => {
                    tracing::trace!(target: "capably::frames", frame = ?self.frame, "received");
                    if let ServerFrame::Connected(connected) = &self.frame
                        && let Some(key) =
                            connected.details.as_ref().and_then(|own| own.connection_key.as_ref())
                    {
                        self.socket.connected(key);
                    }
                    on_event(TransportEvent::Frame(&mut self.frame));
                }
                // One unreadable item must not end the transport: the service would send the frame again after each
                // resume.
                Err(error) => match codec::salvage_server_frame(format, &bytes, &self.limits) {
                    Some(damaged) => {
                        let damaged = Box::new(damaged);
                        on_event(TransportEvent::Damaged { damaged, error });
                    }
                    None => on_event(TransportEvent::Broken(error)),
                },
            }
        }
        Poll::Ready(received.map_err(crate::Error::into_info))
    }

    /// Encodes a frame into the socket's buffer. Without room there, or after an error, the frame waits for
    /// [`poll_send`](Self::poll_send).
    fn send(&mut self, frame: ClientFrame, cx: &mut Context<'_>) {
        if self.unsent.is_empty()
            && let Poll::Ready(Ok(())) = self.socket.poll_ready(cx)
            && self.encode(&frame).is_ok()
        {
            return;
        }
        self.unsent.push_back(frame);
    }

    fn encode(&mut self, frame: &ClientFrame) -> Result<()> {
        tracing::trace!(target: "capably::frames", ?frame, "sending");
        let format = self.format;
        if let ClientFrame::Auth(auth) = frame {
            self.socket.renewed(&auth.access_token);
        }
        self.socket.send_with(format, &mut |out| codec::encode_client_frame(format, frame, out))?;
        self.unflushed = true;
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.unsent.is_empty() {
            ready!(self.socket.poll_ready(cx))?;
            if let Some(frame) = self.unsent.pop_front() {
                self.encode(&frame)?;
            }
        }
        if self.unflushed {
            ready!(self.socket.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// The size of the largest frame that is read, in bytes. A larger frame is skipped, and a frame of more than twice the
/// size ends the transport.
pub(super) fn max_frame_size(config: &Config) -> usize {
    // The service limits the frames of clients. Its own frames contain the messages of several of those.
    config.options.max_frame_size.saturating_mul(32)
}

pub(super) fn dial_request(config: &Config, request: &ConnectRequest) -> DialRequest {
    let options = &config.options;
    let mut path = String::from("/?");
    for (name, value) in &request.params {
        append_pair(&mut path, name, value);
    }
    DialRequest {
        tls: options.tls,
        host: request.host.to_string(),
        port: if options.tls { options.tls_port } else { options.port },
        path,
        max_frame_size: max_frame_size(config).saturating_mul(2),
        timeout: options.realtime_request_timeout,
    }
}
