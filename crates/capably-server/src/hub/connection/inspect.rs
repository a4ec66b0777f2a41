//! What the console reads of connections, and how it cuts them.

use std::{ops::Bound, time::Duration};

use super::Connections;
use crate::hub::{
    Now, Turn,
    app::inspect::{ConnectionBrief, Cut},
    channel::Channels,
    ids::ConnectionId,
};

impl Connections {
    /// See [`App::connection_briefs`](crate::hub::App::connection_briefs).
    pub(crate) fn briefs(
        &self,
        after: Option<&ConnectionId>,
        count: usize,
        now: Now,
        ttl: Duration,
    ) -> Vec<ConnectionBrief> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let connections = self.map.range::<ConnectionId, _>(range).take(count);
        connections
            .map(|(id, connection)| ConnectionBrief {
                id: id.clone(),
                client_id: connection.identity.client.name().cloned(),
                transport: connection.transport,
                away_for: connection.expires.map_or(Duration::ZERO, |expires| {
                    ttl.saturating_sub(expires.saturating_sub(now.steady))
                }),
            })
            .collect()
    }

    /// See [`App::cut`](crate::hub::App::cut).
    pub(crate) fn cut(
        &mut self,
        id: &ConnectionId,
        forget: bool,
        channels: &mut Channels,
        turn: &mut Turn<'_>,
    ) -> Cut {
        let Some(connection) = self.map.get(id) else { return Cut::Unknown };
        match (connection.transport, forget) {
            (Some(transport), true) => self.end(transport, channels, turn),
            (Some(_), false) => self.close(id, channels, turn),
            (None, true) => self.expire(id, channels, turn),
            (None, false) => return Cut::Away,
        }
        Cut::Done
    }
}
