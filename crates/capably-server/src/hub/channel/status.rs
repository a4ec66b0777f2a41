//! The status of a channel: who uses it, and how (CHD).

use std::collections::BTreeSet;

use capably_protocol::{ErrorInfo, Str};

use super::{name as channel_name, occupancy::Occupancy};
use crate::hub::{
    App, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
};

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
        let channel = channel_name::plain(channel)?;
        identity.require(channel, Operation::ChannelMetadata)?;
        Ok(self.occupancy_of(channel))
    }

    /// A page of the channels whose names begin with `prefix` and that have been used lately.
    ///
    /// # Errors
    /// Code 40160 for a capability that does not cover all channels.
    pub(crate) fn channels(
        &self,
        identity: &Identity,
        prefix: &str,
        query: &PageQuery,
    ) -> Result<Page<(Str, Occupancy)>, ErrorInfo> {
        identity.require("*", Operation::ChannelMetadata)?;
        let names = self.channels.names().chain(self.presence.channels());
        let names: BTreeSet<&Str> = names.filter(|name| name.starts_with(prefix)).collect();
        let page = query.page(names.into_iter().map(|name| (name.clone(), name)));
        let with_occupancy = |name: &Str| (name.clone(), self.occupancy_of(name));
        let items = page.items.into_iter().map(with_occupancy).collect();
        Ok(Page { items, next: page.next })
    }
}
