//! A server with the app that client libraries are tested with, and clients of it.

use capably::{ClientOptions, Rest, http::HttpMethod};
use capably_protocol::Format;
use capably_server::Server;
use serde_json::Value;

const SETUP: &str = include_str!("../../../capably-protocol/tests/fixtures/test-app-setup.json");

/// An app on a server of its own. Dropping it stops the server.
pub(crate) struct App {
    pub(crate) server: Server,
    /// The format of its clients.
    pub(crate) format: Format,
    keys: Vec<String>,
}

impl App {
    pub(crate) async fn start(format: Format) -> Self {
        let server = Server::builder().start().await.expect("a free port");
        let owner = Rest::new(at(&server, format).key(server.key())).unwrap();
        let spec = setup()["post_apps"].take();
        let made = owner.request(HttpMethod::Post, "/apps").body(spec).await.unwrap();
        assert_eq!(made.status(), 201);
        let keys = made.items()[0]["keys"].as_array().unwrap().iter();
        let keys = keys.map(|key| key["keyStr"].as_str().unwrap().to_owned()).collect();
        Self { server, format, keys }
    }

    /// One of the app's keys, by its place in the set-up; the first may do everything.
    pub(crate) fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    /// A client that may do everything.
    pub(crate) fn rest(&self) -> Rest {
        let options = at(&self.server, self.format).key(self.key(0));
        Rest::new(options).expect("the options are good")
    }
}

/// Options for a client of a server in a format, without credentials.
pub(crate) fn at(server: &Server, format: Format) -> ClientOptions {
    ClientOptions::default()
        .endpoint(server.endpoint())
        .port(server.port())
        .tls(false)
        .use_binary_protocol(format == Format::MsgPack)
}

fn setup() -> Value {
    serde_json::from_str(SETUP).unwrap()
}
