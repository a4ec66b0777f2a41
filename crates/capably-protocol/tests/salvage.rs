//! Frames with an unreadable part: the other parts are read.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Debug;

use bytes::Bytes;
use capably_protocol::{
    Annotation, ErrorInfo, Format, Limits, Message, ObjectMessage, PresenceMessage, ServerFrame,
    codec::{self, Damaged, Item},
    frame::{Ack, Delivery},
};
use proptest::{collection, prelude::*, sample};
use serde_json::json;
use support::{FORMATS, annotation, message, object_message, presence, text};

/// The bytes of a frame with these items, unchanged.
fn frame_of(format: Format, empty: &ServerFrame, items: &[Vec<u8>]) -> Bytes {
    let mut bytes = Vec::new();
    codec::encode_server_frame(format, empty, &mut bytes);
    match format {
        Format::Json => {
            assert!(bytes.ends_with(b"[]}"));
            bytes.truncate(bytes.len() - 2);
            bytes.extend_from_slice(&items.join(&b','));
            bytes.extend_from_slice(b"]}");
        }
        Format::MsgPack => {
            assert_eq!(bytes.pop(), Some(0x90));
            bytes.push(0xdc);
            bytes.extend((items.len() as u16).to_be_bytes());
            bytes.extend(items.concat());
        }
    }
    bytes.into()
}

/// The item with this field appended, unchanged.
fn with_field(format: Format, item: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    match format {
        Format::Json => {
            let rest = item.strip_suffix(b"}").unwrap();
            let comma: &[u8] = if rest.ends_with(b"{") { b"" } else { b"," };
            [rest, comma, format!("\"{key}\":").as_bytes(), value, b"}"].concat()
        }
        Format::MsgPack => {
            let (count, rest) = match item {
                [marker @ 0x80..=0x8f, rest @ ..] => (u16::from(marker & 0x0f), rest),
                [0xde, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
                other => panic!("no map: {other:?}"),
            };
            let key = rmp_serde::to_vec(key).unwrap();
            [&[0xde][..], &(count + 1).to_be_bytes(), rest, &key, value].concat()
        }
    }
}

/// Values that neither `id` nor `timestamp` can have, and malformed ones.
fn poison(format: Format) -> Vec<(&'static str, Vec<u8>)> {
    let mut poison: Vec<_> = [
        ("id", json!(5)),
        ("id", json!(true)),
        ("id", json!([])),
        ("id", json!({ "a": "}],\"channel\":[{" })),
        ("timestamp", json!("noon")),
        ("timestamp", json!(u64::MAX)),
        ("timestamp", json!(1.5)),
        ("timestamp", json!(1e300)),
        ("timestamp", json!([1])),
    ]
    .into_iter()
    .map(|(key, value)| (key, codec::encode_body(format, &value).unwrap()))
    .collect();
    poison.extend(match format {
        Format::Json => vec![
            ("id", b"\"\\ud800\"".to_vec()),
            ("id", b"\"\xff\"".to_vec()),
            ("timestamp", b"1e999".to_vec()),
            ("novel", [b"[".repeat(200), b"]".repeat(200)].concat()),
            ("novel", [b"{\"a\":".repeat(2_000), b"1".to_vec(), b"}".repeat(2_000)].concat()),
        ],
        Format::MsgPack => vec![
            ("id", b"\xa1\xff".to_vec()),
            ("id", b"\xc4\x02\xc3\x28".to_vec()),
            ("novel", [vec![0x91; 200], vec![0xc0]].concat()),
            ("novel", [b"\x81\xa1a".repeat(2_000), vec![0xc0]].concat()),
        ],
    });
    poison
}

/// The ways to make an item unreadable.
fn damaged(format: Format, item: &[u8]) -> Vec<Vec<u8>> {
    let mut damaged: Vec<_> = poison(format)
        .into_iter()
        .map(|(key, value)| with_field(format, item, key, &value))
        .collect();
    for no_item in [json!(null), json!(5), json!("item"), json!([]), json!([{}]), json!(false)] {
        damaged.push(codec::encode_body(format, &no_item).unwrap());
    }
    if format == Format::Json {
        // A repeated field: in MessagePack, the last one counts.
        let twice = with_field(format, item, "id", b"\"1\"");
        damaged.push(with_field(format, &twice, "id", b"\"2\""));
    }
    damaged
}

trait Delivered: Item + Clone + PartialEq + Debug {
    fn frame(delivery: Delivery<Self>) -> ServerFrame;
    fn delivery(frame: ServerFrame) -> Option<Delivery<Self>>;
    fn inherits(&mut self, from: &Delivery<Self>, index: usize);
}

macro_rules! delivered {
    ($($type:ty, $variant:ident;)*) => {
        $(
            impl Delivered for $type {
                fn frame(delivery: Delivery<Self>) -> ServerFrame {
                    ServerFrame::$variant(delivery)
                }

                fn delivery(frame: ServerFrame) -> Option<Delivery<Self>> {
                    match frame {
                        ServerFrame::$variant(delivery) => Some(delivery),
                        _ => None,
                    }
                }

                fn inherits(&mut self, from: &Delivery<Self>, index: usize) {
                    let (id, connection_id) = (from.id.as_ref(), from.connection_id.as_ref());
                    self.inherit(id, index, connection_id, from.timestamp);
                }
            }
        )*
    };
}

delivered! {
    Message, Message;
    PresenceMessage, Presence;
    Annotation, Annotation;
    ObjectMessage, Object;
}

/// The expected frame of these items, where `None` is an unreadable one.
fn expected<T: Delivered>(empty: &Delivery<T>, items: Vec<Option<T>>) -> (ServerFrame, Vec<usize>) {
    let mut delivery = empty.clone();
    let mut gaps = Vec::new();
    let mut in_gap = false;
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Some(mut item) => {
                item.inherits(empty, index);
                delivery.items.push(item);
            }
            None if in_gap => continue,
            None => gaps.push(delivery.items.len()),
        }
        in_gap = gaps.last() == Some(&delivery.items.len());
    }
    (T::frame(delivery), gaps)
}

