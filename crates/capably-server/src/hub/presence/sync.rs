//! Syncs: the frames with the members of a channel, for one attachment (RTP1, RTP18).

use capably_protocol::{
    ChannelMode, Flags, PresenceMessage, ServerFrame, Str,
    frame::{Attached, Delivery},
};

use super::Presence;
use crate::hub::ids::ConnectionId;

/// The number of members in a frame.
const PAGE: usize = 100;

/// An attachment that receives a sync.
#[derive(Debug)]
pub(crate) struct Viewer<'a> {
    pub(crate) connection: &'a ConnectionId,
    /// The name under which the client attached. Frames carry it.
    pub(crate) name: &'a Str,
    /// The channel of the members. `None` for an attachment through a filter, which sees no members.
    pub(crate) members_of: Option<&'a Str>,
    /// The granted modes.
    pub(crate) modes: Flags,
}

impl Presence {
    /// An ATTACHED, and after it the members that the client may see.
    pub(crate) fn announce(
        &mut self,
        viewer: &Viewer<'_>,
        mut attached: Attached,
    ) -> Vec<ServerFrame> {
        let pages = self.pages(viewer);
        if !pages.is_empty() {
            attached.flags = attached.flags | Flags::HAS_PRESENCE;
        }
        let attached = ServerFrame::Attached(Box::new(attached));
        std::iter::once(attached).chain(pages.into_iter().map(ServerFrame::Sync)).collect()
    }

    /// The members that the client may see. An empty page says that there are none.
    pub(crate) fn sync(&mut self, viewer: &Viewer<'_>) -> Vec<ServerFrame> {
        let mut pages = self.pages(viewer);
        if pages.is_empty() {
            self.syncs += 1;
            pages.push(self.page(viewer.name, Vec::new(), None));
        }
        pages.into_iter().map(ServerFrame::Sync).collect()
    }

    /// The members in pages. Without the mode `PRESENCE_SUBSCRIBE`, a client sees its own members only (RTP17a).
    fn pages(&mut self, viewer: &Viewer<'_>) -> Vec<Delivery<PresenceMessage>> {
        let Some(set) = viewer.members_of.and_then(|channel| self.channels.get(channel)) else {
            return Vec::new();
        };
        let members: Vec<_> = if viewer.modes.contains(ChannelMode::PresenceSubscribe.flag()) {
            set.numbered().map(|(_, member)| member.clone()).collect()
        } else {
            set.of(viewer.connection).cloned().collect()
        };
        self.syncs += 1;
        let last = members.len().div_ceil(PAGE);
        let pages = members.chunks(PAGE).zip(1..);
        pages
            .map(|(page, number)| {
                let cursor = Some(number).filter(|number| *number < last);
                self.page(viewer.name, page.to_vec(), cursor)
            })
            .collect()
    }

    /// A page of the current sync. The page without a cursor ends the sync.
    fn page(
        &self,
        name: &Str,
        members: Vec<PresenceMessage>,
        cursor: Option<usize>,
    ) -> Delivery<PresenceMessage> {
        let cursor = cursor.map_or_else(String::new, |number| number.to_string());
        let mut delivery = Delivery::new(name.clone(), members);
        delivery.channel_serial = Some(format!("sync{}:{cursor}", self.syncs).into());
        delivery
    }
}
