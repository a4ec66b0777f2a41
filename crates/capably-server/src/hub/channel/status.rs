//! The status of channels (CHD): their occupancy, and the list of those in use.

use std::collections::BTreeSet;

use capably_protocol::{ErrorInfo, PresenceMessage, Str};

use super::{Channels, occupancy::Occupancy};
use crate::hub::{
    MembersQuery, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
    channel_name,
    metachannel::is_metachannel,
};

impl Channels {
    /// The occupancy of the channel.
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn status(&self, identity: &Identity, name: &str) -> Result<Occupancy, ErrorInfo> {
        let name = channel_name::plain(name)?;
        identity.require(name, Operation::ChannelMetadata)?;
        Ok(self.occupancy_of(name))
    }

    /// A page of the recently used channels whose names begin with `prefix`, without metachannels.
    ///
    /// # Errors
    /// Code 40160 for a capability that does not cover all channels.
    pub(crate) fn list(
        &self,
        identity: &Identity,
        prefix: &str,
        query: &PageQuery,
    ) -> Result<Page<(Str, Occupancy)>, ErrorInfo> {
        identity.require("*", Operation::ChannelMetadata)?;
        let names = self.names().chain(self.presence.channels()).chain(self.recent.keys());
        let names = names.chain(self.remote.keys());
        let names: BTreeSet<&Str> =
            names.filter(|name| name.starts_with(prefix) && !is_metachannel(name)).collect();
        let page = query.page(names.into_iter().map(|name| (name.clone(), name)));
        let with_occupancy = |name: &Str| (name.clone(), self.occupancy_of(name));
        let items = page.items.into_iter().map(with_occupancy).collect();
        Ok(Page { items, next: page.next })
    }

    /// A page of a channel's members (RSP3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn members(
        &self,
        identity: &Identity,
        name: &str,
        query: &MembersQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let name = channel_name::plain(name)?;
        identity
            .require(name, Operation::Presence)
            .or_else(|_| identity.require(name, Operation::Subscribe))?;
        Ok(self.presence.members(name, query))
    }

    /// A page of a channel's presence history (RSP4).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn presence_history(
        &self,
        identity: &Identity,
        name: &str,
        query: &PageQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let name = channel_name::plain(name)?;
        identity.require(name, Operation::History)?;
        let log = self.get(name).map(|channel| &channel.log);
        Ok(self.presence.history(name, log, query))
    }
}
