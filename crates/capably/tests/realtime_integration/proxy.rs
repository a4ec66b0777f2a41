//! The reactions of the realtime client to faults on the way to the service.
//!
//! Where the specification's tests act a second after a connection was opened, these act once the client has
//! what it needs, and their timeouts are shorter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{expect_states, within};
use capably::{
    ClientOptions, Realtime, Rest,
    realtime::{Changes, ConnectionState},
};
use capably_protocol::{ConnectionDetails, ErrorInfo, Format, ServerFrame, frame::Connected};
use capably_server::{
    Server,
    faults::{Faults, Log},
};

mod auth_reauth;
mod channel_faults;
mod connection_open_failures;
mod connection_resume;
mod deltas;
mod gaps;
mod heartbeat;
mod objects_faults;
mod presence_reentry;
mod rest_faults;

/// A service, and the faults in front of it.
struct Scene {
    server: Server,
    faults: Faults,
    format: Format,
}

impl Scene {
    async fn new(format: Format) -> Self {
        let faults = Faults::new();
        let server = Server::builder().faults(&faults).start().await.unwrap();
        Self { server, faults, format }
    }

    /// Options for a client with the server's key.
    fn options(&self) -> ClientOptions {
        self.options_without_key().key(self.server.key())
    }

    fn options_without_key(&self) -> ClientOptions {
        ClientOptions::default()
            .endpoint("localhost")
            .port(self.server.port())
            .tls(false)
            .use_binary_protocol(self.format == Format::MsgPack)
            .auto_connect(false)
    }

    /// Options for a client that requests tokens from the service, and the number of its requests.
    fn options_with_tokens(&self) -> (ClientOptions, Arc<AtomicUsize>) {
        let direct = Rest::new(self.options()).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let options = self.options_without_key().auth_callback(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            let token = direct.auth().request_token();
            async move { token.await }
        });
        (options, asked)
    }

    /// A client that is not connected.
    fn client(&self, options: impl FnOnce(ClientOptions) -> ClientOptions) -> Realtime {
        Realtime::new(options(self.options())).unwrap()
    }

    /// A client that is connected.
    async fn connected(&self, options: impl FnOnce(ClientOptions) -> ClientOptions) -> Realtime {
        let client = self.client(options);
        client.connection().connect();
        within(client.connection().when(ConnectionState::Connected)).await.unwrap();
        client
    }

    fn log(&self) -> Log {
        self.faults.log()
    }

    /// The values of a parameter in the queries of all connections so far.
    fn params(&self, name: &str) -> Vec<Option<String>> {
        let log = self.log();
        log.connects().iter().map(|params| params.get(name).map(str::to_owned)).collect()
    }
}

/// A CONNECTED that the service has not sent.
fn connected(id: &str, key: &str, ttl: u64, error: Option<ErrorInfo>) -> ServerFrame {
    let details = ConnectionDetails {
        connection_key: Some(key.into()),
        max_message_size: Some(65_536),
        max_inbound_rate: Some(250),
        max_frame_size: Some(524_288),
        server_id: Some("test-server".into()),
        connection_state_ttl: Some(ttl),
        max_idle_interval: Some(15_000),
        ..ConnectionDetails::default()
    };
    let connected = Connected { connection_id: Some(id.into()), details: Some(details), error };
    ServerFrame::Connected(Box::new(connected))
}

fn error(code: u32, status: u16, message: &'static str) -> ErrorInfo {
    ErrorInfo::new(code.into(), status, message)
}

/// Runs a test in JSON and in MessagePack, each with a service of its own.
macro_rules! in_both_formats {
    (async fn $name:ident($scene:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn run($scene: Scene) $body

            #[tokio::test]
            async fn json() {
                within(run(Scene::new(Format::Json).await)).await;
            }

            #[tokio::test]
            async fn msgpack() {
                within(run(Scene::new(Format::MsgPack).await)).await;
            }
        }
    };
}
use in_both_formats;
