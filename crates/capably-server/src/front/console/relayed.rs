//! The addresses of the clients behind the server's own faults.
//!
//! The faults open a connection of their own for each client, so the server sees their address. They run in the server's
//! process, and note here whose connection it is.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The clients, by the address from which the faults connect for them.
#[derive(Debug, Default)]
pub(crate) struct Relayed(Mutex<HashMap<SocketAddr, SocketAddr>>);

/// Notes the client of one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Note {
    relayed: Arc<Relayed>,
    from: SocketAddr,
    client: SocketAddr,
}

impl Relayed {
    /// The faults have connected from this address for this client.
    pub(crate) fn note(self: &Arc<Self>, from: SocketAddr, client: SocketAddr) -> Note {
        self.lock().insert(from, client);
        Note { relayed: Arc::clone(self), from, client }
    }

    /// The client that is connected from this address: the address itself, unless the faults have connected from it.
    pub(in crate::front) fn client(&self, from: SocketAddr) -> SocketAddr {
        self.lock().get(&from).copied().unwrap_or(from)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut relayed = self.relayed.lock();
        // The connection has ended before its note: the system may have given its address to that of another client.
        if relayed.get(&self.from) == Some(&self.client) {
            relayed.remove(&self.from);
        }
    }
}
