//! Encoding and decoding, by format and payload, with rmp-serde beside our own MessagePack.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use bytes::Bytes;
use capably_protocol::{
    Data, Format, Limits, Message, MessageAction, MessageVersion, ServerFrame, codec,
    frame::Delivery,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// A MESSAGE as the service sends it.
fn frame(data: Data) -> ServerFrame {
    let message = Message::new("greeting", data);
    ServerFrame::Message(Delivery {
        id: Some("OIydMVjHGf:12".into()),
        connection_id: Some("OIydMVjHGf".into()),
        channel_serial: Some("e1da4NR6wBvHvS40131893:12".into()),
        timestamp: Some(1_700_000_000_000),
        ..Delivery::new("notifications", vec![message])
    })
}

/// A frame of about 300 bytes: a little text, with every field the service fills in.
fn full_frame() -> ServerFrame {
    let ServerFrame::Message(mut delivery) = frame(Data::Text("x".repeat(20).into())) else {
        unreachable!("a MESSAGE")
    };
    let message = &mut delivery.items[0];
    message.action = Some(MessageAction::Create);
    message.serial = Some("01700000000000-000@e1da4NR6wBvHvS40131893:012".into());
    message.version = Some(Box::new(MessageVersion {
        serial: message.serial.clone(),
        timestamp: Some(1_700_000_000_000),
        ..MessageVersion::default()
    }));
    ServerFrame::Message(delivery)
}

/// A frame of this many messages with every field the service fills in.
fn batch(count: usize) -> ServerFrame {
    let ServerFrame::Message(mut delivery) = full_frame() else { unreachable!("a MESSAGE") };
    delivery.items = vec![delivery.items[0].clone(); count];
    ServerFrame::Message(delivery)
}

fn codecs(c: &mut Criterion) {
    let frames = [
        ("100B_text", frame(Data::Text("x".repeat(100).into()))),
        ("1KiB_binary", frame(Data::Binary(vec![0x9c; 1024].into()))),
        ("300B_frame", full_frame()),
        ("10_messages", batch(10)),
        ("100_messages", batch(100)),
        ("1KiB_json", frame(Data::Json(vec![serde_json::json!({ "key": "value" }); 60].into()))),
        ("16KiB_text", frame(Data::Text("x".repeat(16 * 1024).into()))),
        ("16KiB_binary", frame(Data::Binary(vec![0x9c; 16 * 1024].into()))),
    ];
    let limits = Limits::default();
    for format in [Format::MsgPack, Format::Json] {
        let mut group = c.benchmark_group(format.name());
        for (name, frame) in &frames {
            let mut out = Vec::new();
            codec::encode_server_frame(format, frame, &mut out);
            // As the WebSocket library hands it over: already shared.
            let bytes = Bytes::from(out.clone());
            let _shared = bytes.clone();
            group.bench_function(BenchmarkId::new("decode", name), |b| {
                b.iter(|| codec::decode_server_frame(format, black_box(&bytes), &limits).unwrap());
            });
            group.bench_function(BenchmarkId::new("encode", name), |b| {
                b.iter(|| {
                    out.clear();
                    codec::encode_server_frame(format, black_box(frame), &mut out);
                    black_box(out.len())
                });
            });
            group.bench_function(BenchmarkId::new("peek", name), |b| {
                b.iter(|| codec::peek(format, black_box(&bytes)).unwrap());
            });
        }
        group.finish();
    }
}

/// The message alone, by our own code and by rmp-serde.
fn beside_rmp_serde(c: &mut Criterion) {
    let message = Message {
        id: Some("OIydMVjHGf:12:0".into()),
        timestamp: Some(1_700_000_000_000),
        ..Message::new("greeting", "x".repeat(100))
    };
    let messages = [message];
    let bytes = Bytes::from(codec::encode_messages(Format::MsgPack, &messages));
    let _shared = bytes.clone();
    let limits = Limits::default();
    let mut group = c.benchmark_group("message_of_100B_text");
    group.bench_function("decode/ours", |b| {
        b.iter(|| codec::decode_messages(Format::MsgPack, black_box(&bytes), &limits).unwrap());
    });
    group.bench_function("decode/rmp_serde", |b| {
        b.iter(|| rmp_serde::from_slice::<Vec<Message>>(black_box(&bytes)).unwrap());
    });
    group.bench_function("encode/ours", |b| {
        b.iter(|| codec::encode_messages(Format::MsgPack, black_box(&messages)));
    });
    group.bench_function("encode/rmp_serde", |b| {
        b.iter(|| rmp_serde::to_vec_named(black_box(&messages)).unwrap());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = codecs, beside_rmp_serde
}
criterion_main!(benches);
