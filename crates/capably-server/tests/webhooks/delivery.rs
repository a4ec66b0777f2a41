//! Every event is delivered, in the order of its channel.

use std::collections::HashMap;

use capably_protocol::{ClientFrame, Message, PresenceAction, PresenceMessage, frame};
use serde_json::json;

use super::{support::Client, *};

#[tokio::test]
async fn messages_of_a_channel_come_in_their_order() {
    for mode in MODES {
        let mut endpoint = Endpoint::new().await;
        let server = start([messages(&endpoint).request_mode(mode)]).await;
        publish(&server, "a", numbers(0..100)).await;
        let expected: Vec<String> = numbers(0..100).collect();
        assert_eq!(endpoint.data_until("99").await, expected, "{mode:?}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_channel_that_waits_does_not_delay_another() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = std::sync::Arc::clone(&gate);
    let mut endpoint = Endpoint::with(move |_, request| {
        let is_slow = request.value()["channel"] == "slow";
        if is_slow {
            endpoint::Reaction::Late(gate.clone())
        } else {
            endpoint::Reaction::Status(204)
        }
    })
    .await;
    let server = start([messages(&endpoint)]).await;
    publish(&server, "slow", numbers(0..2)).await;
    assert_eq!(endpoint.next().await.data(), ["0"]);
    publish(&server, "fast", numbers(10..30)).await;
    let expected: Vec<String> = numbers(10..30).collect();
    assert_eq!(endpoint.data_until("29").await, expected);
    opened.add_permits(2);
    assert_eq!(
        endpoint.next().await.data(),
        ["1"],
        "only now the first of its channel is accepted"
    );
}

#[tokio::test]
async fn many_channels_keep_their_orders() {
    for mode in MODES {
        let mut endpoint = Endpoint::new().await;
        let server = start([messages(&endpoint).request_mode(mode)]).await;
        let (mut client, _) = Client::connect(&server, Format::MsgPack).await;
        for number in 0..200_u64 {
            let message = Message::new("n", number.to_string());
            client.publish(&format!("c{}", number % 10), number, vec![message]).await;
        }
        let mut seen: HashMap<u64, Vec<u64>> = HashMap::new();
        while seen.values().map(Vec::len).sum::<usize>() < 200 {
            for data in endpoint.next().await.data() {
                let number: u64 = data.parse().unwrap();
                seen.entry(number % 10).or_default().push(number);
            }
        }
        for (channel, numbers) in seen {
            let expected: Vec<u64> = (0..20).map(|round| round * 10 + channel).collect();
            assert_eq!(numbers, expected, "{mode:?}");
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn the_filter_chooses_the_channels() {
    let mut endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint).channel_filter("^chat:.*s$")]).await;
    publish(&server, "chat:room", ["no".to_owned()]).await;
    publish(&server, "other:chat:rooms", ["no".to_owned()]).await;
    publish(&server, "chat:rooms", ["yes".to_owned()]).await;
    assert_eq!(endpoint.next().await.data(), ["yes"]);
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn a_rule_that_is_off_reports_nothing() {
    let mut endpoint = Endpoint::new().await;
    let off = messages(&endpoint).id("off").enabled(false).header("x-rule", "off");
    let server = start([off, messages(&endpoint)]).await;
    publish(&server, "a", numbers(0..3)).await;
    assert_eq!(endpoint.data_until("2").await, ["0", "1", "2"]);
    assert_eq!(endpoint.count(), 3);
}

#[tokio::test]
async fn a_member_that_enters_and_leaves_is_reported() {
    for format in FORMATS {
        let mut endpoint = Endpoint::new().await;
        let rule = Rule::new(Source::Presence, endpoint.url()).id("rule").format(format);
        let server = start([rule]).await;
        let (mut client, _) = Client::connect_with(&server, format, "clientId=ada").await;
        client.attach("room").await;
        let event = |action: PresenceAction, data: &'static str| PresenceMessage {
            action: Some(action),
            data: data.into(),
            ..PresenceMessage::default()
        };
        for (serial, item) in [
            event(PresenceAction::Enter, "one"),
            event(PresenceAction::Update, "two"),
            event(PresenceAction::Leave, "three"),
        ]
        .into_iter()
        .enumerate()
        {
            client
                .send(&ClientFrame::Presence(frame::Publish {
                    channel: "room".into(),
                    msg_serial: serial as u64,
                    items: vec![item].into(),
                    params: Default::default(),
                }))
                .await;
        }
        for (action, data) in [(2, "one"), (4, "two"), (3, "three")] {
            let value = endpoint.next().await.value();
            assert_eq!(value["source"], "channel.presence");
            let [member] = &value["presence"].as_array().unwrap()[..] else { panic!("{value}") };
            assert_eq!(
                (&member["action"], &member["data"], &member["clientId"]),
                (&json!(action), &json!(data), &json!("ada"))
            );
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_channel_that_opens_and_its_occupancy_are_reported() {
    let mut opened = Endpoint::new().await;
    let mut occupied = Endpoint::new().await;
    let server = start([
        Rule::new(Source::Lifecycle, opened.url()).id("lifecycle"),
        Rule::new(Source::Occupancy, occupied.url()).id("occupancy"),
    ])
    .await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    client.attach("room").await;
    let value = opened.next().await.value();
    assert_eq!(
        (&value["source"], &value["name"], &value["channel"]),
        (&json!("channel.lifecycle"), &json!("channel.opened"), &json!("room"))
    );
    assert_eq!(value["status"]["isActive"], true);
    let value = occupied.next().await.value();
    assert_eq!(value["source"], "channel.occupancy");
    let metrics = &value["status"]["occupancy"]["metrics"];
    assert_eq!((&metrics["connections"], &metrics["subscribers"]), (&json!(1), &json!(1)));
    drop(client);
    server.shutdown().await;
}

#[tokio::test]
async fn a_message_that_skips_rules_is_not_reported() {
    let mut endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint)]).await;
    for skip in [json!("*"), json!("rule"), json!(["other", "rule"])] {
        let body = json!({"data": "no", "extras": {"privileged": {"skipRule": skip}}});
        assert_eq!(request(&server, "POST", "/channels/a/messages", &body).await.status, 201);
    }
    let body = json!({"data": "yes", "extras": {"privileged": {"skipRule": "other"}}});
    assert_eq!(request(&server, "POST", "/channels/a/messages", &body).await.status, 201);
    assert_eq!(endpoint.next().await.data(), ["yes"]);
}

#[tokio::test]
async fn ephemeral_messages_are_not_reported() {
    let mut endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint)]).await;
    let body = json!({"data": "no", "extras": {"ephemeral": true}});
    assert_eq!(request(&server, "POST", "/channels/a/messages", &body).await.status, 201);
    publish(&server, "a", ["yes".to_owned()]).await;
    assert_eq!(endpoint.next().await.data(), ["yes"]);
}