fn salvaged(format: Format, bytes: &Bytes) -> Damaged<ServerFrame> {
    codec::salvage_server_frame(format, bytes, &Limits::default()).unwrap()
}

/// An unreadable item leaves the others unchanged, and the frame has a gap in its place.
fn one_item_harms_no_other<T: Delivered>(empty: &Delivery<T>, items: &[T], at: usize) {
    let limits = Limits::default();
    for format in FORMATS {
        let alone: Vec<_> = items.iter().map(|item| codec::encode_item(format, item)).collect();
        let frame = T::frame(empty.clone());
        let read = |item: &Vec<u8>| {
            let item = Bytes::from(item.clone());
            codec::decode_items::<T>(format, &item, &limits).ok().map(|mut items| items.remove(0))
        };
        for damaged in damaged(format, &alone[at]) {
            let mut items = alone.clone();
            items[at] = damaged;
            let bytes = frame_of(format, &frame, &items);
            let refused = codec::decode_server_frame(format, &bytes, &limits);
            assert!(refused.is_err(), "{format:?}: {:?}", items[at]);
            let mut read: Vec<_> = alone.iter().map(read).collect();
            read[at] = None;
            let (frame, gaps) = expected(empty, read);
            let salvaged = salvaged(format, &bytes);
            assert_eq!((salvaged.frame, salvaged.gaps), (Some(frame), gaps), "{format:?}");
        }
    }
}

