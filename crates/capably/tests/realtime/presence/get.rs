//! Requests for the present members (RTP11).

use std::time::Duration;

use capably::realtime::ChannelState;
use capably_protocol::ChannelMode;
use tokio::time::Instant;

use super::*;
use crate::in_both_formats;

/// A channel that is attached, and waits for the sync.
async fn awaiting_sync(
    format: capably_protocol::Format,
) -> (capably::Realtime, Service, Peer, Channel) {
    let (client, service, mut peer) = connected(format).await;
    let channel = client.channels().get("ch");
    let attaching = attaching(&channel);
    peer.expect_attach("ch").await;
    peer.send(attached_with_presence());
    attaching.await.unwrap().unwrap();
    (client, service, peer, channel)
}

in_both_formats! {
    // UTS: realtime/unit/RTP11a/get-returns-members-single-sync-0
    async fn get_waits_for_the_sync(format) {
        let (client, _service, mut peer, channel) = awaiting_sync(format).await;
        let asking = asking(&channel);
        quiet(&client, &mut peer).await;
        assert!(!asking.is_finished());
        let [alice, bob] = ["alice", "bob"].map(|client| {
            did(PresenceAction::Present, client, &format!("{client}:0:0"), &client[..1])
        });
        peer.send(sync("seq1:", vec![alice.clone(), bob.clone()]));
        assert_eq!(asking.await.unwrap().unwrap(), [alice, bob]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP11a/get-waits-for-multi-sync-1
    // Spec: RTP11
    async fn get_waits_for_the_last_page_of_the_sync(format) {
        let (client, _service, mut peer, channel) = awaiting_sync(format).await;
        let asking = asking(&channel);
        quiet(&client, &mut peer).await;
        assert!(!asking.is_finished());
        peer.send(sync("seq1:cursor1", vec![present("alice", "c1:0:0")]));
        quiet(&client, &mut peer).await;
        assert!(!asking.is_finished());
        peer.send(sync("seq1:", vec![present("bob", "c2:0:0")]));
        assert_eq!(clients(&asking.await.unwrap().unwrap()), ["alice", "bob"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP11c1/get-no-wait-returns-immediately-0
    async fn get_can_return_the_members_received_so_far(format) {
        let (client, _service, mut peer, channel) = awaiting_sync(format).await;
        peer.send(sync("seq1:cursor1", vec![present("alice", "c1:0:0")]));
        quiet(&client, &mut peer).await;
        let members = channel.presence().get().wait_for_sync(false).await.unwrap();
        assert_eq!(clients(&members), ["alice"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP11c2/get-filtered-by-clientid-0
    // UTS: realtime/unit/RTP11c3/get-filtered-by-connectionid-0
    // Spec: RTP11c
    async fn members_are_selected_by_client_and_connection(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let members = vec![
            present("alice", "c1:0:0"),
            present("bob", "c2:0:0"),
            present("alice", "c3:0:0"),
            present("carol", "c1:0:1"),
        ];
        attach_to(&channel, &mut peer, members).await;
        let ids = |members: Vec<PresenceMessage>| -> Vec<String> {
            members.iter().map(|member| member.id.as_deref().unwrap().to_owned()).collect()
        };
        let get = || channel.presence().get();
        assert_eq!(ids(get().client_id("alice").await.unwrap()), ["c1:0:0", "c3:0:0"]);
        assert_eq!(ids(get().connection_id("c1").await.unwrap()), ["c1:0:0", "c1:0:1"]);
        assert_eq!(ids(get().client_id("alice").connection_id("c3").await.unwrap()), ["c3:0:0"]);
        assert_eq!(get().client_id("nobody").await.unwrap(), []);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP11b/get-implicitly-attaches-0
    // Spec: RTP11e, RTL33b, RTL33
    async fn asking_attaches(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let ask = channel.presence().get().wait_for_sync(false);
        let (members, _) = tokio::join!(ask.into_future(), peer.attach("ch"));
        assert_eq!(members.unwrap(), []);
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;

        // A request during a detach attaches the channel again.
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        let asking = asking(&channel);
        quiet(&client, &mut peer).await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        answer_attach(&mut peer, vec![present("alice", "c1:0:0")]).await;
        assert_eq!(clients(&asking.await.unwrap().unwrap()), ["alice"]);
    }
}

in_both_formats! {
    // Spec: RTL33b1, RTL33c, RTP11e
    async fn get_fails_with_the_error_of_the_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let first = asking(&channel);
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        let error = first.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        let error = channel.presence().get().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (90001, Some(400)));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP11c1
    async fn get_fails_when_the_channel_leaves_attached_during_the_sync(format) {
        let (_client, _service, mut peer, channel) = awaiting_sync(format).await;
        let first = asking(&channel);
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(code(first.await.unwrap()), 90001);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP11d/get-suspended-errors-default-0
    // UTS: realtime/unit/RTP11d/get-suspended-no-wait-returns-1
    // Spec: RTL33a
    async fn a_suspended_channel_is_out_of_sync(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![present("alice", "c1:0:0")]).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 1);
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        let error = channel.presence().get().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (91005, Some(400)));
        assert_eq!(error.cause().unwrap().code.0, 80002);
        let members = channel.presence().get().wait_for_sync(false).await.unwrap();
        assert_eq!(clients(&members), ["alice"]);
        assert!(!channel.presence().sync_complete());
    }
}

in_both_formats! {
    // Spec: RTP11d
    async fn a_waiting_get_fails_when_the_channel_is_suspended(format) {
        let (client, mut service, peer, channel) = awaiting_sync(format).await;
        let asking = asking(&channel);
        suspend(&client, &mut service, peer).await;
        assert_eq!(code(asking.await.unwrap()), 91005);
    }
}

in_both_formats! {
    // Spec: RTP11f, RTP11f1, RTP11f2
    async fn get_needs_the_presence_subscribe_mode(format) {
        for strict in [false, true] {
            let (client, _service, mut peer) =
                connected_with(format, |options| options.strict_mode(strict)).await;
            let channel = client.channels().get("ch");
            let answer = |modes: &'static [ChannelMode]| {
                attached_with("ch", |attached| attached.flags = modes.iter().copied().collect())
            };
            let first = asking(&channel);
            peer.expect_attach("ch").await;
            peer.send(answer(&[ChannelMode::Presence, ChannelMode::Subscribe]));
            let first = first.await.unwrap();
            if strict {
                let error = first.unwrap_err();
                assert_eq!((error.code().0, error.status()), (91008, Some(400)));
            } else {
                assert_eq!(first.unwrap(), []);
            }
            assert_eq!(channel.state(), ChannelState::Attached);
            peer.send(answer(&[ChannelMode::PresenceSubscribe]));
            quiet(&client, &mut peer).await;
            assert_eq!(channel.presence().get().await.unwrap(), []);
        }
    }
}

// Spec: RTP11c1, TO3l11
in_both_formats! {
    async fn get_times_out_without_a_sync(format) {
        let (client, _service, mut peer, channel) = awaiting_sync(format).await;
        let start = Instant::now();
        let asking = asking(&channel);
        // Each page of the sync restarts the time limit.
        tokio::time::sleep(Duration::from_secs(6)).await;
        peer.send(sync("seq1:cursor1", vec![present("alice", "c1:0:0")]));
        quiet(&client, &mut peer).await;
        let error = asking.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (50003, Some(408)));
        assert_eq!(start.elapsed().as_secs(), 16);
        assert_eq!(channel.state(), ChannelState::Attached);
        // The sync still counts if it continues.
        peer.send(sync("seq1:", vec![present("bob", "c2:0:0")]));
        let members = channel.presence().get().await.unwrap();
        assert_eq!(clients(&members), ["alice", "bob"]);
    }
}

// Spec: RTP11c1
in_both_formats! {
    async fn get_times_out_when_the_sync_does_not_end(format) {
        let (client, _service, mut peer, channel) = awaiting_sync(format).await;
        let start = Instant::now();
        let asking = asking(&channel);
        while !asking.is_finished() {
            tokio::time::sleep(Duration::from_secs(5)).await;
            peer.send(sync("seq1:cursor", vec![present("alice", "c1:0:0")]));
            quiet(&client, &mut peer).await;
        }
        assert_eq!(code(asking.await.unwrap()), 50003);
        assert_eq!(start.elapsed().as_secs(), 120);
    }
}

// Spec: RTP11c1, RTL3c
in_both_formats! {
    async fn suspending_during_a_sync_fails_a_waiting_get(format) {
        let (client, mut service, peer, channel) = awaiting_sync(format).await;
        let asking = asking(&channel);
        tokio::task::yield_now().await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(code(asking.await.unwrap()), 91005);
    }
}
