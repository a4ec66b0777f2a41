//! The status of a channel: who uses it, and how (CHD).

use capably_protocol::{ChannelMode, ErrorInfo};

use super::{App, auth::Identity, capability::Operation, channel_name};

/// How many use a channel, by what they may do on it (CHM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Occupancy {
    pub(crate) connections: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) presence_connections: usize,
    pub(crate) presence_members: usize,
    pub(crate) presence_subscribers: usize,
    pub(crate) object_publishers: usize,
    pub(crate) object_subscribers: usize,
}

impl App {
    /// How many use the channel.
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn occupancy(
        &self,
        identity: &Identity,
        channel: &str,
    ) -> Result<Occupancy, ErrorInfo> {
        channel_name::validate(channel)?;
        identity.require(channel, Operation::ChannelMetadata)?;
        let mut occupancy = Occupancy {
            presence_members: self.presence.members(channel).len(),
            ..Occupancy::default()
        };
        for connection in self.connections.values() {
            let Some(attachment) = connection.attached.get(channel) else { continue };
            let may = |mode: ChannelMode| usize::from(attachment.granted.contains(mode.flag()));
            occupancy.connections += 1;
            occupancy.publishers += may(ChannelMode::Publish);
            occupancy.subscribers += may(ChannelMode::Subscribe);
            occupancy.presence_connections += may(ChannelMode::Presence);
            occupancy.presence_subscribers += may(ChannelMode::PresenceSubscribe);
            occupancy.object_publishers += may(ChannelMode::ObjectPublish);
            occupancy.object_subscribers += may(ChannelMode::ObjectSubscribe);
        }
        Ok(occupancy)
    }
}
