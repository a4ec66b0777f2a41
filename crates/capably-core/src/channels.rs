//! The channels of a client, by id and by name.

use std::collections::BTreeMap;

use capably_protocol::{ClientFrame, Str};

use crate::{ChannelId, channel::Channel, context::Cx, errors, presence::AttachmentId};

/// Every channel that the application has opened and not released.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_id: BTreeMap<ChannelId, Channel>,
    /// The channel that was opened last under each name. Frames are for this one.
    ids: BTreeMap<Str, ChannelId>,
}

impl Channels {
    pub(crate) fn insert(&mut self, channel: Channel) {
        self.ids.insert(channel.name().clone(), channel.id());
        self.by_id.insert(channel.id(), channel);
    }

    /// Removes a channel, ends its operations, and detaches it at the service (RTS4a).
    pub(crate) fn release(&mut self, id: ChannelId, cx: &mut Cx<'_>) {
        let Some(mut channel) = self.by_id.remove(&id) else { return };
        if self.ids.get(channel.name()) == Some(&id) {
            self.ids.remove(channel.name());
        }
        channel.end(&errors::released(), cx);
        channel.give_up(cx);
    }

    /// Sends DETACH again for detaches under way. Also sends it for attachments that ended without a connection, or whose
    /// DETACHED was lost with it. ATTACH follows where a channel of that name is to be attached (RTN19b).
    ///
    /// They come after the frames that are sent again. Such a frame may enter a member of the old attachment: the service
    /// refuses it, or the DETACH makes the member leave.
    pub(crate) fn send_detaches(&mut self, cx: &mut Cx<'_>) {
        for channel in self.by_id.values() {
            channel.detach_again(cx);
        }
        for name in cx.detaches.send_owed(cx.now.instant) {
            cx.send(ClientFrame::Detach { channel: name.clone() });
            if let Some(channel) = self.named(&name) {
                channel.attach_after_detach(cx);
            }
        }
    }

    /// Whether this is the attachment of a channel that is open, and not an earlier one.
    pub(crate) fn is_present(&self, attachment: AttachmentId) -> bool {
        let channel = self.get(attachment.channel);
        channel.is_some_and(|channel| channel.attachment() == attachment)
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.by_id.get_mut(&id)
    }

    /// The channel that a frame of the service with this name is for; none for a frame of an attachment that was given up.
    pub(crate) fn addressed(&mut self, name: &Str, cx: &Cx<'_>) -> Option<&mut Channel> {
        let timeout = cx.config.realtime_request_timeout;
        if cx.detaches.precede_answer(name, cx.now.instant, timeout) {
            return None;
        }
        self.named(name)
    }

    /// The channel that was opened last under this name.
    pub(crate) fn named(&mut self, name: &Str) -> Option<&mut Channel> {
        let id = self.ids.get(name)?;
        self.by_id.get_mut(id)
    }

    /// The channels in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.by_id.values()
    }

    /// The channels in the order of their ids.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.by_id.values_mut()
    }
}
