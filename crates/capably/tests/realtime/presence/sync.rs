//! Syncs that the service starts, and malformed presence (RTP18, RTP2).

use capably::{
    PresenceAction::{Enter, Leave, Present, Update},
    realtime::ChannelState,
};
use futures_util::FutureExt;
use serde_json::json;

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // Spec: RTP18, RTP18a, RTP18b, RTP19
    async fn the_service_may_sync_at_any_time(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let [alice, bob] = [present("alice", "c1:0:0"), present("bob", "c2:0:0")];
        attach_to(&channel, &mut peer, vec![alice.clone(), bob.clone()]).await;
        assert_eq!(channel.presence().get().await.unwrap().len(), 2);
        let mut events = channel.presence().subscribe().await.unwrap();
        peer.send(sync("seq2:1", vec![alice.clone()]));
        let asking = asking(&channel);
        quiet(&client, &mut peer).await;
        assert!(!asking.is_finished());
        // The initial sync is complete all the same (RTP13).
        assert!(channel.presence().sync_complete());
        // Another sync takes its place.
        peer.send(sync("seq3:1", vec![bob.clone()]));
        peer.send(sync("seq3:", vec![present("carol", "c3:0:0")]));
        assert_eq!(clients(&asking.await.unwrap().unwrap()), ["bob", "carol"]);
        let told = [events.next().await.unwrap(), events.next().await.unwrap()];
        assert_eq!((told[0].action, told[1].action), (Some(Present), Some(Leave)));
        assert_eq!(clients(&told), ["carol", "alice"]);
        assert!(events.next().now_or_never().is_none());
    }
}

in_both_formats! {
    // Spec: RTP18c
    async fn a_sync_may_be_a_single_frame(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![present("alice", "c1:0:0")]).await;
        let only = |members| ServerFrame::Sync(Delivery::new("ch", members));
        peer.send(only(vec![present("bob", "c2:0:0")]));
        quiet(&client, &mut peer).await;
        assert_eq!(clients(&channel.presence().get().await.unwrap()), ["bob"]);
        // A new sync also replaces one in progress.
        peer.send(sync("seq2:1", vec![present("bob", "c2:0:0")]));
        peer.send(only(vec![present("carol", "c3:0:0")]));
        quiet(&client, &mut peer).await;
        assert_eq!(clients(&channel.presence().get().await.unwrap()), ["carol"]);
    }
}

in_both_formats! {
    // Spec: RTP19
    async fn a_member_entered_before_the_first_page_stays(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let asking = asking(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with_presence());
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "")]));
        peer.send(sync("seq1:1", vec![present("bob", "c2:0:0")]));
        peer.send(sync("seq1:", vec![]));
        assert_eq!(clients(&asking.await.unwrap().unwrap()), ["alice", "bob"]);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP1
    async fn a_sync_that_a_drop_cuts_off_starts_again(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let asking = asking(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with_presence());
        peer.send(sync("seq1:1", vec![present("alice", "c1:0:0")]));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert!(!asking.is_finished());
        answer_attach(&mut peer, vec![present("bob", "c2:0:0")]).await;
        assert_eq!(clients(&asking.await.unwrap().unwrap()), ["bob"]);
    }
}

in_both_formats! {
    // Spec: RTL15b
    async fn presence_moves_the_channels_position_and_a_sync_does_not(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        attach_to(&channel, &mut peer, vec![]).await;
        let mut delivery = Delivery::new("ch", vec![did(Enter, "alice", "c1:0:0", "")]);
        delivery.channel_serial = Some("position-7".into());
        peer.send(ServerFrame::Presence(delivery));
        peer.send(sync("seq2:", vec![]));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("position-7"));
    }
}

in_both_formats! {
    // Spec: RTF1, RTP2a
    async fn malformed_presence_is_ignored(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        let odd = [
            json!({ "action": 2, "id": "c1:0:0", "connectionId": "c1" }),
            json!({ "action": 2, "id": "c1:0:0", "clientId": "no-connection" }),
            json!({ "id": "c1:0:0", "connectionId": "c1", "clientId": "no-action" }),
            json!({ "action": 0, "id": "c1:0:0", "connectionId": "c1", "clientId": "absent" }),
            json!({ "action": 9, "id": "c1:0:0", "connectionId": "c1", "clientId": "unknown" }),
            json!({ "action": 3, "id": "c1:0:0", "connectionId": "c1", "clientId": "never-there" }),
        ];
        for action in [14, 16] {
            peer.send_fields(json!({ "action": action, "channel": "ch", "presence": odd }));
            peer.send_fields(json!({ "action": action, "channel": "elsewhere", "presence": odd }));
        }
        peer.send(presence(vec![did(Enter, "alice", "odd:id", "")]));
        assert_eq!(events.next().await.unwrap().client_id.as_deref(), Some("alice"));
        quiet(&client, &mut peer).await;
        assert!(events.next().now_or_never().is_none());
        assert_eq!(clients(&channel.presence().get().await.unwrap()), ["alice"]);
    }
}

in_both_formats! {
    async fn an_unattached_channel_ignores_presence(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut events = channel.presence().subscribe().attach(false).await.unwrap();
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "")]));
        peer.send(sync("seq1:", vec![present("bob", "c2:0:0")]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        assert!(events.next().now_or_never().is_none());
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.presence().get().await.unwrap(), []);
    }
}

in_both_formats! {
    // Spec: TP3a, TP3d, TP3g
    async fn members_inherit_fields_of_their_frame(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        let bare = |client: &str| PresenceMessage {
            action: Some(Update),
            client_id: Some(client.into()),
            ..PresenceMessage::default()
        };
        let mut delivery = Delivery::new("ch", vec![bare("alice"), bare("bob")]);
        delivery.id = Some("c1:7".into());
        delivery.connection_id = Some("c1".into());
        delivery.timestamp = Some(5);
        peer.send(ServerFrame::Presence(delivery));
        for (index, client) in ["alice", "bob"].into_iter().enumerate() {
            let event = events.next().await.unwrap();
            assert_eq!(event.id.as_deref(), Some(&*format!("c1:7:{index}")));
            assert_eq!((event.client_id.as_deref(), event.connection_id.as_deref()), (Some(client), Some("c1")));
            assert_eq!(event.timestamp, Some(5));
        }
    }
}
