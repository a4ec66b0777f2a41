//! Members that leave without saying so: their connection is closed, away for too long, or detached.

use std::time::Duration;

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use super::{Presence, say::tell};
use crate::hub::{App, Now, Output, channel::Channels, output::ConnectionId};

/// All members of a connection leave, for good.
pub(crate) fn depart(
    presence: &mut Presence,
    channels: &mut Channels,
    connection: &ConnectionId,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    presence.expect_back(connection, None);
    let names = presence.connections.get(connection).map(|party| party.channels.clone());
    for name in names.into_iter().flatten() {
        leave_channel(presence, channels, connection, &name, now, outputs);
    }
    presence.connections.remove(connection);
}

/// The members of a connection leave a channel. Returns their clients and their ids.
pub(crate) fn leave_channel(
    presence: &mut Presence,
    channels: &mut Channels,
    connection: &ConnectionId,
    name: &Str,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Vec<(Str, Str)> {
    let members = presence.channels.get(name).into_iter().flat_map(|set| set.of(connection));
    let left: Vec<(Str, Str)> = members
        .filter_map(|member| Some((member.client_id.clone()?, member.id.clone()?)))
        .collect();
    if left.is_empty() {
        return left;
    }
    let position = channels.next_position(now);
    let told = left.iter().enumerate().filter_map(|(index, (client, _))| {
        Some(PresenceMessage {
            // Not the connection's own words: the id does not begin with its id (RTP2b1).
            id: Some(format!("left:{}", position.message_serial(index)).into()),
            action: Some(PresenceAction::Leave),
            timestamp: Some(now.wall),
            ..presence.remove(connection, name, client)?
        })
    });
    let told = told.collect();
    tell(channels, name, connection, told, position, now, outputs);
    left
}

impl Presence {
    /// The client is away, or has just come back: its members stay `until` then on channels that it does
    /// not attach again.
    pub(crate) fn expect_back(&mut self, connection: &ConnectionId, until: Option<Duration>) {
        let Some(party) = self.connections.get_mut(connection) else { return };
        if let Some(due) = std::mem::replace(&mut party.due, until) {
            self.departures.remove(&(due, connection.clone()));
        }
        if let Some(until) = until {
            self.departures.insert((until, connection.clone()));
        }
    }

    /// When the next members leave whose client is away.
    pub(crate) fn next_departure(&self) -> Option<Duration> {
        self.departures.first().map(|(due, _)| *due)
    }
}

impl App {
    /// Members leave whose client has been away for too long.
    pub(crate) fn handle_departures(&mut self, now: Now, outputs: &mut Vec<Output>) {
        while let Some((due, id)) = self.presence.departures.first().cloned()
            && due <= now.steady
        {
            self.presence.expect_back(&id, None);
            let connection = self.connections.get(&id);
            let party = self.presence.connections.get(&id);
            let names = party.into_iter().flat_map(|party| party.channels.iter());
            let is_away = |name: &&Str| connection.is_none_or(|it| !it.can_have_members(name));
            let away: Vec<Str> = names.filter(is_away).cloned().collect();
            for name in away {
                let (presence, channels) = (&mut self.presence, &mut self.channels);
                let left = leave_channel(presence, channels, &id, &name, now, outputs);
                if let Some(party) = self.presence.connections.get_mut(&id) {
                    let lapsed = left.into_iter().map(|(client, id)| ((name.clone(), client), id));
                    party.lapsed.extend(lapsed);
                }
            }
        }
    }
}
