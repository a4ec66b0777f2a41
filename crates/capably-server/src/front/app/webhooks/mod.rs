//! The rules of an app in the engine, and the events that are read from it.

mod events;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, JsonObject, Millis, Str};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AppHandle, fetch::failed};
use crate::{
    engine::{Bucket, Fact},
    front::{
        random,
        webhooks::{Addition, BEGUN, DELIVERED, Failures, HOOKED, RULES},
    },
    hub::{Position, auth::Key, error},
    webhooks::Rule,
};

/// The length of the id of a rule.
const ID_LEN: usize = 6;

/// A rule as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRule {
    created: Millis,
    /// The time of the last update. Rules of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Millis>,
    rule: Value,
}

impl StoredRule {
    /// # Errors
    /// Code 50000 when it cannot be encoded.
    fn encode(rule: &Rule, created: Millis, modified: Option<Millis>) -> Result<Bytes, ErrorInfo> {
        let stored = Self { created, modified, rule: Value::Object(rule.to_object()) };
        serde_json::to_vec(&stored).map(Bytes::from).map_err(|_| error::not_stored())
    }
}

/// What is stored of the webhooks of an app.
#[derive(Debug, Default)]
pub(in crate::front) struct StoredWebhooks {
    rules: Vec<(String, StoredRule)>,
    /// The position up to which events of a rule were delivered.
    delivered: HashMap<String, Position>,
    /// The channels with events, and since when they have some, in ms since the epoch.
    channels: Vec<(Str, Millis)>,
}

impl StoredWebhooks {
    /// Reads a fact of the app, if it is one of webhooks.
    pub(in crate::front) fn read(&mut self, app: &str, fact: &Fact) {
        let Some(rest) = fact.key.strip_prefix(app) else { return };
        let text = std::str::from_utf8(&fact.value).unwrap_or_default();
        if let Some(id) = rest.strip_prefix(RULES) {
            match serde_json::from_str(text) {
                Ok(rule) => self.rules.push((id.to_owned(), rule)),
                Err(problem) => tracing::error!(app, id, %problem, "a rule cannot be read"),
            }
        } else if let Some(id) = rest.strip_prefix(DELIVERED) {
            if let Ok(position) = text.parse() {
                self.delivered.insert(id.to_owned(), Position(position));
            }
        } else if let Some(name) = rest.strip_prefix(HOOKED) {
            self.channels.push((name.into(), since(text)));
        }
    }
}

/// The time in the fact of a channel with events. Earlier versions stored none.
fn since(value: &str) -> Millis {
    value.parse().ok().filter(|since| *since > 1).unwrap_or(0)
}

impl Failures for AppHandle {
    fn gave_up(&self, rule: &str, events: usize, problem: &ErrorInfo) {
        let now = self.clock.now();
        self.with(|hub, outputs| hub.webhook_failed(rule, events, problem, now, outputs));
    }
}

impl AppHandle {
    /// Adds a rule, and stores it. Returns its description.
    ///
    /// # Errors
    /// Code 40125 for too many rules, 40000 for an invalid one, 40400 for an unknown key or a deleted app; 50003 and 50000 for
    /// the engine.
    pub(in crate::front) async fn create_rule(&self, rule: Rule) -> Result<Value, ErrorInfo> {
        let id = random::text(ID_LEN).map_err(|_| error::not_stored())?;
        let created = self.clock.now().wall;
        let addition = self.addition(id.clone(), rule, (created, created), None, false)?;
        let turn = self.take_turn().await?;
        self.webhooks.admit(&addition.rule)?;
        let value = StoredRule::encode(&addition.rule, created, None)?;
        let (key, new) = (self.webhooks.key(RULES, &id), id.clone());
        turn.finish(async move |app| {
            let mut facts = vec![(key, Some(value))];
            facts.extend(app.webhooks.position_of_new(&new));
            app.set_facts(Bucket::Apps, facts).await?;
            app.add_rule(addition)
        })
        .await?;
        self.webhooks.describe(&id).ok_or_else(error::unknown_app)
    }

