//! Statistics of an app in the engine. Each node stores what it counts, about once a minute.
//!
//! A key is `app/interval/node`. What clients have posted has no node.

use capably_protocol::ErrorInfo;

use super::{AppHandle, facts::PAGE};
use crate::{
    engine::{Bucket, Fact},
    hub::{
        Interval, Now, Page, StatsQuery,
        auth::Identity,
        error,
        stored_stats::{self, Elsewhere},
    },
};

impl AppHandle {
    /// A page of the statistics of all nodes (RSC6).
    ///
    /// # Errors
    /// Code 40160 for the capability; 50003 and 50000 for the engine.
    pub(in crate::front) async fn stats(
        &self,
        identity: &Identity,
        query: &StatsQuery,
        now: Now,
    ) -> Result<Page<Interval>, ErrorInfo> {
        let elsewhere = self.stats_elsewhere(query).await?;
        self.with(|hub, _| hub.stats(identity, query, &elsewhere, now))
    }

    /// Replaces statistics of past intervals.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for an invalid interval id or too many intervals; 40400 for an app that is
    /// deleted; 50003 and 50000 for the engine.
    pub(in crate::front) async fn post_stats(
        &self,
        identity: &Identity,
        intervals: Vec<Interval>,
    ) -> Result<(), ErrorInfo> {
        let turn = self.take_turn().await?;
        let posted = self.with(|hub, _| hub.check_posted(identity, intervals))?;
        turn.finish(async move |app| {
            let facts = posted.facts().into_iter();
            let facts = facts.map(|(interval, value)| (app.stats_key(&interval, ""), value));
            app.set_facts(Bucket::Stats, facts.collect()).await?;
            app.with(|hub, _| hub.add_posted(posted));
            Ok(())
        })
        .await
    }

    /// Stores what this node has counted since it did so before. What the engine does not store is tried again the next
    /// time.
    pub(in crate::front) async fn store_stats(&self) {
        // The statistics of a deleted app are not needed any more.
        let Ok(turn) = self.take_turn().await else { return };
        let stored = turn.finish(async |app| {
            let counted = app.with(|hub, _| hub.take_stats());
            if counted.is_empty() {
                return Ok(());
            }
            let node = &app.facts.node;
            let facts = counted.iter();
            let facts =
                facts.map(|(interval, value)| (app.stats_key(interval, node), value.clone()));
            let stored = app.set_facts(Bucket::Stats, facts.collect()).await;
            if stored.is_err() {
                let intervals = counted.iter().map(|(interval, _)| &**interval);
                app.with(|hub, _| hub.put_back_stats(intervals));
            }
            stored
        });
        // The engine's problem is logged.
        let _ = stored.await;
    }

    /// Adds a fact of statistics that was stored before the node was started.
    pub(in crate::front) fn restore_stats(&self, fact: &Fact) {
        let Some((interval, node)) = self.read_stats_key(&fact.key) else { return };
        let restored = match node {
            "" => self.with(|hub, _| hub.restore_posted(interval, &fact.value)),
            node if node == &*self.facts.node => {
                self.with(|hub, _| hub.restore_stats(interval, &fact.value))
            }
            // Read when a client asks.
            _ => Ok(()),
        };
        if let Err(reason) = restored {
            tracing::error!(key = fact.key, reason, "statistics are not readable");
        }
    }

    /// Reads the statistics of other nodes, as far as the query needs them.
    async fn stats_elsewhere(&self, query: &StatsQuery) -> Result<Elsewhere, ErrorInfo> {
        let mut elsewhere = Elsewhere::default();
        let Some(log) = &self.log else { return Ok(elsewhere) };
        let prefix = format!("{}/", self.id());
        let (first, last) = stored_stats::bounds(query);
        let mut after = first.map(|month| format!("{prefix}{month}"));
        loop {
            let page = log.engine.facts(Bucket::Stats, &prefix, after.as_deref(), PAGE).await;
            let page = page.map_err(|problem| {
                tracing::error!(%problem, "the engine cannot be read");
                error::engine(&problem)
            })?;
            let Some(fact) = page.last() else { return Ok(elsewhere) };
            after = Some(fact.key.clone());
            for fact in page {
                let Some((interval, node)) = self.read_stats_key(&fact.key) else { continue };
                if last.as_deref().is_some_and(|last| interval > last) {
                    return Ok(elsewhere);
                }
                let added = match node {
                    "" => elsewhere.add_posted(interval, &fact.value),
                    node if node == &*self.facts.node => Ok(()),
                    _ => elsewhere.add(interval, &fact.value),
                };
                if let Err(reason) = added {
                    tracing::error!(key = fact.key, reason, "statistics are not readable");
                }
            }
        }
    }

    fn stats_key(&self, interval: &str, node: &str) -> String {
        format!("{}/{interval}/{node}", self.id())
    }

    /// The interval and the node in a key.
    fn read_stats_key<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        key.strip_prefix(self.id())?.strip_prefix('/')?.split_once('/')
    }
}
