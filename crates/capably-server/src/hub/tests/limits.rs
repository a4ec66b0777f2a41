//! Limits of an app, and how fast a connection may publish.

use capably_protocol::{PresenceAction, PresenceMessage};

use super::*;
use crate::hub::Limits;

pub(super) fn app_with(limits: Limits) -> Bench {
    let mut bench = Bench::new();
    let spec = AppSpec {
        id: APP.into(),
        keys: vec![Arc::clone(&bench.key)],
        limits,
        ..AppSpec::default()
    };
    bench.app = App::new(Arc::clone(&bench.app.settings), spec, bench.now);
    bench
}

fn enter(msg_serial: u64, client: &str) -> ClientFrame {
    let member = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some(client.into()),
        ..PresenceMessage::default()
    };
    ClientFrame::Presence(Publish {
        channel: "a".into(),
        msg_serial,
        items: Arc::from(vec![member]),
        params: Default::default(),
    })
}

#[test]
fn an_app_inherits_the_limits_of_its_server() {
    let mut bench = app_with(Limits::default());
    let (_, connected) = bench.connect(None);
    let details = connected.details.unwrap();
    assert_eq!((details.max_message_size, details.max_inbound_rate), (Some(1000), Some(250)));
    let limits = Limits { max_message_size: Some(10), ..Limits::default() };
    let mut bench = app_with(limits);
    let (transport, connected) = bench.connect(None);
    assert_eq!(connected.details.unwrap().max_message_size, Some(10));
    bench.publish(transport, "a", 0, "1234567890");
    assert_eq!(nack_code(bench.frames(transport)), (0, 40009));
}

#[test]
fn an_app_limits_the_members_of_a_channel() {
    let mut bench = app_with(Limits { max_presence_members: Some(1), ..Limits::default() });
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "a", None);
    bench.send(transport, vec![enter(0, "one")]);
    bench.frames(transport);
    bench.send(transport, vec![enter(1, "two")]);
    assert_eq!(nack_code(bench.frames(transport)), (1, 91003));
}

#[test]
fn publishes_beyond_the_rate_are_refused() {
    let mut bench = app_with(Limits { max_inbound_rate: Some(10), ..Limits::default() });
    let (transport, connected) = bench.connect(None);
    assert_eq!(connected.details.as_ref().unwrap().max_inbound_rate, Some(10));
    bench.attach(transport, "a", None);
    bench.send(transport, vec![publish("b", 0, vec![Message::new("m", "x"); 9])]);
    bench.send(transport, vec![enter(1, "one")]);
    bench.frames(transport);
    bench.publish(transport, "b", 2, "too fast");
    assert_eq!(nack_code(bench.frames(transport)), (2, 42911));
    // The rate permits one more. A repeated frame has the same answer as before, and does not count.
    bench.advance(Duration::from_millis(100));
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    let (transport, _) = bench.connect(Some(&key(&connected)));
    for (serial, is_accepted) in [(0, true), (1, true), (2, false)] {
        bench.publish(transport, "b", serial, "again");
        match &bench.frames(transport)[..] {
            [ServerFrame::Ack(_)] => assert!(is_accepted, "{serial}"),
            [ServerFrame::Nack(nack)] => {
                assert!(!is_accepted, "{serial}");
                assert_eq!(nack.error.as_ref().unwrap().code.0, 42911);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.history("b").len(), 9);
    // Another connection has its own rate.
    let (other, _) = bench.connect(None);
    bench.publish(other, "b", 0, "x");
    assert_eq!(bench.acks(other).len(), 1);
    bench.publish(transport, "b", 3, "x");
    assert_eq!(bench.acks(transport).len(), 1);
}

#[test]
fn a_client_can_request_a_presence_sync() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let ask = |channel: &str| ClientFrame::Sync { channel: channel.into() };
    bench.send(transport, vec![ask("a")]);
    assert_eq!(bench.frames(transport), [], "nobody to tell");
    bench.attach(transport, "a", None);
    bench.attach(transport, "[?x=y]a", None);
    bench.send(transport, vec![ask("a")]);
    let sync = |frames: Vec<ServerFrame>| -> Vec<_> {
        let pages = frames.into_iter().map(|frame| match frame {
            ServerFrame::Sync(it) => {
                let done = it.channel_serial.unwrap().ends_with(':');
                (it.channel.to_string(), it.items.len(), done)
            }
            other => panic!("{other:?}"),
        });
        pages.collect()
    };
    assert_eq!(sync(bench.frames(transport)), [("a".to_owned(), 0, true)]);
    for client in 0..101 {
        bench.send(transport, vec![enter(client, &client.to_string())]);
    }
    bench.frames(transport);
    for name in ["a", "[?x=y]a"] {
        bench.send(transport, vec![ask(name)]);
        let expected = [(name.to_owned(), 100, false), (name.to_owned(), 1, true)];
        assert_eq!(sync(bench.frames(transport)), expected);
    }
}
