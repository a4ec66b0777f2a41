//! The bodies and headers of requests, in both formats, and their signatures.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_protocol::{Limits, Message, codec};

use super::{support::Client, *};

async fn publish_raw(server: &Server, channel: &str, message: Message) {
    let body = codec::encode_items(Format::MsgPack, &[message]);
    let headers = [support::basic(server.key()), "Content-Type: application/x-msgpack".to_owned()];
    let target = format!("/channels/{channel}/messages");
    let answer =
        support::Http::connect(server).await.request("POST", &target, &headers, &body).await;
    assert_eq!(answer.status, 201);
}

/// The SHA-256 HMAC of a text, as another implementation computes it: by its definition.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = sha256(&[pad(0x36), text.to_vec()].concat());
    sha256(&[pad(0x5c), inner].concat())
}

/// SHA-256 by its definition (FIPS 180-4).
fn sha256(text: &[u8]) -> Vec<u8> {
    // The first 32 bits of the fractional parts of roots of the first primes.
    let primes: Vec<u64> =
        (2..312_u64).filter(|it| (2..*it).all(|divisor| it % divisor != 0)).collect();
    let fraction = |root: f64| ((root - root.floor()) * 4_294_967_296.0) as u32;
    let k: Vec<u32> = primes[..64].iter().map(|it| fraction((*it as f64).cbrt())).collect();
    let mut h: Vec<u32> = primes[..8].iter().map(|it| fraction((*it as f64).sqrt())).collect();
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((text.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|it| u32::from_be_bytes(it.try_into().unwrap())).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let mut v = h.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 =
                v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(k[i]).wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0.wrapping_add(majority));
        }
        h.iter_mut().zip(v).for_each(|(h, v)| *h = h.wrapping_add(v));
    }
    h.into_iter().flat_map(u32::to_be_bytes).collect()
}

