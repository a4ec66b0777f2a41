//! The service as a pure state machine: inputs and the time go in, outputs come out.
//!
//! Nothing here knows a socket, a task or a clock. The front calls an [`App`] under its lock and carries
//! out the [`Output`]s in their order before it lets go.

mod access;
mod app;
mod channel;
mod connection;
pub(crate) mod error;
pub(crate) mod keep;
mod limits;
mod log;
mod message;
pub(crate) mod presence;
mod push;
mod stats;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use capably_protocol::{Millis, ServerFrame, Str};

pub(crate) use self::{
    access::{
        capability, identity as auth, issuing::IssuedToken, revocation, secret, token,
        token_request,
    },
    app::{App, AppSpec, ConnectRequest, Settings},
    channel::{Namespace, history::HistoryQuery, occupancy::Occupancy},
    connection::refuse::Refusal,
    keep::Record,
    limits::Limits,
    log::{
        Retention,
        broadcast::Broadcast,
        page::{Direction, Page, PageQuery},
    },
    message::{ephemeral, publish::Published},
    presence::MembersQuery,
    push::{ActivityStep, Delivery, DeviceProof, PushCaller, PushFilter},
    stats::{StatsQuery, tally::RequestKind},
};

/// The time, as an input: a steady clock for deadlines and the wall clock for timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since an arbitrary start; never goes back.
    pub(crate) steady: Duration,
    /// Since the Unix epoch, in ms.
    pub(crate) wall: Millis,
}

impl Now {
    /// What the steady clock showed, or would have shown, at this time of the wall clock.
    fn steady_at(&self, wall: Millis) -> Duration {
        let ago = u64::try_from(self.wall.saturating_sub(wall)).unwrap_or(0);
        self.steady.saturating_sub(Duration::from_millis(ago))
    }
}

/// A transport: one WebSocket. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransportId(pub(crate) u64);

/// What the hub asks of its front, in order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send a frame that is for this transport alone.
    Frame(TransportId, ServerFrame),
    /// Send a frame that many transports share.
    Broadcast(TransportId, Arc<Broadcast>),
    /// Call [`App::fill`] once the transport's queue has room: a replay goes on.
    Behind(TransportId),
    /// Close the transport after what has been queued on it.
    Close(TransportId),
    /// Publish what was pushed, and say with [`App::pushed`] what became of it.
    Push(Box<Delivery>),
    /// Keep this, and carry out what comes after it, or with it, only when it is kept.
    Keep(Record),
}

/// The site code of this service, in serials and in `connectionDetails`.
const SITE: &str = "local";

/// The same text under a name that says it is one of the hub's ids.
type ConnectionId = Str;
