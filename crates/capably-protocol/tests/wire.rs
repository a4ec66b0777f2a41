//! The exact bytes of the parts that are easy to get wrong.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use capably_protocol::{
    Annotation, ChannelMode, ClientFrame, ConnectionDetails, Data, DecodeError, ErrorCode,
    ErrorInfo, Flags, Format, Limits, Message, MessageAction, MessageVersion, PresenceAction,
    PresenceMessage, PublishResult, ServerFrame, Str,
    codec::{self, ErrorBody, Item, Peek, PublishBody},
    frame::{
        Ack, Attach, Attached, AuthDetails, Connected, Delivery, ErrorFrame, Nack, Params, Publish,
    },
    object::{
        CounterInc, MapSet, ObjectData, ObjectMessage, ObjectOperation, ObjectOperationAction,
        ObjectValue, ObjectsMapSemantics,
    },
};
use serde_json::{Value, json};

fn client_json(frame: &ClientFrame) -> String {
    let mut out = Vec::new();
    codec::encode_client_frame(Format::Json, frame, &mut out);
    String::from_utf8(out).unwrap()
}

fn server_json(frame: &ServerFrame) -> String {
    let mut out = Vec::new();
    codec::encode_server_frame(Format::Json, frame, &mut out);
    String::from_utf8(out).unwrap()
}

fn client_msgpack(frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_client_frame(Format::MsgPack, frame, &mut out);
    out
}

fn server_msgpack(frame: &ServerFrame) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_server_frame(Format::MsgPack, frame, &mut out);
    out
}

fn read_client(text: &str) -> Result<ClientFrame, DecodeError> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    codec::decode_client_frame(Format::Json, &bytes, &Limits::default())
}

fn read_server(text: &str) -> Result<ServerFrame, DecodeError> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    codec::decode_server_frame(Format::Json, &bytes, &Limits::default())
}

fn read_server_msgpack(bytes: &[u8]) -> Result<ServerFrame, DecodeError> {
    let bytes = Bytes::copy_from_slice(bytes);
    codec::decode_server_frame(Format::MsgPack, &bytes, &Limits::default())
}

/// The same frame, read from JSON text and from the MessagePack of that text.
fn read_server_both(frame: Value) -> [Result<ServerFrame, DecodeError>; 2] {
    [
        read_server(&frame.to_string()),
        read_server_msgpack(&rmp_serde::to_vec_named(&frame).unwrap()),
    ]
}

fn read_item<T: Item>(format: Format, bytes: &[u8]) -> T {
    let bytes = Bytes::copy_from_slice(bytes);
    codec::decode_items(format, &bytes, &Limits::default()).unwrap().remove(0)
}

fn publish<T>(items: Vec<T>) -> Publish<T> {
    Publish { channel: "c".into(), msg_serial: 0, items: items.into(), params: Params::new() }
}

#[test]
fn a_message_with_serial_zero() {
    let frame = ClientFrame::Message(publish(vec![Message::new("n", "d")]));
    assert_eq!(
        client_json(&frame),
        r#"{"action":15,"channel":"c","msgSerial":0,"messages":[{"name":"n","data":"d"}]}"#
    );
    assert_eq!(
        client_msgpack(&frame),
        b"\x84\xa6action\x0f\xa7channel\xa1c\xa9msgSerial\x00\
          \xa8messages\x91\x82\xa4name\xa1n\xa4data\xa1d"
    );
}

