//! A token that cannot be renewed (RSA4a).

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use capably::{ClientOptions, realtime::ConnectionState};
use capably_protocol::ServerFrame;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use crate::{in_both_formats, support::*, tokens::*};

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
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

// UTS: realtime/unit/RSA4a1/non-renewable-token-logs-warning-0
in_both_formats! {
    async fn a_token_that_cannot_be_renewed_is_logged(format) {
        let log = Log::default();
        let options = ClientOptions::new("non-renewable-token");
        let _client = with_default(log.clone(), || client_of(format, options));
        let said = log.0.lock().unwrap().clone();
        let about = |line: &&String| {
            line.contains("code=40171") && line.contains("https://help.ably.io/error/40171")
        };
        assert_eq!(said.iter().filter(about).count(), 1, "{said:?}");
        assert!(!said.concat().contains("non-renewable-token"), "{said:?}");
    }
}

// UTS: realtime/unit/RSA4a2/token-error-non-renewable-failed-0
// UTS: realtime/unit/RSA4a2/token-error-non-renewable-no-retry-1
// UTS: realtime/unit/RSA4a/token-error-no-renewal-0
in_both_formats! {
    async fn a_token_error_fails_an_attempt_that_cannot_renew(format) {
        for code in [40142, 40140] {
            let (client, mut service) = client_of(format, ClientOptions::new("expired-token"));
            let mut changes = client.connection().changes();
            client.connection().connect();
            let attempt = service.attempt().await;
            assert_eq!(attempt.param("accessToken").as_deref(), Some("expired-token"));
            let mut peer = attempt.accept();
            peer.send(error(None, code, 401));
            client.connection().when(ConnectionState::Failed).await.unwrap();
            assert_eq!(reason(&client), Some((40171, Some(401), Some(code))));
            let changes = seen(&mut changes);
            assert_eq!(states(&changes), [ConnectionState::Connecting, ConnectionState::Failed]);
            assert_eq!(changes[1].reason.as_ref().unwrap().code.0, 40171);
            advance(600_000).await;
            assert!(service.is_quiet());
        }
    }
}

// Spec: RTN15h1, RSA4a2
in_both_formats! {
    async fn a_token_error_fails_a_connection_that_cannot_renew(format) {
        let (client, mut service, mut peer) =
            connected_as(format, ClientOptions::new("some_token_string")).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((40171, Some(401), Some(40142))));
        let changes = seen(&mut changes);
        assert_eq!(states(&changes), [ConnectionState::Failed]);
        assert_eq!(changes[0].reason.as_ref().unwrap().code.0, 40171);
        advance(600_000).await;
        assert!(service.is_quiet());
    }
}

in_both_formats! {
    async fn a_token_that_cannot_be_renewed_works_until_it_is_rejected(format) {
        let (client, _service, mut peer) = connected_as(format, ClientOptions::new("a-token")).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Auth);
        quiet(&client, &mut peer).await;
        // An authorize call without a source of tokens does not end it either.
        let error = client.auth().authorize().await.unwrap_err();
        assert_eq!(error.code().0, 40171);
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        assert_eq!(reason(&client), None);
    }
}
