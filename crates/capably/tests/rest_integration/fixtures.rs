//! The payloads that all client libraries share, by way of the service.

use capably::{
    Channel, CipherParams, Data, Message, Rest, Subscription,
    http::HttpMethod,
    realtime::RealtimeChannelOptions,
    rest::{ChannelOptions, Direction, RestChannel},
};
use capably_protocol::{
    encoding,
    fixtures::{CRYPTO_128, CRYPTO_256, MESSAGES, MSGPACK, PRESENCE_MESSAGES},
};
use serde_json::{Value, json};

use crate::{
    in_both_formats,
    support::{App, at},
};

fn load(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// The payload that a fixture is decoded to.
fn expected(fixture: &Value) -> Data {
    match fixture["expectedType"].as_str().unwrap() {
        "string" => fixture["expectedValue"].as_str().unwrap().into(),
        "jsonObject" | "jsonArray" => fixture["expectedValue"].clone().into(),
        "binary" => Data::Binary(vec![0xde, 0xad, 0xbe, 0xef].into()),
        other => panic!("a type of fixture nobody has heard of: {other}"),
    }
}

/// A client that uses JSON, to send and read raw values without our codecs.
fn raw(app: &App) -> Rest {
    let options = at(&app.server, capably_protocol::Format::Json);
    Rest::new(options.key(app.key(0))).unwrap()
}

async fn publish_raw(rest: &Rest, channel: &str, message: Value) {
    let path = format!("/channels/{channel}/messages");
    let reply = rest.request(HttpMethod::Post, path).body(message).await.unwrap();
    assert_eq!(reply.status(), 201);
}

async fn read_raw(rest: &Rest, channel: &str) -> Vec<Value> {
    let path = format!("/channels/{channel}/messages");
    let reply = rest.request(HttpMethod::Get, path).param("direction", "forwards").await.unwrap();
    assert_eq!(reply.status(), 200);
    reply.items().to_vec()
}

async fn read(channel: &RestChannel) -> Vec<Message> {
    let page = channel.history().direction(Direction::Forwards).await.unwrap();
    assert!(page.is_last());
    page.items().to_vec()
}

async fn subscribed(app: &App, channel: &str, cipher: Option<&CipherParams>) -> Subscription {
    let realtime = app.realtime_with(|options| options.key(app.key(0))).await;
    let channel: Channel = match cipher {
        Some(cipher) => {
            let options = RealtimeChannelOptions::new().cipher(cipher.clone());
            realtime.channels().get_with(channel, options)
        }
        None => realtime.channels().get(channel),
    };
    channel.subscribe().await.unwrap()
}

in_both_formats! {
    // Spec: RSL6a1, RTL7d
    async fn raw_messages_are_received_decoded(app) {
        let fixtures = load(MESSAGES);
        let fixtures = list(&fixtures["messages"]);
        assert_eq!(fixtures.len(), 5);
        let mut messages = subscribed(&app, "raw", None).await;
        let raw = raw(&app);
        for fixture in fixtures {
            let message = json!({"data": fixture["data"], "encoding": fixture["encoding"]});
            publish_raw(&raw, "raw", message).await;
            let received = messages.next().await.unwrap();
            assert_eq!((&received.data, &received.encoding), (&expected(fixture), &None));
        }
        let history = read(&app.rest().channels().get("raw")).await;
        let data: Vec<_> = history.into_iter().map(|message| message.data).collect();
        assert_eq!(data, fixtures.iter().map(expected).collect::<Vec<_>>());
    }
}

in_both_formats! {
    // Spec: RSL6a1, RSL4d1, RSL4d2, RSL4d3
    async fn published_messages_are_encoded_like_the_fixtures(app) {
        let fixtures = load(MESSAGES);
        let fixtures = list(&fixtures["messages"]);
        let channel = app.rest().channels().get("encoded");
        for fixture in fixtures {
            channel.publish("event", expected(fixture)).await.unwrap();
        }
        let stored = read_raw(&raw(&app), "encoded").await;
        assert_eq!(stored.len(), fixtures.len());
        for (message, fixture) in stored.iter().zip(fixtures) {
            let encoding = message.get("encoding").unwrap_or(&Value::Null);
            assert_eq!(encoding, &fixture["encoding"]);
            if encoding == "json" {
                assert_eq!(load(message["data"].as_str().unwrap()), fixture["expectedValue"]);
            } else {
                assert_eq!(message["data"], fixture["data"]);
            }
        }
    }
}

in_both_formats! {
    // Spec: RSL6a2
    async fn extras_arrive_unchanged(app) {
        let extras = json!({"push": [{"title": "Testing"}], "ref": {"n": 1.5, "none": null}});
        let channel = app.rest().channels().get("extras");
        let mut messages = subscribed(&app, "extras", None).await;
        let publish = channel.publish("event", ()).extras(extras.as_object().unwrap().clone());
        publish.await.unwrap();
        assert_eq!(messages.next().await.unwrap().extras.as_ref(), extras.as_object());
        assert_eq!(read(&channel).await[0].extras.as_ref(), extras.as_object());
        assert_eq!(read_raw(&raw(&app), "extras").await[0]["extras"], extras);
    }
}

in_both_formats! {
    // Spec: RSL6a3
    async fn texts_and_bytes_of_all_lengths_arrive_unchanged(app) {
        let fixtures = load(MSGPACK);
        let data: Vec<Data> = list(&fixtures).iter().map(|fixture| {
            let repeated = || {
                let times = fixture["numRepeat"].as_u64().unwrap() as usize;
                fixture["data"].as_str().unwrap().repeat(times)
            };
            match fixture["type"].as_str().unwrap() {
                "string" => Data::Text(repeated().into()),
                "binary" => Data::Binary(repeated().into()),
                _ => Data::Json(fixture["data"].clone()),
            }
        }).collect();
        assert_eq!(data.len(), 8);
        let mut messages = subscribed(&app, "lengths", None).await;
        let publisher = app.other_format().channels().get("lengths");
        for data in &data {
            publisher.publish("event", data.clone()).await.unwrap();
            assert_eq!(&messages.next().await.unwrap().data, data);
        }
        let history = read(&app.rest().channels().get("lengths")).await;
        assert_eq!(history.into_iter().map(|message| message.data).collect::<Vec<_>>(), data);
    }
}

async fn decrypts(app: &App, fixtures: &str, count: usize) {
    let fixtures = load(fixtures);
    let cipher = CipherParams::from_base64(fixtures["key"].as_str().unwrap()).unwrap();
    let items = list(&fixtures["items"]);
    assert_eq!(items.len(), count);
    let options = ChannelOptions::default().cipher(cipher.clone());
    let channel = app.rest().channels().get_with("encrypted", options.clone());
    let other = app.other_format().channels().get_with("again", options);
    let mut messages = subscribed(app, "encrypted", Some(&cipher)).await;
    let raw = raw(app);
    let mut plain = Vec::new();
    for item in items {
        let mut data: Data = item["encoded"]["data"].as_str().unwrap().into();
        let mut steps = item["encoded"]["encoding"].as_str().map(Into::into);
        encoding::decode(&mut data, &mut steps, None).unwrap();
        assert_eq!(steps, None);
        publish_raw(&raw, "encrypted", item["encrypted"].clone()).await;
        let received = messages.next().await.unwrap();
        assert_eq!((&received.data, &received.encoding), (&data, &None));
        other.publish("example", data.clone()).await.unwrap();
        plain.push(data);
    }
    let again = app.rest().channels().get_with("again", ChannelOptions::default().cipher(cipher));
    for channel in [channel, again] {
        let data: Vec<_> = read(&channel).await.into_iter().map(|message| message.data).collect();
        assert_eq!(data, plain);
    }
    for (stored, item) in read_raw(&raw, "again").await.iter().zip(items) {
        assert_eq!(stored["encoding"], item["encrypted"]["encoding"]);
        assert_ne!(stored["data"], item["encoded"]["data"]);
    }
}

in_both_formats! {
    // Spec: RSL5c, RTL7d
    async fn payloads_encrypted_with_128_bits_are_decrypted(app) {
        decrypts(&app, CRYPTO_128, 4).await;
    }
}

in_both_formats! {
    // Spec: RSL5c, RTL7d
    async fn payloads_encrypted_with_256_bits_are_decrypted(app) {
        decrypts(&app, CRYPTO_256, 74).await;
    }
}

in_both_formats! {
    // Spec: RSP5
    async fn data_of_members_is_decoded_like_the_fixtures(app) {
        let fixtures = load(PRESENCE_MESSAGES);
        let fixtures = list(&fixtures["messages"]);
        let members: Vec<_> = fixtures.iter().enumerate().map(|(number, fixture)| json!({
            "clientId": number.to_string(),
            "data": fixture["data"],
            "encoding": fixture["encoding"],
        })).collect();
        assert_eq!(members.len(), 5);
        let spec = json!({"keys": [{}], "channels": [{"name": "members", "presence": members}]});
        let made = app.rest().request(HttpMethod::Post, "/apps").body(spec).await.unwrap();
        let key = made.items()[0]["keys"][0]["keyStr"].as_str().unwrap();
        let presence = app.rest_with(|options| options.key(key)).channels().get("members");
        for (number, fixture) in fixtures.iter().enumerate() {
            let query = presence.presence().get().client_id(number.to_string());
            let page = query.await.unwrap();
            let [member] = page.items() else { panic!("{page:?}") };
            assert_eq!((&member.data, &member.encoding), (&expected(fixture), &None));
        }
    }
}
