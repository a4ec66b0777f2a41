//! Frames that arrive together: which of them a listener gets at once, and where each batch is in its channel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use capably_core::{Batch, ChannelId, Event, Place, TransportEvent};
use capably_protocol::{
    Annotation, Flags, Format, Limits, Message, ServerFrame, Str, codec,
    frame::{Attached, Delivery},
};

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);
const OTHER: ChannelId = ChannelId(1);

/// A batch in short: its channel, the names of its items, the number of its gaps, and its place.
type Said = (ChannelId, Vec<Str>, usize, Place);

/// A client with two channels, both attached at `000`.
fn attached_at_000() -> Bench {
    let mut bench = Bench::connected(with_key());
    for (id, name) in [(CHANNEL, "ch"), (OTHER, "other")] {
        bench.attached(id, name);
        bench.say(ServerFrame::Attached(Box::new(Attached {
            channel: name.into(),
            channel_serial: Some("000".into()),
            flags: Flags::RESUMED,
            ..Attached::default()
        })));
    }
    bench.did();
    bench
}

fn messages(channel: &'static str, serial: Option<&'static str>, name: &str) -> ServerFrame {
    let delivery = Delivery::new(channel, vec![Message::new(name, "data")]);
    ServerFrame::Message(Delivery { channel_serial: serial.map(Into::into), ..delivery })
}

fn annotations(channel: &'static str, serial: Option<&'static str>, name: &str) -> ServerFrame {
    let annotation = Annotation { name: Some(name.into()), ..Annotation::default() };
    let delivery = Delivery::new(channel, vec![annotation]);
    ServerFrame::Annotation(Delivery { channel_serial: serial.map(Into::into), ..delivery })
}

fn short<T>(id: ChannelId, batch: &Batch<T>, name: impl Fn(&T) -> Str) -> Said {
    (id, batch.items.iter().map(name).collect(), batch.missing.len(), batch.place.clone())
}

/// The batches that were emitted.
fn said(bench: &mut Bench) -> Vec<Said> {
    let batches = bench.did().told.into_iter().filter_map(|event| match event {
        Event::Messages(id, batch) => {
            Some(short(id, &batch, |message| message.name.clone().unwrap()))
        }
        Event::Annotations(id, batch) => {
            Some(short(id, &batch, |annotation| annotation.name.clone().unwrap()))
        }
        Event::Presence(id, batch) => {
            Some(short(id, &batch, |member| member.client_id.clone().unwrap()))
        }
        _ => None,
    });
    batches.collect()
}

fn place(after: &'static str, serial: Option<&'static str>) -> Place {
    Place { after: Some(after.into()), serial: serial.map(Into::into), repeated: false }
}

#[test]
fn frames_of_one_channel_that_arrive_together_are_one_batch() {
    for frame in [messages, annotations] {
        let mut bench = attached_at_000();
        for (serial, name) in [("001", "a"), ("002", "b"), ("003", "c")] {
            bench.feed(frame("ch", Some(serial), name));
        }
        let names = ["a", "b", "c"].map(Str::from).to_vec();
        assert_eq!(said(&mut bench), [(CHANNEL, names, 0, place("000", Some("003")))]);
        // The batch was polled, so that the next frame is another.
        bench.feed(frame("ch", Some("004"), "d"));
        let next = (CHANNEL, vec!["d".into()], 0, place("003", Some("004")));
        assert_eq!(said(&mut bench), [next]);
    }
}

#[test]
fn frames_of_two_channels_or_two_kinds_are_batches_of_their_own() {
    for frame in [messages, annotations] {
        let mut bench = attached_at_000();
        bench.feed(frame("ch", Some("001"), "a"));
        bench.feed(frame("other", Some("001"), "b"));
        bench.feed(frame("ch", Some("002"), "c"));
        let expected = [
            (CHANNEL, vec!["a".into()], 0, place("000", Some("001"))),
            (OTHER, vec!["b".into()], 0, place("000", Some("001"))),
            (CHANNEL, vec!["c".into()], 0, place("001", Some("002"))),
        ];
        assert_eq!(said(&mut bench), expected);
    }
    let mut bench = attached_at_000();
    bench.feed(messages("ch", Some("001"), "a"));
    bench.feed(annotations("ch", Some("002"), "b"));
    bench.feed(messages("ch", Some("003"), "c"));
    let expected = [
        (CHANNEL, vec!["a".into()], 0, place("000", Some("001"))),
        (CHANNEL, vec!["b".into()], 0, place("001", Some("002"))),
        (CHANNEL, vec!["c".into()], 0, place("002", Some("003"))),
    ];
    assert_eq!(said(&mut bench), expected);
}

