//! Telling an attachment who is present: SYNC (RTP1, RTP18).

use capably_protocol::{
    ChannelMode, Flags, PresenceMessage, ServerFrame, Str,
    frame::{Attached, Delivery},
};

use super::Presence;
use crate::hub::{Output, TransportId, output::ConnectionId};

/// Most members in a frame.
const PAGE: usize = 100;

/// Sends an ATTACHED, and after it those members of the channel `members_of` that the attachment may see.
pub(crate) fn announce(
    presence: &mut Presence,
    connection: &ConnectionId,
    members_of: Option<&Str>,
    mut attached: Attached,
    transport: TransportId,
    outputs: &mut Vec<Output>,
) {
    let (name, modes) = (&attached.channel, attached.flags);
    let pages = presence.pages(connection, members_of, name, modes);
    if !pages.is_empty() {
        attached.flags = attached.flags | Flags::HAS_PRESENCE;
    }
    outputs.push(Output::Frame(transport, ServerFrame::Attached(Box::new(attached))));
    outputs.extend(pages.into_iter().map(|page| Output::Frame(transport, ServerFrame::Sync(page))));
}

impl Presence {
    /// Sends an attachment of this name those members of the channel `members_of` that it may see. Where there
    /// are none, it is told so.
    pub(crate) fn sync(
        &mut self,
        connection: &ConnectionId,
        members_of: Option<&Str>,
        name: &Str,
        modes: Flags,
        transport: TransportId,
        outputs: &mut Vec<Output>,
    ) {
        let mut pages = self.pages(connection, members_of, name, modes);
        if pages.is_empty() {
            self.syncs += 1;
            pages.push(self.page(name, Vec::new(), None));
        }
        outputs.extend(pages.into_iter().map(|it| Output::Frame(transport, ServerFrame::Sync(it))));
    }

    /// The members in pages. Without the mode to see all, a connection sees its own (RTP17a).
    fn pages(
        &mut self,
        connection: &ConnectionId,
        members_of: Option<&Str>,
        name: &Str,
        modes: Flags,
    ) -> Vec<Delivery<PresenceMessage>> {
        let Some(set) = members_of.and_then(|channel| self.channels.get(channel)) else {
            return Vec::new();
        };
        let members: Vec<_> = if modes.contains(ChannelMode::PresenceSubscribe.flag()) {
            set.numbered().map(|(_, member)| member.clone()).collect()
        } else {
            set.of(connection).cloned().collect()
        };
        self.syncs += 1;
        let last = members.len().div_ceil(PAGE);
        let pages = members.chunks(PAGE).zip(1..);
        pages
            .map(|(page, number)| {
                self.page(name, page.to_vec(), Some(number).filter(|number| *number < last))
            })
            .collect()
    }

    /// A page of the latest sync; without a number it is the last.
    fn page(
        &self,
        name: &Str,
        members: Vec<PresenceMessage>,
        number: Option<usize>,
    ) -> Delivery<PresenceMessage> {
        let cursor = number.map_or_else(String::new, |number| number.to_string());
        let mut delivery = Delivery::new(name.clone(), members);
        delivery.channel_serial = Some(format!("sync{}:{cursor}", self.syncs).into());
        delivery
    }
}
