//! The carrier of the frames of a session: a WebSocket, or the HTTP requests of comet.

use std::{
    io,
    task::{Context, Poll},
};

use capably_protocol::{Format, websocket::Kind};

pub(in crate::front) use super::websocket::Received;
use super::websocket::WebSocket;
use crate::front::comet::Mailbox;

/// The carrier of the frames of a session.
#[derive(Debug)]
pub(in crate::front) enum Carrier {
    WebSocket(WebSocket),
    Comet(Mailbox),
}

impl Carrier {
    /// The address of the client, if the carrier is one connection. Each request of comet may come from another address.
    #[cfg(feature = "console")]
    pub(super) fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::WebSocket(socket) => socket.peer_addr(),
            Self::Comet(_) => None,
        }
    }

    /// The next frame of the client.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        match self {
            Self::WebSocket(socket) => socket.poll_receive(cx),
            Self::Comet(mailbox) => mailbox.poll_receive(cx),
        }
    }

    /// Ready when a frame can be queued: the client has read enough of those before.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::WebSocket(socket) => socket.poll_ready(cx),
            Self::Comet(mailbox) => mailbox.poll_ready(cx).map(Ok),
        }
    }

    /// Queues a frame, which `write` appends. It has about the `expected` number of bytes. Returns how many it has.
    pub(super) fn send(
        &mut self,
        format: Format,
        expected: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        match self {
            Self::WebSocket(socket) => socket.send(kind(format), expected, write),
            Self::Comet(mailbox) => mailbox.send(write),
        }
    }

    /// Queues a ping. A client of comet never asks for one.
    pub(super) fn ping(&mut self) {
        match self {
            Self::WebSocket(socket) => socket.ping(),
            Self::Comet(_) => {}
        }
    }

    /// Whether the client has read something: since the last call for comet, where what is queued waits for a
    /// request. For a WebSocket, whatever could be queued counts, since the queue is short.
    pub(super) fn was_read(&mut self, has_queued: bool) -> bool {
        match self {
            Self::WebSocket(_) => has_queued,
            Self::Comet(mailbox) => mailbox.was_read(),
        }
    }

    /// Whether all that was queued is sent.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Self::WebSocket(socket) => socket.is_flushed(),
            Self::Comet(mailbox) => mailbox.is_flushed(),
        }
    }

    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::WebSocket(socket) => socket.poll_flush(cx),
            Self::Comet(mailbox) => mailbox.poll_flush(cx).map(Ok),
        }
    }

    /// Ends the transport so that the client receives all that was queued.
    pub(super) async fn close(self) {
        match self {
            Self::WebSocket(socket) => socket.close().await,
            Self::Comet(mailbox) => mailbox.close().await,
        }
    }
}

fn kind(format: Format) -> Kind {
    match format {
        Format::Json => Kind::Text,
        Format::MsgPack => Kind::Binary,
    }
}
