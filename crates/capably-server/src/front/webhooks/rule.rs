//! A rule in use: its queue, its endpoint and its task.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use capably_protocol::{ErrorCode, ErrorInfo, Format, JsonObject, Millis, Str};
use hyper::HeaderMap;
use regex::Regex;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    Defaults, Outbound, Webhooks,
    event::Event,
    http::Endpoint,
    payload::{Origin, Payload, VERSION, envelope},
    queue::{Counts, DeadLetter, Queue},
    worker::{self, Retry},
};
use crate::{
    engine::Position,
    front::clock::Clock,
    hub::{ChannelEvent, Happening, auth::Key},
    webhooks::{RequestMode, Rule, RuleError, Source},
};

/// A rule in use. Dropping it ends its task.
#[derive(Debug)]
pub(super) struct RunningRule {
    pub(super) state: Arc<RuleState>,
    /// The position after which the rule reports events.
    pub(super) begin: Position,
    /// The newest position of the log that the rule has seen.
    newest: AtomicU64,
    /// The position that is stored for the rule.
    stored: AtomicU64,
    task: AbortHandle,
}

/// The part of a rule that an update replaces.
pub(super) struct Setup {
    rule: Rule,
    filter: Option<Regex>,
    headers: HeaderMap,
    /// The name of the key that signs, and the key.
    signer: Option<(String, Arc<Key>)>,
    pub(super) endpoint: Endpoint,
    /// The time of the last update, in ms since the epoch.
    modified: Millis,
}

impl Setup {
    /// # Errors
    /// The first field that is not valid.
    fn new(
        app: &str,
        rule: Rule,
        key: Option<Arc<Key>>,
        modified: Millis,
        outbound: &Outbound,
    ) -> Result<Self, RuleError> {
        let mut headers = HeaderMap::new();
        for (name, value) in rule.checked_headers()? {
            headers.append(name, value);
        }
        Ok(Self {
            filter: rule.regex()?,
            headers,
            signer: key.map(|key| (format!("{app}.{}", key.id), key)),
            endpoint: Endpoint::new(outbound.clone(), rule.uri()?),
            modified,
            rule,
        })
    }

    /// Whether the rule reports events of the channel.
    fn covers(&self, channel: &str) -> bool {
        self.rule.is_enabled && self.filter.as_ref().is_none_or(|filter| filter.is_match(channel))
    }

    /// The request with these events.
    fn payload(&self, origin: &Origin, events: &[Event]) -> Payload {
        let Rule { mode, is_enveloped, format, .. } = &self.rule;
        let mut payload = match (mode, events) {
            (RequestMode::Single, [event]) if *is_enveloped => {
                Payload::enveloped(origin, event, *format)
            }
            (RequestMode::Single, [event]) => Payload::bare(origin, event),
            (RequestMode::Single | RequestMode::Batch, events) => {
                Payload::batch(origin, events, *format)
            }
        };
        for (name, value) in &self.headers {
            payload.headers.append(name.clone(), value.clone());
        }
        if let Some((name, key)) = &self.signer {
            payload.sign(name, key.secret());
        }
        payload
    }
}

/// What the task of a rule shares with those who add events.
pub(super) struct RuleState {
    setup: RwLock<Arc<Setup>>,
    origin: Origin,
    /// In ms since the epoch.
    created: Millis,
    /// Whether the server was started with the rule.
    is_given: bool,
    pub(super) retry: Retry,
    queue: Mutex<Queue>,
    notify: Notify,
    clock: Arc<Clock>,
    /// Numbers the events that are in no log.
    numbers: AtomicU64,
    is_answering: AtomicBool,
    webhooks: Weak<Webhooks>,
}

/// A rule that is about to be used.
#[derive(Debug)]
pub(super) struct NewRule {
    pub(super) app: Str,
    pub(super) id: String,
    pub(super) rule: Rule,
    pub(super) key: Option<Arc<Key>>,
    /// In ms since the epoch.
    pub(super) created: Millis,
    /// The time of the last update, in ms since the epoch.
    pub(super) modified: Millis,
    /// The position up to which events were delivered, or that was the newest when the rule was created.
    pub(super) begin: Position,
    /// Whether that position is stored.
    pub(super) is_stored: bool,
    /// Whether the server was started with the rule.
    pub(super) is_given: bool,
    /// The webhooks that the rule is one of.
    pub(super) webhooks: Weak<Webhooks>,
}

