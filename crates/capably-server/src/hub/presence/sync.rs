//! Syncs: send the members of a channel to an attachment (RTP1, RTP18).

use capably_protocol::{
    ChannelMode, Flags, PresenceMessage, ServerFrame, Str,
    frame::{Attached, Delivery},
};

use super::Presence;
use crate::hub::{Output, TransportId, output::ConnectionId};

/// The number of members in a frame.
const PAGE: usize = 100;

/// An attachment that receives a sync.
#[derive(Debug)]
pub(crate) struct Viewer<'a> {
    pub(crate) connection: &'a ConnectionId,
    pub(crate) transport: TransportId,
    /// The name under which the client attached. Frames carry it.
    pub(crate) name: &'a Str,
    /// The channel of the members. `None` for an attachment through a filter, which sees no members.
    pub(crate) members_of: Option<&'a Str>,
    /// The granted modes.
    pub(crate) modes: Flags,
}

impl Presence {
    /// Sends an ATTACHED, and after it the members that the client may see.
    pub(crate) fn announce(
        &mut self,
        viewer: &Viewer<'_>,
        mut attached: Attached,
        outputs: &mut Vec<Output>,
    ) {
        let pages = self.pages(viewer);
        if !pages.is_empty() {
            attached.flags = attached.flags | Flags::HAS_PRESENCE;
        }
        outputs.push(Output::Frame(viewer.transport, ServerFrame::Attached(Box::new(attached))));
        send(viewer, pages, outputs);
    }

    /// Sends the members that the client may see. An empty page says that there are none.
    pub(crate) fn sync(&mut self, viewer: &Viewer<'_>, outputs: &mut Vec<Output>) {
        let mut pages = self.pages(viewer);
        if pages.is_empty() {
            self.syncs += 1;
            pages.push(self.page(viewer.name, Vec::new(), None));
        }
        send(viewer, pages, outputs);
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

fn send(viewer: &Viewer<'_>, pages: Vec<Delivery<PresenceMessage>>, outputs: &mut Vec<Output>) {
    let frames = pages.into_iter().map(ServerFrame::Sync);
    outputs.extend(frames.map(|frame| Output::Frame(viewer.transport, frame)));
}