fn empty<T: Debug>() -> impl Strategy<Value = Delivery<T>> {
    (text(), text(), text(), any::<i64>()).prop_map(|(channel, serial, id, timestamp)| Delivery {
        channel_serial: Some(serial),
        id: Some(id),
        connection_id: Some("connection".into()),
        timestamp: Some(timestamp),
        ..Delivery::new(channel, Vec::new())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn an_unreadable_message_leaves_the_other_messages(
        empty in empty(), items in collection::vec(message(), 1..5), at in any::<sample::Index>(),
    ) {
        one_item_harms_no_other(&empty, &items, at.index(items.len()));
    }

    #[test]
    fn an_unreadable_presence_message_leaves_the_others(
        empty in empty(), items in collection::vec(presence(), 1..5), at in any::<sample::Index>(),
    ) {
        one_item_harms_no_other(&empty, &items, at.index(items.len()));
    }

    #[test]
    fn an_unreadable_annotation_leaves_the_other_annotations(
        empty in empty(), items in collection::vec(annotation(), 1..5), at in any::<sample::Index>(),
    ) {
        one_item_harms_no_other(&empty, &items, at.index(items.len()));
    }

    #[test]
    fn an_unreadable_object_message_leaves_the_others(
        empty in empty(), items in collection::vec(object_message(), 1..5), at in any::<sample::Index>(),
    ) {
        one_item_harms_no_other(&empty, &items, at.index(items.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_items_are_read_or_reported_as_gaps(
        empty in empty::<Message>(),
        items in collection::vec(
            prop_oneof![
                message().prop_map(Ok),
                collection::vec(any::<u8>(), 1..30).prop_map(Err),
            ],
            1..5,
        ),
    ) {
        let limits = Limits::default();
        for format in FORMATS {
            let items: Vec<_> = items
                .iter()
                .map(|item| match item {
                    Ok(item) => codec::encode_item(format, item),
                    // Bytes that are whole values of any type.
                    Err(bytes) => match format {
                        Format::Json => format!("\"{}\"", String::from_utf8_lossy(bytes)
                            .replace(|c: char| c.is_control() || c == '"', "?")
                            .replace('\\', "\\u")).into_bytes(),
                        Format::MsgPack => [&[0xc4, bytes.len() as u8][..], bytes].concat(),
                    },
                })
                .collect();
            let bytes = frame_of(format, &ServerFrame::Message(empty.clone()), &items);
            let read: Vec<_> = items
                .iter()
                .map(|item| codec::decode_messages(format, &item.clone().into(), &limits).ok())
                .map(|items| items.map(|mut items| items.remove(0)))
                .collect();
            if read.iter().all(Option::is_some) {
                prop_assert!(codec::decode_server_frame(format, &bytes, &limits).is_ok());
            } else if let Some(salvaged) = codec::salvage_server_frame(format, &bytes, &limits) {
                let (frame, gaps) = expected(&empty, read);
                prop_assert_eq!((salvaged.frame, salvaged.gaps), (Some(frame), gaps));
            } else {
                // A backslash that escapes nothing is no JSON.
                prop_assert_eq!(format, Format::Json);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        for format in FORMATS {
            let bytes = Bytes::copy_from_slice(&bytes);
            let _ = codec::salvage_server_frame(format, &bytes, &Limits::default());
            let _ = codec::salvage_client_frame(format, &bytes, &Limits::default());
            let _ = codec::split_items(format, &bytes, &Limits::default());
        }
    }

    #[test]
    fn arbitrary_json_never_panics(text in "[\\[\\]{}:,\"\\\\a-e0-9.\\-eu ]{0,100}") {
        let bytes = Bytes::from(text);
        let _ = codec::salvage_server_frame(Format::Json, &bytes, &Limits::default());
        let _ = codec::split_items(Format::Json, &bytes, &Limits::default());
    }
}

/// A frame with these fields.
fn fields(format: Format, fields: serde_json::Value) -> Bytes {
    codec::encode_body(format, &fields).unwrap().into()
}

#[test]
fn each_gap_has_its_own_place() {
    for format in FORMATS {
        let bytes = fields(
            format,
            json!({
                "action": 15, "channel": "ch", "id": "c:7",
                "messages": [null, { "name": "a" }, 5, [], { "name": "b" }, { "name": "c" }, { "id": 1 }],
            }),
        );
        let Damaged { frame, gaps, .. } = salvaged(format, &bytes);
        let items = Message::delivery(frame.unwrap()).unwrap().items;
        let ids: Vec<_> = items.iter().map(|item| item.id.as_deref().unwrap()).collect();
        assert_eq!((ids, gaps), (vec!["c:7:1", "c:7:4", "c:7:5"], vec![0, 1, 3]));
    }
}

#[test]
fn an_unreadable_field_counts_as_absent() {
    for format in FORMATS {
        let bytes = fields(
            format,
            json!({
                "action": 1, "msgSerial": 3, "count": 3, "id": [], "flags": "none", "timestamp": {},
                "res": [{ "serials": ["a"] }, { "serials": 5 }, { "serials": ["c"] }],
            }),
        );
        let result = |serials: &[&str]| {
            capably_protocol::PublishResult::new(
                serials.iter().map(|it| Some((*it).into())).collect(),
            )
        };
        let res = vec![result(&["a"]), result(&[]), result(&["c"])];
        let ack = ServerFrame::Ack(Ack { msg_serial: 3, count: 3, res });
        assert_eq!(salvaged(format, &bytes).frame, Some(ack));
        let bytes = fields(
            format,
            json!({
                "action": 4, "connectionId": "id",
                "connectionDetails": { "connectionKey": "key", "maxMessageSize": [], "clientId": "me" },
                "error": { "code": 80008, "message": 5, "statusCode": 400 },
            }),
        );
        let Some(ServerFrame::Connected(connected)) = salvaged(format, &bytes).frame else {
            panic!("not a CONNECTED");
        };
        let details = connected.details.unwrap();
        assert_eq!(details.connection_key.as_deref(), Some("key"));
        assert_eq!((details.client_id.as_deref(), details.max_message_size), (Some("me"), None));
        assert_eq!(connected.error, Some(ErrorInfo::new(80008.into(), 400, "")));
        let bytes = fields(
            format,
            json!({ "action": 11, "channel": "ch", "channelSerial": 5, "params": [1], "flags": 4 }),
        );
        let Some(ServerFrame::Attached(attached)) = salvaged(format, &bytes).frame else {
            panic!("not an ATTACHED");
        };
        assert_eq!(
            (&*attached.channel, &attached.channel_serial, attached.flags.0),
            ("ch", &None, 4)
        );
    }
}

#[test]
fn a_frame_without_a_vital_field_is_dropped() {
    for format in FORMATS {
        for (bytes, action, channel) in [
            (json!(5), None, None),
            (json!([{ "action": 15 }]), None, None),
            (json!({}), None, None),
            (json!({ "action": "message", "channel": "ch" }), None, Some("ch")),
            (json!({ "action": 15, "messages": [] }), Some(15), None),
            (json!({ "action": 1, "msgSerial": "3" }), Some(1), None),
            // Without its channel, the frame would be an error of the connection.
            (json!({ "action": 9, "channel": 5, "error": { "code": 40160 } }), Some(9), None),
        ] {
            let damaged = salvaged(format, &fields(format, bytes.clone()));
            assert_eq!(damaged.frame, None, "{bytes}");
            assert_eq!((damaged.action, damaged.channel.as_deref()), (action, channel), "{bytes}");
        }
    }
}

#[test]
fn items_that_are_not_an_array_are_a_gap() {
    for format in FORMATS {
        for messages in [json!("none"), json!({}), json!(vec![json!({}); 65_537])] {
            let frame = json!({ "action": 15, "channel": "ch", "messages": messages });
            let damaged = salvaged(format, &fields(format, frame));
            assert_eq!(damaged.frame, Some(ServerFrame::Message(Delivery::new("ch", Vec::new()))));
            assert_eq!(damaged.gaps, [0]);
        }
    }
}

#[test]
fn a_body_is_split_into_its_items() {
    for format in FORMATS {
        let limits = Limits::default();
        let body = fields(format, json!([{ "id": "a" }, { "id": [] }, { "name": "],{" }, {}]));
        let read: Vec<_> = codec::split_items(format, &body, &limits)
            .unwrap()
            .iter()
            .map(|item| codec::decode_messages(format, item, &limits).ok())
            .collect();
        let expected = [
            Some(vec![Message { id: Some("a".into()), ..Message::default() }]),
            None,
            Some(vec![Message { name: Some("],{".into()), ..Message::default() }]),
            Some(vec![Message::default()]),
        ];
        assert_eq!(read, expected);
        assert_eq!(
            codec::split_items(format, &fields(format, json!([])), &limits).unwrap().len(),
            0
        );
        for body in [json!({ "id": "a" }), json!([{}, 1]), json!([[{}]]), json!("a"), json!(null)] {
            let bytes = fields(format, body.clone());
            assert_eq!(codec::split_items(format, &bytes, &limits), None, "{body}");
        }
        let small = Limits { max_size: body.len() - 1, ..limits };
        assert_eq!(codec::split_items(format, &body, &small), None);
        assert_eq!(codec::split_items(format, &body.slice(..body.len() - 1), &limits), None);
    }
}

#[test]
fn the_items_of_an_oversized_frame_are_not_read() {
    let limits = Limits { max_size: 100, ..Limits::default() };
    for format in FORMATS {
        let frame = json!({
            "action": 15, "channel": "ch", "channelSerial": "7",
            "messages": [{ "name": "n" }, { "data": "x".repeat(100) }],
        });
        let bytes = fields(format, frame);
        let damaged = codec::salvage_server_frame(format, &bytes, &limits).unwrap();
        let delivery =
            Delivery { channel_serial: Some("7".into()), ..Delivery::new("ch", Vec::new()) };
        assert_eq!(damaged.frame, Some(ServerFrame::Message(delivery)));
        assert_eq!(damaged.gaps, [0]);
    }
}

#[test]
fn incomplete_values_are_not_salvaged() {
    for format in FORMATS {
        let frame = ServerFrame::Message(Delivery::new("ch", vec![Message::new("n", "d")]));
        let mut whole = Vec::new();
        codec::encode_server_frame(format, &frame, &mut whole);
        let twice = [&*whole, &*whole].concat();
        for bytes in [&whole[..whole.len() - 1], &twice, b"", b"garbage", &[0xff; 40], &[0; 40]] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(codec::salvage_server_frame(format, &bytes, &Limits::default()), None);
        }
    }
}

#[test]
fn the_serial_of_an_unreadable_client_frame_is_salvaged() {
    for format in FORMATS {
        let frame = json!({
            "action": 15, "channel": "ch", "msgSerial": 7, "messages": [{ "name": [] }],
        });
        let damaged =
            codec::salvage_client_frame(format, &fields(format, frame), &Limits::default())
                .unwrap();
        assert_eq!((damaged.action, damaged.msg_serial), (Some(15), Some(7)));
        assert_eq!((damaged.channel.as_deref(), damaged.gaps), (Some("ch"), vec![0]));
    }
}