impl RunningRule {
    /// Starts to use a rule.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub(super) fn start(
        new: NewRule,
        defaults: &Defaults,
        clock: Arc<Clock>,
    ) -> Result<Self, RuleError> {
        let NewRule { app, id, rule, key, created, modified, begin, is_stored, is_given, webhooks } =
            new;
        let origin = Origin { app: app.clone(), rule: Str::from(id.as_str()) };
        let rule = Rule { id: Some(id), ..rule };
        let queue = Queue::new(rule.mode, defaults.bounds);
        let setup = Setup::new(&app, rule, key, modified, &defaults.outbound)?;
        let state = Arc::new(RuleState {
            setup: RwLock::new(Arc::new(setup)),
            origin,
            created,
            is_given,
            retry: defaults.retry,
            queue: Mutex::new(queue),
            notify: Notify::new(),
            clock,
            numbers: AtomicU64::new(0),
            is_answering: AtomicBool::new(true),
            webhooks,
        });
        let task = tokio::spawn(worker::run(Arc::clone(&state))).abort_handle();
        let stored = AtomicU64::new(if is_stored { begin.0 } else { 0 });
        Ok(Self { state, begin, newest: AtomicU64::new(begin.0), stored, task })
    }

    /// Adds what has happened on a channel, if the rule reports it.
    pub(super) fn push(&self, event: &ChannelEvent) {
        self.state.push(event);
        if let Happening::Entry(entry) = &event.happening {
            self.newest.fetch_max(entry.position().0, Ordering::AcqRel);
        }
    }

    /// The position up to which everything was delivered or given up.
    pub(super) fn delivered(&self) -> Position {
        // In this order: an event that is added meanwhile is newer.
        let newest = self.newest.load(Ordering::Acquire);
        let oldest = self.state.queue().oldest();
        oldest.map_or(Position(newest), |oldest| Position(oldest.0.saturating_sub(1)))
    }

    /// The position that is stored for the rule; 0 if none is.
    pub(super) fn stored(&self) -> Position {
        Position(self.stored.load(Ordering::Acquire))
    }

    pub(super) fn set_stored(&self, position: Position) {
        self.stored.store(position.0, Ordering::Release);
    }
}

impl Drop for RunningRule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RuleState {
    pub(super) fn id(&self) -> &str {
        &self.origin.rule
    }

    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rule as it is now.
    pub(super) fn rule(&self) -> Rule {
        self.setup().rule.clone()
    }

