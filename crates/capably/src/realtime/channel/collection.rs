//! The collection of channels (RTS).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capably_core::ChannelId;
use capably_protocol::Str;

use crate::{
    Rest,
    realtime::{
        Channel, RealtimeChannelOptions,
        channel::ChannelShared,
        driver::{Command, DriverHandle},
    },
    sync::lock,
};

/// The channels of a [`Realtime`](crate::Realtime) client (RTS).
#[derive(Clone, Debug)]
pub struct Channels {
    handle: DriverHandle,
    registry: Arc<Registry>,
    /// The agent of a wrapper SDK, for channels that are made through this handle (WP7).
    agent: Option<String>,
    rest: Rest,
}

#[derive(Debug, Default)]
struct Registry {
    channels: Mutex<BTreeMap<Str, Arc<ChannelShared>>>,
    next_id: AtomicU64,
}

impl Channels {
    pub(crate) fn new(handle: DriverHandle, rest: Rest) -> Self {
        Self { handle, registry: Arc::default(), agent: None, rest }
    }

    /// The same channels for a wrapper SDK: new channels name its agent when they attach (WP7).
    pub(crate) fn attributed(&self, agent: String) -> Self {
        Self { agent: Some(agent), ..self.clone() }
    }

    /// The channel with this name; it is created if it does not exist (RTS3a).
    pub fn get(&self, name: impl Into<Str>) -> Channel {
        self.get_with(name, RealtimeChannelOptions::default())
    }

    /// The channel with this name; it is created with these options if it does not exist (RTS3b). An existing
    /// channel keeps its options: [`Channel::set_options`] changes them.
    pub fn get_with(&self, name: impl Into<Str>, options: RealtimeChannelOptions) -> Channel {
        let name = name.into();
        let mut channels = lock(&self.registry.channels);
        let shared = channels.entry(name).or_insert_with_key(|name| {
            let id = ChannelId(self.registry.next_id.fetch_add(1, Ordering::Relaxed));
            let core = Box::new(options.to_core(self.agent.as_ref()));
            let shared = ChannelShared::new(id, name.clone(), options, self.agent.clone());
            let shared = Arc::new(shared);
            self.handle.send(Command::Open { channel: Arc::clone(&shared), options: core });
            shared
        });
        Channel::new(self.handle.clone(), Arc::clone(shared), self.rest.clone())
    }

    /// Whether a channel with this name exists (RTS2).
    pub fn exists(&self, name: &str) -> bool {
        lock(&self.registry.channels).contains_key(name)
    }

    /// All channels, sorted by name (RTS2).
    pub fn all(&self) -> Vec<Channel> {
        let channels = lock(&self.registry.channels);
        channels
            .values()
            .map(|shared| Channel::new(self.handle.clone(), Arc::clone(shared), self.rest.clone()))
            .collect()
    }

    /// Detaches a channel and removes it (RTS4a). Its subscriptions end, and its handles see no further change
    /// of state.
    pub fn release(&self, name: &str) {
        if let Some(shared) = lock(&self.registry.channels).remove(name) {
            shared.end();
            self.handle.send(Command::Release(shared.id));
        }
    }
}
