//! Where the delivery of rules stands, in the engine, so that the next server goes on from there.
//!
//! Positions of one engine grow over all channels, so one position a rule is enough: everything up to it was delivered or given
//! up. An engine does not list its channels, so the names of those with events are stored, each before its entry.
//!
//! In a cluster, positions are those of a channel, and each channel has a node that delivers its events
//! ([`shared`](super::shared)).

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{Millis, Str};
use tokio::time::Instant;

use super::{News, Progress, Reading, SharedChannels, Webhooks, rule::RunningRule};
use crate::{
    engine::{Append, Bucket, Engine, EngineError, Kind, Position},
    hub::{ChannelEvent, NodeId, is_metachannel},
};

/// The keys of facts with rules: the app, this, and the id.
pub(in crate::front) const RULES: &str = "/rules/";

/// The keys of facts with positions: the app, this, and the id of the rule.
pub(in crate::front) const DELIVERED: &str = "/delivered/";

/// The keys of facts with names of channels: the app, this, and the name.
pub(in crate::front) const HOOKED: &str = "/hooked/";

/// The keys of facts with the times when nodes of a cluster were first started with a rule: the app, this, and the id of the rule.
pub(in crate::front) const BEGUN: &str = "/begun/";

/// The keys of facts with the progress of a channel in a cluster: the app, this, and the name.
const PROGRESS: &str = "/webhooks/";

/// How often positions are stored while they change.
pub(in crate::front) const STORE: Duration = Duration::from_secs(1);

/// After so many stores, the names of channels are removed that have no events to deliver.
const FORGET: u32 = 60;

/// How long the name of a channel is stored after its last entry: as long as its entries.
pub(super) const KEPT: Duration = Duration::from_secs(600);

type Facts = Vec<(String, Option<Bytes>)>;

impl Webhooks {
    /// Stores the names of the channels of these entries, which are about to be appended, if events of them would be lost
    /// otherwise.
    pub(in crate::front) fn store_channels(&self, appends: &[Append]) {
        let Some(engine) = &self.engine else { return };
        if appends.is_empty() || !self.is_active() {
            return;
        }
        let rules = self.all();
        let covers = |name: &str| rules.iter().any(|rule| rule.state.covers(name));
        let mut hooked = self.hooked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut facts = Facts::new();
        for append in appends {
            let name = &*append.channel.name;
            let is_reported = matches!(append.kind, Kind::Messages | Kind::Change | Kind::Presence);
            if !is_reported || is_metachannel(name) {
                continue;
            }
            let is_new = match &self.shared {
                Some(shared) => covers(name) && shared.note(name, append.time),
                None => match hooked.get_mut(name) {
                    Some(last) => {
                        *last = Instant::now();
                        false
                    }
                    None => covers(name) && hooked.insert(name.into(), Instant::now()).is_none(),
                },
            };
            if is_new {
                let since = Bytes::from(append.time.to_string());
                facts.push((self.key(HOOKED, name), Some(since)));
            }
        }
        give(engine, facts);
    }

    /// Another node has committed an entry with events.
    pub(in crate::front) fn has_news(&self, name: &str, news: News) {
        if self.shared.as_ref().is_some_and(|shared| shared.has_news(name, news)) {
            self.store_channel(name, news.time);
        }
    }

    /// Stores the name of a channel whose events since this time, in ms since the epoch, may not be delivered.
    pub(super) fn store_channel(&self, name: &str, since: Millis) {
        if let Some(engine) = &self.engine {
            let value = Bytes::from(since.to_string());
            give(engine, vec![(self.key(HOOKED, name), Some(value))]);
        }
    }

    /// Removes the names of channels whose entries have all expired, or may have.
    fn forget_channels(&self) {
        let Some(engine) = self.own_engine() else { return };
        let mut hooked = self.hooked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut facts = Facts::new();
        hooked.retain(|name, last| {
            let is_kept = last.elapsed() <= KEPT;
            if !is_kept {
                facts.push((self.key(HOOKED, name), None));
            }
            is_kept
        });
        // With the lock: an entry that comes now stores the name again, and that must be the later change.
        give(engine, facts);
    }

    /// Notes that names of channels are stored.
    pub(in crate::front) fn restore_channel(&self, name: Str) {
        let mut hooked = self.hooked.lock().unwrap_or_else(PoisonError::into_inner);
        hooked.insert(name, Instant::now());
    }

    /// The position after which events of any rule may not have been delivered.
    pub(in crate::front) fn undelivered_after(&self) -> Option<Position> {
        self.all().iter().map(|rule| rule.begin).min()
    }

    /// Queues an event of an earlier server for the rules that have not delivered it.
    pub(in crate::front) fn push_again(&self, event: &ChannelEvent, position: Position) {
        for rule in self.all() {
            if position > rule.begin {
                rule.push(event);
            }
        }
    }

    /// Stores where the delivery stands.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot store it.
    pub(in crate::front) async fn store_positions(&self) -> Result<(), EngineError> {
        let Some(engine) = &self.engine else { return Ok(()) };
        if let Some(shared) = &self.shared {
            return self.store_progress(engine, shared).await;
        }
        let changed = self.all().into_iter().filter_map(|rule| {
            let delivered = rule.delivered();
            (delivered != rule.stored()).then_some((rule, delivered))
        });
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        let facts = changed.iter().map(|(rule, delivered)| {
            (self.key(DELIVERED, rule.state.id()), Some(delivered.0.to_string().into()))
        });
        engine.set_facts(Bucket::Apps, facts.collect()).await?;
        for (rule, delivered) in changed {
            rule.set_stored(delivered);
        }
        Ok(())
    }