    /// Uses other fields from now on. Events that wait go where these say.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub(super) fn update(
        &self,
        rule: Rule,
        key: Option<Arc<Key>>,
        modified: Millis,
        outbound: &Outbound,
    ) -> Result<(), RuleError> {
        let mode = rule.mode;
        // As it is stored, a rule has no id.
        let rule = Rule { id: Some(self.id().to_owned()), ..rule };
        let setup = Setup::new(&self.origin.app, rule, key, modified, outbound)?;
        // Under one lock: of two updates at the same time, the mode and the other fields are those of the same one.
        let mut queue = self.queue();
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
        queue.change_mode(mode);
        drop(queue);
        self.is_answering(true);
        self.notify.notify_one();
        Ok(())
    }

    pub(super) fn mode(&self) -> RequestMode {
        self.setup().rule.mode
    }

    pub(super) fn source(&self) -> Source {
        self.setup().rule.source
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.setup().rule.is_enabled
    }

    pub(super) fn created(&self) -> Millis {
        self.created
    }

    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Whether the rule reports events of the channel.
    pub(super) fn covers(&self, channel: &str) -> bool {
        self.setup().covers(channel)
    }

    fn push(&self, event: &ChannelEvent) {
        let setup = self.setup();
        if !setup.covers(&event.channel) {
            return;
        }
        let number = || {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            format!("{:x}:{number}", self.clock.now().wall).into()
        };
        // With the lock: the mode does not change between.
        let mut queue = self.queue();
        let mut events = Event::of(event, setup.rule.source, queue.mode(), number);
        events.retain(|event| !self.skips(event));
        if events.is_empty() {
            return;
        }
        let full = || {
            let reason = "the endpoint has not kept up: more events wait than may, and this one was the oldest";
            (self.time(), ErrorInfo::new(ErrorCode(70003), 503, reason))
        };
        for event in events {
            queue.push(event, &full);
        }
        drop(queue);
        self.notify.notify_one();
    }

    /// Whether the publisher wants the rule not to report the messages: `extras.privileged.skipRule` has its id, or `*`.
    fn skips(&self, event: &Event) -> bool {
        let messages = event.messages();
        let skips = |value: &Value| match value {
            Value::String(id) => id == "*" || id == self.id(),
            Value::Array(ids) => ids.iter().any(|id| id == "*" || id == self.id()),
            _ => false,
        };
        !messages.is_empty()
            && messages.iter().all(|message| {
                let extras = message.extras.as_ref();
                let privileged = extras.and_then(|extras| extras.get("privileged"));
                privileged.and_then(|it| it.get("skipRule")).is_some_and(skips)
            })
    }

    /// The request with these events, and the setup with the endpoint that it is for.
    pub(super) fn request(&self, events: &[Event]) -> (Payload, Arc<Setup>) {
        let setup = self.setup();
        (setup.payload(&self.origin, events), setup)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are new events.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// The time, in ms since the epoch.
    pub(super) fn time(&self) -> Millis {
        self.clock.now().wall
    }

    /// Notes whether the endpoint accepts requests. Returns whether it did before.
    pub(super) fn is_answering(&self, now: bool) -> bool {
        self.is_answering.swap(now, Ordering::Relaxed)
    }

    /// Logs the first failure of several.
    pub(super) fn failed(&self, error: &ErrorInfo) {
        if self.is_answering(false) {
            let (app, rule, code) = (&*self.origin.app, self.id(), error.code.0);
            tracing::warn!(app, rule, code, reason = %error.message, "a webhook was not accepted");
        }
    }

    /// Reports that no request delivers so many events. The caller has neither the lock of the app nor that of the queue.
    pub(super) fn gave_up(&self, events: usize, error: &ErrorInfo) {
        if let Some(webhooks) = self.webhooks.upgrade().filter(|_| events > 0) {
            webhooks.gave_up(self.id(), events, error);
        }
    }

    /// The rule as the control API describes it, with its counts.
    pub(super) fn describe(&self) -> Value {
        let setup = self.setup();
        let mut object = setup.rule.to_object();
        let Counts { waiting, bytes, delivered, dead } = self.queue().counts();
        for (name, value) in [
            ("appId", json!(self.origin.app)),
            ("version", json!(VERSION)),
            ("created", json!(self.created)),
            ("modified", json!(setup.modified)),
            (
                "delivery",
                json!({
                    "waiting": waiting,
                    "waitingBytes": bytes,
                    "delivered": delivered,
                    "deadLetters": dead,
                }),
            ),
        ] {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    }

    /// The number of events that were given up, and the newest of them.
    pub(super) fn dead_letters(&self, limit: usize) -> Value {
        let queue = self.queue();
        let items: Vec<Value> = queue.dead().take(limit).map(|it| self.dead_letter(it)).collect();
        json!({ "total": queue.counts().dead, "items": items })
    }

    fn dead_letter(&self, letter: &DeadLetter) -> Value {
        let DeadLetter { event, time, attempts, error } = letter;
        let envelope = envelope(&self.origin, event, Format::Json);
        let envelope: JsonObject = serde_json::from_slice(&envelope).unwrap_or_default();
        json!({
            "serial": event.serial,
            "time": time,
            "attempts": attempts,
            "error": {
                "code": error.code.0,
                "statusCode": error.status_code,
                "message": &*error.message,
            },
            "event": envelope,
        })
    }
}

// The rule may have secrets in its headers.
impl fmt::Debug for RuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleState").field("rule", &self.setup().rule).finish_non_exhaustive()
    }
}
