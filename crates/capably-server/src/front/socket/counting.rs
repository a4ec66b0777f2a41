//! Counting the frames and bytes of one connection for the metrics of the server.

use std::sync::Arc;

use capably_protocol::{ClientFrame, ServerFrame};

use crate::{
    front::{Shared, socket::outbox::Item},
    hub::TransportId,
    metrics::{Ending, Metrics},
};

/// The counts of one connection. Dropping it counts the end of the connection.
pub(in crate::front) struct ConnectionCounts {
    shared: Arc<Shared>,
    transport: TransportId,
    /// Whether the client was sent CONNECTED. A client that was refused is not counted as a connection.
    is_connected: bool,
    ending: Ending,
    read: usize,
    written: Written,
}

/// The messages and bytes written since the last report to the metrics.
#[derive(Default)]
struct Written {
    messages: u64,
    bytes: usize,
}

impl ConnectionCounts {
    pub(in crate::front) fn new(shared: Arc<Shared>, transport: TransportId) -> Self {
        Self {
            shared,
            transport,
            is_connected: false,
            ending: Ending::Lost,
            read: 0,
            written: Written::default(),
        }
    }

    /// A WebSocket message of `bytes` bytes was read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// These frames were in the messages that were read.
    pub(super) fn received(&mut self, frames: &[ClientFrame]) {
        let messages = frames.iter().map(published).sum();
        let bytes = std::mem::take(&mut self.read);
        self.metrics().realtime(self.transport.0).received(messages, bytes as u64);
    }

    /// The item was taken from the outbox.
    pub(in crate::front) fn taken(&mut self, item: &Item) {
        self.written.messages += match item {
            Item::Broadcast(broadcast) => broadcast.volume().count,
            Item::Frame(frame) => self.frame(frame),
        };
    }

    /// A WebSocket message of `bytes` bytes was written.
    pub(in crate::front) fn written(&mut self, bytes: usize) {
        self.written.bytes += bytes;
    }

    /// A batch of items was written.
    pub(in crate::front) fn sent(&mut self) {
        let Written { messages, bytes } = std::mem::take(&mut self.written);
        self.metrics().realtime(self.transport.0).sent(messages, bytes as u64);
    }

    /// Takes note of a frame. Returns the number of messages in it.
    fn frame(&mut self, frame: &ServerFrame) -> u64 {
        match frame {
            ServerFrame::Message(delivery) => return delivery.items.len() as u64,
            ServerFrame::Presence(delivery) => return delivery.items.len() as u64,
            ServerFrame::Annotation(delivery) => return delivery.items.len() as u64,
            ServerFrame::Object(delivery) => return delivery.items.len() as u64,
            ServerFrame::Connected(_) if !self.is_connected => {
                self.is_connected = true;
                self.metrics().connection_opened();
            }
            ServerFrame::Closed => self.ending = Ending::Closed,
            ServerFrame::Disconnected { error } => {
                self.ending = Ending::disconnected_with(error.as_ref());
                // Otherwise the client was served, and is served again when it comes back.
                if let Some(error) = error.as_ref().filter(|_| !self.is_connected) {
                    self.metrics().refused(error, 1);
                }
            }
            ServerFrame::Error(refused) => {
                if refused.channel.is_none() {
                    self.ending = Ending::Failed;
                }
                if let Some(error) = &refused.error {
                    self.metrics().refused(error, 1);
                }
            }
            ServerFrame::Nack(nack) => {
                if let Some(error) = &nack.error {
                    self.metrics().refused(error, nack.count);
                }
            }
            _ => {}
        }
        0
    }

    /// Why the connection has ended.
    pub(in crate::front) fn ending(&self) -> Ending {
        self.ending
    }

    /// The client does not answer, or reads nothing.
    pub(in crate::front) fn is_unresponsive(&mut self) {
        self.ending = Ending::Unresponsive;
    }

    fn metrics(&self) -> &Metrics {
        &self.shared.operating.metrics
    }
}

impl Drop for ConnectionCounts {
    fn drop(&mut self) {
        self.sent();
        if self.is_connected {
            self.metrics().connection_closed(self.ending);
        }
    }
}

/// The number of messages that a frame publishes.
fn published(frame: &ClientFrame) -> u64 {
    let items = match frame {
        ClientFrame::Message(publish) => publish.items.len(),
        ClientFrame::Presence(publish) => publish.items.len(),
        ClientFrame::Annotation(publish) => publish.items.len(),
        ClientFrame::Object(publish) => publish.items.len(),
        _ => 0,
    };
    items as u64
}
