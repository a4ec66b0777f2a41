//! The facts of an app in the engine: what is stored beside its log.
//!
//! A change is proposed by the hub, stored, and then applied, so that nobody is told of a change that is not stored. Changes
//! of an app wait for each other: its memory and the engine see them in one order. A change of another node is applied
//! between those of this node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use capably_protocol::ErrorInfo;
use tokio::sync::OwnedMutexGuard;

use super::AppHandle;
use crate::{
    engine::{Bucket, Engine, EngineError},
    hub::{App, Changed, Now, PushChange, error, token_request::Nonce},
};

/// The most facts that are read or removed at once.
pub(super) const PAGE: usize = 1000;

/// The changes of an app's facts.
#[derive(Debug)]
pub(super) struct Facts {
    /// The name of this node, which no other node has. It stays over a restart.
    pub(super) node: Arc<str>,
    /// Held while a change is proposed, stored and applied. Its content is whether the app is deleted.
    turn: Arc<tokio::sync::Mutex<bool>>,
    /// Changes of other nodes that wait until a change of this node is applied.
    waiting: Mutex<Vec<(Bucket, String, Option<Bytes>)>>,
}

impl Facts {
    pub(super) fn new(node: Arc<str>) -> Self {
        Self { node, turn: Arc::default(), waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Bucket, String, Option<Bytes>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of a change. What has waited for its end is applied then.
pub(super) struct Turn {
    app: Arc<AppHandle>,
    is_deleted: Option<OwnedMutexGuard<bool>>,
}

impl Turn {
    /// Does the rest of the change in a task of its own: a client that goes away must not come between storing a change
    /// and applying it.
    ///
    /// # Errors
    /// Those of the work, and 50000 when it panics.
    pub(super) async fn finish<F>(
        self,
        work: impl FnOnce(Arc<AppHandle>) -> F,
    ) -> Result<(), ErrorInfo>
    where
        F: Future<Output = Result<(), ErrorInfo>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.app));
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(self);
            result
        });
        task.await.unwrap_or_else(|_| Err(error::not_stored()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_deleted = None;
        self.app.apply_waiting();
    }
}

impl AppHandle {
    /// Changes the registrations of push. Returns when the changes are stored and applied.
    ///
    /// # Errors
    /// The reason of the hub; 40400 for an app that is deleted; 50003 and 50000 for the engine. Nothing is changed then.
    pub(in crate::front) async fn change_push<T: Send + 'static>(
        &self,
        propose: impl FnOnce(&mut App) -> Result<Changed<T>, ErrorInfo>,
    ) -> Result<T, ErrorInfo> {
        let turn = self.take_turn().await?;
        let (result, changes) = self.with(|hub, _| propose(hub))?;
        if changes.is_empty() {
            return Ok(result);
        }
        turn.finish(async move |app| {
            let facts = changes.iter().map(|change| app.fact(change)).collect();
            app.set_facts(Bucket::Push, facts).await?;
            app.with(|hub, _| changes.into_iter().for_each(|change| hub.apply_push(change)));
            Ok(())
        })
        .await?;
        Ok(result)
    }

    /// Waits for the turn of a change of this node.
    ///
    /// # Errors
    /// Code 40400 for an app that is deleted.
    pub(super) async fn take_turn(&self) -> Result<Turn, ErrorInfo> {
        let is_deleted = Arc::clone(&self.facts.turn).lock_owned().await;
        match self.me.upgrade() {
            Some(app) if !*is_deleted => Ok(Turn { app, is_deleted: Some(is_deleted) }),
            Some(_) | None => Err(error::unknown_app()),
        }
    }

    /// Applies a fact that was stored before, or that another node has changed. Without a value it was removed.
    ///
    /// The key is that of the engine, which begins with the app's id. The order of the calls is that of the changes.
    pub(in crate::front) fn apply_fact(&self, bucket: Bucket, key: String, value: Option<Bytes>) {
        self.facts.waiting().push((bucket, key, value));
        self.apply_waiting();
    }

    /// Applies the changes that wait, unless a change of this node is under way: then it does that at its end.
    fn apply_waiting(&self) {
        while !self.facts.waiting().is_empty() {
            let Ok(_turn) = self.facts.turn.try_lock() else { return };
            let waiting = std::mem::take(&mut *self.facts.waiting());
            for (bucket, key, value) in waiting {
                if let Err(reason) = self.apply(bucket, &key, value.as_deref()) {
                    // The key may have the id of a device or of a client, which is no secret.
                    tracing::error!(app = self.id(), ?bucket, key, reason, "a fact is not applied");
                }
            }
        }
    }

    fn apply(&self, bucket: Bucket, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let own = key.strip_prefix(self.id()).and_then(|key| key.strip_prefix('/'));
        match (bucket, own) {
            (Bucket::Push, Some(key)) => {
                let change = PushChange::read(key, value)?;
                self.with(|hub, _| hub.apply_push(change));
                Ok(())
            }
            _ => Err("it is not a fact of this app".to_owned()),
        }
    }

    /// Uses the nonce of a token request. With an engine, no other node and no later process accepts it again.
    ///
    /// # Errors
    /// Code 40105 if it was used before; 42910 when there are too many, without an engine; 50003 and 50000 for the engine.
    pub(in crate::front) async fn use_nonce(
        &self,
        nonce: &Nonce,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        let Some(log) = &self.log else { return self.with(|hub, _| hub.use_nonce(nonce, now)) };
        let key = format!("{}/{}", self.id(), nonce.text());
        match log.engine.create_fact(Bucket::Nonces, &key, Bytes::from_static(b"1")).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error::nonce_replayed()),
            Err(problem) => Err(refused(&problem)),
        }
    }

    /// Removes what is stored of an app that is deleted. Changes that come later are refused.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    pub(in crate::front) async fn forget_facts(&self) -> Result<(), ErrorInfo> {
        let mut turn = self.facts.turn.lock().await;
        *turn = true;
        self.webhooks.end();
        let Some(log) = &self.log else { return Ok(()) };
        // A snapshot that is being written would stay.
        self.objects_settle().await;
        let prefix = format!("{}/", self.id());
        for bucket in [Bucket::Push, Bucket::Stats, Bucket::Snapshots, Bucket::Apps] {
            let removed = remove(&*log.engine, bucket, &prefix).await;
            removed.map_err(|problem| refused(&problem))?;
        }
        Ok(())
    }

    fn fact(&self, change: &PushChange) -> (String, Option<Bytes>) {
        let (key, value) = change.fact();
        (format!("{}/{key}", self.id()), value)
    }

    pub(super) async fn set_facts(
        &self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), ErrorInfo> {
        let Some(log) = &self.log else { return Ok(()) };
        let is_followed = matches!(bucket, Bucket::Push | Bucket::Apps);
        let keys = facts.iter().map(|(key, _)| key.clone()).collect();
        log.engine.set_facts(bucket, facts).await.map_err(|problem| refused(&problem))?;
        if let Some(cluster) = log.cluster.as_ref().filter(|_| is_followed) {
            cluster.spread(bucket, keys).await;
        }
        Ok(())
    }
}

