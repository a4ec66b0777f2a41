//! The channels of a client, by id and by name.

use std::collections::BTreeMap;

use capably_protocol::{ClientFrame, Str};

use crate::{ChannelId, ChannelState, channel::Channel, context::Cx, errors};

/// Every channel that the application has opened and not released.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_id: BTreeMap<ChannelId, Channel>,
    /// The channel that was opened last under each name. Frames are for this one.
    ids: BTreeMap<Str, ChannelId>,
    /// How many DETACHs of released channels the service has not answered, by name.
    released: BTreeMap<Str, u32>,
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
        if !cx.is_connected() {
            return;
        }
        let name = channel.name().clone();
        match channel.state() {
            ChannelState::Attached | ChannelState::Attaching => {
                *self.released.entry(name.clone()).or_default() += 1;
                cx.send(ClientFrame::Detach { channel: name });
            }
            ChannelState::Detaching => *self.released.entry(name).or_default() += 1,
            ChannelState::Initialized
            | ChannelState::Detached
            | ChannelState::Suspended
            | ChannelState::Failed => {}
        }
    }

    /// Whether a DETACHED answers the DETACH of a released channel. It must not detach a channel that was
    /// opened under the same name since.
    pub(crate) fn answers_release(&mut self, name: &Str) -> bool {
        let Some(unanswered) = self.released.get_mut(name) else { return false };
        *unanswered -= 1;
        if *unanswered == 0 {
            self.released.remove(name);
        }
        true
    }

    /// A new transport does not answer the DETACHs of an earlier one.
    pub(crate) fn forget_released(&mut self) {
        self.released.clear();
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.by_id.get_mut(&id)
    }

    /// The channel that frames with this name are for.
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
