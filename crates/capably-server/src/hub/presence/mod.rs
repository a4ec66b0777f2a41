//! Presence: the members of channels (RTP, RSP).

mod depart;
mod read;
mod say;
mod set;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, PresenceMessage, Str};

use self::set::Set;
use super::{error, log::payload::canonicalize, output::ConnectionId};

pub(crate) use self::read::MembersQuery;
pub(crate) use self::{
    depart::{depart, leave_channel},
    say::say,
    sync::announce,
};

/// The connection that members made with their app have.
const FIXTURES: &str = "fixtures";

/// The members of every channel, and what there is to know of their connections.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    channels: BTreeMap<Str, Set>,
    connections: BTreeMap<ConnectionId, Party>,
    /// Connections whose client is away or has just come back, by when members leave that it does not care for.
    departures: BTreeSet<(Duration, ConnectionId)>,
    /// How many syncs there have been.
    syncs: u64,
}

/// The members of one connection.
#[derive(Debug, Default)]
struct Party {
    /// The channels on which it has members.
    channels: BTreeSet<Str>,
    /// By channel and client, the ids of members that left because their client was away for too long. They
    /// are entered again when it comes back and says so.
    lapsed: BTreeMap<(Str, Str), Str>,
    /// When members leave on channels that are not attached.
    due: Option<Duration>,
}

impl Presence {
    /// Members that stay for as long as the app does, as [`fixtures`] gives them; they entered `at` this time.
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

    /// Only the members that were made with the app stay, and nobody is told.
    pub(crate) fn leave_fixtures(&mut self) {
        for (id, party) in std::mem::take(&mut self.connections) {
            for name in party.channels {
                let Some(set) = self.channels.get_mut(&name) else { continue };
                set.remove_all(&id);
                if set.is_empty() {
                    self.channels.remove(&name);
                }
            }
        }
        self.departures.clear();
    }

    /// The names of the channels that have members, in order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Str> {
        self.channels.keys()
    }

    /// How many members a channel has.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.channels.get(channel).map_or(0, Set::len)
    }
}

/// Members that an app is to be made with, in the form in which they are stored.
///
/// # Errors
/// Code 40000 for one without a client id, 40013 for data that is not encoded as it says.
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