/// Removes the facts whose keys begin with `prefix`.
async fn remove(engine: &dyn Engine, bucket: Bucket, prefix: &str) -> Result<(), EngineError> {
    loop {
        let page = engine.facts(bucket, prefix, None, PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        engine.set_facts(bucket, page.into_iter().map(|fact| (fact.key, None)).collect()).await?;
    }
}

fn refused(problem: &EngineError) -> ErrorInfo {
    tracing::error!(%problem, "the engine has not stored");
    error::engine(problem)
}

#[cfg(test)]
mod tests {
    use std::{sync::Weak, time::Duration};

    use super::*;
    use crate::{
        front::{clock::Clock, webhooks::Webhooks},
        hub::{AppSpec, Retention, Settings, secret::Secret},
    };

    fn app() -> Arc<AppHandle> {
        let hour = Duration::from_secs(3600);
        let settings = Arc::new(Settings {
            server_id: "test".into(),
            connection_secret: Secret::new("connections"),
            connection_state_ttl: hour,
            max_idle_interval: hour,
            max_message_size: 1000,
            max_frame_size: 1000,
            max_presence_members: 10,
            presence_remain: hour,
            objects_grace_period: hour,
            max_inbound_rate: None,
            max_channels: None,
            max_connections: None,
            max_request_rate: None,
            max_log_bytes: 1000,
            max_objects: 100,
            max_objects_bytes: 1000,
            retention: Retention { frames: 10, bytes: 1000, age: hour },
        });
        let clock = Arc::new(Clock::start());
        let spec = AppSpec { id: "app-id".into(), ..AppSpec::default() };
        let hub = App::new(Arc::clone(&settings), spec, clock.now());
        let webhooks = Webhooks::new("app-id".into(), Arc::default(), clock, None, None);
        let rearm = Arc::default();
        AppHandle::new(hub, settings, None, Weak::new(), rearm, "node".into(), webhooks)
    }

    fn has(app: &AppHandle, broadcast: &str) -> bool {
        app.with(|hub, _| format!("{hub:?}").contains(&format!("\"{broadcast}\": Created")))
    }

    #[tokio::test]
    async fn a_change_of_another_node_comes_after_the_one_that_is_under_way() {
        let app = app();
        let set = |app: &AppHandle, id: &str, value: Option<&'static str>| {
            let value = value.map(|value| Bytes::from_static(value.as_bytes()));
            app.apply_fact(Bucket::Push, format!("app-id/broadcast/{id}"), value);
        };
        set(&app, "a", Some("\"Created\""));
        assert!(has(&app, "a"));
        let turn = app.take_turn().await.unwrap();
        set(&app, "a", None);
        set(&app, "b", Some("\"Created\""));
        set(&app, "c", Some("\"Created\""));
        set(&app, "c", None);
        // What is not readable, or of another app, changes nothing.
        set(&app, "a", Some("\"Unknown\""));
        app.apply_fact(Bucket::Push, "other/broadcast/d".into(), Some("\"Created\"".into()));
        assert!(has(&app, "a") && !has(&app, "b"), "it waits");
        drop(turn);
        assert!(!has(&app, "a") && has(&app, "b") && !has(&app, "c") && !has(&app, "d"));
    }

    #[tokio::test]
    async fn a_deleted_app_takes_no_changes() {
        let app = app();
        app.forget_facts().await.unwrap();
        let changed = app.change_push(|_| Ok(((), Vec::new()))).await;
        assert_eq!(changed.unwrap_err().code.0, 40400);
    }
}
