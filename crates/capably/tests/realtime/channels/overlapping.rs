//! Overlapping requests (RTL4h, RTL5i): each of them ends.

use capably::realtime::ChannelState;
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL4h/attach-while-attaching-0
    async fn a_second_attach_joins_the_first(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        let second = attaching(&channel);
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5i/detach-while-detaching-0
    async fn a_second_detach_joins_the_first(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let first = detaching(&channel);
        peer.expect_detach("ch").await;
        let second = detaching(&channel);
        quiet(&client, &mut peer).await;
        peer.send(detached("ch"));
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4h/attach-while-detaching-1
    async fn an_attach_waits_for_the_detach_under_way(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        assert_eq!(channel.state(), ChannelState::Detaching);
        let attaching = attaching(&channel);
        quiet(&client, &mut peer).await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        // A new attachment starts without the old position (RTL15b2).
        assert_eq!(peer.attach("ch").await.channel_serial, None);
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5i/detach-while-attaching-1
    async fn a_detach_waits_for_the_attach_under_way(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let detaching = detaching(&channel);
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn queued_requests_run_in_order(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        // Alternating attaches and detaches, some of them repeated.
        let requests = [
            detaching(&channel),
            detaching(&channel),
            attaching(&channel),
            detaching(&channel),
            attaching(&channel),
            attaching(&channel),
        ];
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        first.await.unwrap().unwrap();
        for _ in 0..2 {
            peer.expect_detach("ch").await;
            peer.send(detached("ch"));
            peer.attach("ch").await;
        }
        for request in requests {
            request.await.unwrap().unwrap();
        }
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        let round = [ChannelState::Detaching, ChannelState::Detached];
        let again = [ChannelState::Attaching, ChannelState::Attached];
        for states in [again, round, again, round, again] {
            expect_states(&mut changes, &states).await;
        }
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn a_detach_behind_an_unanswered_attach_is_immediate_after_the_timeout(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let detaching = detaching(&channel);
        assert_eq!(code(attaching.await.unwrap()), 90007);
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn an_attach_behind_an_unanswered_detach_finds_the_channel_attached(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let start = Instant::now();
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        let attaching = attaching(&channel);
        assert_eq!(code(detaching.await.unwrap()), 90007);
        assert_eq!(start.elapsed().as_secs(), 10);
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn a_request_behind_a_failed_attach_still_runs(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        let detach = detaching(&channel);
        quiet(&client, &mut peer).await;
        let again = attaching(&channel);
        quiet(&client, &mut peer).await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(first.await.unwrap()), 40160);
        assert_eq!(code(detach.await.unwrap()), 90001);
        peer.attach("ch").await;
        again.await.unwrap().unwrap();
    }
}

in_both_formats! {
    async fn a_lost_transport_ends_no_request(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        let attaching = attaching(&channel);
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    async fn the_end_of_the_connection_ends_every_request(format) {
        let (client, _service, mut peer) = connected(format).await;
        let (one, two) = (client.channels().get("one"), client.channels().get("two"));
        attach(&two, &mut peer).await;
        let first = attaching(&one);
        peer.expect_attach("one").await;
        let second = detaching(&one);
        let third = detaching(&two);
        peer.expect_detach("two").await;
        let fourth = attaching(&two);
        quiet(&client, &mut peer).await;
        peer.send(error(None, 80019, 400));
        assert_eq!(code(first.await.unwrap()), 80019);
        assert_eq!(code(second.await.unwrap()), 90001);
        third.await.unwrap().unwrap();
        assert_eq!(code(fourth.await.unwrap()), 80000);
        assert_eq!(one.state(), ChannelState::Failed);
        assert_eq!(two.state(), ChannelState::Detached);
    }
}