#[tokio::test]
async fn an_update_and_a_delete_are_reported_with_their_actions() {
    let mut endpoint = Endpoint::new().await;
    let server = start([]).await;
    let spec = json!({
        "keys": [{}],
        "namespaces": [{"id": "mutable", "mutableMessages": true}],
        "rules": [{
            "ruleType": "http",
            "requestMode": "single",
            "source": {"type": "channel.message"},
            "target": {"url": endpoint.url(), "format": "json"},
        }],
    });
    let keys = support::app(&server, &spec).await;
    let (_, published) = ask(
        &server,
        &keys[0],
        Format::Json,
        "POST",
        "/channels/mutable:a/messages",
        &json!({"data": "first"}),
    )
    .await;
    let serial = published["serials"][0].as_str().unwrap().replace('@', "%40");
    for body in [json!({"action": 1, "data": "second"}), json!({"action": 2})] {
        let target = format!("/channels/mutable:a/messages/{serial}");
        let (answer, _) = ask(&server, &keys[0], Format::Json, "PATCH", &target, &body).await;
        assert_eq!(answer.status, 200);
    }
    for (action, data) in [(0, json!("first")), (1, json!("second")), (2, json!("second"))] {
        let message = endpoint.next().await.value()["messages"][0].clone();
        assert_eq!((&message["action"], &message["data"]), (&json!(action), &data));
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let mut endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint)]).await;
    for number in numbers(0..20) {
        publish(&server, "a", [number.clone()]).await;
        assert_eq!(endpoint.next().await.data(), [number]);
    }
    assert_eq!(endpoint.connections(), 1);
}
