//! Outputs: the requests of the hub to its front.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, ServerFrame};

use super::{
    channel::order::Ticket, ids::TransportId, log::broadcast::Broadcast,
    message::publish::Accepted, push::Delivery,
};
use crate::engine::Append;

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
    /// Append an entry to the engine, and report the result with [`App::committed`](super::App::committed).
    Append(Ticket, Append),
    /// The result of a REST request that waited for the engine.
    Answer(Ticket, Result<Accepted, ErrorInfo>),
}

impl From<Delivery> for Output {
    fn from(delivery: Delivery) -> Self {
        Self::Push(Box::new(delivery))
    }
}