    /// The fact with the position at which a new rule begins.
    pub(in crate::front) fn position_of_new(&self, id: &str) -> Option<(String, Option<Bytes>)> {
        self.own_engine()?;
        Some((self.key(DELIVERED, id), Some(self.now().0.to_string().into())))
    }

    /// Stores the progress of the channels of this node, and forgets those that have had no entries for long.
    async fn store_progress(
        &self,
        engine: &Arc<dyn Engine>,
        shared: &SharedChannels,
    ) -> Result<(), EngineError> {
        let rules = self.all();
        let (changed, idle) = shared.changed(|name, reading| progress(&rules, name, reading));
        if !changed.is_empty() {
            let facts = changed.iter().map(|(name, progress)| {
                let value = serde_json::to_vec(progress).ok().map(Bytes::from);
                (self.key(PROGRESS, name), value)
            });
            engine.set_facts(Bucket::Snapshots, facts.collect()).await?;
            shared.stored(changed);
        }
        if idle.is_empty() {
            return Ok(());
        }
        // First here: a node that commits an entry meanwhile tells this one, which adds the channel again.
        idle.iter().for_each(|name| shared.unhooked(name));
        let removed = |kind| idle.iter().map(|name| (self.key(kind, name), None)).collect();
        engine.set_facts(Bucket::Apps, removed(HOOKED)).await?;
        engine.set_facts(Bucket::Snapshots, removed(PROGRESS)).await
    }

    /// The progress that is stored of a channel. `None` if none is.
    pub(in crate::front) async fn stored_progress(
        &self,
        name: &str,
    ) -> Result<Option<Progress>, EngineError> {
        let Some(engine) = &self.engine else { return Ok(None) };
        let value = engine.fact(Bucket::Snapshots, &self.key(PROGRESS, name)).await?;
        Ok(value.and_then(|value| match serde_json::from_slice(&value) {
            Ok(progress) => Some(progress),
            Err(problem) => {
                tracing::error!(%problem, channel = name, "what webhooks have delivered cannot be read");
                None
            }
        }))
    }

    /// Gives the events of entries that were read to the rules that have not delivered them.
    pub(in crate::front) fn push_read(
        &self,
        events: &[(Position, ChannelEvent)],
        reading: &Reading,
    ) {
        for rule in self.all() {
            let after = reading.begun_after(rule.state.id());
            for (position, event) in events {
                if position.0 > after && event.time >= rule.state.created() {
                    rule.push(event);
                }
            }
        }
    }

    /// The ids of the rules.
    pub(in crate::front) fn ids(&self) -> Vec<String> {
        self.all().iter().map(|rule| rule.state.id().to_owned()).collect()
    }

    /// Other nodes of the cluster are alive now: some channels may be theirs.
    pub(in crate::front) fn set_nodes(&self, nodes: BTreeSet<NodeId>) {
        let Some(shared) = &self.shared else { return };
        let rules = self.all();
        let lost = shared.set_nodes(nodes, |name, reading| progress(&rules, name, reading));
        if !lost.is_empty() {
            rules.iter().for_each(|rule| rule.state.queue().leave(&lost));
        }
    }

    /// The engine, if no other server uses it.
    fn own_engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.as_ref().filter(|_| self.shared.is_none())
    }

    pub(in crate::front) fn key(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}{name}", self.app)
    }

    pub(super) fn start_keeper(&self) {
        if self.own_engine().is_none() {
            return;
        }
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() {
            let task = tokio::spawn(keep(Weak::clone(&self.me)));
            *keeper = Some(task.abort_handle());
        }
    }
}

/// Stores where the delivery of an app stands, for as long as it has webhooks.
async fn keep(webhooks: Weak<Webhooks>) {
    for round in 1_u32.. {
        tokio::time::sleep(STORE).await;
        let Some(webhooks) = webhooks.upgrade() else { return };
        if let Err(problem) = webhooks.store_positions().await {
            tracing::warn!(%problem, "where the webhooks stand was not stored");
        }
        if round % FORGET == 0 {
            webhooks.forget_channels();
        }
    }
}

/// How far the delivery of a channel's events has come.
fn progress(rules: &[Arc<RunningRule>], name: &Str, reading: &Reading) -> Progress {
    let read = reading.read.0;
    let delivered = |rule: &Arc<RunningRule>| {
        let id = rule.state.id();
        let oldest = rule.state.queue().oldest_of(name);
        let delivered = oldest.map_or(read, |oldest| oldest.0.saturating_sub(1));
        // This node reads events again that this rule had delivered already, if another rule had not.
        (id.to_owned(), delivered.max(reading.begun_after(id)))
    };
    let covering = rules.iter().filter(|rule| rule.state.covers(name));
    Progress { read, rules: covering.map(delivered).collect() }
}

/// Gives facts to the engine, which commits them before the entries that it is given next.
fn give(engine: &Arc<dyn Engine>, facts: Facts) {
    if facts.is_empty() {
        return;
    }
    let engine = Arc::clone(engine);
    let mut stored = Box::pin(async move {
        if let Err(problem) = engine.set_facts(Bucket::Apps, facts).await {
            tracing::warn!(%problem, "the channels of webhooks were not stored");
        }
    });
    // The engine has the facts after the first poll.
    if stored.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::spawn(stored);
    }
}
