//! The service as a pure state machine: inputs and the time go in, outputs come out.
//!
//! The hub has no sockets, tasks or clocks. The front calls an [`App`] under its lock, and carries out the [`Output`]s in
//! their order before it releases the lock.
//!
//! Imports run downwards: `app`, `connection`, `channel`, then `message`, `presence`, `objects` and `push`, then `access`, then `log`.

mod access;
mod app;
mod channel;
mod channel_name;
mod connection;
pub(crate) mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod ids;
mod log;
mod message;
mod metachannel;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod model;
mod objects;
mod output;
mod pace;
pub(crate) mod presence;
mod push;
mod settings;
mod stats;
mod time;
mod turn;

#[cfg(test)]
mod tests;

#[cfg(feature = "console")]
pub(crate) use self::app::inspect;
pub(crate) use self::{
    access::{
        capability, identity as auth, issuing::IssuedToken, revocation, secret, token,
        token_request,
    },
    app::{App, AppSpec, spec},
    channel::{
        CHAT_SUFFIX, Namespace,
        annotate::annotated_name,
        change::readable_name,
        event::{ChannelEvent, Happening, Observed},
        excerpt::{Excerpt, Records},
        follow::StoredMembers,
        history::{HistoryQuery, history_view},
        need::Need,
        objects_stored::{SnapshotEnd, StoredObjects, StoredState},
        occupancy::Occupancy,
        order::{Proposed, Ticket},
        replay::Rewind,
        view::params_of,
    },
    connection::{
        ConnectRequest,
        receive::refuse::{Refusal, items_of},
    },
    ids::{NodeId, TransportHash, TransportId},
    log::{
        Entry,
        position::{MAX_ITEMS, Position, SITE},
        proposal::Place,
    },
    log::{
        Retention,
        broadcast::Broadcast,
        page::{Direction, Page, PageQuery},
    },
    message::{
        ephemeral,
        publish::{Accepted, Published},
    },
    metachannel::is_metachannel,
    objects::{
        ChannelObjects, NewObjects, ObjectView, RestOperation, SnapshotDraft, SnapshotPart,
        ViewForm,
    },
    output::{Notice, Output},
    presence::{Members, MembersQuery},
    push::{ActivityStep, Changed, Delivery, DeviceProof, PushCaller, PushChange, PushFilter},
    settings::{Limits, Settings},
    stats::{Interval, StatsQuery, stored as stored_stats, tally::RequestKind},
    time::Now,
    turn::Turn,
};
