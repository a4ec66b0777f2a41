//! The causes of a gap notice.

use capably::{Realtime, realtime::ConnectionState};
use capably_protocol::{ClientFrame, frame::Connected};
use tracing::Level;

use super::*;
use crate::{http::log::Log, in_both_formats};

/// A CONNECTED of a connection other than the requested one.
fn not_continued() -> ServerFrame {
    connected_frame_with("connection-2", "key-2", |frame: &mut Connected| {
        frame.error = Some(info(80018, 400));
    })
}

/// Gives the client a new connection.
async fn connect_anew(client: &Realtime, service: &mut Service) -> Peer {
    let mut peer = service.accept().await;
    peer.send(not_continued());
    client.connection().when(ConnectionState::Connected).await.unwrap();
    peer
}

// Spec: RTL2f, RTN15c6
in_both_formats! {
    async fn a_first_attach_and_a_resumed_channel_report_no_gap(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let (messages, _) = tokio::join!(channel.subscribe().into_future(), async {
            peer.expect_attach("ch").await;
            peer.send(anew(1));
        });
        let mut messages = messages.unwrap();
        peer.send(message(2, "a"));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("002"));
        peer.send(resumed(2));
        peer.send(message(3, "b"));
        // Another ATTACHED that continues.
        peer.send(resumed(3));
        peer.send(message(4, "c"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "b", "c"]);
    }
}

// Spec: RTL12, RTL2f
in_both_formats! {
    async fn an_attached_without_continuity_is_a_gap_among_the_messages(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.wall_clock(|| 1_234)).await;
        let channel = client.channels().get("ch");
        attach(&channel, &mut peer).await;
        let mut all = subscribed(&channel).await;
        let mut named = channel.subscribe().name("c").await.unwrap();
        peer.send(message(1, "a"));
        peer.send(message(2, "b"));
        peer.send(anew_because(7, 90003));
        peer.send(message(8, "c"));
        peer.send(anew(9));
        quiet(&client, &mut peer).await;
        assert_eq!(
            said(&mut all),
            ["a", "b", "gap 002..007 90003 -", "c", "gap 008..009 - -"]
        );
        let gap = named.next_event().now_or_never().flatten().unwrap();
        let SubscriptionEvent::Gap(gap) = gap else { panic!("not a gap: {gap:?}") };
        assert_eq!((gap.time, gap.reason), (1_234, Some(info(90003, 500))));
        assert_eq!(said(&mut named), ["c", "gap 008..009 - -"]);
    }
}

// Spec: RTN15c7, RTL3d
in_both_formats! {
    async fn a_failed_resume_is_the_reason_of_a_gap(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        drop(peer);
        let mut peer = connect_anew(&client, &mut service).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("001"));
        peer.send(anew(5));
        peer.send(message(6, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "gap 001..005 80018 -", "b"]);
        // The old reason does not apply to later gaps.
        peer.send(anew(7));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["gap 006..007 - -"]);
    }
}

// Spec: RTN15c7
in_both_formats! {
    async fn a_channel_that_continues_on_a_new_connection_has_no_gap(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        drop(peer);
        let mut peer = connect_anew(&client, &mut service).await;
        peer.expect_attach("ch").await;
        peer.send(resumed(1));
        peer.send(message(2, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "b"]);
    }
}

// Spec: RTL15b, RTL17, RTL4c1
in_both_formats! {
    async fn a_message_received_while_attaching_and_not_repeated_is_a_gap(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("001"));
        // The message is not delivered, but the service repeats it.
        peer.send(message(2, "b"));
        peer.send(resumed(1));
        peer.send(message(2, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "b"]);

        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("002"));
        peer.send(message(3, "c"));
        quiet(&client, &mut peer).await;
        // From here on, the service does not repeat it.
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("003"));
        peer.send(resumed(3));
        peer.send(message(4, "d"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["gap 002..003 - -", "d"]);
        // Once is enough.
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        peer.send(resumed(4));
        peer.send(message(5, "e"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["e"]);
    }
}

// Spec: RTL15b, RTL17, RTL4c1
in_both_formats! {
    async fn a_gap_from_before_two_drops_is_reported_once_attached(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("001"));
        // The message moves the position, and is not delivered.
        peer.send(message(2, "b"));
        quiet(&client, &mut peer).await;
        // The first attach requests to continue after it; the second drop must not forget the gap.
        for _ in 0..2 {
            peer = resume(&client, &mut service, peer).await;
            assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("002"));
        }
        peer.send(resumed(2));
        peer.send(message(3, "c"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "gap 001..002 - -", "c"]);
    }
}

// Spec: RTL3c, RTL3d
in_both_formats! {
    async fn a_suspended_connection_is_the_reason_of_a_gap(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        suspend(&client, &mut service, peer).await;
        // A new listener must receive the gap, too.
        let mut late = channel.subscribe().await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        peer.expect_attach("ch").await;
        peer.send(anew(5));
        peer.send(message(6, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "gap 001..005 80002 -", "b"]);
        assert_eq!(said(&mut late), ["gap 001..005 80002 -", "b"]);
    }
}

