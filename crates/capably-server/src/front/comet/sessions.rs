//! The sessions of comet, by the keys of their connections.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use capably_protocol::Str;
use tokio::task::JoinSet;

use super::exchange::Exchange;
use crate::front::socket::session::Session;

/// The sessions of comet, and their tasks.
#[derive(Default)]
pub(in crate::front) struct CometSessions {
    by_key: Mutex<HashMap<Str, Arc<CometSession>>>,
    /// The tasks of the sessions, while the server accepts clients.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// A session, as the requests of its client see it.
pub(in crate::front) struct CometSession {
    pub(super) app: Str,
    /// The client id of the connection, if it has only one.
    pub(super) client: Option<Str>,
    /// Whether requests receive a stream, unless they ask for an array.
    pub(super) streams: bool,
    pub(super) exchange: Arc<Exchange>,
}

impl CometSessions {
    /// Accepts sessions from now on, as long as the guard lives. Dropping it ends them.
    pub(in crate::front) fn accept(&self) -> Accepting<'_> {
        *lock(&self.tasks) = Some(JoinSet::new());
        Accepting(self)
    }

    /// Runs a session whose connection has this key. A session without one is refused, and has only its last frames.
    /// `None` if the server is stopping.
    pub(super) fn run(
        self: &Arc<Self>,
        session: Box<Session>,
        key: Option<Str>,
        own: CometSession,
    ) -> Option<Arc<CometSession>> {
        let own = Arc::new(own);
        let mut tasks = lock(&self.tasks);
        let tasks = tasks.as_mut()?;
        while tasks.try_join_next().is_some() {}
        if let Some(key) = &key {
            lock(&self.by_key).insert(key.clone(), Arc::clone(&own));
        }
        let listed = Listed { sessions: Arc::clone(self), key };
        tasks.spawn(async move {
            let _listed = listed;
            session.run().await;
        });
        Some(own)
    }

    /// The session with this key.
    pub(super) fn get(&self, key: &str) -> Option<Arc<CometSession>> {
        lock(&self.by_key).get(key).cloned()
    }
}

impl fmt::Debug for CometSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are secret.
        f.debug_struct("CometSessions").field("count", &lock(&self.by_key).len()).finish()
    }
}

/// The server accepts sessions. Dropping it ends them.
#[derive(Debug)]
pub(in crate::front) struct Accepting<'a>(&'a CometSessions);

impl Accepting<'_> {
    /// Accepts no more sessions. Returns the tasks of those that are open.
    pub(in crate::front) fn finish(self) -> JoinSet<()> {
        lock(&self.0.tasks).take().unwrap_or_default()
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        drop(lock(&self.0.tasks).take());
    }
}

/// The place of a session in the list.
struct Listed {
    sessions: Arc<CometSessions>,
    key: Option<Str>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            lock(&self.sessions.by_key).remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
