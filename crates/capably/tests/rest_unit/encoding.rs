//! Payloads on the way out and in (RSL4, RSL5, RSL6).

use capably::{
    ClientOptions, Data, Message,
    http::{HttpMethod, HttpRequest, HttpResponse},
    rest::ChannelOptions,
};
use capably_protocol::{Format, Limits, codec, fixtures};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, respond},
};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(201, json!({"serials": ["s1"]})))
}

/// The JSON form of a payload: data and encoding.
async fn published(data: impl Into<Data>) -> (Value, Value) {
    let http = accepting();
    let rest = http.rest_with(ClientOptions::new(KEY).use_binary_protocol(false));
    rest.channels().get("test").publish("event", data).await.unwrap();
    let message = &http.request().body()[0];
    (message["data"].clone(), message["encoding"].clone())
}

/// The payload as a client of each format reads it.
async fn received(data: &str, encoding: &str) -> (Data, Option<String>) {
    let mut results = Vec::new();
    for options in both_formats() {
        let body = json!([{"id": "msg1", "name": "event", "data": data, "encoding": encoding}]);
        let http = ScriptedHttp::always(respond(200, body));
        let page = http.rest_with(options).channels().get("test").history().await.unwrap();
        let message = &page.items()[0];
        results.push((message.data.clone(), message.encoding.as_ref().map(ToString::to_string)));
    }
    assert_eq!(results[0], results[1], "both formats agree");
    results.remove(0)
}

// UTS: rest/unit/RSL4a/string-data-no-encoding-0
#[tokio::test]
async fn text_is_sent_unchanged() {
    assert_eq!(published("plain string data").await, (json!("plain string data"), Value::Null));
}

// UTS: rest/unit/RSL4b/json-object-encoding-0
#[tokio::test]
async fn an_object_is_sent_as_json_text() {
    let object = json!({"key": "value", "nested": {"a": 1}});
    let (data, encoding) = published(object.clone()).await;
    assert_eq!(encoding, "json");
    let text = data.as_str().expect("text");
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), object);
}

// UTS: rest/unit/RSL4c/binary-base64-json-protocol-0
#[tokio::test]
async fn bytes_are_sent_as_base64_in_json() {
    assert_eq!(published(vec![0, 1, 2, 3, 4]).await, (json!("AAECAwQ="), json!("base64")));
}

// UTS: rest/unit/RSL4c/binary-direct-msgpack-protocol-1
#[tokio::test]
async fn bytes_are_sent_as_bytes_in_msgpack() {
    let http = accepting();
    http.rest().channels().get("test").publish("event", vec![0, 1, 2, 255]).await.unwrap();
    let body = http.request().bytes().clone();
    let messages = codec::decode_messages(Format::MsgPack, &body, &Limits::default()).unwrap();
    assert_eq!(messages[0].data, Data::from(vec![0, 1, 2, 255]));
    assert_eq!(messages[0].encoding, None);
}

// UTS: rest/unit/RSL4d/array-json-encoding-0
// UTS: rest/unit/RSL4/empty-array-json-encoding-5
#[tokio::test]
async fn an_array_is_sent_as_json_text() {
    assert_eq!(published(json!([1, 2, "three"])).await, (json!("[1,2,\"three\"]"), json!("json")));
    assert_eq!(published(json!([])).await, (json!("[]"), json!("json")));
    assert_eq!(published(json!({})).await, (json!("{}"), json!("json")));
}

// UTS: rest/unit/RSL4/null-data-no-encoding-1
// UTS: rest/unit/RSL4/empty-string-no-encoding-4
#[tokio::test]
async fn an_absent_payload_stays_absent_and_empty_text_empty() {
    assert_eq!(published(()).await, (Value::Null, Value::Null));
    assert_eq!(published("").await, (json!(""), Value::Null));
}

