//! Hostile bytes: each is refused with the right error, and takes little stack and memory.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use capably_protocol::{
    DecodeError, Format, JsonObject, Limits, Message, PublishResult, ServerFrame,
    codec::{self, Peek},
};

fn decode(format: Format, bytes: &[u8], limits: &Limits) -> Result<ServerFrame, DecodeError> {
    codec::decode_server_frame(format, &Bytes::copy_from_slice(bytes), limits)
}

fn malformed<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> String {
    match result {
        Err(DecodeError::Malformed { reason }) => reason,
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn oversized_input_is_refused_before_it_is_read() {
    let limits = Limits { max_size: 10, ..Limits::default() };
    for format in [Format::Json, Format::MsgPack] {
        let too_large = DecodeError::TooLarge { size: 11, limit: 10 };
        assert_eq!(decode(format, &[0xc1; 11], &limits), Err(too_large.clone()));
        let bytes = Bytes::from_static(&[0xc1; 11]);
        assert_eq!(codec::decode_messages(format, &bytes, &limits), Err(too_large.clone()));
        assert_eq!(codec::decode_body::<JsonObject>(format, &bytes, &limits), Err(too_large));
    }
    assert_eq!(
        decode(Format::Json, br#"{"action":8}"#, &limits).unwrap_err(),
        DecodeError::TooLarge { size: 12, limit: 10 }
    );
    assert_eq!(decode(Format::MsgPack, b"\x81\xa6action\x08", &limits), Ok(ServerFrame::Closed));
}

/// A frame whose field `name` holds that many nested arrays.
fn nested(format: Format, name: &str, levels: usize) -> Vec<u8> {
    match format {
        Format::Json => {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"action":8,"{name}":{open}{close}}}"#).into_bytes()
        }
        Format::MsgPack => {
            let mut bytes = b"\x82\xa6action\x08".to_vec();
            bytes.push(0xa0 | name.len() as u8);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend(std::iter::repeat_n(0x91, levels - 1));
            bytes.push(0x90);
            bytes
        }
    }
}

#[test]
fn the_depth_limit_is_exact() {
    let limits = Limits { max_depth: 5, ..Limits::default() };
    for format in [Format::Json, Format::MsgPack] {
        // The frame itself is a level.
        assert_eq!(decode(format, &nested(format, "x", 4), &limits), Ok(ServerFrame::Closed));
        let result = decode(format, &nested(format, "x", 5), &limits);
        assert_eq!(result, Err(DecodeError::TooDeep { limit: 5 }));
        let one = Limits { max_depth: 1, ..limits };
        let message = codec::encode_item(format, &Message::new("n", "d"));
        let decoded = codec::decode_messages(format, &message.into(), &one);
        assert_eq!(decoded.unwrap(), [Message::new("n", "d")]);
        let messages = codec::encode_messages(format, &[Message::new("n", "d")]);
        let decoded = codec::decode_messages(format, &messages.into(), &one);
        assert_eq!(decoded, Err(DecodeError::TooDeep { limit: 1 }));
    }
}

#[test]
fn the_depth_limit_is_exact_in_object_messages() {
    // The levels are those of the frame, the array, the message, the operation, its payload and the value.
    let frame = r#"{"action":19,"channel":"c","state":[{"operation":{"mapSet":{"value":{}}}}]}"#;
    let value: serde_json::Value = serde_json::from_str(frame).unwrap();
    let msgpack = rmp_serde::to_vec_named(&value).unwrap();
    for (format, bytes) in [(Format::Json, frame.as_bytes()), (Format::MsgPack, &msgpack)] {
        for (levels, fits) in [(6, true), (5, false), (3, false)] {
            let limits = Limits { max_depth: levels, ..Limits::default() };
            let result = decode(format, bytes, &limits).map(drop);
            let expected = if fits { Ok(()) } else { Err(DecodeError::TooDeep { limit: levels }) };
            assert_eq!(result, expected, "{format:?}, {levels} levels");
        }
    }
}

#[test]
fn an_array_is_no_map_of_fields() {
    for state in [r#"[[]]"#, r#"[{"operation":[4,"id"]}]"#, r#"[{"object":{"map":[0,{}]}}]"#] {
        let frame = format!(r#"{{"action":19,"channel":"c","state":{state}}}"#);
        malformed(decode(Format::Json, frame.as_bytes(), &Limits::default()));
        let value: serde_json::Value = serde_json::from_str(&frame).unwrap();
        let msgpack = rmp_serde::to_vec_named(&value).unwrap();
        malformed(decode(Format::MsgPack, &msgpack, &Limits::default()));
    }
}

#[test]
fn a_delivery_without_a_channel_is_refused() {
    // MESSAGE without a channel, and with the channel null; in MessagePack, null is 0xc0.
    for (format, frame) in [
        (Format::Json, &br#"{"action":15,"messages":[]}"#[..]),
        (Format::Json, br#"{"action":15,"channel":null,"messages":[]}"#),
        (Format::MsgPack, b"\x82\xa6action\x0f\xa8messages\x90"),
        (Format::MsgPack, b"\x83\xa6action\x0f\xa7channel\xc0\xa8messages\x90"),
    ] {
        let refused = decode(format, frame, &Limits::default()).unwrap_err();
        assert!(matches!(refused, DecodeError::Missing { field: "channel" }), "{refused:?}");
    }
}

#[test]
fn brackets_inside_text_do_not_count_as_depth() {
    let limits = Limits { max_depth: 3, ..Limits::default() };
    let text = r#"{"action":15,"channel":"[[[[\"[[[[{{{{","messages":[{"data":"\\"}]}"#;
    let Ok(ServerFrame::Message(delivery)) = decode(Format::Json, text.as_bytes(), &limits) else {
        panic!("not a MESSAGE");
    };
    assert_eq!(delivery.channel, "[[[[\"[[[[{{{{");
    assert_eq!(delivery.items[0].data.as_str(), Some("\\"));
}

#[test]
fn a_depth_bomb_is_refused_in_every_field() {
    // Even with a higher limit, the decoder must not use up the stack.
    let limits = Limits { max_depth: usize::MAX, max_size: usize::MAX };
    for format in [Format::Json, Format::MsgPack] {
        for name in ["x", "messages", "error", "params", "state", "res", "connectionDetails"] {
            let bomb = nested(format, name, 1_000_000);
            let result = decode(format, &bomb, &limits);
            let refused = match (&result, format) {
                (Err(DecodeError::TooDeep { limit }), _) => *limit == 120,
                // An array where a map must be is refused before it is entered.
                (Err(DecodeError::Malformed { .. }), Format::MsgPack) => name != "x",
                _ => false,
            };
            assert!(refused, "{name}: {result:?}");
            // JSON is stepped over without recursion.
            let peek = (format == Format::Json).then_some(Peek { action: 8, msg_serial: None });
            assert_eq!(codec::peek(format, &bomb), peek);
            let body = codec::decode_body::<JsonObject>(format, &bomb, &limits);
            assert_eq!(body, Err(DecodeError::TooDeep { limit: 120 }));
        }
    }
    let mut bomb = b"\x83\xa6action\x0f\xa7channel\xa1c\xa8messages\x91\x81\xa4data".to_vec();
    bomb.extend(std::iter::repeat_n(0x91, 1_000_000));
    assert_eq!(decode(Format::MsgPack, &bomb, &limits), Err(DecodeError::TooDeep { limit: 120 }));
    let mut bomb = b"\x82\xa6action\x06\xa5error".to_vec();
    bomb.extend(b"\x81\xa5cause".repeat(100_000));
    assert_eq!(decode(Format::MsgPack, &bomb, &limits), Err(DecodeError::TooDeep { limit: 120 }));
}

/// A reader that has seen the first one would take the frame for another. Not only deliveries are read, and not only by
/// clients.
#[test]
fn a_frame_with_two_actions_is_malformed() {
    let limits = Limits::default();
    let read = |format, bytes: &'static [u8]| {
        let bytes = Bytes::from_static(bytes);
        let from_service = codec::decode_server_frame(format, &bytes, &limits).map(drop);
        let from_client = codec::decode_client_frame(format, &bytes, &limits).map(drop);
        [malformed(from_service), malformed(from_client)]
    };
    let msgpack: [&[u8]; 4] = [
        b"\x83\xa6action\x0e\xa7channel\xa1c\xa6action\x04",
        b"\x84\xa6action\x0f\xa7channel\xa1c\xa8messages\x90\xa6action\x0f",
        b"\x83\xa6action\x0c\xa6action\x0a\xa7channel\xa1c",
        b"\x83\xa7channel\xa1c\xa6action\xc0\xa6action\x0a",
    ];
    for frame in msgpack {
        assert_eq!(read(Format::MsgPack, frame), ["the frame has two actions"; 2]);
    }
    for reason in read(Format::Json, br#"{"action":14,"channel":"c","action":4}"#) {
        assert!(reason.contains("duplicate field `action`"), "{reason}");
    }
}

#[test]
fn a_false_length_header_is_malformed() {
    let frames: [&[u8]; 9] = [
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa8messages\xdd\xff\xff\xff\xff",
        b"\x81\xa8messages\xdd\x00\x01\x00\x00",
        b"\x81\xa8messages\x91\x81\xa4data\xdd\xff\xff\xff\xff",
        b"\x81\xa8messages\x91\x81\xa6extras\xdf\xff\xff\xff\xff",
        b"\x81\xa1x\xdf\xff\xff\xff\xff",
        b"\x81\xa7channel\xdb\xff\xff\xff\xff",
        b"\x81\xa8messages\x91\x81\xa4data\xc6\xff\xff\xff\xff",
        b"\x81\xa1x\xc9\xff\xff\xff\xff",
    ];
    for frame in frames {
        malformed(decode(Format::MsgPack, frame, &Limits::default()));
        assert_eq!(codec::peek(Format::MsgPack, frame), None);
        malformed(codec::decode_body::<JsonObject>(Format::MsgPack, frame, &Limits::default()));
    }
}

#[test]
fn small_items_are_limited_in_number() {
    let count = 65_537_u32;
    let mut msgpack = b"\x83\xa6action\x0f\xa7channel\xa1c\xa8messages\xdd".to_vec();
    msgpack.extend(count.to_be_bytes());
    msgpack.extend(std::iter::repeat_n(0x80, count as usize));
    let messages = vec!["{}"; count as usize].join(",");
    let json = format!(r#"{{"action":15,"channel":"c","messages":[{messages}]}}"#);
    for (format, bytes) in [(Format::MsgPack, msgpack), (Format::Json, json.into_bytes())] {
        let reason = malformed(decode(format, &bytes, &Limits::default()));
        assert!(reason.contains("more than 65536 items"), "{reason}");
    }
    let body = Bytes::from(format!("[{messages}]"));
    let reason = malformed(codec::decode_messages(Format::Json, &body, &Limits::default()));
    assert!(reason.contains("more than 65536 items"), "{reason}");
    let serials = vec!["null"; count as usize].join(",");
    let body = format!(r#"{{"serials":[{serials}]}}"#);
    let decoded =
        codec::decode_body::<PublishResult>(Format::Json, body.as_bytes(), &Limits::default());
    assert!(malformed(decoded).contains("more than 65536 items"));
}

#[test]
fn broken_frames_are_malformed() {
    let json: [&[u8]; 12] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"15",
        br#"{"action":"15"}"#,
        br#"{"action":15,"channel":5}"#,
        br#"{"action":15,"channel":"c","messages":[null]}"#,
        br#"{"action":15,"channel":"c","messages":[["id"]]}"#,
        br#"[8]"#,
        br#"{"action":8}{"action":8}"#,
        b"{\"action\":15,\"channel\":\"\xff\"}",
    ];
    for text in json {
        malformed(decode(Format::Json, text, &Limits::default()));
    }
    let msgpack: [&[u8]; 12] = [
        b"",
        b"\x81",
        b"\x90",
        b"\xc0",
        b"\x0f",
        b"\xc1",
        b"\x81\xa6action\xa215",
        b"\x82\xa6action\x0f\xa7channel\x05",
        b"\x83\xa6action\x0f\xa7channel\xa1c\xa8messages\x91\xc0",
        b"\x81\xa6action\x08\x81\xa6action\x08",
        b"\x82\xa6action\x0f\xa7channel\xa1\xff",
        b"\x81\x90\x08",
    ];
    for bytes in msgpack {
        malformed(decode(Format::MsgPack, bytes, &Limits::default()));
    }
}

#[test]
fn invalid_utf8_is_refused_in_every_field() {
    for field in [&b"\xa4name\xa1\xff"[..], b"\xa4data\xa1\xff", b"\xa6extras\x81\xa1\xff\x01"] {
        let item = [b"\x81", field].concat();
        let reason =
            malformed(codec::decode_messages(Format::MsgPack, &item.into(), &Limits::default()));
        assert_eq!(reason, "text that is not UTF-8");
    }
}
