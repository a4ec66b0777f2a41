//! Members that the client enters again by itself (RTP17).

use capably::{
    PresenceAction::{Enter, Leave, Present},
    realtime::{ChannelEvent, ChannelState},
};
use capably_protocol::{ChannelMode, Flags};

use super::*;
use crate::in_both_formats;

/// A client that has entered, and received its own enter.
async fn entered(format: capably_protocol::Format) -> (capably::Realtime, Service, Peer, Channel) {
    let (client, service, mut peer, channel) =
        with_channel_and(format, |options| options.client_id("my-client")).await;
    let enter = channel.presence().enter().data("hello");
    let (result, _) =
        tokio::join!(enter.into_future(), echo(&mut peer, "connection-1", "my-client"));
    result.unwrap();
    quiet(&client, &mut peer).await;
    (client, service, peer, channel)
}

in_both_formats! {
    // UTS: realtime/unit/RTP17i/auto-reentry-on-attached-0
    // UTS: realtime/unit/RTP17g1/reentry-omits-id-new-connid-0
    async fn a_member_enters_again_on_a_new_connection(format) {
        let (client, mut service, peer, channel) = entered(format).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        let again = echo(&mut peer, "connection-2", "my-client").await;
        let expected = PresenceMessage {
            action: Some(Enter),
            client_id: Some("my-client".into()),
            data: "hello".into(),
            ..PresenceMessage::default()
        };
        assert_eq!(again, expected);
        quiet(&client, &mut peer).await;
        let members = channel.presence().get().await.unwrap();
        assert_eq!(clients(&members), ["my-client"]);
        assert_eq!(members[0].connection_id.as_deref(), Some("connection-2"));
    }
}

