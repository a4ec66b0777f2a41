//! Frames that are small on the wire and large in memory. Client and server share a thread, whose allocations are counted.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use allocation_counter::measure;
use capably_protocol::{Format, ServerFrame};
use futures_util::SinkExt;
use serde_json::json;
use tokio::runtime::Builder;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use support::*;

const MIB: u64 = 1024 * 1024;

/// The most memory in use at the same time while a client sends frames, all at once. Each has so many messages without a
/// payload, and the NACK for each has this code.
fn peak(format: Format, frames: u64, messages: usize, code: u32) -> u64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (_server, mut client) = runtime.block_on(async {
        let server = server().await;
        let spec = json!({ "keys": [{ "capability": { "*": ["subscribe"] } }] });
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        (server, client)
    });
    let sent: Vec<WsMessage> = (0..frames).map(|serial| frame(format, serial, messages)).collect();
    let used = measure(|| {
        runtime.block_on(async {
            for message in sent {
                client.socket.feed(message).await.unwrap();
            }
            client.socket.flush().await.unwrap();
            let mut refused = 0;
            while refused < frames {
                let ServerFrame::Nack(nack) = client.next().await else { panic!("not NACK") };
                assert_eq!(nack.error.unwrap().code.0, code);
                refused += nack.count;
            }
        });
    });
    used.bytes_max
}

fn frame(format: Format, serial: u64, messages: usize) -> WsMessage {
    let text = |items: &str| {
        format!(r#"{{"action":15,"channel":"a","msgSerial":{serial},"messages":[{items}]}}"#)
    };
    match format {
        Format::Json => WsMessage::text(text(&vec!["{}"; messages].join(","))),
        Format::MsgPack => {
            let mut bytes = b"\x84\xa6action\x0f\xa7channel\xa1a\xa9msgSerial\xcf".to_vec();
            bytes.extend(serial.to_be_bytes());
            bytes.extend(b"\xa8messages\xdd");
            bytes.extend(u32::try_from(messages).unwrap().to_be_bytes());
            bytes.extend(vec![0x80; messages]);
            WsMessage::binary(bytes)
        }
    }
}

#[test]
fn frames_with_too_many_items_take_memory_one_at_a_time() {
    for format in [Format::Json, Format::MsgPack] {
        // 23 MiB each.
        let peak = peak(format, 20, 60_000, 40034);
        assert!(peak < 100 * MIB, "{format:?}: {peak}");
    }
}

#[test]
fn frames_with_many_items_take_memory_a_few_at_a_time() {
    for format in [Format::Json, Format::MsgPack] {
        // 380 KiB each.
        let peak = peak(format, 200, 1_000, 40160);
        assert!(peak < 10 * MIB, "{format:?}: {peak}");
    }
}