#[tokio::test]
async fn an_enveloped_event_has_the_fields_of_the_service() {
    for format in FORMATS {
        let mut endpoint = Endpoint::new().await;
        let server = start([messages(&endpoint).format(format).header("X-Custom", "mine")]).await;
        let (mut client, connected) = Client::connect_with(&server, format, "clientId=ada").await;
        client.publish("a b", 0, vec![Message::new("n", "one"), Message::new("n", "two")]).await;
        for (index, data) in ["one", "two"].into_iter().enumerate() {
            let request = endpoint.next().await;
            assert_eq!(request.line, "POST /hook?a=b HTTP/1.1");
            assert_eq!(request.header("host"), Some(&*endpoint.address().to_string()));
            assert_eq!(request.header("content-type"), Some(format.content_type()));
            assert_eq!(request.header("x-ably-version"), Some("1.2"));
            assert_eq!(request.header("x-custom"), Some("mine"));
            assert_eq!(request.header("x-ably-signature"), None);
            let value = request.value();
            assert_eq!(value["source"], "channel.message");
            assert_eq!(value["appId"], server.key().split('.').next().unwrap());
            assert_eq!(value["channel"], "a b");
            assert_eq!(value["ruleId"], "rule");
            assert!(value["site"].is_string() && value["timestamp"].is_u64());
            let [message] = &value["messages"].as_array().unwrap()[..] else { panic!("{value}") };
            assert_eq!((&message["name"], &message["data"]), (&json!("n"), &json!(data)));
            assert_eq!(message["clientId"], "ada");
            let connection = connected.connection_id.clone().unwrap();
            assert_eq!(message["connectionId"], json!(connection));
            assert_eq!(message["id"], format!("{connection}:0:{index}"));
            assert_eq!(message["timestamp"], value["timestamp"]);
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_batch_has_items_with_all_messages_of_a_publish() {
    for format in FORMATS {
        let mut endpoint = Endpoint::new().await;
        let rule = messages(&endpoint).request_mode(RequestMode::Batch).format(format);
        let server = start([rule.enveloped(false)]).await;
        let answer = request(
            &server,
            "POST",
            "/channels/a/messages",
            &json!([{"data": "x"}, {"data": "y"}]),
        )
        .await;
        assert_eq!(answer.status, 201);
        let request = endpoint.next().await;
        assert_eq!(request.header("content-type"), Some(format.content_type()));
        let value = request.value();
        let [item] = &value["items"].as_array().unwrap()[..] else { panic!("{value}") };
        assert_eq!(
            (&item["webhookId"], &item["source"]),
            (&json!("rule"), &json!("channel.message"))
        );
        assert_eq!(item["name"], "channel.message");
        assert!(item["timestamp"].is_u64());
        assert_eq!(item["data"]["channelId"], "a");
        let found = item["data"]["messages"].as_array().unwrap();
        let data: Vec<&str> = found.iter().map(|it| it["data"].as_str().unwrap()).collect();
        assert_eq!(data, ["x", "y"]);
        // The serial of the item is the common part of those of its messages.
        let serial = item["serial"].as_str().unwrap();
        assert!(found.iter().all(|it| it["serial"].as_str().unwrap().starts_with(serial)));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn binary_data_is_base64_in_json_and_bytes_in_messagepack() {
    let bytes = [0_u8, 159, 146, 150, 255];
    for format in FORMATS {
        let mut endpoint = Endpoint::new().await;
        let server = start([messages(&endpoint).format(format)]).await;
        publish_raw(&server, "a", Message::new("n", bytes.to_vec())).await;
        let request = endpoint.next().await;
        match format {
            Format::Json => {
                let message = request.value()["messages"][0].clone();
                assert_eq!(message["data"], STANDARD.encode(bytes));
                assert_eq!(message["encoding"], "base64");
            }
            Format::MsgPack => {
                let key = b"\xa8messages";
                let start = request.body.windows(key.len()).position(|it| it == key).unwrap();
                let body = Bytes::copy_from_slice(&request.body[start + key.len()..]);
                let found = codec::decode_messages(format, &body, &Limits::default()).unwrap();
                assert_eq!(found[0].data.as_bytes().unwrap()[..], bytes);
                assert_eq!(found[0].encoding, None);
            }
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn without_an_envelope_the_body_is_the_data_and_headers_have_the_rest() {
    let mut endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint).enveloped(false)]).await;
    let mut json_message = Message::new("object", r#"{"a":1}"#);
    json_message.encoding = Some("json".into());
    let mut named = Message::new("a\r\nX-Evil: 1é", "text");
    named.client_id = Some("ada".into());
    named.id = Some("my-id".into());
    for (message, content_type, body, name) in [
        (named, "text/plain", b"text".to_vec(), "a%0D%0AX-Evil: 1%C3%A9"),
        (json_message, "application/json", br#"{"a":1}"#.to_vec(), "object"),
        (Message::new("b", vec![0_u8, 255]), "application/octet-stream", vec![0, 255], "b"),
    ] {
        publish_raw(&server, "a", message.clone()).await;
        let request = endpoint.next().await;
        assert_eq!((request.header("content-type"), &request.body), (Some(content_type), &body));
        assert_eq!(request.header("x-ably-message-name"), Some(name));
        assert_eq!(request.header("x-evil"), None);
        let app = server.key().split('.').next().unwrap();
        assert_eq!(request.header("x-ably-envelope-appid"), Some(app));
        assert_eq!(request.header("x-ably-envelope-channel"), Some("a"));
        assert_eq!(request.header("x-ably-envelope-rule-id"), Some("rule"));
        assert_eq!(request.header("x-ably-envelope-source"), Some("channel.message"));
        assert_eq!(request.header("x-ably-message-client-id"), message.client_id.as_deref());
        if message.id.is_some() {
            assert_eq!(request.header("x-ably-message-id"), Some("my-id"));
        }
        let time: u64 = request.header("x-ably-message-timestamp").unwrap().parse().unwrap();
        assert!(time > 0);
    }
}

#[tokio::test]
async fn a_request_is_signed_with_the_key_of_the_rule() {
    // The first test case of the definition.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hex: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, abc);
    for format in FORMATS {
        for mode in MODES {
            let mut endpoint = Endpoint::new().await;
            let key = "abcdef.keyone:a-secret-of-the-key";
            let rule = messages(&endpoint).format(format).request_mode(mode);
            let builder = hasty().key(key).webhook_rules([rule.signing_key_id("keyone")]);
            let server = builder.start().await.unwrap();
            publish(&server, "a", ["signed".to_owned()]).await;
            let request = endpoint.next().await;
            assert_eq!(request.header("x-ably-key"), Some("abcdef.keyone"));
            let expected = STANDARD.encode(hmac(b"a-secret-of-the-key", &request.body));
            assert_eq!(request.header("x-ably-signature"), Some(&*expected));
            server.shutdown().await;
        }
    }
}
