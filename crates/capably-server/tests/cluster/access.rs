//! Brokers that ask for TLS, passwords or files of credentials.
//!
//! `certificates` has a broker's certificate for `localhost`, and the authority that signed it. `credentials` has an operator
//! with an account and a user, and a user of a stranger's account. No other place accepts any of these.

use std::{
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use capably_server::engine::{Engine, EngineError, JetStream, JetStreamBuilder};

use tracing::{
    Event, Metadata,
    field::{Field, Visit},
    span,
};

use crate::{
    brokers::{Brokers, Version},
    contract::{appended, channel, entry, everything, texts},
    support::PATIENCE,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster")).join(name)
}

/// A broker that has TLS connections alone, of a user with a password.
fn with_tls(version: Version) -> Brokers {
    let (certificate, key) = (file("certificates/broker.pem"), file("certificates/broker.key"));
    let configuration = format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?} }}
         authorization {{ user: u, password: s3cret }}"
    );
    Brokers::configured(version, &configuration)
}

/// The address of a broker, with another scheme, and the host that is in its certificate.
fn address(brokers: &Brokers, scheme_and_user: &str) -> String {
    brokers.addresses()[0].replace("nats://127.0.0.1", &format!("{scheme_and_user}localhost"))
}

async fn check_works(builder: JetStreamBuilder, payload: &str) {
    let engine = builder.open_timeout(PATIENCE).open().await.unwrap();
    appended(&engine, vec![entry("c", payload)]).await;
    let stored = engine.read(&channel("c"), everything()).await.unwrap();
    assert_eq!(texts(&stored).last(), Some(&payload));
}

/// The error of a builder that must not get a connection. It has no secret.
async fn refused(builder: JetStreamBuilder) -> EngineError {
    let error = builder.open_timeout(PATIENCE).open().await.map(drop).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("s3cret"), "{text}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_authority_of_ones_own() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = with_tls(version);
        let authority = file("certificates/ca.pem");
        // The broker asks for TLS in its first line, whatever the scheme.
        for scheme in ["tls", "nats"] {
            let builder = JetStream::builder([address(&brokers, &format!("{scheme}://u:s3cret@"))]);
            check_works(builder.root_certificates(&authority), scheme).await;
        }
        let builder = JetStream::builder([address(&brokers, "tls://")]);
        let builder = builder.root_certificates(&authority).user_and_password("u", "s3cret");
        check_works(builder, "password of the builder").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_trusted() {
    let brokers = with_tls(Version::Newest);
    let secure = address(&brokers, "tls://u:s3cret@");
    let strange = JetStream::builder([secure.clone()]);
    let other = strange.clone().root_certificates(file("certificates/other-ca.pem"));
    // The certificate has the name `localhost` alone.
    let by_number = JetStream::builder([secure.replace("localhost", "127.0.0.1")])
        .root_certificates(file("certificates/ca.pem"));
    for builder in [strange, other, by_number] {
        let error = refused(builder).await.to_string();
        assert!(error.contains("TLS with the brokers fails"), "{error}");
        assert!(error.contains("check the certificates"), "{error}");
    }
    let missing = JetStream::builder([secure.clone()]).root_certificates(file("no.pem"));
    let error = refused(missing).await;
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("no.pem"), "{error}");
    // Without TLS, the password would be sent in the clear.
    let plain = Brokers::start(Version::Newest, 1, &["-js", "--user", "u", "--pass", "s3cret"]);
    let error = refused(JetStream::builder([address(&plain, "tls://u:s3cret@")])).await;
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_over_tls() {
    let brokers = with_tls(Version::Newest);
    for user in ["", "u:wrong@"] {
        let builder = JetStream::builder([address(&brokers, &format!("tls://{user}"))]);
        let error = refused(builder.root_certificates(file("certificates/ca.pem"))).await;
        assert!(error.to_string().contains("refuse the credentials"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_credentials() {
    let configuration = std::fs::read_to_string(file("credentials/broker.conf")).unwrap();
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::configured(version, &configuration);
        let builder = JetStream::builder(brokers.addresses());
        check_works(builder.clone().credentials_file(file("credentials/user.creds")), "a").await;
        for builder in
            [builder.clone(), builder.clone().credentials_file(file("credentials/stranger.creds"))]
        {
            let error = refused(builder).await;
            assert!(error.to_string().contains("refuse the credentials"), "{error}");
        }
        let error = refused(builder.credentials_file(file("no.creds"))).await;
        assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains("no.creds"), "{error}");
    }
}

/// The lines of the log about connections, at every level, that have some text.
struct Lines(&'static str);

static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn found() -> Vec<String> {
    std::mem::take(&mut *FOUND.lock().unwrap_or_else(PoisonError::into_inner))
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Line(self.0));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(self.0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(&'static str);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if text.contains(self.0) {
            let line = format!("{field}: {text}");
            FOUND.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

#[tokio::test]
async fn no_log_has_a_secret() {
    let brokers = with_tls(Version::Newest);
    let open = async |user: &str| {
        let builder = JetStream::builder([address(&brokers, &format!("tls://{user}@"))]);
        let builder = builder.root_certificates(file("certificates/ca.pem"));
        builder.open_timeout(PATIENCE).open().await
    };
    // All tasks of this test run in this thread.
    let _guard = tracing::subscriber::set_default(Lines("localhost"));
    open("u:s3cret").await.unwrap();
    assert_ne!(found(), [""; 0], "the client logs its addresses");
    let _guard = tracing::subscriber::set_default(Lines("s3cret"));
    open("u:s3cret").await.unwrap();
    open("u:s3cret-and-wrong").await.unwrap_err();
    open("s3cret").await.unwrap_err();
    assert_eq!(found(), [""; 0]);
}
