//! The collection of channels (RSN).

use capably::{CipherParams, Rest, rest::ChannelOptions};
use serde_json::json;

use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn rest() -> Rest {
    Rest::new(KEY).unwrap()
}

// UTS: rest/unit/RSN1/channels-collection-accessible-0
// UTS: rest/unit/RSN3a/get-creates-new-channel-0
// Spec: RSN3
#[test]
fn get_creates_a_channel() {
    let rest = rest();
    let channel = rest.channels().get("test-RSN3a");
    assert_eq!(channel.name(), "test-RSN3a");
    assert!(rest.channels().exists("test-RSN3a"));
}

// UTS: rest/unit/RSN2/check-channel-exists-0
#[test]
fn exists_reports_known_channels() {
    let rest = rest();
    assert!(!rest.channels().exists("test-RSN2"));
    let _ = rest.channels().get("test-RSN2");
    assert!(rest.channels().exists("test-RSN2"));
    assert!(!rest.channels().exists("test-RSN2-other"));
}

// UTS: rest/unit/RSN2/iterate-channels-1
#[test]
fn iter_lists_the_existing_channels() {
    let rest = rest();
    for name in ["test-RSN2-a", "test-RSN2-b", "test-RSN2-c"] {
        let _ = rest.channels().get(name);
    }
    assert_eq!(rest.channels().names(), ["test-RSN2-a", "test-RSN2-b", "test-RSN2-c"]);
}

/// The published body shows whether the channel encrypts: options set by one handle apply to another.
async fn encrypts(http: &ScriptedHttp, channel: &capably::rest::RestChannel) -> bool {
    channel.publish("e", "d").await.unwrap();
    let requests = http.requests();
    let bytes = requests.last().expect("a request").bytes();
    bytes.windows(7).any(|window| window == b"cipher+")
}

fn cipher() -> ChannelOptions {
    ChannelOptions::default().cipher(CipherParams::from_key(&[7; 16]).unwrap())
}

// UTS: rest/unit/RSN3a/get-returns-existing-channel-1
#[tokio::test]
async fn get_returns_the_existing_channel() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s"]})));
    let rest = http.rest();
    let first = rest.channels().get("test-RSN3a-existing");
    let second = rest.channels().get("test-RSN3a-existing");
    assert!(!encrypts(&http, &second).await);
    first.set_options(cipher());
    assert!(encrypts(&http, &second).await, "both handles are of one channel");
    assert_eq!(first.name(), "test-RSN3a-existing");
}

// Spec: RSN3b, RSN3c, TB1, TB2, TB2b, TB2b1
#[tokio::test]
async fn get_with_options_sets_them() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s"]})));
    let rest = http.rest();
    let channel = rest.channels().get_with("test-RSN3b", cipher());
    assert!(encrypts(&http, &channel).await, "RSN3b");
    rest.channels().get_with("test-RSN3b", ChannelOptions::default());
    assert!(!encrypts(&http, &channel).await);
}

// UTS: rest/unit/RSN4a/release-removes-channel-0
// UTS: rest/unit/RSN3a/get-after-release-new-instance-3
// Spec: RSN4
#[tokio::test]
async fn release_forgets_a_channel() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s"]})));
    let rest = http.rest();
    let first = rest.channels().get_with("test-RSN4a", cipher());
    rest.channels().release("test-RSN4a");
    assert!(!rest.channels().exists("test-RSN4a"));
    let second = rest.channels().get("test-RSN4a");
    assert!(rest.channels().exists("test-RSN4a"));
    assert!(!encrypts(&http, &second).await, "it is another channel");
    assert!(encrypts(&http, &first).await, "a handle that is held goes on working");
}

// UTS: rest/unit/RSN4b/release-nonexistent-noop-0
#[test]
fn release_of_an_unknown_channel_does_nothing() {
    let rest = rest();
    rest.channels().release("test-RSN4b");
    assert!(!rest.channels().exists("test-RSN4b"));
}
