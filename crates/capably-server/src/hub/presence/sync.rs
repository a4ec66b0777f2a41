//! Telling an attachment who is present: SYNC (RTP1, RTP18).

use capably_protocol::{
    ChannelMode, Flags, PresenceMessage, ServerFrame, Str,
    frame::{Attached, Delivery},
};

use super::Presence;
use crate::hub::{ConnectionId, Output, TransportId};

/// Most members in a frame.
const PAGE: usize = 100;

/// Sends an ATTACHED, and after it those members of the channel `members_of` that the attachment may see.
pub(in crate::hub) fn announce(
    presence: &mut Presence,
    connection: &ConnectionId,
    members_of: Option<&Str>,
    mut attached: Attached,
    transport: TransportId,
    outputs: &mut Vec<Output>,
) {
    let pages = members_of.map(|channel| presence.pages(&attached, channel, connection));
    let pages = pages.unwrap_or_default();
    if !pages.is_empty() {
        attached.flags = attached.flags | Flags::HAS_PRESENCE;
    }
    outputs.push(Output::Frame(transport, ServerFrame::Attached(Box::new(attached))));
    outputs.extend(pages.into_iter().map(|page| Output::Frame(transport, ServerFrame::Sync(page))));
}

impl Presence {
    /// The members in pages. Without the mode to see all, a connection sees its own (RTP17a).
    fn pages(
        &mut self,
        attached: &Attached,
        channel: &str,
        connection: &ConnectionId,
    ) -> Vec<Delivery<PresenceMessage>> {
        let Some(set) = self.channels.get(channel) else { return Vec::new() };
        let members: Vec<_> = if attached.flags.contains(ChannelMode::PresenceSubscribe.flag()) {
            set.numbered().map(|(_, member)| member.clone()).collect()
        } else {
            set.of(connection).cloned().collect()
        };
        self.syncs += 1;
        let sync = self.syncs;
        let last = members.len().div_ceil(PAGE);
        let pages = members.chunks(PAGE).zip(1..).map(|(page, number)| {
            let mut delivery = Delivery::new(attached.channel.clone(), page.to_vec());
            let cursor = if number == last { String::new() } else { number.to_string() };
            delivery.channel_serial = Some(format!("sync{sync}:{cursor}").into());
            delivery
        });
        pages.collect()
    }
}
