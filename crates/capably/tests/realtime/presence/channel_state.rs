//! The effects of channel and connection states on presence (RTP1, RTP5, RTP13, RTL11).

use capably::{
    PresenceAction::{Enter, Leave},
    realtime::ChannelState,
};
use futures_util::FutureExt;

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: realtime/unit/RTP1/has-presence-triggers-sync-0
    async fn a_sync_follows_an_attach_with_the_flag(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![present("alice", "c1:0:0")]).await;
        let members = channel.presence().get().await.unwrap();
        assert_eq!(clients(&members), ["alice"]);
        assert!(channel.presence().sync_complete());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP1/no-has-presence-empty-1
    async fn without_a_sync_the_channel_has_no_members(format) {
        let (_client, _service, _peer, channel) = with_channel(format).await;
        assert_eq!(channel.presence().get().await.unwrap(), []);
        assert!(channel.presence().sync_complete());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP1/no-has-presence-clears-existing-2
    async fn an_attach_without_a_sync_removes_all_members(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let members = vec![present("alice", "c1:0:0"), present("bob", "c2:0:0")];
        attach_to(&channel, &mut peer, members.clone()).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 2);
        let mut leaves = channel.presence().subscribe().action(Leave).await.unwrap();
        let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        assert_eq!(channel.presence().get().await.unwrap(), []);
        for member in members {
            let leave = leaves.next().await.unwrap();
            assert!(leave.timestamp.unwrap() >= before, "{leave:?}");
            let expected = PresenceMessage {
                id: None,
                action: Some(Leave),
                timestamp: leave.timestamp,
                ..member
            };
            assert_eq!(leave, expected);
        }
        assert!(leaves.next().now_or_never().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP5a/detached-clears-presence-maps-0
    async fn a_detached_channel_has_no_members(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![present("alice", "c1:0:0")]).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 1);
        let mut leaves = channel.presence().subscribe().action(Leave).await.unwrap();
        let detach = async {
            peer.expect_detach("ch").await;
            peer.send(detached("ch"));
        };
        let (result, ()) = tokio::join!(channel.detach(), detach);
        result.unwrap();
        assert!(!channel.presence().sync_complete());
        // The request attaches the channel; earlier members are unknown.
        let ask = channel.presence().get().wait_for_sync(false);
        let answer = answer_attach(&mut peer, vec![present("alice", "c1:0:0")]);
        let (members, ()) = tokio::join!(ask.into_future(), answer);
        assert_eq!(members.unwrap(), []);
        quiet(&client, &mut peer).await;
        assert!(leaves.next().now_or_never().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP5a/failed-clears-presence-maps-1
    async fn a_failed_channel_has_no_members(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![present("alice", "c1:0:0")]).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 1);
        let mut leaves = channel.presence().subscribe().action(Leave).await.unwrap();
        peer.send(error(Some("ch"), 90001, 500));
        channel.when(ChannelState::Failed).await.unwrap();
        // The subscription ends with the channel, and receives no leave before.
        assert_eq!(leaves.next().await, None);
        assert_eq!(leaves.end_reason().unwrap().code().0, 90001);
        assert_eq!(code(channel.presence().get().await), 90001);
        // After the next attach, the channel has the members of that time.
        attach_to(&channel, &mut peer, vec![present("bob", "c2:0:0")]).await;
        assert_eq!(clients(&channel.presence().get().await.unwrap()), ["bob"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP5b/attached-sends-queued-presence-0
    async fn queued_presence_is_sent_once_attached(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let entering = entering(&channel, "queued");
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        peer.send(attached("ch"));
        let said = accept(&mut peer).await;
        assert_eq!((said.action, said.data.as_str()), (Some(Enter), Some("queued")));
        entering.await.unwrap().unwrap();
        attaching.await.unwrap().unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP5f/suspended-maintains-presence-map-0
    // Spec: RTP5
    async fn a_suspended_channel_keeps_its_members(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let (alice, bob) = (present("alice", "c1:0:0"), present("bob", "c2:0:0"));
        attach_to(&channel, &mut peer, vec![alice.clone(), bob]).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 2);
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        let members = channel.presence().get().wait_for_sync(false).await.unwrap();
        assert_eq!(clients(&members), ["alice", "bob"]);

        // After the next attach, only the changes are delivered.
        let mut events = channel.presence().subscribe().await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        answer_attach(&mut peer, vec![alice, present("carol", "c3:0:0")]).await;
        channel.when(ChannelState::Attached).await.unwrap();
        let members = channel.presence().get().await.unwrap();
        assert_eq!(clients(&members), ["alice", "carol"]);
        for (action, client) in [(PresenceAction::Present, "carol"), (Leave, "bob")] {
            let event = events.next().await.unwrap();
            assert_eq!((event.action, event.client_id.as_deref()), (Some(action), Some(client)));
        }
        assert!(events.next().now_or_never().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP13/sync-complete-attribute-0
    async fn the_end_of_a_sync_is_reported(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert!(!channel.presence().sync_complete());
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with_presence());
        peer.send(sync("seq1:cursor1", vec![present("alice", "c1:0:0")]));
        attaching.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
        assert!(!channel.presence().sync_complete());
        peer.send(sync("seq1:", vec![present("bob", "c2:0:0")]));
        quiet(&client, &mut peer).await;
        assert!(channel.presence().sync_complete());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL9/presence-attribute-0
    async fn a_channel_has_one_presence(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let same = client.channels().get("ch");
        let mut events = same.presence().subscribe().await.unwrap();
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "")]));
        assert_eq!(events.next().await.unwrap().client_id.as_deref(), Some("alice"));
        let presence = channel.presence();
        assert_eq!(presence.get().await.unwrap(), same.presence().get().await.unwrap());
        assert_eq!(presence.get().await.unwrap().len(), 1);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL11a/ack-nack-unaffected-by-state-0
    async fn an_answer_may_come_after_the_channel_is_detached(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let entering = entering(&channel, "awaiting-ack");
        let publish = said(&mut peer).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        assert!(!entering.is_finished());
        peer.send(ack(publish.msg_serial, 1));
        entering.await.unwrap().unwrap();
    }
}
