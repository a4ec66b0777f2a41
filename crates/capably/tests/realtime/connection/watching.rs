//! Observing a connection: metrics and the log.

use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capably::{ClientOptions, http::HttpResponse, realtime::ConnectionState};
use capably_protocol::ServerFrame;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};

use crate::{
    http::scripted_http::{Answer, KEY, ScriptedHttp},
    in_both_formats,
    support::*,
    tokens::*,
};

in_both_formats! {
    async fn metrics_count_attempts_drops_and_resumes(format) {
        let http = ScriptedHttp::always(Answer::Raw(HttpResponse::new(200, "yes")));
        let tokens = Tokens::default();
        let options = tokens
            .options()
            .fallback_hosts(["fallback.example.com"])
            .http_client(Arc::new(http));
        let (client, mut service) = client_of(format, options);
        let metrics = || client.connection().metrics();
        assert_eq!(metrics(), Default::default());
        client.connection().connect();
        service.attempt().await.refuse();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let now = metrics();
        assert_eq!((now.attempts, now.fallbacks, now.tokens), (2, 1, 1));
        assert_eq!((now.connected, now.resumed, now.disconnected), (1, 0, 0));

        // Resumed with a new token.
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let now = metrics();
        assert_eq!((now.attempts, now.fallbacks, now.tokens), (3, 1, 2));
        assert_eq!((now.connected, now.resumed, now.disconnected), (2, 1, 1));

        // Another connection.
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-3"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let now = metrics();
        assert_eq!((now.connected, now.resumed, now.disconnected), (3, 1, 2));
        assert_eq!(now.suspended, 0);

        suspend(&client, &mut service, peer).await;
        assert_eq!(metrics().suspended, 1);
    }
}

/// Keeps spans and events with their fields, each event with the spans it is in.
#[derive(Clone, Default)]
struct Log {
    said: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
    entered: Arc<Mutex<Vec<u64>>>,
    next: Arc<AtomicU64>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("capably::realtime")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(format!("{}: ", span.metadata().name()));
        span.record(&mut fields);
        self.spans.lock().unwrap().push(fields.0);
        Id::from_u64(self.next.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let depth = self.entered.lock().unwrap().len();
        self.said.lock().unwrap().push(format!("{depth} {}", fields.0));
    }

    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push(id.into_u64());
    }

    fn exit(&self, id: &Id) {
        self.entered.lock().unwrap().retain(|own| *own != id.into_u64());
    }
}

in_both_formats! {
    async fn the_log_has_attempts_states_and_retries(format) {
        let log = Log::default();
        let _guard = set_default(log.clone());
        let options = ClientOptions::new(KEY).fallback_hosts(NO_HOSTS);
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        drop(peer);
        service.attempt().await;

        let spans = log.spans.lock().unwrap().clone();
        assert_eq!(
            spans,
            [
                "connection: primary=main.realtime.ably.net ",
                "attempt: host=main.realtime.ably.net away=false resumes=false ",
                "attempt: host=main.realtime.ably.net away=false resumes=false ",
                "attempt: host=main.realtime.ably.net away=false resumes=true ",
            ]
        );
        let said = log.said.lock().unwrap().clone();
        let states: Vec<_> =
            said.iter().filter(|line| line.contains("message=connection ")).collect();
        assert!(states.iter().all(|line| line.starts_with("1 ")), "in the span: {states:?}");
        let retry = &states[1];
        assert!(retry.contains("previous=connecting current=disconnected"), "{retry}");
        assert!(retry.contains("connection refused"), "{retry}");
        assert!(retry.contains("retry_in=Some(1"), "{retry}");
        let all = said.concat() + &spans.concat();
        assert!(!all.contains("keySecret") && !all.contains("key-1"), "{all}");
    }
}
