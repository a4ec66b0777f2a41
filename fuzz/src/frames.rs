//! Frames and REST bodies, in both formats.

use bytes::Bytes;
use capably_protocol::{
    Annotation, ClientFrame, DecodeError, Format, JsonObject, Limits, Message, ObjectMessage,
    PresenceMessage, PublishResult, ServerFrame,
    codec::{self, Damaged, FrameBatch, Item},
};
use serde::de::IgnoredAny;

/// Frames of a service, in JSON.
pub fn server_frame_json(data: &[u8]) {
    frame(Format::Json, data, &SERVER);
    reused(Format::Json, data);
}

/// Frames of a service, in MessagePack.
pub fn server_frame_msgpack(data: &[u8]) {
    frame(Format::MsgPack, data, &SERVER);
    reused(Format::MsgPack, data);
}

/// Frames of a client, in JSON.
pub fn client_frame_json(data: &[u8]) {
    frame(Format::Json, data, &CLIENT);
}

/// Frames of a client, in MessagePack.
pub fn client_frame_msgpack(data: &[u8]) {
    frame(Format::MsgPack, data, &CLIENT);
}

/// The codec of one kind of frame.
struct Codec<F> {
    decode: fn(Format, &Bytes, &Limits) -> Result<F, DecodeError>,
    encode: fn(Format, &F, &mut Vec<u8>),
    salvage: fn(Format, &Bytes, &Limits) -> Option<Damaged<F>>,
    action: fn(&F) -> u32,
}

const SERVER: Codec<ServerFrame> = Codec {
    decode: codec::decode_server_frame,
    encode: codec::encode_server_frame,
    salvage: codec::salvage_server_frame,
    action: ServerFrame::action,
};

const CLIENT: Codec<ClientFrame> = Codec {
    decode: codec::decode_client_frame,
    encode: codec::encode_client_frame,
    salvage: codec::salvage_client_frame,
    action: ClientFrame::action,
};

fn frame<F: std::fmt::Debug>(format: Format, data: &[u8], codec: &Codec<F>) {
    let bytes = Bytes::copy_from_slice(data);
    let limits = Limits::default();
    let peek = codec::peek(format, data);
    match (codec.decode)(format, &bytes, &limits) {
        Ok(frame) => {
            if format == Format::Json {
                // Our own reader accepts nothing that serde_json refuses.
                let json = codec::decode_body::<IgnoredAny>(format, data, &limits);
                assert!(json.is_ok(), "{json:?}: {frame:?}");
            }
            let action = peek.map(|peek| peek.action);
            assert_eq!(action, Some((codec.action)(&frame)), "the action of {frame:?}");
            let once = encode(format, &frame, codec);
            let again = (codec.decode)(format, &once.clone().into(), &limits);
            let again = again.unwrap_or_else(|error| panic!("{error}: {frame:?}"));
            // Bytes, as a number may be NaN.
            assert_eq!(encode(format, &again, codec), once, "{frame:?} became {again:?}");
        }
        Err(_) => {
            let Some(damaged) = (codec.salvage)(format, &bytes, &limits) else { return };
            let _ = format!("{damaged:?}");
            if let Some(frame) = &damaged.frame {
                let rest = encode(format, frame, codec);
                (codec.decode)(format, &rest.into(), &limits)
                    .unwrap_or_else(|error| panic!("{error}: {frame:?}"));
            }
        }
    }
}

/// A frame that is read into an earlier one has nothing of it.
fn reused(format: Format, data: &[u8]) {
    let (bytes, limits) = (Bytes::copy_from_slice(data), Limits::default());
    let Ok(frame) = codec::decode_server_frame(format, &bytes, &limits) else { return };
    let earlier = format!(
        r#"{{"action":{},"channel":"old","channelSerial":"old","id":"old","connectionId":"old","timestamp":1,"flags":7,
        "messages":[{{"name":"old"}}],"presence":[{{"action":2,"clientId":"old"}}],
        "annotations":[{{"action":0,"type":"old"}}],"state":[{{"id":"old"}}],
        "error":{{"code":1}},"auth":{{"accessToken":"old"}},"msgSerial":1,"count":1}}"#,
        frame.action()
    );
    let mut place = codec::decode_server_frame(Format::Json, &earlier.into(), &limits)
        .unwrap_or_else(|error| panic!("{error}: {frame:?}"));
    codec::read_server_frame(format, &bytes, &limits, &mut place)
        .unwrap_or_else(|error| panic!("{error}: {frame:?}"));
    let [fresh, reused] = [&frame, &place].map(|frame| encode(format, frame, &SERVER));
    assert_eq!(fresh, reused, "{frame:?} became {place:?}");
}

fn encode<F>(format: Format, frame: &F, codec: &Codec<F>) -> Vec<u8> {
    let mut out = Vec::new();
    (codec.encode)(format, frame, &mut out);
    out
}

/// Several frames, as comet has them. The first byte chooses the format.
pub fn frame_batch(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let format = if choice % 2 == 0 { Format::Json } else { Format::MsgPack };
    let Some(frames) = codec::split_frames(format, &Bytes::copy_from_slice(data)) else { return };
    let mut batch = FrameBatch::new(format);
    for frame in &frames {
        batch.push_with(|out| out.extend_from_slice(frame));
    }
    assert_eq!(codec::split_frames(format, &batch.take()), Some(frames));
}

/// REST bodies. The first byte chooses the format and the type of the items.
pub fn rest_body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let format = if choice % 2 == 0 { Format::Json } else { Format::MsgPack };
    match choice / 2 % 6 {
        0 => items::<Message>(format, data),
        1 => items::<PresenceMessage>(format, data),
        2 => items::<Annotation>(format, data),
        3 => items::<ObjectMessage>(format, data),
        4 => items::<PublishResult>(format, data),
        _ => {
            let limits = Limits::default();
            let Ok(body) = codec::decode_body::<JsonObject>(format, data, &limits) else { return };
            codec::encode_body(format, &body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        }
    }
}

fn items<T: Item + PartialEq + std::fmt::Debug>(format: Format, data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let limits = Limits::default();
    match codec::decode_items::<T>(format, &bytes, &limits) {
        Ok(items) => {
            if format == Format::Json {
                let is_array = data.trim_ascii_start().starts_with(b"[");
                let by_serde = match is_array {
                    true => codec::decode_body::<Vec<T>>(format, data, &limits),
                    false => codec::decode_body::<T>(format, data, &limits).map(|item| vec![item]),
                };
                assert_eq!(by_serde.as_ref(), Ok(&items));
            }
            let once = codec::encode_items(format, &items);
            let again = codec::decode_items::<T>(format, &once.clone().into(), &limits);
            let again = again.unwrap_or_else(|error| panic!("{error}: {items:?}"));
            assert_eq!(codec::encode_items(format, &again), once, "{items:?} became {again:?}");
        }
        Err(_) => {
            for item in codec::split_items(format, &bytes, &limits).into_iter().flatten() {
                let one = codec::decode_items::<T>(format, &item, &limits);
                assert!(one.is_err() || one.is_ok_and(|items| items.len() == 1), "{item:?}");
            }
        }
    }
}
