//! Webhooks: the rules of an app, and the delivery of its events to their endpoints.
//!
//! The hub reports events ([`ChannelEvent`]) under the lock of the app, and each rule that covers them queues them. A task of the
//! rule sends them. So a slow endpoint slows neither the app nor the endpoint of another rule.

mod address;
mod event;
mod http;
mod keeper;
mod payload;
mod queue;
mod rule;
mod shared;
#[cfg(feature = "tls")]
mod tls;
mod worker;
mod writer;

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, Str};
use serde_json::Value;
use tokio::{task::AbortHandle, time::Instant};

use self::rule::{NewRule, RunningRule};
pub(crate) use self::{address::Allowed, http::Outbound, queue::Bounds, worker::Retry};
pub(super) use self::{
    keeper::{BEGUN, DELIVERED, HOOKED, RULES, STORE},
    shared::{Due, News, Progress, Reading, SharedChannels},
};
use super::{clock::Clock, cluster::Cluster};
use crate::{
    engine::{Engine, Position},
    hub::{ChannelEvent, Happening, Observed, auth::Key, error},
    webhooks::{Rule, Source},
};

/// The most rules of an app.
const MAX_RULES: usize = 50;

/// The settings that the rules of all apps share.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) outbound: Outbound,
    pub(crate) bounds: Bounds,
    pub(crate) retry: Retry,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            outbound: Outbound::new(Allowed::default(), Duration::from_secs(10)),
            bounds: Bounds { events: 50_000, bytes: 32 * 1024 * 1024 },
            retry: Retry { unit: Duration::from_secs(1) },
        }
    }
}

/// Receives the failures of rules.
pub(super) trait Failures: Debug + Send + Sync {
    /// No request delivers so many events of a rule.
    fn gave_up(&self, rule: &str, events: usize, problem: &ErrorInfo);
}

/// The webhooks of an app.
#[derive(Debug)]
pub(super) struct Webhooks {
    app: Str,
    defaults: Arc<Defaults>,
    clock: Arc<Clock>,
    /// Stores where the delivery stands.
    engine: Option<Arc<dyn Engine>>,
    /// The channels of a cluster, whose nodes share the engine.
    shared: Option<Arc<SharedChannels>>,
    rules: RwLock<Vec<Arc<RunningRule>>>,
    /// Whether there are rules. Most apps have none.
    is_active: AtomicBool,
    /// The channels whose names the engine has stored, and when each last had an entry.
    hooked: Mutex<HashMap<Str, Instant>>,
    keeper: Mutex<Option<AbortHandle>>,
    failures: OnceLock<Weak<dyn Failures>>,
    me: Weak<Webhooks>,
}

/// A rule that is about to be added.
#[derive(Debug)]
pub(super) struct Addition {
    pub(super) id: String,
    pub(super) rule: Rule,
    /// The key that signs requests.
    pub(super) key: Option<Arc<Key>>,
    pub(super) created: Millis,
    /// The time of the last update, in ms since the epoch.
    pub(super) modified: Millis,
    /// The position up to which its events were delivered. `None` for a rule that begins now.
    pub(super) delivered: Option<Position>,
    /// Whether the server was started with the rule.
    pub(super) is_given: bool,
}

impl Webhooks {
    pub(super) fn new(
        app: Str,
        defaults: Arc<Defaults>,
        clock: Arc<Clock>,
        engine: Option<Arc<dyn Engine>>,
        cluster: Option<Arc<Cluster>>,
    ) -> Arc<Self> {
        let shared = cluster.map(|cluster| SharedChannels::new(cluster, app.clone()));
        Arc::new_cyclic(|me| Self {
            app,
            defaults,
            clock,
            engine,
            shared: shared.map(Arc::new),
            rules: RwLock::default(),
            is_active: AtomicBool::new(false),
            hooked: Mutex::default(),
            keeper: Mutex::default(),
            failures: OnceLock::new(),
            me: Weak::clone(me),
        })
    }

    /// The clock of the app.
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Sets who is told of failures, once.
    pub(super) fn set_failures(&self, failures: Weak<dyn Failures>) {
        // The app sets it when it is made.
        let _ = self.failures.set(failures);
    }

    fn gave_up(&self, rule: &str, events: usize, problem: &ErrorInfo) {
        if let Some(failures) = self.failures.get().and_then(Weak::upgrade) {
            failures.gave_up(rule, events, problem);
        }
    }

