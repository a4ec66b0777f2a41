//! The reactions of the REST client to faults on the way to the service.

use std::time::Duration;

use capably::{ClientOptions, Data, Rest};
use capably_server::{
    Server,
    faults::{FaultProxy, Log, Requests, Response, Rule},
};
use serde_json::json;

use crate::closed_port::ClosedPort;

/// A service, and a proxy in front of it.
struct Scene {
    server: Server,
    proxy: FaultProxy,
    binary: bool,
}

impl Scene {
    /// One for each format.
    async fn each() -> [Self; 2] {
        [Self::new(false).await, Self::new(true).await]
    }

    async fn new(binary: bool) -> Self {
        let server = Server::builder().start().await.unwrap();
        let target = server.local_addr().to_string();
        let proxy = FaultProxy::builder(target).start().await.unwrap();
        Self { server, proxy, binary }
    }

    /// Options for a client behind the proxy, which gets its tokens from the service itself.
    fn options(&self) -> ClientOptions {
        self.options_at(self.proxy.port())
    }

    fn options_at(&self, port: u16) -> ClientOptions {
        let direct = ClientOptions::new(self.server.key())
            .endpoint(self.server.endpoint())
            .port(self.server.port())
            .tls(false);
        let direct = Rest::new(direct).unwrap();
        let token = move |_| {
            let token = direct.auth().request_token();
            async move { token.await }
        };
        ClientOptions::default()
            .auth_callback(token)
            .endpoint("localhost")
            .port(port)
            .tls(false)
            .use_binary_protocol(self.binary)
    }

    fn rest(&self, options: impl FnOnce(ClientOptions) -> ClientOptions) -> Rest {
        Rest::new(options(self.options())).unwrap()
    }

    fn log(&self) -> Log {
        self.proxy.faults().log()
    }
}

fn unavailable() -> Response {
    let error =
        json!({ "code": 50300, "statusCode": 503, "message": "Service temporarily unavailable" });
    Response::new(503).body(json!({ "error": error }))
}

fn forbidden() -> Response {
    let error = json!({ "code": 40300, "statusCode": 403, "message": "Forbidden" });
    Response::new(403).body(json!({ "error": error }))
}

/// The first request for the time.
fn first_time() -> Rule<Requests> {
    Rule::request().path_contains("/time").times(1)
}

// UTS: rest/proxy/RSC15l2/timeout-triggers-fallback-0
// Spec: RSC15l, RSC15l2
#[tokio::test]
async fn a_timeout_leads_to_a_fallback_host() {
    for scene in Scene::each().await {
        scene.proxy.faults().add(first_time().delay(Duration::from_secs(20)));
        let rest = scene.rest(|options| {
            options.fallback_hosts(["localhost"]).http_request_timeout(Duration::from_secs(1))
        });
        assert!(rest.time().await.unwrap() > 0);
        assert_eq!(scene.log().requests("/time"), [("GET", "/time"); 2]);
    }
}

// UTS: rest/proxy/RSC15l4/cloudfront-header-fallback-0
// Spec: RSC15l4
#[tokio::test]
async fn an_error_of_cloudfront_leads_to_a_fallback_host() {
    for scene in Scene::each().await {
        let response = forbidden().header("Server", "CloudFront");
        scene.proxy.faults().add(first_time().respond(response));
        let rest = scene.rest(|options| options.fallback_hosts(["localhost"]));
        assert!(rest.time().await.unwrap() > 0);
        let log = scene.log();
        assert_eq!(log.requests("/time"), [("GET", "/time"); 2]);
        assert_eq!(log.statuses(), [403, 200]);
    }
}

// UTS: rest/proxy/RSC15l/unreachable-endpoint-error-0
#[tokio::test]
async fn an_unreachable_endpoint_is_an_error_with_a_code() {
    for scene in Scene::each().await {
        let closed = ClosedPort::new();
        let rest = Rest::new(scene.options_at(closed.number())).unwrap();
        let error = rest.time().await.unwrap_err();
        assert_eq!(error.code().0, 80000, "{error}");
    }
}

// UTS: rest/proxy/RSC15l/connection-drop-fallback-1
// Spec: RSC15l
#[tokio::test]
async fn a_dropped_connection_leads_to_a_fallback_host() {
    for scene in Scene::each().await {
        scene.proxy.faults().add(first_time().drop_request());
        let rest = scene.rest(|options| options.fallback_hosts(["localhost"]));
        assert!(rest.time().await.unwrap() > 0);
        assert_eq!(scene.log().requests("/time"), [("GET", "/time"); 2]);
    }
}

// UTS: rest/proxy/RSC15l/http-5xx-json-error-parsed-0
// Spec: RSC8e
#[tokio::test]
async fn an_error_in_a_body_is_read() {
    for scene in Scene::each().await {
        scene.proxy.faults().add(first_time().respond(unavailable()));
        let error = scene.rest(|options| options).time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (50300, Some(503)));
        assert!(error.message().contains("Service temporarily unavailable"));
        assert_eq!(scene.log().statuses(), [503]);
    }
}

// UTS: rest/proxy/RSC15l/http-5xx-no-json-synthesized-1
#[tokio::test]
async fn an_error_without_a_body_is_made_from_its_status() {
    for scene in Scene::each().await {
        scene.proxy.faults().add(first_time().respond(Response::new(503).body(json!({}))));
        let error = scene.rest(|options| options).time().await.unwrap_err();
        assert_eq!(error.status(), Some(503));
    }
}

// UTS: rest/proxy/RSC15l/http-4xx-not-retried-0
// Spec: RSC15l
#[tokio::test]
async fn a_refusal_does_not_lead_to_a_fallback_host() {
    for scene in Scene::each().await {
        scene.proxy.faults().add(first_time().respond(forbidden()));
        let rest = scene.rest(|options| options.fallback_hosts(["localhost"]));
        let error = rest.time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40300, Some(403)));
        assert_eq!(scene.log().requests("/time"), [("GET", "/time")]);
    }
}

// UTS: rest/proxy/RSL1k4/idempotent-retry-dedup-0
// Spec: RSL1k4
#[tokio::test]
async fn a_retried_publish_is_published_once() {
    for scene in Scene::each().await {
        let publish = Rule::request().method("POST").path_contains("/channels/").times(1);
        scene.proxy.faults().add(publish.replace_response(unavailable()));
        let rest = scene
            .rest(|options| options.fallback_hosts(["localhost"]).idempotent_rest_publishing(true));
        let channel = rest.channels().get("test-RSL1k4-idempotent");
        channel.publish("test", "data").await.unwrap();
        let history = channel.history().await.unwrap();
        let [message] = history.items() else { panic!("{} messages", history.items().len()) };
        assert_eq!(message.name.as_deref(), Some("test"));
        assert_eq!(message.data, Data::from("data"));
        let path = "/channels/test-RSL1k4-idempotent/messages";
        assert_eq!(scene.log().requests("/channels/")[..2], [("POST", path); 2]);
        assert_eq!(scene.log().statuses(), [503, 201, 200]);
    }
}
