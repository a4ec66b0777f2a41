//! What is said in the log (RSA4a1).

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use capably::{ClientOptions, Rest};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use crate::support::scripted_http::KEY;

/// Keeps the fields of every event at `info`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() == Level::INFO {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn said(options: ClientOptions) -> Vec<String> {
    let log = Log::default();
    with_default(log.clone(), || Rest::new(options)).unwrap();
    log.0.lock().unwrap().clone()
}

// Spec: RSA4a1
#[test]
fn a_token_that_cannot_be_renewed_is_mentioned() {
    let said_of_token = said(ClientOptions::new("hush"));
    assert_eq!(said_of_token.len(), 1, "{said_of_token:?}");
    assert!(said_of_token[0].contains("code=40171"), "{said_of_token:?}");
    assert!(said_of_token[0].contains("https://help.ably.io/error/40171"), "{said_of_token:?}");
    assert!(!said_of_token[0].contains("hush"));
    assert_eq!(said(ClientOptions::new(KEY).token("hush")), [""; 0]);
    assert_eq!(said(ClientOptions::new(KEY)), [""; 0]);
}
