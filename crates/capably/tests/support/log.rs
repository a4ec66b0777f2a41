//! A log that keeps what is said in it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// What was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) level: Option<Level>,
    pub(crate) message: String,
    /// What was said besides, by name.
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

impl Log {
    pub(crate) fn new(level: Level) -> Self {
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
