//! What holds for every frame, item and payload, and for any bytes at all.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Debug;

use bytes::Bytes;
use capably_protocol::{
    Annotation, CipherParams, ClientFrame, Data, DecodeError, ErrorInfo, Format, JsonObject,
    Limits, Message, ObjectMessage, PresenceMessage, PublishResult, RecoveryKey, ServerFrame, Str,
    codec::{self, ErrorBody, Item},
    encoding,
};
use proptest::{collection, prelude::*};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use support::{
    FORMATS, Payload, annotation, client_frame, client_on_the_wire, data, error, message,
    object_message, presence, result, server_frame, server_on_the_wire, text,
};

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn encode_client(format: Format, frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_client_frame(format, frame, &mut out);
    out
}

fn encode_server(format: Format, frame: &ServerFrame) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_server_frame(format, frame, &mut out);
    out
}

/// The item through our own codecs and through serde's, in every combination.
fn agrees_with_serde<T>(item: &T, expected: impl Fn(Format) -> T)
where
    T: Item + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let limits = Limits::default();
    for format in FORMATS {
        let expected = expected(format);
        let ours = codec::encode_item(format, item);
        let theirs = codec::encode_body(format, item).unwrap();
        let from_ours = codec::decode_body::<T>(format, &ours, &limits).unwrap();
        assert_eq!(from_ours, expected, "{format:?}: our bytes, read by serde");
        let from_theirs = codec::decode_items::<T>(format, &theirs.into(), &limits).unwrap();
        assert_eq!(from_theirs, std::slice::from_ref(&expected), "serde's bytes, read by us");
        let from_ours = codec::decode_items::<T>(format, &ours.into(), &limits).unwrap();
        assert_eq!(from_ours, [expected], "our bytes, read by us");
    }
    let ours: Value = serde_json::from_slice(&codec::encode_item(Format::Json, item)).unwrap();
    assert_eq!(ours, serde_json::to_value(item).unwrap(), "our JSON and serde's");
}

/// The changes that [`edited`] makes.
const EDITS: [&str; 9] = ["", "null", "true", "7", "-1.5", "\"text\"", "{}", "unknown", "escaped"];
const TWICE: &str = "twice";

/// The JSON text of a value with a change to the member of this number: its value is replaced, an unknown member comes before
/// it, its name is escaped, or it comes twice.
fn edited(value: &Value, edit: &str, member: &mut isize) -> String {
    let members = |entries: Vec<String>, open, close| format!("{open}{}{close}", entries.join(","));
    match value {
        Value::Array(values) => {
            members(values.iter().map(|value| edited(value, edit, member)).collect(), '[', ']')
        }
        Value::Object(map) => {
            let mut one = |(name, value): (&String, &Value)| {
                *member -= 1;
                let is_edited = *member == -1;
                let text = edited(value, edit, member);
                let name = Value::from(name.as_str()).to_string();
                match edit {
                    _ if !is_edited => format!("{name}:{text}"),
                    "" => format!("{name}:{text}"),
                    TWICE => format!("{name}:{text},{name}:{text}"),
                    "unknown" => format!(r#""surprise":[1,{{"a":null}}],{name}:{text}"#),
                    "escaped" => {
                        let escaped = |c: char| format!("\\u{:04x}", u32::from(c));
                        let is_plain =
                            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'"');
                        let inner =
                            || name.trim_matches('"').chars().map(escaped).collect::<String>();
                        if is_plain {
                            format!("\"{}\":{text}", inner())
                        } else {
                            format!("{name}:{text}")
                        }
                    }
                    value => format!("{name}:{value}"),
                }
            };
            members(map.iter().map(&mut one).collect(), '{', '}')
        }
        other => other.to_string(),
    }
}

/// The item as our decoder reads it from JSON text that was changed, and as serde's derived code reads it: the same value, or
/// an error in both.
fn reads_edits_as_serde_does<T>(item: &T, at: prop::sample::Index, edit: &str) -> Option<T>
where
    T: Item + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let value = serde_json::to_value(item).unwrap();
    let mut count = 0;
    edited(&value, "", &mut count);
    let mut member = if count == 0 { 0 } else { at.index(count.unsigned_abs()) as isize };
    let text = edited(&value, edit, &mut member);
    let limits = Limits::default();
    let serde = codec::decode_body::<T>(Format::Json, text.as_bytes(), &limits).ok();
    let ours = codec::decode_items::<T>(Format::Json, &text.clone().into(), &limits).ok();
    let ours = ours.map(|mut items| items.remove(0));
    assert_eq!(ours, serde, "{text}");
    ours
}