in_both_formats! {
    // Spec: RTP17g
    async fn a_member_enters_again_under_its_id_on_the_same_connection(format) {
        let (client, mut service, peer, _channel) = entered(format).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| {
            attached.flags = Flags::RESUMED | Flags::HAS_PRESENCE;
        }));
        let again = accept(&mut peer).await;
        let expected = PresenceMessage {
            id: Some("connection-1:0:0".into()),
            action: Some(Enter),
            client_id: Some("my-client".into()),
            data: "hello".into(),
            ..PresenceMessage::default()
        };
        assert_eq!(again, expected);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP17g/reentry-publishes-enter-with-data-0
    async fn every_member_enters_again(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        for (user, data) in [("alice", "alice-data"), ("bob", "bob-data"), ("carol", "")] {
            let enter = channel.presence().enter_client(user).data(data);
            let (result, _) =
                tokio::join!(enter.into_future(), echo(&mut peer, "connection-1", user));
            result.unwrap();
        }
        let leave = channel.presence().leave_client("carol");
        let (result, _) =
            tokio::join!(leave.into_future(), echo(&mut peer, "connection-1", "carol"));
        result.unwrap();
        quiet(&client, &mut peer).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        for (user, data) in [("alice", "alice-data"), ("bob", "bob-data")] {
            let again = accept(&mut peer).await;
            assert_eq!((again.action, again.client_id.as_deref()), (Some(Enter), Some(user)));
            assert_eq!((again.data.as_str(), again.id), (Some(data), None));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP17i/no-reentry-with-resumed-flag-1
    async fn no_member_enters_again_on_a_resumed_channel(format) {
        let (client, _service, mut peer, _channel) = entered(format).await;
        peer.send(attached_with("ch", |attached| attached.flags = Flags::RESUMED));
        quiet(&client, &mut peer).await;
        // A loss of continuity on an attached channel has the same effect.
        peer.send(attached("ch"));
        assert_eq!(accept(&mut peer).await.client_id.as_deref(), Some("my-client"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP17e/failed-reentry-emits-update-error-0
    async fn a_member_that_cannot_enter_again_is_reported(format) {
        let (client, mut service, peer, channel) = entered(format).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        let mut changes = channel.changes();
        let again = said(&mut peer).await;
        peer.send(nack(again.msg_serial, 40160, 401));
        let change = changes.next().await.unwrap();
        assert_eq!((change.event, change.resumed), (ChannelEvent::Update, true));
        assert_eq!((change.previous, change.current), (ChannelState::Attached, ChannelState::Attached));
        let reason = change.reason.unwrap();
        assert_eq!(reason.code.0, 91004);
        assert!(reason.message.contains("my-client"), "{}", reason.message);
        assert_eq!(reason.cause.unwrap().code.0, 40160);
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP17a/server-publishes-without-subscribe-0
    async fn own_members_are_known_without_the_subscribe_mode(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let answer = async {
            peer.expect_attach("ch").await;
            let modes = ChannelMode::Presence.flag();
            peer.send(attached_with("ch", |attached| attached.flags = modes));
            echo(&mut peer, "connection-1", "my-client").await
        };
        let (result, _) = tokio::join!(channel.presence().enter().into_future(), answer);
        result.unwrap();
        quiet(&client, &mut peer).await;
        let members = channel.presence().get().wait_for_sync(false).await.unwrap();
        assert_eq!(clients(&members), ["my-client"]);
    }
}

in_both_formats! {
    // Spec: RTP17b
    async fn a_synthesized_leave_of_an_own_member_causes_a_new_enter(format) {
        let (client, mut service, mut peer, channel) = entered(format).await;
        let gone = PresenceMessage {
            connection_id: Some("connection-1".into()),
            timestamp: Some(2000),
            ..did(Leave, "my-client", "service:0:0", "")
        };
        peer.send(presence(vec![gone]));
        // Members of other connections do not count.
        peer.send(presence(vec![did(Enter, "other", "connection-9:0:0", "")]));
        quiet(&client, &mut peer).await;
        assert_eq!(clients(&channel.presence().get().await.unwrap()), ["other"]);
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        assert_eq!(accept(&mut peer).await.client_id.as_deref(), Some("my-client"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17i, RTP5a, RTP17h
    async fn members_that_left_or_were_detached_do_not_enter_again(format) {
        let (client, mut service, peer, channel) = entered(format).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        echo(&mut peer, "connection-2", "my-client").await;
        quiet(&client, &mut peer).await;
        // On the new connection a leave counts, whatever the serials of the old connection were.
        peer.send(presence(vec![did(Present, "my-client", "connection-2:3:0", "")]));
        let leave = did(Leave, "my-client", "connection-2:4:0", "");
        peer.send(presence(vec![leave]));
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;

        let enter = channel.presence().enter();
        let (result, _) =
            tokio::join!(enter.into_future(), echo(&mut peer, "connection-2", "my-client"));
        result.unwrap();
        quiet(&client, &mut peer).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        attach(&channel, &mut peer).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17i, RTP5b
    async fn members_enter_again_before_queued_presence(format) {
        let (client, mut service, peer, channel) = entered(format).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.expect_attach("ch").await;
        let updating = updating(&channel, "later");
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        assert_eq!(accept(&mut peer).await.action, Some(Enter));
        let later = accept(&mut peer).await;
        assert_eq!((later.action, later.data.as_str()), (Some(PresenceAction::Update), Some("later")));
        updating.await.unwrap().unwrap();
    }
}

/// Leaves in a separate task.
fn leaving(channel: &Channel) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.presence().leave().await })
}

in_both_formats! {
    // Spec: RTP17g, RTN19a
    async fn a_member_that_is_leaving_does_not_enter_again(format) {
        let (client, mut service, mut peer, channel) = entered(format).await;
        let leaving = leaving(&channel);
        assert_eq!(said(&mut peer).await.items[0].action, Some(Leave));
        // The acknowledgement does not arrive, so the LEAVE is sent again.
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.expect_attach("ch").await;
        let again = said(&mut peer).await;
        assert_eq!(again.items[0].action, Some(Leave));
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;
        peer.send(ack(again.msg_serial, 1));
        leaving.await.unwrap().unwrap();
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17g, RTN19a
    async fn a_leave_that_is_acknowledged_before_the_channel_is_attached_counts(format) {
        let (client, mut service, mut peer, channel) = entered(format).await;
        let leaving = leaving(&channel);
        said(&mut peer).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.expect_attach("ch").await;
        assert_eq!(accept(&mut peer).await.action, Some(Leave));
        leaving.await.unwrap().unwrap();
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17g
    async fn a_leave_counts_although_it_does_not_come_back(format) {
        let (client, mut service, mut peer, channel) = entered(format).await;
        let leaving = leaving(&channel);
        assert_eq!(accept(&mut peer).await.action, Some(Leave));
        leaving.await.unwrap().unwrap();
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17g
    async fn a_member_enters_again_although_its_enter_did_not_come_back(format) {
        let (client, mut service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let entering = entering(&channel, "hello");
        assert_eq!(accept(&mut peer).await.action, Some(Enter));
        entering.await.unwrap().unwrap();
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        let again = accept(&mut peer).await;
        assert_eq!((again.action, again.data.as_str()), (Some(Enter), Some("hello")));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP17g, RTN19a
    async fn an_update_under_way_is_not_followed_by_the_data_before_it(format) {
        let (client, mut service, mut peer, channel) = entered(format).await;
        let updating = updating(&channel, "later");
        said(&mut peer).await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.expect_attach("ch").await;
        let again = said(&mut peer).await;
        assert_eq!(again.items[0].data.as_str(), Some("later"));
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;
        peer.send(ack(again.msg_serial, 1));
        updating.await.unwrap().unwrap();

        // From now on the member has the new data.
        let mut peer = reconnect(&client, &mut service, peer, "connection-3").await;
        peer.attach("ch").await;
        assert_eq!(accept(&mut peer).await.data.as_str(), Some("later"));
        quiet(&client, &mut peer).await;
    }
}
