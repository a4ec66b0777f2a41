//! The collection of channels (RTS).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capably_core::{ChannelId, ChannelOptions};
use capably_protocol::{ChannelMode, CipherParams, Str};

use super::{
    Channel,
    channel::ChannelShared,
    command::{Command, Handle, lock},
};
use crate::Rest;

/// The channels of a [`Realtime`](crate::Realtime) client (RTS).
#[derive(Clone, Debug)]
pub struct Channels {
    handle: Handle,
    registry: Arc<Registry>,
    /// What channels that are made through this handle name when they attach (WP7).
    agent: Option<String>,
    rest: Rest,
}

#[derive(Debug, Default)]
struct Registry {
    channels: Mutex<BTreeMap<Str, Arc<ChannelShared>>>,
    next_id: AtomicU64,
}

/// What a channel is asked to be (TB).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RealtimeChannelOptions {
    core: ChannelOptions,
}

impl RealtimeChannelOptions {
    /// The service's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a channel parameter, such as `rewind` (TB2c).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.core.params.insert(name.into(), value.to_string());
        self
    }

    /// Asks for these modes only (TB2d).
    pub fn modes(mut self, modes: impl IntoIterator<Item = ChannelMode>) -> Self {
        self.core.modes = modes.into_iter().collect();
        self
    }

    /// Encrypts and decrypts payloads (TB2b).
    pub fn cipher(mut self, cipher: CipherParams) -> Self {
        self.core.cipher = Some(cipher);
        self
    }
}

impl Channels {
    pub(crate) fn new(handle: Handle, rest: Rest) -> Self {
        Self { handle, registry: Arc::default(), agent: None, rest }
    }

    /// The same channels, for a wrapper SDK that names itself (WP7).
    pub(super) fn attributed(&self, agent: String) -> Self {
        Self { agent: Some(agent), ..self.clone() }
    }

    /// The channel with this name, made if there is none (RTS3a).
    pub fn get(&self, name: impl Into<Str>) -> Channel {
        self.get_with(name, RealtimeChannelOptions::default())
    }

    /// The channel with this name, made with these options if there is none (RTS3b). Options for a
    /// channel that exists do not change it.
    pub fn get_with(&self, name: impl Into<Str>, mut options: RealtimeChannelOptions) -> Channel {
        let name = name.into();
        if let Some(agent) = &self.agent {
            options = options.param("agent", agent);
        }
        let mut channels = lock(&self.registry.channels);
        let shared = channels.entry(name).or_insert_with_key(|name| {
            let id = ChannelId(self.registry.next_id.fetch_add(1, Ordering::Relaxed));
            let cipher = options.core.cipher.clone();
            let shared = Arc::new(ChannelShared::new(id, name.clone(), cipher));
            let channel = Arc::clone(&shared);
            self.handle.send(Command::Open { channel, options: options.core });
            shared
        });
        Channel::new(self.handle.clone(), Arc::clone(shared), self.rest.clone())
    }

    /// Whether there is a channel with this name (RTS2).
    pub fn exists(&self, name: &str) -> bool {
        lock(&self.registry.channels).contains_key(name)
    }

    /// The channels there are, by name (RTS2).
    pub fn all(&self) -> Vec<Channel> {
        let channels = lock(&self.registry.channels);
        channels
            .values()
            .map(|shared| Channel::new(self.handle.clone(), Arc::clone(shared), self.rest.clone()))
            .collect()
    }

    /// Detaches a channel and forgets it (RTS4a). Its subscriptions end.
    pub fn release(&self, name: &str) {
        if let Some(shared) = lock(&self.registry.channels).remove(name) {
            self.handle.send(Command::Release(shared.id));
        }
    }
}