    /// Changes fields of a rule, and stores it. Returns its description.
    ///
    /// # Errors
    /// Code 40400 for an unknown rule or key, 40000 for a field that is not valid and for a rule that the server was started
    /// with; 50003 and 50000 for the engine.
    pub(in crate::front) async fn update_rule(
        &self,
        id: &str,
        patch: JsonObject,
    ) -> Result<Value, ErrorInfo> {
        let turn = self.take_turn().await?;
        self.require_own_rule(id)?;
        let (rule, created) =
            self.webhooks.rule_and_creation(id).ok_or_else(error::unknown_rule)?;
        let rule = rule.patched(patch)?;
        self.webhooks.check_address(&rule)?;
        let key = self.signing_key(&rule)?;
        let modified = self.clock.now().wall;
        let value = StoredRule::encode(&rule, created, Some(modified))?;
        let fact = (self.webhooks.key(RULES, id), Some(value));
        let updated = id.to_owned();
        turn.finish(async move |app| {
            app.set_facts(Bucket::Apps, vec![fact]).await?;
            app.webhooks.update(&updated, rule, key, modified)?;
            app.observe();
            Ok(())
        })
        .await?;
        self.webhooks.describe(id).ok_or_else(error::unknown_rule)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// Code 40400 when there is none, 40000 for one that the server was started with; 50003 and 50000 for the engine.
    pub(in crate::front) async fn delete_rule(&self, id: &str) -> Result<(), ErrorInfo> {
        let turn = self.take_turn().await?;
        self.require_own_rule(id)?;
        let id = id.to_owned();
        turn.finish(async move |app| {
            let keys = [RULES, DELIVERED].map(|kind| (app.webhooks.key(kind, &id), None));
            app.set_facts(Bucket::Apps, keys.into()).await?;
            app.remove_rule(&id);
            Ok(())
        })
        .await
    }

    /// # Errors
    /// Code 40400 for an unknown rule, 40000 for one that the server was started with.
    fn require_own_rule(&self, id: &str) -> Result<(), ErrorInfo> {
        match self.webhooks.is_given(id) {
            None => Err(error::unknown_rule()),
            Some(true) => Err(error::given_rule()),
            Some(false) => Ok(()),
        }
    }

    /// A node has added, updated or removed a rule, or the name of a channel with events.
    pub(in crate::front) fn apply_webhook_fact(&self, key: &str, value: Option<Bytes>) {
        let Some(own) = key.strip_prefix(&self.id) else { return };
        if let (Some(name), Some(shared)) = (own.strip_prefix(HOOKED), self.webhooks.shared()) {
            match &value {
                Some(value) => {
                    shared.hooked(name, since(std::str::from_utf8(value).unwrap_or_default()));
                }
                None => shared.unhooked(name),
            }
        }
        let Some(id) = own.strip_prefix(RULES) else { return };
        let Some(value) = value else { return self.remove_rule(id) };
        let mut stored = StoredWebhooks::default();
        stored.read(&self.id, &Fact { key: key.to_owned(), value });
        self.restore_rules(&stored);
    }

    /// Adds the rules that are stored, and those that the server is started with.
    ///
    /// # Errors
    /// Code 40000 for a rule of the start that is not valid, 40400 for its unknown key, 50003 and 50000 for the engine.
    pub(in crate::front) async fn restore_webhooks(
        &self,
        stored: &StoredWebhooks,
        given: Vec<Rule>,
    ) -> Result<(), ErrorInfo> {
        self.restore_rules(stored);
        let now = self.clock.now().wall;
        for (index, rule) in given.into_iter().enumerate() {
            let id = rule.id.clone().unwrap_or_else(|| format!("start-{}", index + 1));
            let delivered = stored.delivered.get(&id).copied();
            self.webhooks.admit(&rule)?;
            let addition = self.addition(id, rule, (now, now), delivered, true)?;
            let created = self.begin_given(&addition.id, now).await?;
            self.add_rule(Addition { created, ..addition })?;
        }
        Ok(())
    }

    /// The time when the first node of the cluster was started with a rule, in ms since the epoch; `now` if this is it.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    async fn begin_given(&self, id: &str, now: Millis) -> Result<Millis, ErrorInfo> {
        let Some(log) = self.log.as_ref().filter(|log| log.cluster.is_some()) else {
            return Ok(now);
        };
        let (key, value) = (self.webhooks.key(BEGUN, id), Bytes::from(now.to_string()));
        if log.engine.create_fact(Bucket::Apps, &key, value).await.map_err(failed)? {
            return Ok(now);
        }
        let begun = log.engine.fact(Bucket::Apps, &key).await.map_err(failed)?;
        let begun = begun.as_deref().map(std::str::from_utf8).and_then(Result::ok);
        Ok(begun.and_then(|begun| begun.parse().ok()).unwrap_or(now))
    }

    fn restore_rules(&self, stored: &StoredWebhooks) {
        for (id, StoredRule { created, modified, rule }) in &stored.rules {
            let delivered = stored.delivered.get(id).copied();
            let added = Rule::from_value(rule.clone()).map_err(ErrorInfo::from).and_then(|rule| {
                let modified = modified.unwrap_or(*created);
                // This node may have added it itself: what waits for its endpoint must stay.
                match self.webhooks.is_given(id) {
                    None => {
                        let times = (*created, modified);
                        self.add_rule(self.addition(id.clone(), rule, times, delivered, false)?)
                    }
                    Some(true) => Ok(()),
                    Some(false) => {
                        let key = self.signing_key(&rule)?;
                        self.webhooks.update(id, rule, key, modified)?;
                        self.observe();
                        Ok(())
                    }
                }
            });
            if let Err(problem) = added {
                let reason = &*problem.message;
                tracing::error!(app = self.id, id, reason, "a rule that is stored is not used");
            }
        }
    }

    fn addition(
        &self,
        id: String,
        rule: Rule,
        (created, modified): (Millis, Millis),
        delivered: Option<Position>,
        is_given: bool,
    ) -> Result<Addition, ErrorInfo> {
        rule.check()?;
        let key = self.signing_key(&rule)?;
        Ok(Addition { id, rule, key, created, modified, delivered, is_given })
    }

    /// The key that signs the requests of a rule.
    ///
    /// # Errors
    /// Code 40400 for an unknown key.
    fn signing_key(&self, rule: &Rule) -> Result<Option<Arc<Key>>, ErrorInfo> {
        let signing_key = |id: &String| self.with(|hub, _| hub.signing_key(id));
        rule.signing_key_id.as_ref().map(signing_key).transpose()
    }

    fn add_rule(&self, addition: Addition) -> Result<(), ErrorInfo> {
        self.webhooks.add(addition)?;
        self.start_reading();
        self.observe();
        Ok(())
    }

    fn remove_rule(&self, id: &str) {
        self.webhooks.remove(id);
        self.observe();
    }

    fn observe(&self) {
        self.with(|hub, _| hub.observe(self.webhooks.observed()));
    }
}
