//! Malformed deltas and unknown bases.

use capably::{ErrorCode, plugin::Vcdiff, realtime::ChannelState};
use capably_protocol::vcdiff;

use super::*;

/// Sends this message to a channel whose last message is `base`. Returns the code of the reason for the new attach.
async fn recovery_from(format: Format, decoder: impl VcdiffDecoder + 'static, bad: Message) -> u32 {
    let (_client, _service, mut peer, channel, mut messages) =
        subscribed_with(format, decoder).await;
    peer.send(frame("c:1", Some("s1"), [full("c:1:0", "base")]));
    assert_eq!(next(&mut messages).await, ["base".into()]);
    let mut changes = channel.changes();
    peer.send(frame("c:2", Some("s2"), [bad]));
    assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s1"));
    let change = changes.next().await.unwrap();
    assert_eq!(change.current, ChannelState::Attaching);
    // The repeated message is delivered once.
    peer.send(frame("c:2", Some("s2"), [full("c:2:0", "in full")]));
    assert_eq!(next(&mut messages).await, ["in full".into()]);
    change.reason.unwrap().code.0
}

in_both_formats! {
    // Spec: RTL18
    async fn a_delta_that_cannot_be_applied_starts_a_recovery(format) {
        let good = vcdiff::encode(b"base", b"based on that");
        let absurd = b"\xd6\xc3\xc4\0\0\0\x0e\x8f\xff\xff\xff\x7f\0\x01\x02\0a\0\x90\0".to_vec();
        let other_base = vcdiff::encode(b"a base that is longer than the other", b"a longer base");
        for bad in [Vec::new(), b"no delta".to_vec(), good[..good.len() - 1].to_vec(), absurd, other_base] {
            let bad = delta("c:2:0", "c:1:0", "utf-8/vcdiff", bad);
            assert_eq!(recovery_from(format, Vcdiff, bad).await, 40018);
        }
    }
}

in_both_formats! {
    // Spec: RTL18, RSL6b
    async fn broken_base64_of_a_delta_is_a_delta_that_cannot_be_applied(format) {
        let broken = Message {
            data: "*not base64*".into(),
            encoding: Some("utf-8/vcdiff/base64".into()),
            ..delta("c:2:0", "c:1:0", "", Vec::new())
        };
        assert_eq!(recovery_from(format, Vcdiff, broken).await, 40018);
    }
}

in_both_formats! {
    // Spec: RTL20
    async fn a_delta_without_a_base_id_is_not_applied(format) {
        let good = vcdiff::encode(b"base", b"based on that");
        let nothing_said = Message { extras: None, ..delta("c:2:0", "c:1:0", "utf-8/vcdiff", good) };
        assert_eq!(recovery_from(format, Vcdiff, nothing_said).await, 40018);
    }
}

/// Panics.
#[derive(Debug)]
struct Panicking;

impl VcdiffDecoder for Panicking {
    fn decode(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, DeltaError> {
        panic!("a fault of the decoder's")
    }
}

in_both_formats! {
    async fn a_decoder_that_panics_fails(format) {
        let any = delta("c:2:0", "c:1:0", "utf-8/vcdiff", vec![1]);
        assert_eq!(recovery_from(format, Panicking, any).await, 40018);
    }
}

in_both_formats! {
    // Spec: RSL6b, RTL19a
    async fn a_message_with_broken_base64_is_delivered_and_is_no_base(format) {
        let (_client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Vcdiff).await;
        let broken = Message { encoding: Some("json/base64".into()), ..full("c:1:0", "*") };
        peer.send(frame("c:1", Some("s1"), [broken]));
        let message = messages.next().await.unwrap();
        assert_eq!((message.data, message.encoding.as_deref()), ("*".into(), Some("json/base64")));
        let mut changes = channel.changes();
        let next = vcdiff::encode(b"*", b"{\"a\":1}");
        peer.send(frame("c:2", Some("s2"), [delta("c:2:0", "c:1:0", "json/vcdiff", next)]));
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s1"));
        assert_eq!(changes.next().await.unwrap().reason.unwrap().code, ErrorCode(40018));
    }
}

in_both_formats! {
    // Spec: RSL6b, RTL19c
    async fn a_payload_with_an_unknown_encoding_is_delivered_and_is_a_base(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Vcdiff).await;
        peer.send(frame("c:1", None, [full("c:1:0", "base")]));
        let second = vcdiff::encode(b"base", b"{broken");
        let second = delta("c:2:0", "c:1:0", "unknown/json/utf-8/vcdiff", second);
        peer.send(frame("c:2", None, [second]));
        let third = vcdiff::encode(b"{broken", b"{\"mended\":true}");
        peer.send(frame("c:3", None, [delta("c:3:0", "c:2:0", "json/utf-8/vcdiff", third)]));
        assert_eq!(messages.next().await.unwrap().data, "base".into());
        let message = messages.next().await.unwrap();
        assert_eq!((message.data, message.encoding.as_deref()), ("{broken".into(), Some("unknown/json")));
        assert_eq!(messages.next().await.unwrap().data, json!({ "mended": true }).into());
    }
}

in_both_formats! {
    async fn the_size_of_an_applied_delta_is_bounded(format) {
        // One window of 17 MiB, all of one byte.
        let parts = b"\0\x01\x05\0a\0\x88\xc0\x80\0".to_vec();
        let mut bomb = b"\xd6\xc3\xc4\0\0\0".to_vec();
        bomb.push(parts.len() as u8 + 4);
        bomb.extend(b"\x88\xc0\x80\0");
        bomb.extend(parts);
        assert_eq!(vcdiff::decode(&bomb, b"", 17 << 20).unwrap().len(), 17 << 20);
        let bomb = delta("c:2:0", "c:1:0", "vcdiff", bomb);
        assert_eq!(recovery_from(format, Vcdiff, bomb).await, 40018);
    }
}
