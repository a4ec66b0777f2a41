//! Presence: the members of channels (RTP, RSP).

mod change;
mod depart;
mod owner;
mod read;
mod set;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, PresenceMessage, Str};

use self::set::Set;
use super::{
    error,
    ids::ConnectionId,
    log::{payload::canonicalize, proposal::Owner},
};

pub(crate) use self::read::MembersQuery;
pub(crate) use self::{
    change::{check_events, event_id, place_of},
    depart::{is_left_id, leaving, left_id},
    owner::Members,
    sync::Viewer,
};

/// The connection id of the fixtures, the members that an app is created with.
const FIXTURES: &str = "fixtures";

/// The members of all channels, and the connections that entered them.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    channels: BTreeMap<Str, Set>,
    connections: BTreeMap<ConnectionId, Party>,
    /// Connections whose client is disconnected or has just returned, by the time when members leave on channels that
    /// are not attached again.
    departures: BTreeSet<(Duration, ConnectionId)>,
    /// In a replay, the owners of the members of each connection.
    replayed: BTreeMap<ConnectionId, Owner>,
    /// The time of the newest event.
    newest: Millis,
    /// The number of syncs so far. It makes the serial of each sync unique.
    syncs: u64,
}

/// The members of one connection.
#[derive(Debug, Default)]
struct Party {
    /// The channels of which the connection has members.
    channels: BTreeSet<Str>,
    /// The ids of the last events of members that left because their client was disconnected for too long, by channel
    /// and client id. They enter again when the client returns and repeats its events.
    lapsed: BTreeMap<(Str, Str), Str>,
    /// The time when members leave on channels that are not attached again.
    due: Option<Duration>,
}

impl Presence {
    /// The members that stay for as long as the app, as [`fixtures`] returns them. They entered `at` this time.
    pub(crate) fn of_fixtures(fixtures: Vec<(Str, Vec<PresenceMessage>)>, at: Millis) -> Self {
        let mut presence = Self::default();
        for (name, members) in fixtures {
            let set = presence.channels.entry(name).or_default();
            for (index, mut member) in members.into_iter().enumerate() {
                member.id = Some(format!("{FIXTURES}:0:{index}").into());
                member.connection_id = Some(Str::from_static(FIXTURES));
                member.timestamp = Some(at);
                set.put(member);
            }
        }
        presence
    }

    /// The time of an event that is proposed now, or of one that was proposed elsewhere. It does not go back when the clock
    /// does: clients ignore the synthesized LEAVE of a member that seems to have entered later (RTP2b1).
    pub(crate) fn next_time(&mut self, now: Millis) -> Millis {
        self.newest = self.newest.max(now);
        self.newest
    }

    /// The names of the channels that have members, in order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Str> {
        self.channels.keys()
    }

    /// The channels with members whose names are after this one.
    #[cfg(feature = "console")]
    pub(crate) fn channels_after(&self, after: Option<&Str>) -> impl Iterator<Item = &Str> {
        use std::ops::Bound;

        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.channels.range::<Str, _>((after, Bound::Unbounded)).map(|(name, _)| name)
    }

    /// The number of members of a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.channels.get(channel).map_or(0, Set::len)
    }
}

/// Checks the members that an app is to be created with, and converts them to canonical form.
///
/// # Errors
/// Code 40000 for a member without a client id, 40013 for data that does not match its encoding.
pub(crate) fn fixtures(
    mut members: Vec<PresenceMessage>,
) -> Result<Vec<PresenceMessage>, ErrorInfo> {
    for member in &mut members {
        if member.client_id.as_ref().is_none_or(|id| id.is_empty() || *id == "*") {
            return Err(error::bad_request("a member needs a `clientId`"));
        }
        canonicalize(&mut member.data, &mut member.encoding)?;
    }
    Ok(members)
}
