//! A log that stores its events.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

/// The message of the event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) level: Option<Level>,
    pub(crate) message: String,
    /// The other fields of the event, by name.
    pub(crate) context: BTreeMap<String, String>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.context.insert(field.name().to_owned(), text);
        }
    }
}

/// Keeps the events of a level and above.
#[derive(Clone)]
pub(crate) struct Log {
    level: Level,
    said: Arc<Mutex<Vec<Said>>>,
}

/// Installs a subscriber that enables every event and stores none.
///
/// Tests run in parallel, and each subscriber belongs to one thread. At the first occurrence of an event, `tracing`
/// asks all subscribers whether it is enabled, and caches the answer. A subscriber that is created at that time may not
/// be asked, and would then never receive the event. With this subscriber, the cached answer is always "sometimes".
pub(crate) fn keep_interest() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = tracing::subscriber::set_global_default(Interested);
    });
}

struct Interested;

impl Subscriber for Interested {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log {
    pub(crate) fn new(level: Level) -> Self {
        keep_interest();
        Self { level, said: Arc::default() }
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said { level: Some(*event.metadata().level()), ..Said::default() };
        event.record(&mut said);
        if event.metadata().target().starts_with("capably") {
            self.said.lock().unwrap().push(said);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