/// The service repeats frames with a serial only, so that a listener that is behind gets only some of the items again.
#[test]
fn a_frame_without_a_serial_is_where_the_channel_is_and_a_batch_of_its_own() {
    for frame in [messages, annotations] {
        let mut bench = attached_at_000();
        bench.feed(frame("ch", Some("001"), "a"));
        bench.feed(frame("ch", None, "b"));
        bench.feed(frame("ch", Some("002"), "c"));
        let expected = [
            (CHANNEL, vec!["a".into()], 0, place("000", Some("001"))),
            (CHANNEL, vec!["b".into()], 0, place("001", None)),
            (CHANNEL, vec!["c".into()], 0, place("001", Some("002"))),
        ];
        assert_eq!(said(&mut bench), expected);
    }
}

/// The gap of an item that cannot be read is before the items of the next frame, and its place is not theirs.
#[test]
fn a_frame_with_an_item_that_cannot_be_read_is_a_batch_of_its_own() {
    for (action, frame) in [(15, messages as fn(_, _, &str) -> _), (21, annotations)] {
        let items = if action == 15 { "messages" } else { "annotations" };
        let bytes = format!(
            r#"{{"action":{action},"channel":"ch","channelSerial":"002","{items}":[{{"name":"b"}},{{"name":7}}]}}"#
        );
        let (bytes, limits) = (bytes.into(), Limits::default());
        let error = codec::decode_server_frame(Format::Json, &bytes, &limits).unwrap_err();
        let damaged = codec::salvage_server_frame(Format::Json, &bytes, &limits).unwrap();
        let mut bench = attached_at_000();
        bench.feed(frame("ch", Some("001"), "a"));
        bench.handle(TransportEvent::Damaged { damaged: Box::new(damaged), error });
        bench.feed(frame("ch", Some("003"), "c"));
        let expected = [
            (CHANNEL, vec!["a".into()], 0, place("000", Some("001"))),
            (CHANNEL, vec!["b".into()], 1, place("001", Some("002"))),
            (CHANNEL, vec!["c".into()], 0, place("002", Some("003"))),
        ];
        assert_eq!(said(&mut bench), expected);
    }
}

/// Bytes that are no frame may have been for any channel, so that each has a gap where it is.
#[test]
fn a_lost_frame_leaves_a_gap_where_each_channel_is() {
    let broken = || {
        let bytes = b"no frame".as_slice().into();
        codec::decode_server_frame(Format::Json, &bytes, &Limits::default()).unwrap_err()
    };
    let mut bench = attached_at_000();
    bench.feed(messages("ch", Some("001"), "a"));
    bench.did();
    // The first time the transport ends.
    bench.handle(TransportEvent::Broken(broken()));
    bench.did();
    bench.advance(std::time::Duration::from_secs(20));
    bench.accept(connected("connection"));
    for (name, serial) in [("ch", "001"), ("other", "000")] {
        bench.say(ServerFrame::Attached(Box::new(Attached {
            channel: name.into(),
            channel_serial: Some(serial.into()),
            flags: Flags::RESUMED,
            ..Attached::default()
        })));
    }
    bench.did();
    bench.handle(TransportEvent::Broken(broken()));
    let gaps = said(&mut bench);
    let of = |id, after| (id, Vec::new(), 1, place(after, None));
    // One each for the listeners of messages, of presence and of annotations.
    let expected: Vec<_> = [(CHANNEL, "001"), (OTHER, "000")]
        .into_iter()
        .flat_map(|(id, after)| std::iter::repeat_with(move || of(id, after)).take(3))
        .collect();
    assert_eq!(gaps, expected);
}
