//! Where the delivery of rules stands, in the engine, so that the next server goes on from there.
//!
//! Positions of one engine grow over all channels, so one position a rule is enough: everything up to it was delivered or given
//! up. An engine does not list its channels, so the names of those with events are stored, each before its entry.
//!
//! In a cluster nothing is stored: the nodes deliver what they have published.

use std::{
    sync::{Arc, PoisonError, Weak},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::Str;
use tokio::time::Instant;

use super::Webhooks;
use crate::{
    engine::{Append, Bucket, Engine, EngineError, Kind, Position},
    hub::{ChannelEvent, Ticket, is_metachannel},
};

/// The keys of facts with rules: the app, this, and the id.
pub(in crate::front) const RULES: &str = "/rules/";

/// The keys of facts with positions: the app, this, and the id of the rule.
pub(in crate::front) const DELIVERED: &str = "/delivered/";

/// The keys of facts with names of channels: the app, this, and the name.
pub(in crate::front) const HOOKED: &str = "/hooked/";

/// How often positions are stored while they change.
const STORE: Duration = Duration::from_secs(1);

/// After so many stores, the names of channels are removed that have no events to deliver.
const FORGET: u32 = 60;

/// How long the name of a channel is stored after its last entry: as long as its entries.
const KEPT: Duration = Duration::from_secs(600);

type Facts = Vec<(String, Option<Bytes>)>;

impl Webhooks {
    /// Stores the names of the channels of these entries, which are about to be appended, if events of them would be lost
    /// otherwise.
    pub(in crate::front) fn store_channels(&self, appends: &[(Ticket, Append)]) {
        let Some(engine) = &self.engine else { return };
        if appends.is_empty() || !self.is_active() {
            return;
        }
        let rules = self.all();
        let mut hooked = self.hooked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut facts = Facts::new();
        for (_, append) in appends {
            let name = &*append.channel.name;
            let is_reported = matches!(append.kind, Kind::Messages | Kind::Change | Kind::Presence);
            if !is_reported || is_metachannel(name) {
                continue;
            }
            if let Some(last) = hooked.get_mut(name) {
                *last = Instant::now();
            } else if rules.iter().any(|rule| rule.state.covers(name)) {
                hooked.insert(Str::from(name), Instant::now());
                facts.push((self.key(HOOKED, name), Some(Bytes::from_static(b"1"))));
            }
        }
        give(engine, facts);
    }

    /// Removes the names of channels whose entries have all expired, or may have.
    fn forget_channels(&self) {
        let Some(engine) = &self.engine else { return };
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
        self.engine.as_ref()?;
        Some((self.key(DELIVERED, id), Some(self.now().0.to_string().into())))
    }

    pub(in crate::front) fn key(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}{name}", self.app)
    }

    pub(super) fn start_keeper(&self) {
        if self.engine.is_none() {
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
