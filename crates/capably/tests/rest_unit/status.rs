//! The name, the options and the status of a channel (RSL7, RSL8, RSL9, CHD, CHS, CHO, CHM).

use capably::{ChannelDetails, ChannelMetrics, CipherParams, rest::ChannelOptions};
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{ScriptedHttp, respond},
};

// UTS: rest/unit/RSL9/channel-name-attribute-0
#[test]
fn a_channel_knows_its_name() {
    let channels = ScriptedHttp::always(respond(200, json!([]))).rest().channels().clone();
    assert_eq!(channels.get("my-channel").name(), "my-channel");
    assert_eq!(channels.get("namespace:channel-name").name(), "namespace:channel-name");
}

// UTS: rest/unit/RSL7/setoptions-updates-options-0
// UTS: rest/unit/RSL7/setoptions-stores-options-1
#[tokio::test]
async fn options_apply_from_when_they_are_set() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s"]})));
    let channel = http.rest().channels().get("test-RSL7");
    channel.publish("a", "plain").await.unwrap();
    let cipher = CipherParams::from_key(&[7; 16]).unwrap();
    channel.set_options(ChannelOptions::default().cipher(cipher));
    channel.publish("a", "secret").await.unwrap();
    channel.set_options(ChannelOptions::default());
    channel.publish("a", "plain").await.unwrap();
    let requests = http.requests();
    assert_eq!(requests[0].0.headers, requests[2].0.headers);
    let encrypted = |index: usize| {
        let body = &requests[index].0.body;
        body.windows(6).any(|bytes| bytes == b"cipher")
    };
    assert_eq!([encrypted(0), encrypted(1), encrypted(2)], [false, true, false]);
}

// UTS: rest/unit/RSL8/status-get-correct-endpoint-0
// UTS: rest/unit/RSL8/status-special-chars-encoded-1
#[tokio::test]
async fn requests_the_status_of_the_channel() {
    for (name, path) in [
        ("test-RSL8", "/channels/test-RSL8"),
        ("namespace:my channel", "/channels/namespace%3Amy%20channel"),
    ] {
        let http = ScriptedHttp::always(respond(200, json!({"channelId": name})));
        let details = http.rest().channels().get(name).status().await.unwrap();
        assert_eq!(&*details.channel_id, name);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", path));
    }
}

// UTS: rest/unit/RSL8a/status-returns-channel-details-0
// UTS: rest/unit/CHM2/parses-all-metrics-fields-0
// Spec: RSL8a, CHD1, CHD2, CHD2a, CHD2b, CHS1, CHS2, CHS2a, CHS2b, CHO1, CHO2, CHO2a, CHM1, CHM2, CHM2a, CHM2b, CHM2c, CHM2d, CHM2e, CHM2f, CHM2g, CHM2h
#[tokio::test]
async fn reads_the_occupancy_of_a_channel() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!({
                "channelId": "test-CHM2", "name": "test-CHM2", "unknown": {},
                "status": {"isActive": true, "occupancy": {"metrics": {
                    "connections": 10, "presenceConnections": 7, "presenceMembers": 4,
                    "presenceSubscribers": 3, "publishers": 6, "subscribers": 8,
                    "objectPublishers": 2, "objectSubscribers": 5,
                }}},
            }),
        ));
        let details = http.rest_with(options).channels().get("test").status().await.unwrap();
        assert_eq!(&*details.channel_id, "test-CHM2");
        assert!(details.status.is_active);
        assert_eq!(
            details.status.occupancy.metrics,
            ChannelMetrics {
                connections: 10,
                presence_connections: 7,
                presence_members: 4,
                presence_subscribers: 3,
                publishers: 6,
                subscribers: 8,
                object_publishers: 2,
                object_subscribers: 5,
            }
        );
    }
}

// UTS: rest/unit/CHM2/zero-and-missing-metrics-1
#[tokio::test]
async fn absent_counts_are_zero() {
    for (status, channel_id) in [
        (json!({"isActive": false, "occupancy": {"metrics": {"connections": 0}}}), "a"),
        (json!({"isActive": false, "occupancy": {"metrics": null}}), "b"),
        (json!({"isActive": false}), "c"),
        (json!(null), "d"),
    ] {
        let body = json!({"channelId": channel_id, "status": status});
        let http = ScriptedHttp::always(respond(200, body));
        let details = http.rest().channels().get("test").status().await.unwrap();
        let expected = ChannelDetails { channel_id: channel_id.into(), status: Default::default() };
        assert_eq!(details, expected);
    }
}