/// Every decoder of outside bytes: none may panic or hang.
fn decode_everything(bytes: &[u8]) {
    let limits = Limits::default();
    let bytes = Bytes::copy_from_slice(bytes);
    for format in FORMATS {
        let _ = codec::decode_client_frame(format, &bytes, &limits);
        let _ = codec::decode_server_frame(format, &bytes, &limits);
        let _ = codec::decode_items::<Message>(format, &bytes, &limits);
        let _ = codec::decode_items::<PresenceMessage>(format, &bytes, &limits);
        let _ = codec::decode_items::<Annotation>(format, &bytes, &limits);
        let _ = codec::decode_items::<ObjectMessage>(format, &bytes, &limits);
        let _ = codec::decode_items::<PublishResult>(format, &bytes, &limits);
        let _ = codec::decode_body::<JsonObject>(format, &bytes, &limits);
        let _ = codec::decode_body::<ErrorBody>(format, &bytes, &limits);
        let _ = codec::peek(format, &bytes);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn client_frames_survive_either_format(frame in client_frame()) {
        for format in FORMATS {
            let bytes = encode_client(format, &frame);
            let decoded = codec::decode_client_frame(format, &bytes.into(), &Limits::default());
            prop_assert_eq!(decoded, Ok(client_on_the_wire(frame.clone(), format)));
        }
    }

    #[test]
    fn server_frames_survive_either_format(frame in server_frame()) {
        for format in FORMATS {
            let bytes = encode_server(format, &frame);
            let decoded = codec::decode_server_frame(format, &bytes.into(), &Limits::default());
            prop_assert_eq!(decoded, Ok(server_on_the_wire(frame.clone(), format)));
        }
    }

    #[test]
    fn a_frame_has_the_same_fields_in_both_formats(frame in server_frame()) {
        // Without payloads, the fields of a MessagePack frame are those of the JSON frame.
        if !matches!(
            frame,
            ServerFrame::Message(_) | ServerFrame::Presence(_) | ServerFrame::Sync(_)
                | ServerFrame::Annotation(_) | ServerFrame::Object(_) | ServerFrame::ObjectSync(_)
        ) {
            let json: Value = serde_json::from_slice(&encode_server(Format::Json, &frame)).unwrap();
            let msgpack: Value =
                rmp_serde::from_slice(&encode_server(Format::MsgPack, &frame)).unwrap();
            prop_assert_eq!(json, msgpack);
        }
    }

    #[test]
    fn a_frame_returns_its_action_and_channel(
        client in client_frame(),
        server in server_frame(),
    ) {
        for (bytes, action, channel) in [
            (encode_client(Format::Json, &client), client.action(), client.channel()),
            (encode_server(Format::Json, &server), server.action(), server.channel()),
        ] {
            let wire: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(Some(u64::from(action)), wire["action"].as_u64());
            prop_assert_eq!(channel.map(|channel| &**channel), wire["channel"].as_str());
        }
    }

    #[test]
    fn peeking_agrees_with_decoding(frame in client_frame()) {
        let json = encode_client(Format::Json, &frame);
        let value: Value = serde_json::from_slice(&json).unwrap();
        for (format, bytes) in [
            (Format::Json, json),
            (Format::MsgPack, encode_client(Format::MsgPack, &frame)),
        ] {
            let peek = codec::peek(format, &bytes).unwrap();
            prop_assert_eq!(Some(u64::from(peek.action)), value["action"].as_u64());
            prop_assert_eq!(peek.msg_serial, value["msgSerial"].as_u64());
        }
    }

    #[test]
    fn messages_agree_with_serde(item in message()) {
        agrees_with_serde(&item, |format| item.clone().on_the_wire(format));
    }

    #[test]
    fn presence_agrees_with_serde(item in presence()) {
        agrees_with_serde(&item, |format| item.clone().on_the_wire(format));
    }

    #[test]
    fn annotations_agree_with_serde(item in annotation()) {
        agrees_with_serde(&item, |format| item.clone().on_the_wire(format));
    }

    #[test]
    fn results_agree_with_serde(item in result()) {
        agrees_with_serde(&item, |_| item.clone());
    }

    #[test]
    fn object_messages_agree_with_serde(item in object_message()) {
        agrees_with_serde(&item, |_| item.clone());
    }

    #[test]
    fn messages_with_unexpected_members_agree_with_serde(
        item in message(),
        at in any::<prop::sample::Index>(),
        edit in prop_oneof![prop::sample::select(&EDITS[..]), Just(TWICE)],
    ) {
        reads_edits_as_serde_does(&item, at, edit);
    }

    #[test]
    fn object_messages_with_unexpected_members_agree_with_serde_in_either_format(
        item in object_message(),
        at in any::<prop::sample::Index>(),
        edit in prop_oneof![prop::sample::select(&EDITS[..]), Just(TWICE)],
    ) {
        let ours = reads_edits_as_serde_does(&item, at, edit);
        // A value has no member twice.
        if edit != TWICE {
            let value = serde_json::to_value(&item).unwrap();
            let mut count = 0;
            edited(&value, "", &mut count);
            let mut member = if count == 0 { 0 } else { at.index(count.unsigned_abs()) as isize };
            let value: Value = serde_json::from_str(&edited(&value, edit, &mut member)).unwrap();
            let bytes = rmp_serde::to_vec_named(&value).unwrap();
            let items = codec::decode_items(Format::MsgPack, &bytes.into(), &Limits::default());
            prop_assert_eq!(items.ok(), ours.map(|item: ObjectMessage| vec![item]));
        }
    }

    #[test]
    fn errors_survive_either_format(error in error()) {
        let body = ErrorBody { error };
        for format in FORMATS {
            let bytes = codec::encode_body(format, &body).unwrap();
            let decoded = codec::decode_body::<ErrorBody>(format, &bytes, &Limits::default());
            prop_assert_eq!(decoded, Ok(body.clone()));
        }
    }

    #[test]
    fn arrays_of_items_survive_either_format(items in collection::vec(message(), 0..20)) {
        for format in FORMATS {
            let bytes = codec::encode_messages(format, &items);
            let decoded = codec::decode_messages(format, &bytes.into(), &Limits::default());
            let expected = items.iter().map(|item| item.clone().on_the_wire(format)).collect();
            prop_assert_eq!(decoded, Ok(expected));
        }
    }

    #[test]
    fn a_service_stores_the_same_payload_from_either_format(item in message()) {
        let stored = FORMATS.map(|format| {
            let bytes = codec::encode_item(format, &item).into();
            let mut items = codec::decode_messages(format, &bytes, &Limits::default()).unwrap();
            let mut item = items.remove(0);
            encoding::strip_base64(&mut item.data, &mut item.encoding).unwrap();
            item
        });
        prop_assert_eq!(&stored[0], &stored[1]);
    }

    #[test]
    fn a_payload_survives_encoding_and_decoding(
        original in data(),
        key in prop_oneof![collection::vec(any::<u8>(), 16), collection::vec(any::<u8>(), 32)],
        iv in any::<[u8; 16]>(),
        encrypted in any::<bool>(),
    ) {
        let cipher = CipherParams::from_key(&key).unwrap();
        let (mut data, mut steps) = (original.clone(), None);
        let result =
            encoding::encode(&mut data, &mut steps, encrypted.then_some((&cipher, iv)));
        let allowed = match &original {
            Data::Json(value) => value.is_object() || value.is_array(),
            Data::None | Data::Text(_) | Data::Binary(_) => true,
        };
        prop_assert_eq!(result.map_err(|error| error.code.0), if allowed { Ok(()) } else { Err(40013) });
        for format in FORMATS {
            let message = Message { data: data.clone(), encoding: steps.clone(), ..Message::default() };
            let bytes = codec::encode_item(format, &message).into();
            let mut back = codec::decode_messages(format, &bytes, &Limits::default()).unwrap().remove(0);
            encoding::decode(&mut back.data, &mut back.encoding, Some(&cipher)).unwrap();
            prop_assert_eq!((&back.data, &back.encoding), (&original, &None));
        }
    }

    #[test]
    fn any_encoding_of_any_payload_is_undone_or_refused(
        data in data(),
        steps in collection::vec(
            prop_oneof![
                Just("json"), Just("utf-8"), Just("base64"), Just("cipher+aes-128-cbc"),
                Just("cipher+aes-256-cbc"), Just("cipher+"), Just("vcdiff"), Just(""), Just("é"),
            ],
            0..6,
        ),
    ) {
        let cipher = CipherParams::from_key(&[7; 16]).unwrap();
        let before = steps.join("/");
        for cipher in [None, Some(&cipher)] {
            let (mut data, mut rest) = (data.clone(), Some(Str::from(before.as_str())));
            match encoding::decode(&mut data, &mut rest, cipher) {
                Ok(()) => prop_assert_eq!(rest, None),
                Err(ErrorInfo { code, .. }) => {
                    prop_assert!(matches!(code.0, 40013 | 40019), "{code:?}");
                    prop_assert!(before.starts_with(&*rest.unwrap()));
                }
            }
        }
    }

    #[test]
    fn recovery_keys_survive(
        connection_key in text(),
        msg_serial in any::<u64>(),
        channel_serials in collection::btree_map(text(), text(), 0..4),
    ) {
        let key = RecoveryKey { connection_key, msg_serial, channel_serials };
        prop_assert_eq!(RecoveryKey::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
    }

    #[test]
    fn arbitrary_json_never_panics(text in "[\\[\\]{}:,\"\\\\a-e0-9.\\-eu ]{0,100}") {
        decode_everything(text.as_bytes());
    }

    #[test]
    fn mutated_frames_never_panic(
        frame in server_frame(),
        edits in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for format in FORMATS {
            let mut bytes = encode_server(format, &frame);
            for (at, byte) in &edits {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            decode_everything(&bytes);
            decode_everything(&bytes[..cut.index(bytes.len())]);
        }
    }

    #[test]
    fn a_frame_cut_short_is_malformed(frame in server_frame(), cut in any::<prop::sample::Index>()) {
        for format in FORMATS {
            let bytes = encode_server(format, &frame);
            let cut = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
            let decoded = codec::decode_server_frame(format, &cut, &Limits::default());
            prop_assert!(matches!(decoded, Err(DecodeError::Malformed { .. })), "{decoded:?}");
        }
    }
}
