//! REST behind the same faults (RSC).

use capably::Data;
use capably_server::faults::{Event, Response, Rule};
use serde_json::json;

use super::*;

/// The first request about a channel is answered with this error.
fn fail_first(scene: &Scene, status: u16, code: u32, message: &str) {
    let error = json!({ "code": code, "statusCode": status, "message": message });
    let response = Response::new(status).body(json!({ "error": error }));
    scene.faults.add(Rule::request().path_contains("/channels/").times(1).respond(response));
}

/// The statuses of the requests about channels.
fn statuses(log: &Log) -> Vec<u16> {
    let mut about_channels = Vec::new();
    let mut statuses = Vec::new();
    for entry in log.entries() {
        match &entry.event {
            Event::Request { path, .. } if path.contains("/channels/") => {
                about_channels.push(entry.number);
            }
            Event::Response { status } if about_channels.contains(&entry.number) => {
                statuses.push(*status);
            }
            _ => {}
        }
    }
    statuses
}

// UTS: realtime/proxy/RSC10/token-renewal-on-401-0
// Spec: RSC10
in_both_formats! {
    async fn a_rejected_token_is_renewed_and_the_request_repeated(scene) {
        fail_first(&scene, 401, 40142, "Token expired");
        let (options, asked) = scene.options_with_tokens();
        let rest = Rest::new(options).unwrap();
        let channel = rest.channels().get("test-RSC10-token-renewal");
        let result = channel.publish("test-event", "hello").await.unwrap();
        assert_eq!(result.serials.len(), 1);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(statuses(&scene.log()), [401, 201]);
    }
}

// UTS: realtime/proxy/RSC15m/http-503-no-fallback-0
// Spec: RSC15m, REC2c2
in_both_formats! {
    async fn without_fallback_hosts_an_error_is_final(scene) {
        fail_first(&scene, 503, 50300, "Service temporarily unavailable");
        let rest = Rest::new(scene.options_with_tokens().0).unwrap();
        let channel = rest.channels().get("test-RSC15m-503-error");
        let error = channel.publish("test-event", "hello").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (50300, Some(503)));
        assert_eq!(scene.log().requests("/channels/").len(), 1);
    }
}

// UTS: realtime/proxy/RTL6/publish-history-through-proxy-0
// Spec: RTL6
in_both_formats! {
    async fn realtime_publishes_are_in_the_history_over_rest(scene) {
        let client = scene.connected(|options| options).await;
        let channel = client.channels().get("test-RTL6-publish-history");
        within(channel.attach()).await.unwrap();
        within(channel.publish("test-msg", "hello world").into_future()).await.unwrap();
        let rest = Rest::new(scene.options_with_tokens().0).unwrap();
        let history = rest.channels().get("test-RTL6-publish-history").history().await.unwrap();
        let [message] = history.items() else { panic!("{} messages", history.items().len()) };
        assert_eq!(message.name.as_deref(), Some("test-msg"));
        assert_eq!(message.data, Data::from("hello world"));
        let log = scene.log();
        assert_eq!(log.connects().len(), 1);
        assert_eq!(log.requests("/history").len() + log.requests("/messages").len(), 1);
        client.close().await;
    }
}