// UTS: rest/unit/RSL4a/number-type-rejected-1
// UTS: rest/unit/RSL4a/boolean-type-rejected-2
#[tokio::test]
async fn numbers_and_booleans_are_refused() {
    for data in [json!(42), json!(true), json!("text as JSON"), Value::Null] {
        let http = accepting();
        let error = http.rest().channels().get("test").publish("event", data).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)));
        assert!(http.requests().is_empty());
    }
}

// UTS: rest/unit/RSL4/encoding-fixtures-ably-common-0
// Spec: RSL6a1, RSL4c1, RSL4c2, RSL4c3, RSL4d1, RSL4d2, RSL4d3
#[tokio::test]
async fn the_shared_fixtures_are_published_and_read() {
    let fixtures: Value = serde_json::from_str(fixtures::MESSAGES).unwrap();
    let fixtures = fixtures["messages"].as_array().unwrap();
    assert_eq!(fixtures.len(), 5);
    for fixture in fixtures {
        let value = match &fixture["expectedHexValue"] {
            Value::String(hex) => {
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                Data::from((0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>())
            }
            _ => match &fixture["expectedValue"] {
                Value::String(text) => Data::from(text.as_str()),
                json => Data::from(json.clone()),
            },
        };
        for options in both_formats() {
            let answer = |request: &HttpRequest, _| match request.method {
                HttpMethod::Post => respond(201, json!({"serials": ["s1"]})),
                _ => respond(200, json!([{}])),
            };
            let http = ScriptedHttp::new(answer);
            let channel = http.rest_with(options).channels().get("fixtures");
            channel.publish("event", value.clone()).await.unwrap();
            let request = http.request();
            let binary = request.header("Content-Type") == Some("application/x-msgpack");
            if binary && fixture["encoding"] == "base64" {
                let body: Vec<Message> =
                    codec::decode_items(Format::MsgPack, request.bytes(), &Limits::default())
                        .unwrap();
                assert_eq!((&body[0].data, &body[0].encoding), (&value, &None), "{fixture}");
            } else {
                let body = request.body();
                assert_eq!(body[0].get("encoding").unwrap_or(&Value::Null), &fixture["encoding"]);
                assert_eq!(same(&body[0]), same(fixture));
            }
        }
        // JSON compares equal whatever encoder wrote it.
        let body = json!([{"data": fixture["data"], "encoding": fixture["encoding"]}]).to_string();
        let body = HttpResponse::new(200, body).with_header("Content-Type", "application/json");
        let page = ScriptedHttp::always(Answer::Raw(body)).rest();
        let page = page.channels().get("fixtures").history().await.unwrap();
        assert_eq!((&page.items()[0].data, &page.items()[0].encoding), (&value, &None));
    }
}

/// The payload on the wire; JSON text as its value.
fn same(message: &Value) -> Value {
    match &message["encoding"] {
        Value::String(encoding) if encoding == "json" => {
            serde_json::from_str(message["data"].as_str().unwrap()).unwrap()
        }
        _ => message["data"].clone(),
    }
}

// UTS: rest/unit/RSL6a/decode-base64-to-binary-0
#[tokio::test]
async fn base64_becomes_bytes() {
    assert_eq!(received("AAECAwQ=", "base64").await, (Data::from(vec![0, 1, 2, 3, 4]), None));
}

// UTS: rest/unit/RSL6a/decode-json-to-object-1
#[tokio::test]
async fn json_text_becomes_an_object() {
    let expected = Data::Json(json!({"key": "value", "number": 42}));
    assert_eq!(received(r#"{"key":"value","number":42}"#, "json").await, (expected, None));
}

// UTS: rest/unit/RSL6a/decode-chained-encodings-2
#[tokio::test]
async fn json_in_base64_becomes_an_object() {
    let expected = Data::Json(json!({"key": "value"}));
    assert_eq!(received("eyJrZXkiOiJ2YWx1ZSJ9", "json/base64").await, (expected, None));
}

// UTS: rest/unit/RSL6/decode-utf8-base64-data-2
#[tokio::test]
async fn utf8_in_base64_becomes_text() {
    assert_eq!(received("SGVsbG8gV29ybGQ=", "utf-8/base64").await, ("Hello World".into(), None));
}

// UTS: rest/unit/RSL6/complex-chained-encoding-3
#[tokio::test]
async fn encoding_steps_are_undone_from_the_last_to_the_first() {
    let expected = Data::Json(json!({"status": "active", "count": 5}));
    let data = "eyJzdGF0dXMiOiJhY3RpdmUiLCJjb3VudCI6NX0=";
    assert_eq!(received(data, "json/utf-8/base64").await, (expected, None));
}

// UTS: rest/unit/RSL6b/unrecognized-encoding-preserved-0
#[tokio::test]
async fn an_unknown_step_stays_in_the_encoding() {
    let (data, encoding) = received("SGVsbG8=", "custom-encryption/base64").await;
    assert_eq!(data, Data::from(b"Hello".to_vec()));
    assert_eq!(encoding.as_deref(), Some("custom-encryption"));
}

// UTS: rest/unit/RSL6/msgpack-binary-stays-binary-0
// UTS: rest/unit/RSL6/msgpack-string-stays-string-1
#[tokio::test]
async fn msgpack_keeps_bytes_and_text_apart() {
    // One message each: {"data": bin "Hello"} and {"data": str "Hello"}.
    let binary = [&[0x91, 0x81, 0xa4][..], b"data", &[0xc4, 5], b"Hello"].concat();
    let text = [&[0x91, 0x81, 0xa4][..], b"data", &[0xa5], b"Hello"].concat();
    for (body, expected) in [(binary, Data::from(b"Hello".to_vec())), (text, Data::from("Hello"))] {
        let response = HttpResponse::new(200, body);
        let response = response.with_header("Content-Type", "application/x-msgpack");
        let http = ScriptedHttp::always(Answer::Raw(response));
        let page = http.rest().channels().get("test").history().await.unwrap();
        assert_eq!(page.items()[0].data, expected);
        assert_eq!(page.items()[0].encoding, None);
    }
}

// Spec: RSL5, RSL5a, RSL5b, TB3
#[tokio::test]
async fn an_encrypted_payload_is_decrypted_to_the_original() {
    for (key, cipher) in [(&[7; 16][..], "cipher+aes-128-cbc"), (&[7; 32], "cipher+aes-256-cbc")] {
        encrypts_and_decrypts(key, cipher).await;
    }
}

async fn encrypts_and_decrypts(key: &[u8], cipher: &str) {
    for options in both_formats() {
        // A service that stores published messages and returns them.
        let http = ScriptedHttp::new({
            let stored = std::sync::Mutex::new(HttpResponse::new(200, ""));
            move |request, _| {
                let mut stored = stored.lock().unwrap();
                if request.method == HttpMethod::Get {
                    return Answer::Raw(stored.clone());
                }
                *stored = HttpResponse::new(200, request.body.clone())
                    .with_header("Content-Type", request.header("Content-Type").unwrap());
                respond(201, json!({"serials": ["s1", "s2", "s3"]}))
            }
        });
        let rest = http.rest_with(options);
        let options = ChannelOptions::with_cipher_key(key).unwrap();
        let secret = rest.channels().get_with("a", options);
        let data = [Data::from("text"), Data::from(vec![0, 255]), Data::Json(json!({"a": [1]}))];
        let messages: Vec<_> = data.iter().map(|data| Message::new("n", data.clone())).collect();
        secret.publish_messages(messages).await.unwrap();

        let page = secret.history().await.unwrap();
        let decrypted: Vec<_> = page.items().iter().map(|message| message.data.clone()).collect();
        assert_eq!(decrypted, data);
        assert!(page.items().iter().all(|message| message.encoding.is_none()));

        let plain = rest.channels().get("b").history().await.unwrap();
        let encodings: Vec<_> =
            plain.items().iter().map(|message| message.encoding.as_deref().unwrap()).collect();
        assert_eq!(
            encodings,
            [format!("utf-8/{cipher}"), cipher.to_owned(), format!("json/utf-8/{cipher}")],
            "without the key the cipher step stays (RSL6b)"
        );
    }
}