// Spec: TR4g, TR4h, TR4j, TR4s
#[test]
fn acknowledgements_always_contain_serial_and_count() {
    let ack = ServerFrame::Ack(Ack { msg_serial: 0, count: 1, res: Vec::new() });
    assert_eq!(server_json(&ack), r#"{"action":1,"msgSerial":0,"count":1}"#);
    assert_eq!(server_msgpack(&ack), b"\x83\xa6action\x01\xa9msgSerial\x00\xa5count\x01");

    let res = vec![PublishResult::new(vec![Some("s".into()), None])];
    let ack = ServerFrame::Ack(Ack { msg_serial: 7, count: 1, res });
    assert_eq!(
        server_json(&ack),
        r#"{"action":1,"msgSerial":7,"count":1,"res":[{"serials":["s",null]}]}"#
    );
    assert_eq!(
        server_msgpack(&ack),
        b"\x84\xa6action\x01\xa9msgSerial\x07\xa5count\x01\
          \xa3res\x91\x81\xa7serials\x92\xa1s\xc0"
    );

    let error = Some(ErrorInfo::new(ErrorCode(40009), 400, "too large"));
    let nack = ServerFrame::Nack(Nack { msg_serial: 0, count: 2, error });
    assert_eq!(
        server_json(&nack),
        r#"{"action":2,"msgSerial":0,"count":2,"error":{"code":40009,"statusCode":400,"message":"too large"}}"#
    );
}

#[test]
fn an_acknowledgement_without_a_count_is_for_one_frame() {
    for frame in read_server_both(json!({ "action": 1, "msgSerial": 3 })) {
        assert_eq!(frame, Ok(ServerFrame::Ack(Ack { msg_serial: 3, count: 1, res: Vec::new() })));
    }
    for frame in read_server_both(json!({ "action": 2, "msgSerial": 3, "count": null })) {
        assert_eq!(frame, Ok(ServerFrame::Nack(Nack { msg_serial: 3, count: 1, error: None })));
    }
    for frame in read_server_both(json!({ "action": 1, "count": 1 })) {
        assert_eq!(frame, Err(DecodeError::Missing { field: "msgSerial" }));
    }
}

#[test]
fn an_error_keeps_an_empty_channel_name() {
    let empty = ServerFrame::Error(ErrorFrame { channel: Some("".into()), error: None });
    assert_eq!(server_json(&empty), r#"{"action":9,"channel":""}"#);
    assert_eq!(server_msgpack(&empty), b"\x82\xa6action\x09\xa7channel\xa0");
    for frame in read_server_both(json!({ "action": 9, "channel": "" })) {
        assert_eq!(frame, Ok(empty.clone()));
    }
    let none = ServerFrame::Error(ErrorFrame { channel: None, error: None });
    assert_eq!(server_json(&none), r#"{"action":9}"#);
    for frame in read_server_both(json!({ "action": 9, "channel": null })) {
        assert_eq!(frame, Ok(none.clone()));
    }
}

// Spec: TR4b, TR4i, TR4q
#[test]
fn flags_and_params_are_written_only_when_there_are_any() {
    let bare = ClientFrame::Attach(Attach { channel: "c".into(), ..Attach::default() });
    assert_eq!(client_json(&bare), r#"{"action":10,"channel":"c"}"#);
    assert_eq!(client_msgpack(&bare), b"\x82\xa6action\x0a\xa7channel\xa1c");
    let full = ClientFrame::Attach(Attach {
        channel: "".into(),
        channel_serial: Some("s".into()),
        flags: ChannelMode::Publish.flag() | Flags::ATTACH_RESUME,
        params: Params::from([("rewind".to_owned(), "1".to_owned())]),
    });
    assert_eq!(
        client_json(&full),
        r#"{"action":10,"channel":"","channelSerial":"s","flags":131104,"params":{"rewind":"1"}}"#
    );
}

// Spec: TR2
#[test]
fn every_action_of_a_client_has_its_number() {
    let channel = || Str::from("c");
    let frames = [
        (0, ClientFrame::Heartbeat { id: None }),
        (7, ClientFrame::Close),
        (5, ClientFrame::Disconnect),
        (10, ClientFrame::Attach(Attach { channel: channel(), ..Attach::default() })),
        (12, ClientFrame::Detach { channel: channel() }),
        (16, ClientFrame::Sync { channel: channel() }),
        (20, ClientFrame::ObjectSync { channel: channel() }),
        (15, ClientFrame::Message(publish(Vec::new()))),
        (14, ClientFrame::Presence(publish(Vec::new()))),
        (21, ClientFrame::Annotation(publish(Vec::new()))),
        (19, ClientFrame::Object(publish(Vec::new()))),
        (17, ClientFrame::Auth(AuthDetails { access_token: "t".into() })),
        (23, ClientFrame::Pong { id: None }),
        (99, ClientFrame::Unknown { action: 99 }),
    ];
    for (action, frame) in frames {
        for (format, bytes) in [
            (Format::Json, client_json(&frame).into_bytes()),
            (Format::MsgPack, client_msgpack(&frame)),
        ] {
            assert_eq!(codec::peek(format, &bytes).unwrap().action, action, "{frame:?}");
        }
    }
}

// Spec: TR2
#[test]
fn every_action_of_a_service_has_its_number() {
    let frames = [
        (0, ServerFrame::Heartbeat { id: None }),
        (1, ServerFrame::Ack(Ack::default())),
        (2, ServerFrame::Nack(Nack::default())),
        (4, ServerFrame::Connected(Box::default())),
        (6, ServerFrame::Disconnected { error: None }),
        (8, ServerFrame::Closed),
        (9, ServerFrame::Error(ErrorFrame::default())),
        (11, ServerFrame::Attached(Box::default())),
        (13, ServerFrame::Detached { channel: "c".into(), error: None }),
        (14, ServerFrame::Presence(Delivery::new("c", Vec::new()))),
        (15, ServerFrame::Message(Delivery::new("c", Vec::new()))),
        (16, ServerFrame::Sync(Delivery::new("c", Vec::new()))),
        (17, ServerFrame::Auth),
        (19, ServerFrame::Object(Delivery::new("c", Vec::new()))),
        (20, ServerFrame::ObjectSync(Delivery::new("c", Vec::new()))),
        (21, ServerFrame::Annotation(Delivery::new("c", Vec::new()))),
        (22, ServerFrame::Ping { id: None }),
    ];
    for (action, frame) in frames {
        for (format, bytes) in [
            (Format::Json, server_json(&frame).into_bytes()),
            (Format::MsgPack, server_msgpack(&frame)),
        ] {
            assert_eq!(codec::peek(format, &bytes).unwrap().action, action, "{frame:?}");
        }
    }
}

// RTN23c1, RTN23c2
#[test]
fn a_ping_and_its_pong_have_an_id_or_none() {
    let id = || Some(Str::from("p1"));
    for (id, json, msgpack) in [(None, "", &b""[..]), (id(), r#","id":"p1""#, &b"\xa2id\xa2p1"[..])]
    {
        let size = 0x81 + u8::from(id.is_some());
        let bytes = |action| [&[size][..], b"\xa6action", &[action], msgpack].concat();
        let text = format!(r#"{{"action":22{json}}}"#);
        let ping = ServerFrame::Ping { id: id.clone() };
        assert_eq!((server_json(&ping), server_msgpack(&ping)), (text.clone(), bytes(22)));
        assert_eq!(read_server(&text), Ok(ping.clone()));
        assert_eq!(read_server_msgpack(&bytes(22)), Ok(ping));
        let text = format!(r#"{{"action":23{json}}}"#);
        let pong = ClientFrame::Pong { id };
        assert_eq!((client_json(&pong), client_msgpack(&pong)), (text.clone(), bytes(23)));
        assert_eq!(read_client(&text), Ok(pong.clone()));
        let (bytes, limits) = (bytes(23).into(), Limits::default());
        assert_eq!(codec::decode_client_frame(Format::MsgPack, &bytes, &limits), Ok(pong));
    }
}

// Spec: AD1, AD2, TR4p
#[test]
fn a_token_is_inside_the_auth_details() {
    let frame = ClientFrame::Auth(AuthDetails { access_token: "t".into() });
    let text = r#"{"action":17,"auth":{"accessToken":"t"}}"#;
    assert_eq!(client_json(&frame), text);
    assert_eq!(read_client(text), Ok(frame));
}

// Spec: TR4l, TR4r
#[test]
fn each_type_of_item_has_its_own_field() {
    let presence = PresenceMessage { action: Some(PresenceAction::Enter), ..Default::default() };
    let annotation = Annotation { annotation_type: Some("t".into()), ..Default::default() };
    let object = ObjectMessage { site_code: Some("aaa".into()), ..Default::default() };
    assert_eq!(
        server_json(&ServerFrame::Presence(Delivery::new("c", vec![presence.clone()]))),
        r#"{"action":14,"channel":"c","presence":[{"action":2}]}"#
    );
    assert_eq!(
        server_json(&ServerFrame::Sync(Delivery::new("c", vec![presence]))),
        r#"{"action":16,"channel":"c","presence":[{"action":2}]}"#
    );
    assert_eq!(
        server_json(&ServerFrame::Annotation(Delivery::new("c", vec![annotation]))),
        r#"{"action":21,"channel":"c","annotations":[{"type":"t"}]}"#
    );
    assert_eq!(
        server_json(&ServerFrame::ObjectSync(Delivery::new("c", vec![object]))),
        r#"{"action":20,"channel":"c","state":[{"siteCode":"aaa"}]}"#
    );
}

// Spec: TR1, TR4, TR4a, TR4b, TR4c, TR4d, TR4k, TR4m, TR4n
#[test]
fn every_field_of_a_message_and_its_frame_is_written() {
    let message = Message {
        id: Some("id".into()),
        client_id: Some("cl".into()),
        connection_id: Some("co".into()),
        connection_key: Some("k".into()),
        timestamp: Some(1),
        extras: json!({ "headers": { "a": 1 } }).as_object().cloned(),
        action: Some(MessageAction::Update),
        serial: Some("s".into()),
        version: Some(Box::new(MessageVersion {
            serial: Some("v".into()),
            timestamp: Some(2),
            client_id: Some("e".into()),
            description: Some("d".into()),
            metadata: Some([("m".to_owned(), "n".to_owned())].into()),
        })),
        annotations: Some(Box::default()),
        ..Message::new("n", "d")
    };
    let frame = ServerFrame::Message(Delivery {
        channel_serial: Some("cs".into()),
        id: Some("f".into()),
        connection_id: Some("g".into()),
        timestamp: Some(-3),
        flags: Flags(1),
        ..Delivery::new("c", vec![message])
    });
    assert_eq!(
        server_json(&frame),
        concat!(
            r#"{"action":15,"id":"f","channel":"c","channelSerial":"cs","connectionId":"g","#,
            r#""flags":1,"timestamp":-3,"messages":[{"id":"id","name":"n","data":"d","#,
            r#""clientId":"cl","connectionId":"co","connectionKey":"k","timestamp":1,"#,
            r#""extras":{"headers":{"a":1}},"action":1,"serial":"s","version":{"serial":"v","#,
            r#""timestamp":2,"clientId":"e","description":"d","metadata":{"m":"n"}},"#,
            r#""annotations":{"summary":{}}}]}"#
        )
    );
}

// Spec: TR4o, CD1, CD2, CD2b, CD2e, CD2g, CD2i, CD2j
#[test]
fn connection_details_have_the_names_of_the_specification() {
    let details = ConnectionDetails {
        client_id: Some("*".into()),
        connection_key: Some("k".into()),
        max_message_size: Some(1),
        max_frame_size: Some(2),
        max_inbound_rate: Some(3),
        connection_state_ttl: Some(4),
        server_id: Some("s".into()),
        max_idle_interval: Some(0),
        objects_gc_grace_period: Some(6),
        site_code: Some("t".into()),
    };
    let frame = ServerFrame::Connected(Box::new(Connected {
        connection_id: Some("i".into()),
        details: Some(details),
        error: None,
    }));
    let text = concat!(
        r#"{"action":4,"connectionId":"i","connectionDetails":{"clientId":"*","connectionKey":"k","#,
        r#""maxMessageSize":1,"maxFrameSize":2,"maxInboundRate":3,"connectionStateTtl":4,"#,
        r#""serverId":"s","maxIdleInterval":0,"objectsGCGracePeriod":6,"siteCode":"t"}}"#
    );
    assert_eq!(server_json(&frame), text);
    assert_eq!(read_server(text), Ok(frame));
}

#[test]
fn bytes_that_are_valid_utf8_stay_bytes() {
    let binary = Message { data: Data::Binary(Bytes::from_static(b"abc")), ..Message::default() };
    let text = Message { data: Data::Text("abc".into()), ..Message::default() };

    let bytes = codec::encode_item(Format::MsgPack, &binary);
    assert_eq!(bytes, b"\x81\xa4data\xc4\x03abc");
    assert_eq!(read_item::<Message>(Format::MsgPack, &bytes), binary);

    let bytes = codec::encode_item(Format::MsgPack, &text);
    assert_eq!(bytes, b"\x81\xa4data\xa3abc");
    assert_eq!(read_item::<Message>(Format::MsgPack, &bytes), text);

    assert_eq!(
        codec::encode_item(Format::Json, &binary),
        br#"{"data":"YWJj","encoding":"base64"}"#
    );
    assert_eq!(codec::encode_item(Format::Json, &text), br#"{"data":"abc"}"#);
}

#[test]
fn the_codec_adds_its_own_steps_last() {
    let message = |data: Data, encoding: &str| Message {
        data,
        encoding: Some(encoding.to_owned().into()),
        ..Message::default()
    };
    let encrypted = message(Bytes::from_static(&[0xff]).into(), "utf-8/cipher+aes-128-cbc");
    assert_eq!(
        codec::encode_item(Format::Json, &encrypted),
        br#"{"data":"/w==","encoding":"utf-8/cipher+aes-128-cbc/base64"}"#
    );
    assert_eq!(
        codec::encode_item(Format::MsgPack, &encrypted),
        b"\x82\xa4data\xc4\x01\xff\xa8encoding\xb8utf-8/cipher+aes-128-cbc"
    );
    let json = message(json!({ "a": "\"\\\n" }).into(), "custom");
    assert_eq!(
        codec::encode_item(Format::Json, &json),
        br#"{"data":"{\"a\":\"\\\"\\\\\\n\"}","encoding":"custom/json"}"#
    );
    assert_eq!(
        codec::encode_item(Format::MsgPack, &json),
        b"\x82\xa4data\xae{\"a\":\"\\\"\\\\\\n\"}\xa8encoding\xabcustom/json"
    );
    let empty = message(Bytes::new().into(), "");
    assert_eq!(codec::encode_item(Format::Json, &empty), br#"{"data":"","encoding":"base64"}"#);
    assert_eq!(codec::encode_item(Format::MsgPack, &empty), b"\x81\xa4data\xc4\x00");
}

#[test]
fn an_absent_payload_has_no_key() {
    assert_eq!(codec::encode_item(Format::Json, &Message::default()), b"{}");
    assert_eq!(codec::encode_item(Format::MsgPack, &Message::default()), b"\x80");
    let name = Message { name: Some("n".into()), ..Message::default() };
    for bytes in [&br#"{"name":"n","data":null}"#[..], br#"{"name":"n"}"#] {
        assert_eq!(read_item::<Message>(Format::Json, bytes), name);
    }
    assert_eq!(read_item::<Message>(Format::MsgPack, b"\x82\xa4name\xa1n\xa4data\xc0"), name);
}

#[test]
fn data_that_is_not_text_on_the_wire_is_json() {
    for value in [json!({ "a": [1, null] }), json!([1.5, "x"]), json!(-7), json!(true), json!(2.5)]
    {
        let wire = json!({ "data": value });
        let expected = Message { data: Data::Json(value), ..Message::default() };
        assert_eq!(read_item::<Message>(Format::Json, wire.to_string().as_bytes()), expected);
        let msgpack = rmp_serde::to_vec_named(&wire).unwrap();
        assert_eq!(read_item::<Message>(Format::MsgPack, &msgpack), expected);
    }
}

#[test]
fn null_stands_for_any_absent_field() {
    let nulls = json!({
        "action": 15, "id": null, "channel": "c", "channelSerial": null, "connectionId": null,
        "msgSerial": null, "count": null, "flags": null, "timestamp": null,
        "connectionDetails": null, "error": null, "params": null, "auth": null, "res": null,
        "presence": null, "annotations": null, "state": null,
        "messages": [{
            "id": null, "name": null, "data": null, "encoding": null, "clientId": null,
            "connectionId": null, "connectionKey": null, "timestamp": null, "extras": null,
            "action": null, "serial": null, "version": null, "annotations": null,
        }, {
            "version": {
                "serial": null, "timestamp": null, "clientId": null, "description": null,
                "metadata": null,
            },
            "annotations": { "summary": null },
        }],
    });
    let second = Message {
        version: Some(Box::default()),
        annotations: Some(Box::default()),
        ..Message::default()
    };
    let expected = ServerFrame::Message(Delivery::new("c", vec![Message::default(), second]));
    for frame in read_server_both(nulls) {
        assert_eq!(frame, Ok(expected.clone()));
    }
    for frame in read_server_both(json!({
        "action": 6,
        "error": {
            "code": null, "statusCode": null, "message": null, "href": null, "requestId": null,
            "detail": null, "cause": null,
        },
    })) {
        let error = Some(ErrorInfo::new(ErrorCode(0), 0, ""));
        assert_eq!(frame, Ok(ServerFrame::Disconnected { error }));
    }
    for frame in read_server_both(json!({ "action": 15, "channel": "c", "messages": null })) {
        assert_eq!(frame, Ok(ServerFrame::Message(Delivery::new("c", Vec::new()))));
    }
}

// Spec: RTF1
#[test]
fn unknown_fields_and_flags_are_tolerated() {
    let frame = json!({
        "action": 11, "channel": "c", "flags": (1u64 << 40) | 4, "surprise": { "a": [1, { "b": null }] },
        "connectionSerial": -1,
        "error": { "code": 123_456, "statusCode": 400, "message": "m", "new": [] },
    });
    for frame in read_server_both(frame) {
        let Ok(ServerFrame::Attached(attached)) = frame else { panic!("{frame:?}") };
        assert_eq!(attached.flags.0, (1 << 40) | 4);
        assert!(attached.flags.contains(Flags::RESUMED));
        assert_eq!(attached.error.unwrap().code, ErrorCode(123_456));
    }
}

// Spec: RTF1
#[test]
fn unknown_actions_are_tolerated() {
    for action in [3, 5, 7, 10, 12, 18, 23, 24, 4_000_000_000_u32] {
        for frame in read_server_both(json!({ "action": action })) {
            assert_eq!(frame, Ok(ServerFrame::Unknown { action }));
        }
    }
    for action in [1, 2, 3, 4, 6, 8, 9, 11, 13, 18, 22, 24] {
        let frame = read_client(&json!({ "action": action }).to_string());
        assert_eq!(frame, Ok(ClientFrame::Unknown { action }));
    }
    for action in [json!(-1), json!(1u64 << 40)] {
        for frame in read_server_both(json!({ "action": action })) {
            assert_eq!(frame, Ok(ServerFrame::Unknown { action: u32::MAX }));
        }
    }
    for frame in read_server_both(json!({
        "action": 14, "channel": "c", "presence": [{ "action": 77 }],
    })) {
        let Ok(ServerFrame::Presence(delivery)) = frame else { panic!("{frame:?}") };
        assert_eq!(delivery.items[0].action, Some(PresenceAction::Unknown(77)));
    }
}

#[test]
fn the_error_of_a_missing_field_names_it() {
    for frame in read_server_both(json!({})) {
        assert_eq!(frame, Err(DecodeError::Missing { field: "action" }));
    }
    for action in [11, 13, 14, 15, 16, 19, 20, 21] {
        for frame in read_server_both(json!({ "action": action })) {
            assert_eq!(frame, Err(DecodeError::Missing { field: "channel" }), "{action}");
        }
    }
    for action in [10, 12, 14, 15, 19, 21] {
        let frame = read_client(&json!({ "action": action, "msgSerial": 0 }).to_string());
        assert_eq!(frame, Err(DecodeError::Missing { field: "channel" }), "{action}");
    }
    for action in [14, 15, 19, 21] {
        let frame = read_client(&json!({ "action": action, "channel": "c" }).to_string());
        assert_eq!(frame, Err(DecodeError::Missing { field: "msgSerial" }), "{action}");
    }
    assert_eq!(read_client(r#"{"action":17}"#), Err(DecodeError::Missing { field: "auth" }));
    assert_eq!(
        read_client(r#"{"action":17,"auth":{}}"#),
        Err(DecodeError::Missing { field: "accessToken" })
    );
}

#[test]
fn numbers_of_any_width_are_read() {
    let expected = Ok(ServerFrame::Ack(Ack { msg_serial: 1, count: 2, res: Vec::new() }));
    let widths: [(&[u8], &[u8]); 9] = [
        (b"\x01", b"\x02"),
        (b"\xcc\x01", b"\xcc\x02"),
        (b"\xcd\0\x01", b"\xcd\0\x02"),
        (b"\xce\0\0\0\x01", b"\xce\0\0\0\x02"),
        (b"\xcf\0\0\0\0\0\0\0\x01", b"\xcf\0\0\0\0\0\0\0\x02"),
        (b"\xd0\x01", b"\xd0\x02"),
        (b"\xd3\0\0\0\0\0\0\0\x01", b"\xd3\0\0\0\0\0\0\0\x02"),
        (b"\xca\x3f\x80\0\0", b"\xca\x40\0\0\0"),
        (b"\xcb\x3f\xf0\0\0\0\0\0\0", b"\xcb\x40\0\0\0\0\0\0\0"),
    ];
    for (one, two) in widths {
        let frame = [b"\x83\xa6action", one, b"\xa9msgSerial", one, b"\xa5count", two].concat();
        assert_eq!(read_server_msgpack(&frame), expected, "{one:x?}");
    }
    assert_eq!(read_server(r#"{"action":1.0,"msgSerial":1e0,"count":2.0}"#), expected);
    for frame in read_server_both(json!({ "action": 1, "msgSerial": 1.5 })) {
        assert!(matches!(frame, Err(DecodeError::Malformed { .. })), "{frame:?}");
    }
    for frame in read_server_both(json!({ "action": 1, "msgSerial": -1 })) {
        assert!(matches!(frame, Err(DecodeError::Malformed { .. })), "{frame:?}");
    }
}

#[test]
fn params_and_details_become_text() {
    for frame in read_server_both(json!({
        "action": 11, "channel": "c",
        "params": { "rewind": 1, "echo": false, "modes": "publish", "gone": null, "x": [1] },
        "error": { "code": 1, "statusCode": 2, "message": "m", "detail": { "n": 5 } },
    })) {
        let text = |pairs: &[(&str, &str)]| -> Params {
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let mut error = ErrorInfo::new(ErrorCode(1), 2, "m");
        error.detail = text(&[("n", "5")]);
        let params =
            text(&[("rewind", "1"), ("echo", "false"), ("modes", "publish"), ("x", "[1]")]);
        let expected =
            Attached { channel: "c".into(), params, error: Some(error), ..Attached::default() };
        assert_eq!(frame, Ok(ServerFrame::Attached(Box::new(expected))));
    }
}

#[test]
fn text_and_bytes_are_interchangeable_where_only_one_makes_sense() {
    let frame = read_server_msgpack(b"\x83\xc4\x06action\x0f\xa7channel\xc4\x01c\xa8messages\x90");
    assert_eq!(frame, Ok(ServerFrame::Message(Delivery::new("c", Vec::new()))));
    let message: Message =
        read_item(Format::MsgPack, b"\x81\xa6extras\x82\xa1a\xc4\x02\xff\xfe\x07\xa1b");
    assert_eq!(message.extras, json!({ "a": "//4=", "7": "b" }).as_object().cloned());
    // Code and message of an error, the message as bytes.
    let frame =
        read_server_msgpack(b"\x82\xa6action\x06\xa5error\x82\xa4code\x01\xa7message\xc4\x01m");
    let error = Some(ErrorInfo::new(ErrorCode(1), 0, "m"));
    assert_eq!(frame, Ok(ServerFrame::Disconnected { error }));
}

#[test]
fn msgpack_extensions_are_skipped() {
    let frame = read_server_msgpack(
        b"\x84\xa6action\x08\xa1x\xd4\x01\x00\xd8\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
          \xa2id\xc7\x03\x01abc",
    );
    assert_eq!(frame, Ok(ServerFrame::Closed));
}

#[test]
fn payloads_are_slices_of_their_frame() {
    let mut out = Vec::new();
    let message = Message { data: Bytes::from(vec![7; 100]).into(), ..Message::default() };
    let channel = "c".repeat(100);
    let frame = ServerFrame::Message(Delivery::new(channel, vec![message]));
    codec::encode_server_frame(Format::MsgPack, &frame, &mut out);
    let bytes = Bytes::from(out);
    let range = bytes.as_ptr_range();
    let decoded = codec::decode_server_frame(Format::MsgPack, &bytes, &Limits::default());
    let Ok(ServerFrame::Message(delivery)) = decoded else { panic!("{decoded:?}") };
    assert!(range.contains(&delivery.items[0].data.as_bytes().unwrap().as_ptr()));
    assert!(range.contains(&delivery.channel.as_ptr()));
}

#[test]
fn errors_have_every_field_that_the_service_sends() {
    let mut error = ErrorInfo::new(ErrorCode(40142), 401, "token expired")
        .with_cause(ErrorInfo::new(ErrorCode(50000), 500, "inner"));
    error.href = Some("https://help".into());
    error.request_id = Some("r".into());
    error.detail.insert("k".to_owned(), "v".to_owned());
    let text = concat!(
        r#"{"error":{"code":40142,"statusCode":401,"message":"token expired","#,
        r#""href":"https://help","requestId":"r","detail":{"k":"v"},"#,
        r#""cause":{"code":50000,"statusCode":500,"message":"inner"}}}"#
    );
    let body = ErrorBody { error };
    assert_eq!(codec::encode_body(Format::Json, &body).unwrap(), text.as_bytes());
    let decoded =
        codec::decode_body::<ErrorBody>(Format::Json, text.as_bytes(), &Limits::default());
    assert_eq!(decoded, Ok(body));
}

#[test]
fn the_response_to_a_publish_has_its_serials() {
    let body = PublishBody {
        channel: Some("c".into()),
        message_id: Some("m".into()),
        serials: vec![Some("s".into()), None],
    };
    let text = r#"{"channel":"c","messageId":"m","serials":["s",null]}"#;
    assert_eq!(codec::encode_body(Format::Json, &body).unwrap(), text.as_bytes());
    let decoded =
        codec::decode_body::<PublishBody>(Format::Json, text.as_bytes(), &Limits::default());
    assert_eq!(decoded, Ok(body));
}

#[test]
fn a_body_may_contain_one_item_or_many() {
    let expected = [Message::new("n", "d")];
    for text in [r#"{"name":"n","data":"d"}"#, r#" [{"name":"n","data":"d"}]"#] {
        let decoded = codec::decode_messages(Format::Json, &text.into(), &Limits::default());
        assert_eq!(decoded.unwrap(), expected);
    }
    for bytes in [&b"\x82\xa4name\xa1n\xa4data\xa1d"[..], b"\x91\x82\xa4name\xa1n\xa4data\xa1d"] {
        let bytes = Bytes::copy_from_slice(bytes);
        let decoded = codec::decode_messages(Format::MsgPack, &bytes, &Limits::default());
        assert_eq!(decoded.unwrap(), expected);
    }
}

#[test]
fn peeking_reads_only_action_and_serial() {
    let both = Some(Peek { action: 15, msg_serial: Some(300) });
    let json = br#"{"messages":[{"action":1,"msgSerial":2}],"action":15,"msgSerial":300}"#;
    assert_eq!(codec::peek(Format::Json, json), both);
    // A number in another form, as the decoders accept it.
    assert_eq!(codec::peek(Format::Json, br#"{"action":1.5e1,"msgSerial":3e2}"#), both);
    let msgpack =
        b"\x83\xa8messages\x91\x82\xa6action\x01\xa9msgSerial\x02\xa6action\x0f\xa9msgSerial\xcd\x01\x2c";
    assert_eq!(codec::peek(Format::MsgPack, msgpack), both);
    // A delivery has no serial, so it may have any value of that name.
    for value in [&b"\xfb"[..], b"\xa1x", b"\x91\x07", b"\xc0"] {
        let frame = [b"\x83\xa6action\x0f\xa9msgSerial", value, b"\xa7channel\xa1c"].concat();
        let peek = Some(Peek { action: 15, msg_serial: None });
        assert_eq!(codec::peek(Format::MsgPack, &frame), peek, "{value:x?}");
        let frame = codec::decode_server_frame(Format::MsgPack, &frame.into(), &Limits::default());
        assert_eq!(frame.unwrap().action(), 15, "{value:x?}");
    }
    for format in [Format::Json, Format::MsgPack] {
        for bytes in [&b""[..], b"{}", b"\x80", b"null", b"\xc0", b"[1]", b"\x91\x01"] {
            assert_eq!(codec::peek(format, bytes), None, "{bytes:x?}");
        }
    }
}

// Spec: OD1, OD2, OD2a, OD2c, OD2d, OD2e, OD2f, OD2g, OD4, OD4c, OD4c1, OD4c2, OD4c3, OD4c4, OD4d, OD4d1, OD4d2, OD4d3, OD4d4
#[test]
fn long_text_is_a_slice_of_its_json_frame_unless_it_has_escapes() {
    let (id, escaped) = ("i".repeat(60), "\\n".repeat(60));
    let frame = format!(
        r#"{{"action":19,"channel":"c","state":[{{"id":"{escaped}","operation":{{"objectId":"{id}"}}}}]}}"#
    );
    let bytes = Bytes::from(frame);
    let range = bytes.as_ptr_range();
    let decoded = codec::decode_server_frame(Format::Json, &bytes, &Limits::default());
    let Ok(ServerFrame::Object(delivery)) = decoded else { panic!("{decoded:?}") };
    let item = &delivery.items[0];
    assert_eq!(item.id.as_deref(), Some(&*"\n".repeat(60)));
    let object_id = item.operation.as_ref().and_then(|operation| operation.object_id.as_ref());
    assert_eq!(object_id.map(|own| &**own), Some(&*id));
    assert!(object_id.is_some_and(|own| range.contains(&own.as_ptr())));
}

#[test]
fn object_values_are_written_in_each_format() {
    let set = |value: ObjectValue| ObjectMessage {
        operation: Some(Box::new(ObjectOperation {
            action: Some(ObjectOperationAction::MapSet),
            object_id: Some("root".into()),
            map_set: Some(MapSet { key: "k".into(), value: value.into() }),
            ..ObjectOperation::default()
        })),
        ..ObjectMessage::default()
    };
    let in_json = |value: ObjectValue| -> Value {
        let bytes = codec::encode_item(Format::Json, &set(value));
        let wire: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(wire["operation"]["action"], 1);
        wire["operation"]["mapSet"]["value"].clone()
    };
    assert_eq!(in_json(ObjectValue::Boolean(false)), json!({ "boolean": false }));
    assert_eq!(in_json(ObjectValue::Bytes(vec![1, 2, 3].into())), json!({ "bytes": "AQID" }));
    assert_eq!(in_json(ObjectValue::Number(10.0)), json!({ "number": 10 }));
    assert_eq!(in_json(ObjectValue::Number(-0.5)), json!({ "number": -0.5 }));
    assert_eq!(in_json(ObjectValue::String("s".into())), json!({ "string": "s" }));
    assert_eq!(in_json(ObjectValue::Json(json!({ "a": 1 }))), json!({ "json": "{\"a\":1}" }));

    let in_msgpack = |value: ObjectValue| codec::encode_item(Format::MsgPack, &set(value));
    let tail = |bytes: &[u8]| in_msgpack(ObjectValue::Bytes(vec![1, 2].into())).ends_with(bytes);
    assert!(tail(b"\xa5value\x81\xa5bytes\xc4\x02\x01\x02"));
    let number = in_msgpack(ObjectValue::Number(10.0));
    assert!(number.ends_with(b"\xa5value\x81\xa6number\xcb\x40\x24\0\0\0\0\0\0"));

    let inc = CounterInc { number: Some(-5.0) };
    let operation = ObjectOperation { counter_inc: Some(inc), ..ObjectOperation::default() };
    let message = ObjectMessage { operation: Some(operation.into()), ..ObjectMessage::default() };
    assert_eq!(
        codec::encode_item(Format::Json, &message),
        br#"{"operation":{"counterInc":{"number":-5}}}"#
    );
}

// Spec: OD2b, OD5, OD5a, OD5a1, OD5a2, OD5b, OD5b1, OD5b2, OD5b3
#[test]
fn object_values_of_other_encoders_are_read() {
    let read = |text: &str| -> ObjectData {
        codec::decode_body(Format::Json, text.as_bytes(), &Limits::default()).unwrap()
    };
    let json = ObjectData::from(ObjectValue::Json(json!([1])));
    assert_eq!(read(r#"{"json":"[1]"}"#), json);
    assert_eq!(read(r#"{"json":[1]}"#), json);
    assert_eq!(read(r#"{"string":"[1]","encoding":"json"}"#), json);
    let encoded = read(r#"{"string":"x","encoding":"other"}"#);
    assert_eq!(encoded.value, Some(ObjectValue::String("x".into())));
    assert_eq!(encoded.encoding.as_deref(), Some("other"));
    assert_eq!(read(r#"{"objectId":"counter:a@1"}"#), ObjectData::reference("counter:a@1"));
    for bad in [r#"{"bytes":"*"}"#, r#"{"bytes":[1]}"#, r#"{"json":"{"}"#] {
        let decoded =
            codec::decode_body::<ObjectData>(Format::Json, bad.as_bytes(), &Limits::default());
        assert!(matches!(decoded, Err(DecodeError::Malformed { .. })), "{decoded:?}");
    }
}

// Spec: OOP2a, OMP2a
#[test]
fn unknown_object_actions_and_semantics_are_tolerated() {
    let wire = json!({
        "operation": { "action": 50, "mapCreate": { "semantics": 9, "entries": null }, "new": {} },
        "object": { "map": { "semantics": "LWW" }, "siteTimeserials": { "aaa": "t:0" } },
    });
    let json: ObjectMessage = read_item(Format::Json, wire.to_string().as_bytes());
    let msgpack: ObjectMessage =
        read_item(Format::MsgPack, &rmp_serde::to_vec_named(&wire).unwrap());
    assert_eq!(json, msgpack);
    let operation = json.operation.unwrap();
    assert_eq!(operation.action, Some(ObjectOperationAction::Unknown(50)));
    let semantics = operation.map_create.unwrap().semantics;
    assert_eq!(semantics, Some(ObjectsMapSemantics::Unknown(9)));
    let map = json.object.unwrap().map.unwrap();
    assert_eq!(map.semantics, Some(ObjectsMapSemantics::Lww));
}

#[test]
fn each_value_has_the_shortest_header_that_fits() {
    let integers = [
        0,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        4_294_967_295,
        4_294_967_296,
        i64::MAX,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -2_147_483_648,
        -2_147_483_649,
        i64::MIN,
    ];
    for timestamp in integers {
        let message = Message { timestamp: Some(timestamp), ..Message::default() };
        let bytes = codec::encode_item(Format::MsgPack, &message);
        assert_eq!(bytes, rmp_serde::to_vec_named(&message).unwrap(), "{timestamp}");
        assert_eq!(read_item::<Message>(Format::MsgPack, &bytes), message);
    }
    for length in [0, 31, 32, 255, 256, 65_535, 65_536] {
        for data in [Data::Text("x".repeat(length).into()), Data::Binary(vec![1; length].into())] {
            let message = Message { data, ..Message::default() };
            let bytes = codec::encode_item(Format::MsgPack, &message);
            assert_eq!(bytes, rmp_serde::to_vec_named(&message).unwrap(), "{length}");
            assert_eq!(read_item::<Message>(Format::MsgPack, &bytes), message);
        }
        let json = Message { data: json!(["x".repeat(length)]).into(), ..Message::default() };
        let bytes = codec::encode_item(Format::MsgPack, &json);
        assert_eq!(bytes, rmp_serde::to_vec_named(&json).unwrap(), "{length}");
    }
    for count in [0, 15, 16, 65_535, 65_536] {
        let result = PublishResult::new(vec![None; count]);
        let bytes = codec::encode_item(Format::MsgPack, &result);
        assert_eq!(bytes, rmp_serde::to_vec_named(&result).unwrap(), "{count}");
        assert_eq!(read_item::<PublishResult>(Format::MsgPack, &bytes), result);
    }
}
