//! Outputs: the requests of the hub to its front.

use std::sync::Arc;

use capably_protocol::ServerFrame;

use super::{ids::TransportId, keep::Record, log::broadcast::Broadcast, push::Delivery};

/// A request to the front. The front carries outputs out in their order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send a frame to this transport alone.
    Frame(TransportId, ServerFrame),
    /// Send a frame that many transports share.
    Broadcast(TransportId, Arc<Broadcast>),
    /// Call [`App::fill`](super::App::fill) once the transport's queue has room, to continue a replay.
    Behind(TransportId),
    /// Close the transport after its queue is flushed.
    Close(TransportId),
    /// Publish a push notification, and report the result with [`App::pushed`](super::App::pushed).
    Push(Box<Delivery>),
    /// Persist the record. Outputs after it, and those of the same call, wait until it is persisted: clients must not
    /// see what a crash would lose.
    Keep(Record),
}

impl From<Delivery> for Output {
    fn from(delivery: Delivery) -> Self {
        Self::Push(Box::new(delivery))
    }
}
