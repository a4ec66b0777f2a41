//! The driver's end of a transport: dialling, then an open WebSocket.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use capably_core::{ConnectRequest, TransportEvent, TransportId};
use capably_protocol::{ClientFrame, ErrorInfo, Format, Limits, ServerFrame, codec};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::Span;

use crate::{
    Result,
    options::Config,
    transport::{DialRequest, Dialling, Packet, WebSocket},
};

/// Packets taken from a socket before anything else is looked at.
const RECEIVE_BATCH: usize = 256;

/// At most one transport at a time.
#[derive(Default)]
pub(crate) enum Link {
    #[default]
    None,
    Dialling {
        id: TransportId,
        format: Format,
        dialling: Dialling,
        /// The attempt, in logs.
        span: Span,
    },
    Open(Box<OpenLink>),
}

pub(crate) struct OpenLink {
    id: TransportId,
    format: Format,
    socket: Box<dyn WebSocket>,
    limits: Limits,
    unsent: VecDeque<ClientFrame>,
    unflushed: bool,
    packets: Vec<Packet>,
    /// The last frame received.
    frame: ServerFrame,
    encoded: Vec<u8>,
}

impl Link {
    pub(crate) fn dial(id: TransportId, format: Format, dialling: Dialling, span: Span) -> Self {
        Self::Dialling { id, format, dialling, span }
    }

    /// Takes a frame for this transport. Without an open socket it goes nowhere: the client sends again
    /// what matters once there is one.
    pub(crate) fn send(&mut self, id: TransportId, frame: ClientFrame) {
        if let Self::Open(link) = self
            && link.id == id
        {
            link.unsent.push_back(frame);
        }
    }

    /// Closes this transport, or gives up dialling it.
    pub(crate) fn shut(&mut self, id: TransportId) {
        match self {
            Self::Dialling { id: own, .. } if *own == id => *self = Self::None,
            Self::Open(link) if link.id == id => {
                link.socket.close();
                *self = Self::None;
            }
            Self::None | Self::Dialling { .. } | Self::Open(_) => {}
        }
    }

    /// Passes on what happened on the transport. `Closed` is the last of it.
    pub(crate) fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        mut event: impl FnMut(TransportId, TransportEvent<'_>),
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
                            format,
                            socket,
                            limits: *limits,
                            unsent: VecDeque::new(),
                            unflushed: false,
                            packets: Vec::new(),
                            frame: ServerFrame::Closed,
                            encoded: Vec::new(),
                        }));
                        event(id, TransportEvent::Opened);
                    }
                    Err(error) => {
                        *self = Self::None;
                        event(id, TransportEvent::Closed(error.into_info()));
                    }
                }
                Poll::Ready(())
            }
            Self::Open(link) => {
                let id = link.id;
                if let Err(error) = ready!(link.poll_receive(cx, |received| event(id, received))) {
                    *self = Self::None;
                    event(id, TransportEvent::Closed(error));
                }
                Poll::Ready(())
            }
        }
    }

    /// Sends what was handed over, then flushes once. An error shows when events are next polled.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::None | Self::Dialling { .. } => Poll::Ready(()),
            Self::Open(link) => match ready!(link.poll_send(cx)) {
                Ok(()) => Poll::Ready(()),
                Err(error) => {
                    tracing::debug!(%error, "sending failed");
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
        mut event: impl FnMut(TransportEvent<'_>),
    ) -> Poll<Result<(), ErrorInfo>> {
        let received = ready!(self.socket.poll_receive(cx, &mut self.packets, RECEIVE_BATCH));
        for packet in self.packets.drain(..) {
            let (format, bytes) = match packet {
                Packet::Text(bytes) => (Format::Json, bytes),
                Packet::Binary(bytes) => (Format::MsgPack, bytes),
                Packet::Ping => {
                    event(TransportEvent::Activity);
                    continue;
                }
            };
            match codec::read_server_frame(format, &bytes, &self.limits, &mut self.frame) {
                Ok(()) => {
                    tracing::trace!(target: "capably::frames", frame = ?self.frame, "received");
                    event(TransportEvent::Frame(&mut self.frame));
                }
                Err(error) => match codec::salvage_server_frame(format, &bytes, &self.limits) {
                    Some(damaged) => {
                        let damaged = Box::new(damaged);
                        event(TransportEvent::Damaged { damaged, error });
                    }
                    None => event(TransportEvent::Broken(error)),
                },
            }
        }
        Poll::Ready(received.map_err(crate::Error::into_info))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.unsent.is_empty() {
            ready!(self.socket.poll_ready(cx))?;
            if let Some(frame) = self.unsent.pop_front() {
                tracing::trace!(target: "capably::frames", ?frame, "sending");
                self.encoded.clear();
                codec::encode_client_frame(self.format, &frame, &mut self.encoded);
                let bytes = Bytes::copy_from_slice(&self.encoded);
                self.socket.send(match self.format {
                    Format::Json => Packet::Text(bytes),
                    Format::MsgPack => Packet::Binary(bytes),
                })?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            ready!(self.socket.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// The most that a frame may hold to be read, in bytes. One that is larger is passed over, unless it has more
/// than twice the size: that ends the transport.
pub(crate) fn max_frame_size(config: &Config) -> usize {
    // The service's own limit is on what clients send; what it sends holds several of those.
    config.options.max_frame_size.saturating_mul(32)
}

pub(crate) fn dial_request(config: &Config, request: &ConnectRequest) -> DialRequest {
    let options = &config.options;
    let mut path = String::from("/?");
    for (index, (name, value)) in request.params.iter().enumerate() {
        if index > 0 {
            path.push('&');
        }
        path.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
        path.push('=');
        path.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
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
