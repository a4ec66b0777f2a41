//! Subscriptions of devices and clients to channels.

use capably_protocol::Format;
use serde_json::{Value, json};

use crate::{
    DEVICES, FORMATS, SUBSCRIPTIONS, app_with_push, code, list, save, subscribe,
    support::{ask, server},
    tablet,
};

#[tokio::test]
async fn subscriptions_are_saved_listed_and_removed() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    let (a, b) = ("pushenabled:a", "pushenabled:b,ä");
    save(&server, &key, &tablet("d1")).await;
    save(&server, &key, &tablet("d2")).await;
    for (channel, target) in [
        (b, ("deviceId", "d1")),
        (a, ("deviceId", "d2")),
        (a, ("deviceId", "d1")),
        (a, ("clientId", "ada")),
        (a, ("clientId", "ada")),
    ] {
        subscribe(&server, &key, channel, target).await;
    }
    let of = |channel: &str, name: &str, id: &str| json!({"channel": channel, name: id});
    let all = [
        of(a, "clientId", "ada"),
        of(a, "deviceId", "d1"),
        of(a, "deviceId", "d2"),
        of(b, "deviceId", "d1"),
    ];
    for (query, expected) in [
        ("".to_owned(), vec![0, 1, 2, 3]),
        (format!("?channel={a}"), vec![0, 1, 2]),
        ("?deviceId=d1".to_owned(), vec![1, 3]),
        ("?clientId=ada".to_owned(), vec![0]),
        ("?deviceId=d1&clientId=ada".to_owned(), vec![]),
        ("?deviceId=d1&clientId=ada&concatFilters=true".to_owned(), vec![0, 1, 3]),
        (format!("?channel={a}&deviceId=d1&clientId=ada&concatFilters=true"), vec![0, 1]),
        ("?channel=pushenabled:c".to_owned(), vec![]),
        ("?direction=backwards&limit=1".to_owned(), vec![3]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|at: usize| all[at].clone()).collect();
        let items = list(&server, &key, &format!("{SUBSCRIPTIONS}{query}")).await;
        assert_eq!(items, json!(expected), "{query}");
    }
    for format in FORMATS {
        let target = format!("{SUBSCRIPTIONS}?limit=3");
        let (answer, first) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!(first, json!(all[..3]));
        let next = answer.link("next").unwrap();
        assert!(next.starts_with("./channelSubscriptions?"), "{next}");
        let target = next.replacen('.', "/push", 1);
        let (answer, second) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!((second, answer.link("next")), (json!(all[3..]), None));

        let target = "/push/channels?limit=1";
        let (answer, first) = ask(&server, &key, format, "GET", target, &Value::Null).await;
        assert_eq!(first, json!([a]));
        let target = answer.link("next").unwrap().replacen('.', "/push", 1);
        let (answer, second) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!((second, answer.link("next")), (json!([b]), None));
    }

    let remove = async |query: &str| {
        let target = format!("{SUBSCRIPTIONS}{query}");
        let (answer, _) = ask(&server, &key, Format::Json, "DELETE", &target, &Value::Null).await;
        assert_eq!(answer.status, 204, "{query}");
    };
    assert_eq!(code(&server, &key, "DELETE", SUBSCRIPTIONS, &Value::Null).await, (400, 40003));
    remove(&format!("?channel={a}&deviceId=d2")).await;
    remove(&format!("?channel={a}&deviceId=d2")).await;
    remove("?clientId=ada").await;
    assert_eq!(list(&server, &key, SUBSCRIPTIONS).await, json!([all[1], all[3]]));
    let target = format!("{DEVICES}/d1");
    ask(&server, &key, Format::Json, "DELETE", &target, &Value::Null).await;
    assert_eq!(list(&server, &key, SUBSCRIPTIONS).await, json!([]));
    assert_eq!(list(&server, &key, "/push/channels").await, json!([]));
}

#[tokio::test]
async fn invalid_subscriptions_are_refused() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    for (body, expected) in [
        (json!({"channel": "other:a", "clientId": "ada"}), (401, 40160)),
        (json!({"channel": "pushenabled2", "clientId": "ada"}), (401, 40160)),
        (json!({"channel": "pushenabled:a", "deviceId": "nobody"}), (404, 40400)),
        (json!({"channel": ":a", "clientId": "ada"}), (400, 40010)),
        (json!({"channel": "", "clientId": "ada"}), (400, 40010)),
        (json!({"channel": "pushenabled:a"}), (400, 40000)),
        (json!({"channel": "pushenabled:a", "clientId": ""}), (400, 40000)),
        (json!({"channel": "pushenabled:a", "clientId": 5}), (400, 40000)),
        (json!({"channel": "pushenabled:a", "clientId": "a", "deviceId": "d"}), (400, 40000)),
        (json!({"clientId": "ada"}), (400, 40000)),
        (json!([]), (400, 40000)),
    ] {
        let asked = code(&server, &key, "POST", SUBSCRIPTIONS, &body).await;
        assert_eq!(asked, expected, "{body}");
    }
    for (method, target) in [
        ("PUT", SUBSCRIPTIONS),
        ("PUT", DEVICES),
        ("POST", "/push/deviceRegistrations/d"),
        ("POST", "/push/channels"),
        ("GET", "/push/publish"),
        ("GET", "/push"),
    ] {
        let asked = code(&server, &key, method, target, &json!({})).await;
        assert_eq!(asked, (404, 40400), "{method} {target}");
    }
}
