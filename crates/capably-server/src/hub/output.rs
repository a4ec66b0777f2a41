//! Outputs: the requests of the hub to its front.

use std::sync::Arc;

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Millis, ServerFrame, Str};

use super::{
    channel::{need::Need, order::Ticket},
    ids::{ConnectionId, TransportId},
    log::{broadcast::Broadcast, position::Position},
    message::publish::Accepted,
    objects::SnapshotDraft,
    push::Delivery,
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
    /// Append an entry to the engine, and report the result with [`App::committed`](super::App::committed). Until then, it
    /// takes about so many bytes of memory.
    Append(Ticket, Append, usize),
    /// The result of a REST request that waited for the engine.
    Answer(Ticket, Result<Accepted, ErrorInfo>),
    /// Fetch what an entry of another node needs, until that succeeds.
    Fetch(Need),
    /// Store the members of a channel, or remove what is stored of them.
    Snapshot(Str, Option<Bytes>),
    /// Store the objects of a channel, and report the result with [`App::objects_saved`](super::App::objects_saved).
    SaveObjects(Str, SnapshotDraft),
    /// Send a notice to the other nodes.
    Notice(Notice),
}

/// A notice of the hub to the other nodes of its cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// A client has resumed this connection here. Its transport at another node is to be closed.
    Resumed(ConnectionId),
    /// A client that has resumed this connection here is still connected. The members of the connection stay at other nodes,
    /// which own them until this node has adopted them.
    Serving(ConnectionId),
    /// The connection has ended. No node continues with it.
    Ended(ConnectionId),
    /// Messages that are in no log.
    Ephemeral {
        channel: Str,
        position: Position,
        /// The time of the publish, in ms since the epoch.
        time: Millis,
        record: Bytes,
    },
}

impl From<Delivery> for Output {
    fn from(delivery: Delivery) -> Self {
        Self::Push(Box::new(delivery))
    }
}
