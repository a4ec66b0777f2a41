//! A rule in use: its queue, its endpoint and its task.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use capably_protocol::{ErrorCode, ErrorInfo, Format, JsonObject, Millis, Str};
use hyper::HeaderMap;
use regex::Regex;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    Defaults,
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

/// What the task of a rule shares with those who add events.
pub(super) struct RuleState {
    rule: Rule,
    filter: Option<Regex>,
    headers: HeaderMap,
    origin: Origin,
    /// The name of the key that signs, and the key.
    signer: Option<(String, Arc<Key>)>,
    /// In ms since the epoch.
    created: Millis,
    /// Whether the server was started with the rule.
    is_given: bool,
    pub(super) endpoint: Endpoint,
    pub(super) retry: Retry,
    queue: Mutex<Queue>,
    notify: Notify,
    clock: Arc<Clock>,
    /// Numbers the events that are in no log.
    numbers: AtomicU64,
    is_answering: AtomicBool,
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
    /// The position up to which events were delivered, or that was the newest when the rule was created.
    pub(super) begin: Position,
    /// Whether that position is stored.
    pub(super) is_stored: bool,
    /// Whether the server was started with the rule.
    pub(super) is_given: bool,
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
        let NewRule { app, id, rule, key, created, begin, is_stored, is_given } = new;
        let mut headers = HeaderMap::new();
        for (name, value) in rule.checked_headers()? {
            headers.append(name, value);
        }
        let signer = key.map(|key| (format!("{app}.{}", key.id), key));
        let state = Arc::new(RuleState {
            filter: rule.regex()?,
            headers,
            origin: Origin { app, rule: Str::from(id.as_str()) },
            signer,
            created,
            is_given,
            endpoint: Endpoint::new(defaults.outbound.clone(), rule.uri()?),
            retry: defaults.retry,
            queue: Mutex::new(Queue::new(rule.mode, defaults.bounds)),
            notify: Notify::new(),
            clock,
            numbers: AtomicU64::new(0),
            is_answering: AtomicBool::new(true),
            rule: Rule { id: Some(id), ..rule },
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

    pub(super) fn mode(&self) -> RequestMode {
        self.rule.mode
    }

    pub(super) fn source(&self) -> Source {
        self.rule.source
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.rule.is_enabled
    }

    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Whether the rule reports events of the channel.
    pub(super) fn covers(&self, channel: &str) -> bool {
        self.rule.is_enabled && self.filter.as_ref().is_none_or(|filter| filter.is_match(channel))
    }

    fn push(&self, event: &ChannelEvent) {
        if !self.covers(&event.channel) {
            return;
        }
        let number = || {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            format!("{:x}:{number}", self.clock.now().wall).into()
        };
        let mut events = Event::of(event, self.rule.source, self.rule.mode, number);
        events.retain(|event| !self.skips(event));
        if events.is_empty() {
            return;
        }
        let full = || {
            let reason = "the endpoint has not kept up: more events wait than may, and this one was the oldest";
            (self.time(), ErrorInfo::new(ErrorCode(70003), 503, reason))
        };
        let mut queue = self.queue();
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

    /// The request with these events.
    pub(super) fn payload(&self, events: &[Event]) -> Payload {
        let Rule { mode, is_enveloped, format, .. } = &self.rule;
        let mut payload = match (mode, events) {
            (RequestMode::Single, [event]) if *is_enveloped => {
                Payload::enveloped(&self.origin, event, *format)
            }
            (RequestMode::Single, [event]) => Payload::bare(&self.origin, event),
            (RequestMode::Single | RequestMode::Batch, events) => {
                Payload::batch(&self.origin, events, *format)
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

    /// The rule as the control API describes it, with its counts.
    pub(super) fn describe(&self) -> Value {
        let mut object = self.rule.to_object();
        let Counts { waiting, bytes, delivered, dead } = self.queue().counts();
        for (name, value) in [
            ("appId", json!(self.origin.app)),
            ("version", json!(VERSION)),
            ("created", json!(self.created)),
            ("modified", json!(self.created)),
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
        f.debug_struct("RuleState").field("rule", &self.rule).finish_non_exhaustive()
    }
}