// Spec: RTL13a, RTL13b
in_both_formats! {
    async fn a_detach_by_the_service_is_the_reason_of_a_gap_without_continuity(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        peer.send(anew(5));
        peer.send(message(6, "b"));
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        peer.send(resumed(6));
        peer.send(message(7, "c"));
        // The attach that follows is refused once.
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        peer.send(detached_because("ch", 90199));
        peer.expect_attach("ch").await;
        peer.send(anew(9));
        quiet(&client, &mut peer).await;
        assert_eq!(
            said(&mut messages),
            ["a", "gap 001..005 90198 -", "b", "c", "gap 007..009 90198 -"]
        );
    }
}

// Spec: RTL5, RTL15b2
in_both_formats! {
    async fn only_listeners_from_before_a_detach_receive_its_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut old = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        let (detach, ()) = tokio::join!(channel.detach(), async {
            peer.expect_detach("ch").await;
            peer.send(detached("ch"));
        });
        detach.unwrap();
        let mut idle = channel.subscribe().attach(false).await.unwrap();
        let (new, ()) = tokio::join!(channel.subscribe().into_future(), async {
            assert_eq!(peer.expect_attach("ch").await.channel_serial, None);
            peer.send(anew(5));
        });
        let mut new = new.unwrap();
        peer.send(message(6, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut old), ["a", "gap 001..005 - -", "b"]);
        assert_eq!(said(&mut new), ["b"]);
        assert_eq!(said(&mut idle), ["b"]);
        // All later attaches are refused.
        peer.send(anew(7));
        quiet(&client, &mut peer).await;
        for messages in [&mut old, &mut new, &mut idle] {
            assert_eq!(said(messages), ["gap 006..007 - -"]);
        }
    }
}

// Spec: RTL5f, RTL17
in_both_formats! {
    async fn messages_during_an_unconfirmed_detach_are_a_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        quiet(&client, &mut peer).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(message(2, "b"));
        assert_eq!(code(detaching.await.unwrap()), 90007);
        peer.send(message(3, "c"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "gap 001..002 90007 -", "c"]);
        let detaching = super::detaching(&channel);
        peer.expect_detach("ch").await;
        assert_eq!(code(detaching.await.unwrap()), 90007);
        peer.send(message(4, "d"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["d"]);
    }
}

// Spec: RTN16j, RTN16l
in_both_formats! {
    async fn only_a_failed_recovery_leaves_a_gap(format) {
        let (first, _service, mut peer, _channel) = with_channel(format).await;
        peer.send(message(3, "a"));
        quiet(&first, &mut peer).await;
        let key = first.connection().create_recovery_key().await.unwrap();
        for succeeds in [false, true] {
            let (client, mut service) = client_with(format, |options| options.recover(key.clone()));
            client.connection().connect();
            let mut peer = if succeeds {
                let mut peer = service.accept().await;
                peer.send(connected_frame("connection-1", "key-2"));
                client.connection().when(ConnectionState::Connected).await.unwrap();
                peer
            } else {
                connect_anew(&client, &mut service).await
            };
            let channel = client.channels().get("ch");
            let (messages, ()) = tokio::join!(channel.subscribe().into_future(), async {
                assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("003"));
                peer.send(if succeeds { resumed(3) } else { anew(5) });
            });
            peer.send(message(6, "b"));
            quiet(&client, &mut peer).await;
            let expected: &[&str] = if succeeds { &["b"] } else { &["gap 003..005 - -", "b"] };
            assert_eq!(said(&mut messages.unwrap()), expected);
        }
    }
}

// Spec: RTL3b, RTN11d
in_both_formats! {
    async fn a_closed_client_reports_no_gap_when_it_connects_again(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut before = subscribed(&channel).await;
        peer.send(message(1, "a"));
        let (_, ()) = tokio::join!(client.close(), async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        });
        assert_eq!(said(&mut before), ["a"]);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        let (messages, ()) = tokio::join!(channel.subscribe().into_future(), async {
            peer.expect_attach("ch").await;
            peer.send(anew(5));
        });
        peer.send(message(6, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages.unwrap()), ["b"]);
        assert_eq!(before.next().await, None);
    }
}

// Spec: RTL12
in_both_formats! {
    async fn a_loop_over_messages_finds_gaps_in_the_log(format) {
        let log = Log::new(Level::WARN);
        let _guard = tracing::subscriber::set_default(log.clone());
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send(message(1, "a"));
        peer.send(anew(5));
        peer.send(message(6, "b"));
        for name in ["a", "b"] {
            assert_eq!(messages.next().await.unwrap().name.as_deref(), Some(name));
        }
        let warned = log.said().into_iter().filter(|said| said.level == Some(Level::WARN));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert_eq!(warned[0].message, "a subscription may have missed messages");
        assert_eq!(warned[0].context["channel"], "\"ch\"");
        assert_eq!(warned[0].context["after"], "Some(\"001\")");
        assert_eq!(warned[0].context["until"], "Some(\"005\")");
    }
}
