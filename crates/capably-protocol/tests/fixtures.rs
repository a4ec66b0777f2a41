//! The interoperability fixtures that all client libraries share (RSL5c, RSL6a1, RSL6a3).

#![allow(clippy::unwrap_used)]

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_protocol::{
    CipherParams, Data, Format, Limits, Message, PresenceAction, PresenceMessage, ServerFrame,
    codec, encoding,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn load(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The payload a fixture expects.
fn expected(fixture: &Value) -> Data {
    match fixture["expectedType"].as_str().unwrap() {
        "string" => fixture["expectedValue"].as_str().unwrap().into(),
        "jsonObject" | "jsonArray" => fixture["expectedValue"].clone().into(),
        "binary" => {
            let hex = fixture["expectedHexValue"].as_str().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            Data::Binary((0..hex.len()).step_by(2).map(byte).collect())
        }
        other => panic!("a type of fixture nobody has heard of: {other}"),
    }
}

fn from_json<T: codec::Item + DeserializeOwned>(fixture: &Value) -> T {
    let bytes = Bytes::from(fixture.to_string());
    codec::decode_items(Format::Json, &bytes, &Limits::default()).unwrap().remove(0)
}

fn to_json<T: codec::Item>(item: &T) -> Value {
    serde_json::from_slice(&codec::encode_item(Format::Json, item)).unwrap()
}

// Spec: RSL6a1
#[test]
fn messages_match_the_shared_fixtures() {
    let fixtures = load(include_str!("fixtures/messages-encoding.json"));
    let fixtures = fixtures["messages"].as_array().unwrap();
    assert_eq!(fixtures.len(), 5);
    for fixture in fixtures {
        let mut message: Message = from_json(fixture);
        encoding::decode(&mut message.data, &mut message.encoding, None).unwrap();
        assert_eq!((&message.data, &message.encoding), (&expected(fixture), &None));

        encoding::encode(&mut message.data, &mut message.encoding, None).unwrap();
        let sent = to_json(&message);
        assert_eq!(sent.get("encoding").unwrap_or(&Value::Null), &fixture["encoding"]);
        assert_same_data(&sent, fixture);
    }
}

#[test]
fn presence_messages_match_the_shared_fixtures() {
    let fixtures = load(include_str!("fixtures/presence-messages-encoding.json"));
    let fixtures = fixtures["messages"].as_array().unwrap();
    assert_eq!(fixtures.len(), 5);
    let actions = [
        PresenceAction::Absent,
        PresenceAction::Present,
        PresenceAction::Enter,
        PresenceAction::Leave,
        PresenceAction::Update,
    ];
    for (fixture, action) in fixtures.iter().zip(actions) {
        let mut presence: PresenceMessage = from_json(fixture);
        assert_eq!(presence.action, Some(action));
        encoding::decode(&mut presence.data, &mut presence.encoding, None).unwrap();
        assert_eq!((&presence.data, &presence.encoding), (&expected(fixture), &None));

        encoding::encode(&mut presence.data, &mut presence.encoding, None).unwrap();
        let sent = to_json(&presence);
        assert_eq!(sent["action"], fixture["action"]);
        assert_eq!(sent.get("encoding").unwrap_or(&Value::Null), &fixture["encoding"]);
        assert_same_data(&sent, fixture);
    }
}

/// JSON payloads are compared as values: their members have no order.
fn assert_same_data(sent: &Value, fixture: &Value) {
    if sent["encoding"] == "json" {
        let [sent, fixture] = [sent, fixture].map(|value| load(value["data"].as_str().unwrap()));
        assert_eq!(sent, fixture);
    } else {
        assert_eq!(sent["data"], fixture["data"]);
    }
}

/// A fixture's bytes with the action and channel that make a frame of them.
fn framed(fixture: &Value) -> Bytes {
    let bytes = base64(&fixture["msgpack"]);
    assert_eq!(bytes[0], 0x82, "a map of messages and msgSerial");
    let mut frame = vec![0x84];
    frame.extend_from_slice(b"\xa6action\x0f\xa7channel\xa1c");
    frame.extend_from_slice(&bytes[1..]);
    frame.into()
}

fn only_message(frame: &Bytes) -> Message {
    match codec::decode_server_frame(Format::MsgPack, frame, &Limits::default()) {
        Ok(ServerFrame::Message(mut delivery)) => {
            assert_eq!(delivery.items.len(), 1);
            delivery.items.remove(0)
        }
        other => panic!("not a MESSAGE: {other:?}"),
    }
}

// Spec: RSL6a3
#[test]
fn msgpack_frames_match_the_shared_fixtures() {
    let fixtures = load(include_str!("fixtures/msgpack_test_fixtures.json"));
    let fixtures = fixtures.as_array().unwrap();
    assert_eq!(fixtures.len(), 8);
    for fixture in fixtures {
        let repeated = || {
            let times = fixture["numRepeat"].as_u64().unwrap() as usize;
            fixture["data"].as_str().unwrap().repeat(times.max(1))
        };
        let expected = match fixture["type"].as_str().unwrap() {
            "string" => Data::Text(repeated().into()),
            "binary" => Data::Binary(repeated().into()),
            _ => Data::Json(fixture["data"].clone()),
        };
        let mut message = only_message(&framed(fixture));
        encoding::decode(&mut message.data, &mut message.encoding, None).unwrap();
        assert_eq!((&message.data, &message.encoding), (&expected, &None), "{}", fixture["name"]);

        let bytes = codec::encode_item(Format::MsgPack, &message);
        let mut again = codec::decode_messages(Format::MsgPack, &bytes.into(), &Limits::default())
            .unwrap()
            .remove(0);
        encoding::decode(&mut again.data, &mut again.encoding, None).unwrap();
        assert_eq!((&again.data, &again.encoding), (&expected, &None), "{}", fixture["name"]);
    }
}

fn crypto(text: &str, bits: usize, items: usize) {
    let fixtures = load(text);
    assert_eq!(fixtures["keylength"], json!(bits));
    let cipher = CipherParams::from_base64(fixtures["key"].as_str().unwrap()).unwrap();
    assert_eq!(cipher.key_length(), bits);
    let iv: [u8; 16] = base64(&fixtures["iv"]).try_into().unwrap();
    assert_eq!(fixtures["items"].as_array().unwrap().len(), items);
    for item in fixtures["items"].as_array().unwrap() {
        let mut plain: Message = from_json(&item["encoded"]);
        encoding::decode(&mut plain.data, &mut plain.encoding, None).unwrap();
        assert_eq!(plain.encoding, None);

        let msgpack = Bytes::from(base64(&item["msgpack"]));
        let from_msgpack = codec::decode_messages(Format::MsgPack, &msgpack, &Limits::default());
        for encrypted in [from_json::<Message>(&item["encrypted"]), from_msgpack.unwrap().remove(0)]
        {
            let mut decrypted = encrypted;
            encoding::decode(&mut decrypted.data, &mut decrypted.encoding, Some(&cipher)).unwrap();
            assert_eq!(decrypted, plain);
        }

        let mut encrypted = plain;
        encoding::encode(&mut encrypted.data, &mut encrypted.encoding, Some((&cipher, iv)))
            .unwrap();
        assert_eq!(to_json(&encrypted), item["encrypted"]);
    }
}

// Spec: RSL5c
#[test]
fn aes_128_matches_the_shared_fixtures() {
    crypto(include_str!("fixtures/crypto-data-128.json"), 128, 4);
}

// Spec: RSL5c
#[test]
fn aes_256_matches_the_shared_fixtures() {
    crypto(include_str!("fixtures/crypto-data-256.json"), 256, 74);
}
