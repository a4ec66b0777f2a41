//! Volumes: counts of messages and of their bytes.

use serde::{Deserialize, Serialize};

/// Volumes by the type of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Traffic {
    pub(crate) messages: Volume,
    pub(crate) presence: Volume,
    pub(crate) objects: Volume,
}

impl Traffic {
    pub(crate) fn add(&mut self, more: Self) {
        self.messages.add(more.messages);
        self.presence.add(more.presence);
        self.objects.add(more.objects);
    }
}

/// A number of messages, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub(crate) count: u64,
    pub(crate) data: u64,
}

impl Volume {
    pub(crate) fn add(&mut self, more: Self) {
        self.count += more.count;
        self.data += more.data;
    }
}
