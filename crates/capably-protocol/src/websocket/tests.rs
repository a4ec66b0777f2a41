use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::*;

const LIMIT: usize = 100_000;

fn events(from: Sender, bytes: &[u8], limit: usize) -> Result<Vec<Event>, Broken> {
    let (mut decoder, mut buffer) = (Decoder::new(from, limit), BytesMut::from(bytes));
    let mut events = Vec::new();
    while let Some(event) = decoder.next(&mut buffer)? {
        events.push(event);
    }
    Ok(events)
}

fn message(kind: Kind, payload: &[u8]) -> Event {
    Event::Message(kind, Bytes::copy_from_slice(payload))
}

/// A message, as a client or a server sends it in one frame.
fn sent(kind: Kind, expected: usize, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(kind, expected, key, &mut out, |out| out.extend_from_slice(payload));
    out
}

/// The examples of RFC 6455, 5.7.
#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = message(Kind::Text, b"Hello");
    let table: [(Sender, &[u8], Event); 5] = [
        (Sender::Server, b"\x81\x05Hello", hello.clone()),
        (Sender::Client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", hello.clone()),
        (Sender::Server, b"\x01\x03Hel\x80\x02lo", hello.clone()),
        (Sender::Server, b"\x89\x05Hello", Event::Ping("Hello".into())),
        (
            Sender::Client,
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            Event::Pong("Hello".into()),
        ),
    ];
    for (from, bytes, event) in table {
        assert_eq!(events(from, bytes, LIMIT), Ok(vec![event]), "{bytes:x?}");
    }
    assert_eq!(sent(Kind::Text, 5, None, b"Hello"), b"\x81\x05Hello");
    let key = Some([0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(sent(Kind::Text, 5, key, b"Hello"), table_of_masked_hello());
    assert_eq!(sent(Kind::Binary, 256, None, &[7; 256])[..4], [0x82, 0x7e, 1, 0]);
    assert_eq!(
        sent(Kind::Binary, 0, None, &[7; 65_536])[..10],
        [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]
    );
}

fn table_of_masked_hello() -> &'static [u8] {
    b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
}

#[test]
fn a_control_frame_may_come_between_fragments() {
    let bytes = b"\x02\x01a\x89\x01p\x00\x01b\x8a\x00\x80\x01c\x88\x02\x03\xe8";
    let expected = vec![
        Event::Ping("p".into()),
        Event::Pong(Bytes::new()),
        message(Kind::Binary, b"abc"),
        Event::Close(Some(1000)),
    ];
    assert_eq!(events(Sender::Server, bytes, LIMIT), Ok(expected));
}

#[test]
fn what_the_rfc_forbids_is_refused() {
    let table: [(&[u8], &str); 14] = [
        (b"\xc1\x00", "reserved bit"),
        (b"\x83\x00", "opcode"),
        (b"\x8b\x00", "opcode"),
        (b"\x81\x80\0\0\0\0", "masks"),
        (b"\x80\x00", "not begun"),
        (b"\x01\x00\x81\x00", "inside another"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e", "control frame"),
        (b"\x88\x01\x03", "half a code"),
        (b"\x88\x02\x03\xed", "never sent"),
        (b"\x88\x02\x03\xe7", "never sent"),
        (b"\x88\x02\x13\x88", "never sent"),
        (b"\x88\x03\x03\xe8\xff", "not UTF-8"),
        (b"\x08\x00", "control frame"),
    ];
    for (bytes, reason) in table {
        let broken = events(Sender::Server, bytes, LIMIT).unwrap_err();
        assert!(broken.to_string().contains(reason), "{bytes:x?}: {broken}");
        assert_eq!(broken.close_code(), 1002);
    }
    let unmasked = events(Sender::Client, b"\x81\x05Hello", LIMIT).unwrap_err();
    assert!(unmasked.to_string().contains("masks"), "{unmasked}");
}

/// The length alone is enough, so that nobody waits for bytes that would be refused.
#[test]
fn a_message_beyond_the_limit_is_refused_by_its_header() {
    let fits = sent(Kind::Text, 100, None, &[b'a'; 100]);
    assert_eq!(events(Sender::Server, &fits, 100), Ok(vec![message(Kind::Text, &[b'a'; 100])]));
    let too_large = Err(Broken::TooLarge { limit: 100 });
    let table: [&[u8]; 5] = [
        b"\x81\x65",
        b"\x81\x7e\x00\x65",
        b"\x81\x7f\0\0\0\0\0\0\0\x65",
        b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01\x02ab\x00\x63",
    ];
    for bytes in table {
        assert_eq!(events(Sender::Server, bytes, 100), too_large, "{bytes:x?}");
    }
    assert_eq!(Broken::TooLarge { limit: 100 }.close_code(), 1009);
    let ping = b"\x01\x02ab\x89\x04ping\x80\x01c";
    let expected = vec![Event::Ping("ping".into()), message(Kind::Text, b"abc")];
    assert_eq!(
        events(Sender::Server, ping, 3),
        Ok(expected),
        "a PING is not a part of the message"
    );
}

/// A few bytes that are kept for long must not keep the memory of a whole buffer.
#[test]
fn a_short_message_does_not_share_the_memory_of_the_buffer() {
    for (size, shares) in
        [(1, false), (100, false), (16_383, false), (16_384, true), (90_000, true)]
    {
        let frame = sent(Kind::Binary, size, None, &vec![7; size]);
        let mut decoder = Decoder::new(Sender::Server, LIMIT);
        let mut buffer = BytesMut::from(&frame.repeat(2)[..]);
        let Ok(Some(Event::Message(_, payload))) = decoder.next(&mut buffer) else {
            panic!("a message of {size} bytes")
        };
        assert_eq!(buffer.len(), frame.len(), "the next message is still there");
        assert_eq!((payload.len(), !payload.is_unique()), (size, shares));
    }
}

#[test]
fn what_is_missing_of_a_frame_is_known_from_its_header() {
    let decoder = Decoder::new(Sender::Server, LIMIT);
    let frame = sent(Kind::Binary, 1000, None, &[1; 1000]);
    for (length, missing) in [(0, 0), (1, 0), (3, 0), (4, 1000), (5, 999), (1004, 0)] {
        assert_eq!(decoder.missing(&frame[..length]), missing, "of {length} bytes");
    }
}

#[test]
fn control_frames_are_written() {
    let mut out = Vec::new();
    write_ping(None, &mut out);
    write_pong(b"abc", Some([1, 2, 3, 4]), &mut out);
    write_close(Some(1000), None, &mut out);
    write_close(None, None, &mut out);
    assert_eq!(out, b"\x89\x00\x8a\x83\x01\x02\x03\x04\x60\x60\x60\x88\x02\x03\xe8\x88\x00");
    out.clear();
    write_pong(&[7; 200], None, &mut out);
    assert_eq!(events(Sender::Server, &out, 0), Ok(vec![Event::Pong(vec![7; 125].into())]));
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..10usize, 120..130usize, 65_530..65_540usize, 0..3000usize];
    (length, any::<u8>()).prop_map(|(length, first)| {
        (0..length).map(|index| first.wrapping_add((index % 253) as u8)).collect()
    })
}

proptest! {
    /// However the bytes are cut, the same messages arrive; whatever size was expected of them.
    #[test]
    fn messages_arrive_as_they_were_sent(
        messages in vec((any::<bool>(), payload(), 0..200usize, any::<[u8; 4]>()), 1..6),
        cuts in vec(0..70_000usize, 0..12),
        masked: bool,
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (is_text, payload, guess, key) in &messages {
            let kind = if *is_text { Kind::Text } else { Kind::Binary };
            bytes.extend(sent(kind, *guess, masked.then_some(*key), payload));
            expected.push(message(kind, payload));
        }
        let from = if masked { Sender::Client } else { Sender::Server };
        let (mut decoder, mut buffer) = (Decoder::new(from, LIMIT), BytesMut::new());
        let (mut received, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (part, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            buffer.extend_from_slice(part);
            while let Some(event) = decoder.next(&mut buffer).unwrap() {
                received.push(event);
            }
            prop_assert!(decoder.missing(&buffer) <= rest.len());
        }
        prop_assert_eq!(received, expected);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), limit in 0..300usize, masked: bool) {
        let from = if masked { Sender::Client } else { Sender::Server };
        let _ = events(from, &bytes, limit);
    }
}
