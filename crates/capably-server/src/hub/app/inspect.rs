//! What the console reads of an app, and how it cuts connections.
//!
//! An app may have very many channels and connections. Each call looks at a limited number of them, so that the caller
//! can release the lock of the app in between.

use std::{sync::Arc, time::Duration};

use capably_protocol::{ChannelMode, ErrorInfo, Str};

use super::App;
use crate::hub::{
    Now, Occupancy, Output, TransportId, Turn, access::identity::Key, ids::ConnectionId,
};

/// A channel, in brief.
#[derive(Clone, Debug)]
pub(crate) struct ChannelBrief {
    pub(crate) name: Str,
    /// The messages published so far, since the channel is in memory.
    pub(crate) published: u64,
    /// The messages delivered so far.
    pub(crate) delivered: u64,
    /// The attachments at this node.
    pub(crate) attachments: u32,
}

/// A connection, in brief.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionBrief {
    pub(crate) id: ConnectionId,
    pub(crate) client_id: Option<Str>,
    /// `None` while the client is disconnected.
    pub(crate) transport: Option<TransportId>,
    /// How long the client has been disconnected, if it is.
    pub(crate) away_for: Duration,
}

/// The channels that a connection is attached to.
#[derive(Debug, Default)]
pub(crate) struct AttachedBrief {
    /// The first of them, with their modes.
    pub(crate) first: Vec<(Str, Vec<ChannelMode>)>,
    /// The number of all.
    pub(crate) count: usize,
}

/// The result of [`App::cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Done,
    /// The client is disconnected already.
    Away,
    Unknown,
}

impl App {
    /// The key with this id, the part of its name after the app's id.
    ///
    /// # Errors
    /// Code 40400 with status 401.
    pub(crate) fn key(&self, id: &str) -> Result<Arc<Key>, ErrorInfo> {
        self.access.key(id)
    }

    /// The number of connected clients.
    pub(crate) fn connected_count(&self) -> usize {
        self.connections.connected()
    }

    /// The channels in memory from this place in the map on, at most `count`. If the map grows between two calls, their
    /// results may overlap, or miss some channels.
    pub(crate) fn channel_briefs(&self, from: usize, count: usize) -> Vec<ChannelBrief> {
        self.channels.briefs(from, count)
    }

    /// The channel with this name, if it is in memory.
    pub(crate) fn channel_brief(&self, name: &str) -> Option<ChannelBrief> {
        self.channels.brief(name)
    }

    /// The names after `after` of channels that are in use, but not in this node's memory; at most `count` from each source.
    /// Returns the last name up to which they are complete, unless there are no more.
    pub(crate) fn channel_names_elsewhere(
        &self,
        after: Option<&Str>,
        count: usize,
    ) -> (Vec<Str>, Option<Str>) {
        self.channels.names_elsewhere(after, count)
    }

    /// The occupancy of each of these channels.
    pub(crate) fn occupancies(&self, names: &[Str]) -> Vec<Occupancy> {
        names.iter().map(|name| self.channels.occupancy_of(name)).collect()
    }

    /// The connections after `after` in the order of their ids, at most `count`, those of disconnected clients among them.
    pub(crate) fn connection_briefs(
        &self,
        after: Option<&ConnectionId>,
        count: usize,
        now: Now,
    ) -> Vec<ConnectionBrief> {
        self.connections.briefs(after, count, now, self.settings.connection_state_ttl)
    }

    /// The channels that a connection is attached to, and the modes of the first `most`. None, if there is no such
    /// connection.
    pub(crate) fn attachments_of(&self, connection: &ConnectionId, most: usize) -> AttachedBrief {
        let Some(connection) = self.connections.get(connection) else {
            return AttachedBrief::default();
        };
        let attached = &connection.attached;
        let first = attached.granted().take(most);
        let first = first.map(|(name, modes)| (name.clone(), modes.modes())).collect();
        AttachedBrief { first, count: attached.len() }
    }

    /// Cuts the transport of a connection, as a network would. With `forget`, the client cannot resume.
    pub(crate) fn cut(
        &mut self,
        connection: &ConnectionId,
        forget: bool,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Cut {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let cut = self.connections.cut(connection, forget, &mut self.channels, turn);
        self.count(&[], now);
        self.send_metadata(now, outputs);
        cut
    }

    /// Cuts a transport, as a network would.
    pub(crate) fn cut_transport(
        &mut self,
        transport: TransportId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(id) = self.connection_id(transport) {
            self.cut(&id, false, now, outputs);
        }
    }
}
