//! Live activities over broadcast channels of APNs.

use super::*;

const BROADCASTS: &str = "/push/apnsBroadcastChannels";

#[tokio::test]
async fn a_live_activity_is_started_updated_and_ended() {
    let server = server().await;
    let [full, _, none] = app_with_push(&server).await;
    save(&server, &full, &tablet("ipad")).await;
    for format in FORMATS {
        let post = async |target: &str, body: &Value| {
            ask(&server, &full, format, "POST", target, body).await
        };
        let made = post(BROADCASTS, &json!({"messageStoragePolicy": 1})).await;
        assert_eq!(made.0.status, 201);
        let id = made.1["id"].as_str().unwrap().replace('@', "%40");
        assert!(!made.1["apnsChannelId"].as_str().unwrap().is_empty());
        let step = |name: &str| format!("{BROADCASTS}/{id}/{name}");
        let apns = json!({"aps": {"event": "update"}});

        let too_early = post(&step("broadcast"), &json!({ "apns": apns })).await;
        assert_eq!(refusal(&too_early), (400, 40000));
        for (body, expected) in [
            (json!({ "apns": apns }), (400, 40000)),
            (json!({"channels": ["pushenabled:a"]}), (400, 40000)),
            (json!({"apns": apns, "channels": []}), (400, 40000)),
            (json!({"apns": apns, "channels": [1]}), (400, 40000)),
            (json!({"apns": apns, "channels": [":a"]}), (400, 40010)),
            (json!({"apns": apns, "channels": ["a"], "deviceId": "ipad"}), (400, 40000)),
            (json!({"apns": apns, "deviceId": "nobody"}), (404, 40400)),
        ] {
            assert_eq!(refusal(&post(&step("start"), &body).await), expected, "{body}");
        }
        for (name, body) in [
            ("start", json!({"apns": apns, "channels": ["pushenabled:a"]})),
            ("start", json!({"apns": apns, "deviceId": "ipad", "headers": {"apns-priority": "5"}})),
            ("broadcast", json!({ "apns": apns })),
            ("end", json!({ "apns": apns })),
        ] {
            assert_eq!(post(&step(name), &body).await.0.status, 204, "{name}");
        }
        let too_late = post(&step("broadcast"), &json!({ "apns": apns })).await;
        assert_eq!(refusal(&too_late), (400, 40000));
        let unknown = post(&format!("{BROADCASTS}/x/start"), &json!({ "apns": apns })).await;
        assert_eq!(refusal(&unknown), (404, 40400));
        assert_eq!(refusal(&post(&step("other"), &json!({})).await), (404, 40400));
        for policy in [json!({}), json!({"messageStoragePolicy": 2})] {
            assert_eq!(refusal(&post(BROADCASTS, &policy).await), (400, 40000), "{policy}");
        }
        let body = json!({"messageStoragePolicy": 0});
        let denied = ask(&server, &none, format, "POST", BROADCASTS, &body).await;
        assert_eq!(refusal(&denied), (401, 40160));
    }
}
