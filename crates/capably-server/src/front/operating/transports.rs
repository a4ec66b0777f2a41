//! The transports of connected clients, over all apps.

#[cfg(feature = "console")]
use std::net::SocketAddr;
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[cfg(feature = "console")]
use capably_protocol::{Format, Millis, Str};
use tokio::sync::Notify;

use crate::{
    front::{app::AppHandle, socket::outbox::Outbox},
    hub::TransportId,
};

/// The transports of all clients. Several maps, so that clients that come and go at the same time rarely wait.
#[derive(Debug, Default)]
pub(in crate::front) struct Transports {
    maps: [Mutex<Map>; MAPS],
    /// Wakes a drain that waits for the last client.
    removed: Notify,
}

type Map = HashMap<TransportId, TransportEntry>;

const MAPS: usize = 16;

/// A transport: the app that its client uses, and the frames that wait for it.
#[derive(Clone, Debug)]
pub(in crate::front) struct TransportEntry {
    pub(in crate::front) app: Arc<AppHandle>,
    pub(in crate::front) outbox: Arc<Outbox>,
    /// Set if the server has a console.
    #[cfg(feature = "console")]
    pub(in crate::front) client: Option<Arc<ClientFacts>>,
}

/// The facts about a client that the console lists.
#[cfg(feature = "console")]
#[derive(Debug)]
pub(in crate::front) struct ClientFacts {
    pub(in crate::front) connection: Option<Str>,
    /// When the transport was opened, in ms since the epoch.
    pub(in crate::front) since: Millis,
    pub(in crate::front) format: Format,
    pub(in crate::front) address: Option<SocketAddr>,
    /// The library and the system of the client, as it has named them.
    pub(in crate::front) agent: Option<Box<str>>,
}

impl Transports {
    pub(in crate::front) fn add(&self, transport: TransportId, entry: TransportEntry) {
        self.map(transport).insert(transport, entry);
    }

    pub(in crate::front) fn remove(&self, transport: TransportId) {
        self.map(transport).remove(&transport);
        self.removed.notify_waiters();
    }

    /// The transports that are newer than `last`, the oldest first, with the apps of their clients.
    pub(in crate::front) fn after(
        &self,
        last: Option<TransportId>,
    ) -> Vec<(TransportId, Arc<AppHandle>)> {
        let mut newer = Vec::new();
        for map in &self.maps {
            let map = lock(map);
            let entries = map.iter().filter(|(id, _)| Some(**id) > last);
            newer.extend(entries.map(|(id, entry)| (*id, Arc::clone(&entry.app))));
        }
        newer.sort_unstable_by_key(|(id, _)| *id);
        newer
    }

    /// The transport with this id.
    #[cfg(feature = "console")]
    pub(in crate::front) fn get(&self, transport: TransportId) -> Option<TransportEntry> {
        self.map(transport).get(&transport).cloned()
    }

    /// Waits until there is no transport.
    pub(super) async fn emptied(&self) {
        let mut removed = pin!(self.removed.notified());
        loop {
            // Before the look: a transport that is removed after it must wake this.
            removed.as_mut().enable();
            if self.maps.iter().all(|map| lock(map).is_empty()) {
                return;
            }
            removed.as_mut().await;
            removed.set(self.removed.notified());
        }
    }

    /// The bytes that wait for all clients.
    pub(super) fn queue_bytes(&self) -> u64 {
        let sum = |map| lock(map).values().map(|entry| entry.outbox.bytes() as u64).sum::<u64>();
        self.maps.iter().map(sum).sum()
    }

    fn map(&self, transport: TransportId) -> MutexGuard<'_, Map> {
        lock(&self.maps[transport.0 as usize % MAPS])
    }
}

fn lock(map: &Mutex<Map>) -> MutexGuard<'_, Map> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
