//! The exact bytes of tokens, statistics and object values, in both formats.

#![allow(clippy::unwrap_used)]

use std::{fmt::Debug, time::Duration};

use capably_protocol::{
    Capability, DecodeError, Format, Limits, Stats, StatsUnit, Str, TokenDetails, TokenParams,
    TokenRequest, codec,
    object::{ObjectData, ObjectValue},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Checks that `value` is written as exactly these bytes, and read back from them.
#[track_caller]
fn assert_bytes<T>(value: &T, json: &str, msgpack: &[u8])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let written = codec::encode_body(Format::Json, value).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), json);
    let written = codec::encode_body(Format::MsgPack, value).unwrap();
    assert_eq!(written.escape_ascii().to_string(), msgpack.escape_ascii().to_string());
    assert_eq!(&read::<T>(Format::Json, json.as_bytes()).unwrap(), value);
    assert_eq!(&read::<T>(Format::MsgPack, msgpack).unwrap(), value);
}

fn read<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, DecodeError> {
    codec::decode_body(format, bytes, &Limits::default())
}

/// The value that both formats of this JSON are read as.
#[track_caller]
fn read_both<T: DeserializeOwned + PartialEq + Debug>(wire: &Value) -> Result<T, DecodeError> {
    let from_json = read(Format::Json, wire.to_string().as_bytes());
    let from_msgpack = read(Format::MsgPack, &rmp_serde::to_vec_named(wire).unwrap());
    assert_eq!(from_json.as_ref().ok(), from_msgpack.as_ref().ok(), "{wire}");
    from_json
}

