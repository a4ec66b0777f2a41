//! A frame that cannot be read and ends the transport must not end every transport after it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use capably_core::{
    ChannelId, ChannelOptions, Client, Config, Credentials, Event, Gap, Now, OpId, Output,
    TransportEvent, TransportId,
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, Message, ServerFrame, Str,
    frame::{Attached, Connected, Delivery},
};

/// The outputs that this test looks at.
#[derive(Default)]
struct Done {
    /// The requested transport, and the key that it resumes with.
    opened: Option<(TransportId, Option<String>)>,
    /// The channelSerial of an ATTACH.
    attached_from: Option<Option<Str>>,
    gap: Option<Gap>,
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
            Output::Event(Event::Gap(_, gap)) => done.gap = Some(*gap),
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