    /// Whether there are rules.
    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Queues events for the rules that cover them. The caller has the lock of the app, so they are in their order.
    pub(super) fn push(&self, events: &[ChannelEvent]) {
        if events.is_empty() {
            return;
        }
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match (&self.shared, &event.happening) {
                // The node that delivers the events of the channel reads the entry.
                (Some(shared), Happening::Entry(entry)) => {
                    if rules.iter().any(|rule| rule.state.covers(&event.channel)) {
                        let news = News { position: entry.position().0, time: event.time };
                        if shared.committed(&event.channel, news) {
                            self.store_channel(&event.channel, news.time);
                        }
                    }
                }
                _ => rules.iter().for_each(|rule| rule.push(event)),
            }
        }
    }

    /// The channels of a cluster.
    pub(super) fn shared(&self) -> Option<&Arc<SharedChannels>> {
        self.shared.as_ref()
    }

    /// Checks whether a rule may be added.
    ///
    /// # Errors
    /// Code 40125 when there are as many as there may be, 40000 for an address that the server may not call.
    pub(super) fn admit(&self, rule: &Rule) -> Result<(), ErrorInfo> {
        let count = self.all().len();
        if count >= MAX_RULES {
            return Err(error::too_many_rules(MAX_RULES));
        }
        self.check_address(rule)
    }

    /// Checks whether the server may call the address of a rule, if the URL has it.
    ///
    /// # Errors
    /// Code 40000 for one that it may not call.
    pub(super) fn check_address(&self, rule: &Rule) -> Result<(), ErrorInfo> {
        self.defaults.outbound.check(&rule.uri()?).map_err(error::bad_request)
    }

    /// Adds a rule, in place of one with the same id.
    ///
    /// # Errors
    /// Code 40000 with the first field that is not valid.
    pub(super) fn add(&self, addition: Addition) -> Result<(), ErrorInfo> {
        let Addition { id, rule, key, created, modified, delivered, is_given } = addition;
        let (begin, is_stored) = (delivered.unwrap_or_else(|| self.now()), delivered.is_some());
        let app = self.app.clone();
        let webhooks = Weak::clone(&self.me);
        let new =
            NewRule { app, id, rule, key, created, modified, begin, is_stored, is_given, webhooks };
        let rule = RunningRule::start(new, &self.defaults, Arc::clone(&self.clock))?;
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|other| other.state.id() != rule.state.id());
        rules.push(Arc::new(rule));
        self.is_active.store(true, Ordering::Release);
        drop(rules);
        self.start_keeper();
        Ok(())
    }

    /// Replaces the fields of a rule. What waits for its endpoint, and its counts, stay.
    ///
    /// # Errors
    /// Code 40400 for an unknown rule, 40000 with the first field that is not valid.
    pub(super) fn update(
        &self,
        id: &str,
        rule: Rule,
        key: Option<Arc<Key>>,
        modified: Millis,
    ) -> Result<(), ErrorInfo> {
        let known = self.rule(id).ok_or_else(error::unknown_rule)?;
        Ok(known.state.update(rule, key, modified, &self.defaults.outbound)?)
    }

    /// The fields of a rule, and the time of its creation.
    pub(super) fn rule_and_creation(&self, id: &str) -> Option<(Rule, Millis)> {
        self.rule(id).map(|rule| (rule.state.rule(), rule.state.created()))
    }

    /// Removes a rule. What waits for its endpoint is dropped.
    pub(super) fn remove(&self, id: &str) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| rule.state.id() != id);
        self.is_active.store(!rules.is_empty(), Ordering::Release);
    }

    /// Ends the delivery, for as long as the server is not started again.
    pub(super) fn end(&self) {
        if let Some(shared) = &self.shared {
            shared.end();
        }
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        keeper.iter().for_each(AbortHandle::abort);
        self.rules.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_active.store(false, Ordering::Release);
    }

    /// The descriptions of all rules, in the order of their creation.
    pub(super) fn describe_all(&self) -> Vec<Value> {
        self.all().iter().map(|rule| rule.state.describe()).collect()
    }

    /// The description of a rule.
    pub(super) fn describe(&self, id: &str) -> Option<Value> {
        self.rule(id).map(|rule| rule.state.describe())
    }

    /// Whether the server was started with the rule. `None` if there is no such rule.
    pub(super) fn is_given(&self, id: &str) -> Option<bool> {
        self.rule(id).map(|rule| rule.state.is_given())
    }

    /// The events of a rule that were given up, as JSON: their number, and the newest `limit`.
    pub(super) fn dead_letters(&self, id: &str, limit: usize) -> Option<Value> {
        self.rule(id).map(|rule| rule.state.dead_letters(limit))
    }

    /// Empties a rule's list of dead letters. Returns whether there is such a rule.
    pub(super) fn clear_dead_letters(&self, id: &str) -> bool {
        let rule = self.rule(id);
        rule.inspect(|rule| rule.state.queue().clear_dead()).is_some()
    }

    /// The sources that rules report.
    pub(super) fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        for rule in self.all() {
            let source = match rule.state.source() {
                Source::Message => &mut observed.messages,
                Source::Presence => &mut observed.presence,
                Source::Lifecycle => &mut observed.lifecycle,
                Source::Occupancy => &mut observed.occupancy,
            };
            *source |= rule.state.is_enabled();
        }
        observed
    }

    /// The position before the entries that an engine of one server commits from this millisecond on.
    fn now(&self) -> Position {
        let now = u64::try_from(self.clock.now().wall).unwrap_or(0);
        Position(now.saturating_mul(1000).saturating_sub(1))
    }

    fn rule(&self, id: &str) -> Option<Arc<RunningRule>> {
        self.all().into_iter().find(|rule| rule.state.id() == id)
    }

    fn all(&self) -> Vec<Arc<RunningRule>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.end();
    }
}