#[test]
fn token_request_bytes() {
    let params = TokenParams::new()
        .ttl(Duration::from_secs(60))
        .capability(Capability::all())
        .client_id("ada")
        .timestamp(-1)
        .nonce("nonce");
    let mut request = TokenRequest::new("app.key", params);
    request.mac = Some("mac=".into());
    assert_bytes(
        &request,
        r#"{"keyName":"app.key","ttl":60000,"capability":"{\"*\":[\"*\"]}","clientId":"ada","timestamp":-1,"nonce":"nonce","mac":"mac="}"#,
        b"\x87\xa7keyName\xa7app.key\xa3ttl\xcd\xea\x60\xaacapability\xab{\"*\":[\"*\"]}\xa8clientId\xa3ada\xa9timestamp\xff\xa5nonce\xa5nonce\xa3mac\xa4mac=",
    );
    let least = TokenRequest::new("app.key", TokenParams::new());
    assert_bytes(&least, r#"{"keyName":"app.key"}"#, b"\x81\xa7keyName\xa7app.key");
    assert_eq!(
        format!("{request:?}"),
        r#"TokenRequest { key_name: "app.key", ttl: Some(60000), capability: Some("{\"*\":[\"*\"]}"), client_id: Some("ada"), timestamp: Some(-1), nonce: Some("nonce"), mac: Some("[redacted]") }"#
    );
}

#[test]
fn token_details_bytes() {
    let details = TokenDetails::new("token")
        .expires(1_700_000_000_000)
        .issued(128)
        .capability(r#"{"a":["publish"]}"#)
        .client_id("*");
    assert_bytes(
        &details,
        r#"{"token":"token","expires":1700000000000,"issued":128,"capability":"{\"a\":[\"publish\"]}","clientId":"*"}"#,
        b"\x85\xa5token\xa5token\xa7expires\xcf\0\0\x01\x8b\xcf\xe5h\0\xa6issued\xcc\x80\xaacapability\xb1{\"a\":[\"publish\"]}\xa8clientId\xa1*",
    );
    assert_bytes(&TokenDetails::new("t"), r#"{"token":"t"}"#, b"\x81\xa5token\xa1t");
    assert_eq!(
        format!("{:?}", TokenDetails::new("token").issued(1)),
        r#"TokenDetails { token: "[redacted]", expires: None, issued: Some(1), capability: None, client_id: None }"#
    );
}

#[test]
fn tokens_without_their_required_field_are_refused() {
    for wire in [json!({}), json!({ "keyName": null }), json!({ "keyName": 1 }), json!(1)] {
        read_both::<TokenRequest>(&wire).unwrap_err();
    }
    for wire in [json!({}), json!({ "token": null }), json!({ "token": 1 }), json!("token")] {
        read_both::<TokenDetails>(&wire).unwrap_err();
    }
}

#[test]
fn statistics_bytes() {
    let entries = [("a.whole", 50.0), ("b.mean", 1.5), ("c.negative", -3.0), ("d.large", 1e300)];
    let stats = Stats {
        interval_id: "2024-01-01:13".into(),
        unit: Some(StatsUnit::Hour),
        in_progress: Some("2024-01-01:13:59".into()),
        entries: entries.map(|(name, number)| (name.to_owned(), number)).into(),
        schema: Some("https://schema".into()),
        app_id: Some("app".into()),
    };
    assert_bytes(
        &stats,
        r#"{"intervalId":"2024-01-01:13","unit":"hour","inProgress":"2024-01-01:13:59","entries":{"a.whole":50,"b.mean":1.5,"c.negative":-3,"d.large":1e+300},"schema":"https://schema","appId":"app"}"#,
        b"\x86\xaaintervalId\xad2024-01-01:13\xa4unit\xa4hour\xaainProgress\xb02024-01-01:13:59\xa7entries\x84\xa7a.whole\x32\xa6b.mean\xcb\x3f\xf8\0\0\0\0\0\0\xaac.negative\xfd\xa7d.large\xcb\x7e\x37\xe4\x3c\x88\0\x75\x9c\xa6schema\xaehttps://schema\xa5appId\xa3app",
    );
    assert_bytes(
        &Stats::default(),
        r#"{"intervalId":"","entries":{}}"#,
        b"\x82\xaaintervalId\xa0\xa7entries\x80",
    );
}

#[test]
fn a_field_of_statistics_with_another_type_counts_as_absent() {
    let wire = json!({
        "intervalId": 2024, "unit": 1, "inProgress": [], "schema": {}, "appId": null,
        "entries": {"a": {"b": 1}, "c.d": 2, "text": "3", "none": null},
        "unknown": "field",
    });
    let entries = [("a.b", 1.0), ("c.d", 2.0)].map(|(name, number)| (name.to_owned(), number));
    let expected = Stats { entries: entries.into(), ..Stats::default() };
    assert_eq!(read_both(&wire), Ok(expected));
    let nested = json!({ "entries": "none", "unit": "week", "channels": { "peak": 50 } });
    let expected = Stats {
        unit: Some(StatsUnit::Unknown("week".into())),
        entries: [("channels.peak".to_owned(), 50.0)].into(),
        ..Stats::default()
    };
    assert_eq!(read_both(&nested), Ok(expected));
    for wire in [json!(null), json!([]), json!("statistics"), json!(1)] {
        read_both::<Stats>(&wire).unwrap_err();
    }
}

#[test]
fn object_value_bytes() {
    let value = |value: ObjectValue| ObjectData::from(value);
    let with_encoding = ObjectData {
        encoding: Some("utf-8/other".into()),
        ..ObjectData::from(ObjectValue::String("s".into()))
    };
    let with_both = ObjectData {
        object_id: Some("map:a@1".into()),
        ..ObjectData::from(ObjectValue::Boolean(true))
    };
    let cases: [(ObjectData, &str, &[u8]); 11] = [
        (ObjectData::default(), "{}", b"\x80"),
        (
            ObjectData::reference("map:a@1"),
            r#"{"objectId":"map:a@1"}"#,
            b"\x81\xa8objectId\xa7map:a@1",
        ),
        (
            with_both,
            r#"{"objectId":"map:a@1","boolean":true}"#,
            b"\x82\xa8objectId\xa7map:a@1\xa7boolean\xc3",
        ),
        (value(ObjectValue::Boolean(false)), r#"{"boolean":false}"#, b"\x81\xa7boolean\xc2"),
        (
            value(ObjectValue::Bytes(vec![0xff, 0xfe, 0xfd, 0xfc].into())),
            r#"{"bytes":"//79/A=="}"#,
            b"\x81\xa5bytes\xc4\x04\xff\xfe\xfd\xfc",
        ),
        (value(ObjectValue::Bytes(vec![].into())), r#"{"bytes":""}"#, b"\x81\xa5bytes\xc4\0"),
        (
            value(ObjectValue::Number(-10.0)),
            r#"{"number":-10}"#,
            b"\x81\xa6number\xcb\xc0\x24\0\0\0\0\0\0",
        ),
        (
            value(ObjectValue::Number(-0.0)),
            r#"{"number":-0.0}"#,
            b"\x81\xa6number\xcb\x80\0\0\0\0\0\0\0",
        ),
        (value(ObjectValue::String("".into())), r#"{"string":""}"#, b"\x81\xa6string\xa0"),
        (
            with_encoding,
            r#"{"encoding":"utf-8/other","string":"s"}"#,
            b"\x82\xa8encoding\xabutf-8/other\xa6string\xa1s",
        ),
        (
            value(ObjectValue::Json(json!({ "b": ["\"", 1.5], "a": null }))),
            r#"{"json":"{\"a\":null,\"b\":[\"\\\"\",1.5]}"}"#,
            b"\x81\xa4json\xb9{\"a\":null,\"b\":[\"\\\"\",1.5]}",
        ),
    ];
    for (data, json, msgpack) in &cases {
        assert_bytes(data, json, msgpack);
    }
}

#[test]
fn object_values_are_read_by_the_first_leaf_that_is_present() {
    let leaves = json!({
        "json": "[1]", "string": "s", "number": 1, "bytes": "AQ==", "boolean": true,
        "objectId": null, "encoding": null, "unknown": 1,
    });
    let mut leaves = leaves.as_object().unwrap().clone();
    for (name, expected) in [
        ("boolean", ObjectValue::Boolean(true)),
        ("bytes", ObjectValue::Bytes(vec![1].into())),
        ("number", ObjectValue::Number(1.0)),
        ("string", ObjectValue::String("s".into())),
        ("json", ObjectValue::Json(json!([1]))),
    ] {
        assert_eq!(read_both(&Value::Object(leaves.clone())), Ok(ObjectData::from(expected)));
        leaves.insert(name.to_owned(), Value::Null);
    }
    assert_eq!(read_both(&Value::Object(leaves)), Ok(ObjectData::default()));
}

#[test]
fn object_values_of_another_type_are_refused() {
    let reason = |wire: Value| match read_both::<ObjectData>(&wire) {
        Err(DecodeError::Malformed { reason }) => Str::from(reason),
        other => panic!("{wire}: {other:?}"),
    };
    let not_base64 = reason(json!({ "bytes": "*" }));
    assert!(not_base64.starts_with("`bytes` that are not base64"), "{not_base64}");
    let not_bytes = reason(json!({ "bytes": [1] }));
    assert!(not_bytes.starts_with("`bytes` that are not bytes"), "{not_bytes}");
    let not_json = reason(json!({ "json": "{" }));
    assert!(not_json.starts_with("`json` that is not JSON"), "{not_json}");
    reason(json!({ "boolean": 1 }));
    reason(json!({ "number": "1" }));
    reason(json!({ "string": 1 }));
    let binary = read::<ObjectData>(Format::MsgPack, b"\x81\xa4json\xc4\x01\0");
    assert!(matches!(binary, Err(DecodeError::Malformed { .. })), "{binary:?}");
}
