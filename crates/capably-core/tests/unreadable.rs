//! Frames that cannot be read and end the transport: the same frame must not end every transport after it, and what it
//! acknowledges is not lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use capably_core::{
    ChannelId, ChannelOptions, Client, Config, Credentials, Event, Gap, Now, OpId, Output,
    TransportEvent, TransportId,
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, Format, Limits, Message, ServerFrame, Str, codec,
    frame::{Ack, Attached, Connected, Delivery},
};

/// The outputs that this test looks at.
#[derive(Default)]
struct Done {
    /// The requested transport, and the key that it resumes with.
    opened: Option<(TransportId, Option<String>)>,
    /// The channelSerial of an ATTACH.
    attached_from: Option<Option<Str>>,
    gap: Option<Gap>,
    /// The serials of MESSAGE frames.
    published: Vec<u64>,
    /// Whether each operation that is done succeeded.
    succeeded: Vec<(OpId, bool)>,
}

fn drain(client: &mut Client) -> Done {
    let mut done = Done::default();
    loop {
        match client.poll_output() {
            Output::Timeout(_) => return done,
            Output::Open { transport, request } => {
                done.opened = Some((transport, request.param("resume").map(str::to_owned)));
            }
            Output::Send { frame: ClientFrame::Attach(attach), .. } => {
                done.attached_from = Some(attach.channel_serial);
            }
            Output::Send { frame: ClientFrame::Message(publish), .. } => {
                done.published.push(publish.msg_serial);
            }
            Output::Event(Event::Gap(_, gap)) => done.gap = Some(*gap),
            Output::Event(Event::Done(op, outcome)) => done.succeeded.push((op, outcome.is_ok())),
            _ => {}
        }
    }
}

fn connected(id: &str) -> ServerFrame {
    ServerFrame::Connected(Box::new(Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some(format!("{id}-key").into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    }))
}

fn attached(resumed: bool) -> ServerFrame {
    let flags =
        if resumed { capably_protocol::Flags::RESUMED } else { capably_protocol::Flags::NONE };
    let channel_serial = Some("090".into());
    ServerFrame::Attached(Box::new(Attached {
        channel: "ch".into(),
        channel_serial,
        flags,
        ..Attached::default()
    }))
}

#[test]
fn a_frame_that_ends_every_transport_is_skipped_with_a_gap() {
    let mut now = Now::default();
    let key = Credentials::Key("app.key:secret".parse().unwrap());
    let mut client = Client::new(Arc::new(Config::new(key)), 1, now);
    let channel = ChannelId(0);
    client.open_channel(channel, "ch".into(), ChannelOptions::default());
    client.connect(now);
    client.attach(channel, OpId(0), now);
    // The transport ends for such a frame each time: after the first the connection is resumed, after the second
    // a new connection takes its place.
    let turns = [
        ("first", None, Some(None)),
        ("first", Some("first-key"), Some(Some("100"))),
        ("second", None, Some(None)),
    ];
    for (turn, (id, resumes, attaches)) in turns.into_iter().enumerate() {
        let (transport, resumed_with) = drain(&mut client).opened.unwrap();
        assert_eq!(resumed_with.as_deref(), resumes, "turn {turn}");
        client.handle_transport(transport, TransportEvent::Opened, now);
        client.handle_transport(transport, TransportEvent::Frame(&mut connected(id)), now);
        let from = drain(&mut client).attached_from;
        assert_eq!(from.as_ref().map(|it| it.as_deref()), attaches, "turn {turn}");
        let mut frame = attached(resumes.is_some());
        client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
        let gap = drain(&mut client).gap.filter(|_| turn > 0);
        if turn == 2 {
            let gap = gap.unwrap();
            assert_eq!((gap.after.as_deref(), gap.until.as_deref()), (Some("100"), Some("090")));
            assert_eq!(gap.reason.unwrap().code.0, 80013);
            return;
        }
        assert_eq!(gap, None);
        let mut delivery = Delivery::new("ch", vec![Message::new("n", "d")]);
        delivery.channel_serial = Some("100".into());
        let mut frame = ServerFrame::Message(delivery);
        client.handle_transport(transport, TransportEvent::Frame(&mut frame), now);
        let broken = ErrorInfo::new(80013.into(), 400, "a frame of 90000000 bytes");
        client.handle_transport(transport, TransportEvent::Closed(broken), now);
        // The client gives the service time to recover.
        now.instant = now.instant + Duration::from_secs(20);
        client.handle_timeout(now);
    }
    unreachable!("the last turn returns");
}

/// To skip an acknowledgement would leave its publish waiting for ever. The service sends it again on the next transport.
#[test]
fn an_acknowledgement_that_cannot_be_read_ends_the_transport_and_comes_again() {
    let json = |action| format!(r#"{{"action":{action},"msgSerial":[],"count":1}}"#).into_bytes();
    let msgpack =
        |action| [b"\x83\xa6action", &[action][..], b"\xa9msgSerial\x90\xa5count\x01"].concat();
    for (format, bytes) in [
        (Format::Json, json(1)),
        (Format::Json, json(2)),
        (Format::MsgPack, msgpack(1)),
        (Format::MsgPack, msgpack(2)),
    ] {
        let (bytes, limits) = (bytes.into(), Limits::default());
        let error = codec::decode_server_frame(format, &bytes, &limits).unwrap_err();
        let damaged = codec::salvage_server_frame(format, &bytes, &limits).unwrap();
        assert_eq!(damaged.frame, None, "{bytes:?}");

        let mut now = Now::default();
        let key = Credentials::Key("app.key:secret".parse().unwrap());
        let mut client = Client::new(Arc::new(Config::new(key)), 1, now);
        let (channel, publish) = (ChannelId(0), OpId(0));
        client.open_channel(channel, "ch".into(), ChannelOptions::default());
        client.connect(now);
        let message = [Message::new("n", "d")];
        client.publish(channel, message.into(), Default::default(), publish, now);
        let (transport, _) = drain(&mut client).opened.unwrap();
        client.handle_transport(transport, TransportEvent::Opened, now);
        client.handle_transport(transport, TransportEvent::Frame(&mut connected("id")), now);
        assert_eq!(drain(&mut client).published, [0]);

        let event = TransportEvent::Damaged { damaged: Box::new(damaged), error };
        client.handle_transport(transport, event, now);
        assert_eq!(drain(&mut client).succeeded, [], "{bytes:?}");
        // The client gives the service time to recover.
        now.instant = now.instant + Duration::from_secs(20);
        client.handle_timeout(now);
        let (transport, resumes) = drain(&mut client).opened.expect("another transport");
        assert_eq!(resumes.as_deref(), Some("id-key"));
        client.handle_transport(transport, TransportEvent::Opened, now);
        client.handle_transport(transport, TransportEvent::Frame(&mut connected("id")), now);
        assert_eq!(drain(&mut client).published, [0], "sent again: {bytes:?}");
        let mut ack = ServerFrame::Ack(Ack { msg_serial: 0, count: 1, res: Vec::new() });
        client.handle_transport(transport, TransportEvent::Frame(&mut ack), now);
        assert_eq!(drain(&mut client).succeeded, [(publish, true)], "{bytes:?}");
    }
}
