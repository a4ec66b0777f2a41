//! A server with fault injection, and clients with an outbox.

use std::time::{Duration, SystemTime};

use capably::{
    ClientOptions, Message, Millis, Realtime, Rest, TokenParams,
    outbox::{MemoryOutbox, OutboxHandle},
};
use capably_protocol::Format;
use capably_server::{Server, faults::Faults};

/// A service, the faults in front of it, and a store that survives the clients.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) faults: Faults,
    pub(crate) store: MemoryOutbox,
    format: Format,
}

impl Scene {
    pub(crate) async fn new(format: Format) -> Self {
        let faults = Faults::new();
        let server = Server::builder().faults(&faults).start().await.unwrap();
        Self { server, faults, store: MemoryOutbox::new(), format }
    }

    /// Options without an outbox.
    pub(crate) fn plain_options(&self) -> ClientOptions {
        self.options_without_key().key(self.server.key())
    }

    pub(crate) fn options_without_key(&self) -> ClientOptions {
        ClientOptions::default()
            .endpoint(self.server.endpoint())
            .port(self.server.port())
            .tls(false)
            .use_binary_protocol(self.format == Format::MsgPack)
    }

    /// Options with the store.
    pub(crate) fn options(&self) -> ClientOptions {
        self.plain_options().outbox(self.store.clone())
    }

    /// A connected client with the store.
    pub(crate) async fn client(&self) -> Realtime {
        Realtime::connect(self.options()).await.unwrap()
    }

    /// A client with the store that does not connect by itself.
    pub(crate) fn offline(&self) -> Realtime {
        Realtime::new(self.options().auto_connect(false)).unwrap()
    }

    /// A token with which a client may publish on these channels alone.
    pub(crate) async fn token(&self, channels: &[&str]) -> String {
        let capability = channels
            .iter()
            .fold(capably::Capability::new(), |all, channel| all.allow(*channel, ["publish"]));
        let issuer = Rest::new(self.plain_options()).unwrap();
        let params = TokenParams::new().capability(capability);
        issuer.auth().request_token().params(params).await.unwrap().token.to_string()
    }

    /// The messages of a channel, the oldest first.
    pub(crate) async fn history(&self, channel: &str) -> Vec<Message> {
        let rest = Rest::new(self.plain_options()).unwrap();
        let page = rest.channels().get(channel).history().limit(1000).await.unwrap();
        let mut messages = page.into_items();
        messages.reverse();
        messages
    }

    /// The names of the messages of a channel, the oldest first.
    pub(crate) async fn names(&self, channel: &str) -> Vec<String> {
        let messages = self.history(channel).await.into_iter();
        messages.map(|message| message.name.unwrap().to_string()).collect()
    }
}

pub(crate) fn outbox(client: &Realtime) -> OutboxHandle {
    client.outbox().unwrap().clone()
}

/// Closes the store, as the end of the process would.
pub(crate) async fn end(client: Realtime) {
    outbox(&client).close().await;
}

pub(crate) fn now() -> Millis {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as Millis
}

/// A clock that is that many seconds behind.
pub(crate) fn behind(seconds: i64) -> impl Fn() -> Millis + Send + Sync + 'static {
    move || now() - seconds * 1000
}

/// Fails a test that takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

/// Runs a test in JSON and in MessagePack, each with a new server.
macro_rules! in_both_formats {
    (async fn $name:ident($scene:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "some tests need nothing from their file")]
            use super::*;

            async fn run(format: capably_protocol::Format) {
                let $scene = crate::scene::Scene::new(format).await;
                crate::scene::within(async $body).await;
            }

            #[tokio::test]
            async fn json() {
                run(capably_protocol::Format::Json).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(capably_protocol::Format::MsgPack).await;
            }
        }
    };
}
pub(crate) use in_both_formats;
