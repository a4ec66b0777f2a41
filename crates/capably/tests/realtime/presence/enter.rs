//! Entering, updating and leaving (RTP8, RTP9, RTP10, RTP14, RTP15).

use capably::{
    PresenceAction::{Enter, Leave, Update},
    realtime::{ChannelState, ConnectionState, presence::PresenceChange},
};
use futures_util::{FutureExt, future::join_all};
use serde_json::json;

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: realtime/unit/RTP8a/enter-sends-presence-enter-0
    // Spec: RTP8c
    async fn an_enter_has_no_client_id_on_the_wire(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let answer = async {
            let fields = peer.receive_fields().await;
            peer.send(ack(0, 1));
            fields
        };
        let (result, fields) = tokio::join!(channel.presence().enter().into_future(), answer);
        result.unwrap();
        let expected =
            json!({ "action": 14, "channel": "ch", "msgSerial": 0, "presence": [{ "action": 2 }] });
        assert_eq!(fields, expected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8e/enter-with-data-0
    // UTS: realtime/unit/RTP9a/update-sends-presence-update-0
    // UTS: realtime/unit/RTP10a/leave-sends-presence-leave-0
    // UTS: realtime/unit/RTP10a/leave-with-data-1
    // Spec: RTP9, RTP9d, RTP10, RTP10a, RTP10c
    async fn an_enter_has_its_data(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let presence = channel.presence();
        let extras = json!({ "headers": { "seat": 4 } }).as_object().cloned().unwrap();
        let changes = [
            (presence.enter().data("hello world"), Enter, Some("hello world")),
            (presence.update().data("new-status").extras(extras.clone()), Update, Some("new-status")),
            (presence.leave(), Leave, Some("new-status")),
            (presence.leave().data("goodbye"), Leave, Some("goodbye")),
        ];
        for (change, action, data) in changes {
            let (result, said) = tokio::join!(change.into_future(), accept(&mut peer));
            result.unwrap();
            assert_eq!((said.action, said.data.as_str()), (Some(action), data));
            assert_eq!((said.client_id, said.id, said.connection_id), (None, None, None));
            assert_eq!(said.extras, (action == Update).then(|| extras.clone()));
        }
    }
}

in_both_formats! {
    // Spec: RTP10a
    async fn a_leave_without_data_has_the_last_data(format) {
        let (client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let enter = channel.presence().enter().data(json!({ "mood": "fine" }));
        let (result, _) =
            tokio::join!(enter.into_future(), echo(&mut peer, "connection-1", "my-client"));
        result.unwrap();
        quiet(&client, &mut peer).await;
        let leave = channel.presence().leave();
        let (result, said) = tokio::join!(leave.into_future(), accept(&mut peer));
        result.unwrap();
        assert_eq!((said.action, said.data.as_str()), (Some(Leave), Some(r#"{"mood":"fine"}"#)));
        assert_eq!(said.encoding.as_deref(), Some("json"));
        let leave = channel.presence().leave().data("bye");
        let (result, said) = tokio::join!(leave.into_future(), accept(&mut peer));
        result.unwrap();
        assert_eq!((said.data.as_str(), said.encoding), (Some("bye"), None));
    }
}

/// Every presence call: for the client itself, and for another client id.
fn changes(channel: &Channel, client: Option<&str>) -> [(PresenceChange, PresenceAction); 3] {
    let presence = channel.presence();
    match client {
        None => [(presence.enter(), Enter), (presence.update(), Update), (presence.leave(), Leave)],
        Some(client) => [
            (presence.enter_client(client), Enter),
            (presence.update_client(client), Update),
            (presence.leave_client(client), Leave),
        ],
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8d/enter-implicitly-attaches-0
    // UTS: realtime/unit/RTP15e/enterclient-implicitly-attaches-0
    // Spec: RTP9e, RTP10e
    async fn entering_attaches_the_channel_first(format) {
        for other in [None, Some("user-1")] {
            for way in 0..3 {
                let (client, _service, mut peer) = connected_with(format, |options| match other {
                    None => options.client_id("my-client"),
                    Some(_) => options,
                })
                .await;
                let channel = client.channels().get("ch");
                assert_eq!(channel.state(), ChannelState::Initialized);
                let (change, action) = changes(&channel, other).into_iter().nth(way).unwrap();
                let answer = async {
                    peer.attach("ch").await;
                    accept(&mut peer).await
                };
                let (result, said) = tokio::join!(change.into_future(), answer);
                result.unwrap();
                assert_eq!((said.action, said.client_id.as_deref()), (Some(action), other));
                assert_eq!(channel.state(), ChannelState::Attached);
            }
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8g/enter-detached-failed-errors-0
    async fn entering_a_failed_channel_fails(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 90001, 400));
        assert_eq!(code(attaching.await.unwrap()), 90001);
        assert_eq!(channel.state(), ChannelState::Failed);
        let error = channel.presence().enter().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (91001, Some(400)));
        assert_eq!(error.cause().unwrap().code.0, 90001);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8j/enter-null-clientid-errors-0
    async fn an_anonymous_client_cannot_enter(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        for (change, _) in changes(&channel, None) {
            let error = change.await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (91000, Some(400)));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8j/enter-wildcard-clientid-errors-1
    async fn a_wildcard_client_cannot_enter_without_a_client_id(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            connected.details.as_mut().unwrap().client_id = Some("*".into());
        }));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let channel = client.channels().get("ch");
        attach(&channel, &mut peer).await;
        assert_eq!(code(channel.presence().enter().await), 91000);
        // `*` is no valid client id of a member either.
        assert_eq!(code(channel.presence().enter_client("*").await), 40012);
        assert_eq!(code(channel.presence().enter_client("").await), 40012);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP8h/nack-presence-permission-denied-0
    // Spec: RTP8b, RTP8i, RTP9c, RTP10b
    async fn a_refused_enter_fails(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        for (refusal, status) in [(40160, 401), (91000, 400)] {
            for (change, _) in changes(&channel, None) {
                refused(&mut peer, change, refusal, status).await;
            }
        }
    }
}

in_both_formats! {
    // Spec: RTP14b, RTP15d
    async fn a_refused_enter_for_another_client_fails(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        for (change, _) in changes(&channel, Some("other")) {
            refused(&mut peer, change, 40160, 401).await;
        }
    }
}

/// The service refuses a change, and the call returns its error.
async fn refused(peer: &mut Peer, change: PresenceChange, refusal: u32, status: u16) {
    let answer = async {
        let publish = said(peer).await;
        peer.send(nack(publish.msg_serial, refusal, status));
    };
    let (result, ()) = tokio::join!(change.into_future(), answer);
    let error = result.unwrap_err();
    assert_eq!((error.code().0, error.status()), (refusal, Some(status)));
}

in_both_formats! {
    // UTS: realtime/unit/RTP14a/enterclient-on-behalf-0
    // UTS: realtime/unit/RTP15a/updateclient-leaveclient-0
    // Spec: RTP14, RTP15
    async fn a_wildcard_client_enters_for_others(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let presence = channel.presence();
        let changes = [
            (presence.enter_client("user-alice").data("alice-data"), Enter, "user-alice", "alice-data"),
            (presence.enter_client("user-bob").data("bob-data"), Enter, "user-bob", "bob-data"),
            (presence.enter_client("user-1").data("entered"), Enter, "user-1", "entered"),
            (presence.update_client("user-1").data("updated"), Update, "user-1", "updated"),
            (presence.leave_client("user-1").data("leaving"), Leave, "user-1", "leaving"),
        ];
        for (change, action, client, data) in changes {
            let (result, said) = tokio::join!(change.into_future(), accept(&mut peer));
            result.unwrap();
            assert_eq!((said.action, said.data.as_str()), (Some(action), Some(data)));
            assert_eq!(said.client_id.as_deref(), Some(client));
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP15f/enterclient-mismatched-clientid-0
    async fn an_identified_client_enters_only_for_itself(format) {
        let (client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        for (change, _) in changes(&channel, Some("other-client")) {
            let error = change.await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40012, Some(400)));
        }
        quiet(&client, &mut peer).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(channel.state(), ChannelState::Attached);
        let own = channel.presence().enter_client("my-client");
        let (result, said) = tokio::join!(own.into_future(), accept(&mut peer));
        result.unwrap();
        assert_eq!(said.client_id.as_deref(), Some("my-client"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP15c/enterclient-no-side-effects-0
    async fn entering_for_others_leaves_the_own_member(format) {
        // A wildcard client has no client id to enter with, and gets an error once connected. An enter from before the
        // connection reaches the service unchanged.
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        client.connection().connect();
        let entering = entering(&channel, "main-client");
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        peer.attach("ch").await;
        let own = accept(&mut peer).await;
        entering.await.unwrap().unwrap();
        assert_eq!((own.action, own.data.as_str()), (Some(Enter), Some("main-client")));
        assert_eq!(own.client_id, None);
        let presence = channel.presence();
        let changes = [
            (presence.enter_client("other-user").data("other-data"), Enter),
            (presence.leave_client("other-user"), Leave),
        ];
        for (change, action) in changes {
            let (result, said) = tokio::join!(change.into_future(), accept(&mut peer));
            result.unwrap();
            assert_eq!((said.action, said.client_id.as_deref()), (Some(action), Some("other-user")));
        }
        quiet(&client, &mut peer).await;
    }
}

/// Enters this many members, each with its own client id. The service delivers each to `echo`.
async fn enter_many(
    channel: &Channel,
    peer: &mut Peer,
    count: usize,
    mut echo: impl FnMut(&mut Peer, PresenceMessage),
) {
    let enters = (0..count).map(|number| {
        let change = channel.presence().enter_client(format!("user-{number}"));
        change.data(format!("data-{number}")).into_future()
    });
    let answer = async {
        for number in 0..count {
            let said = accept(peer).await;
            assert_eq!(said.action, Some(Enter));
            assert_eq!(said.client_id.as_deref(), Some(&*format!("user-{number}")));
            echo(peer, said);
        }
    };
    let (results, ()) = tokio::join!(join_all(enters), answer);
    assert!(results.into_iter().all(|result| result.is_ok()));
}

/// The entered members, as the service delivers them.
fn members_of(connection: &str, count: usize, action: PresenceAction) -> Vec<PresenceMessage> {
    let member = |number| {
        let (client, data) = (format!("user-{number}"), format!("data-{number}"));
        did(action, &client, &format!("{connection}:{number}:0"), &data)
    };
    (0..count).map(member).collect()
}

fn assert_all_there(members: &[PresenceMessage], connection: &str, count: usize) {
    assert_eq!(members.len(), count);
    for expected in members_of(connection, count, PresenceAction::Present) {
        assert!(members.contains(&expected), "{expected:?}");
    }
}

const COUNT: usize = 250;

in_both_formats! {
    // UTS: realtime/unit/RTP4/bulk-enterclient-same-connection-0
    async fn many_members_on_ones_own_connection(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with_presence());
        attaching.await.unwrap().unwrap();
        let mut enters = channel.presence().subscribe().action(Enter).await.unwrap();
        let entered = members_of("connection-1", COUNT, Enter);
        let mut echoes = entered.iter().cloned();
        enter_many(&channel, &mut peer, COUNT, |peer, _| {
            peer.send(presence(vec![echoes.next().unwrap()]));
        })
        .await;
        peer.send(sync("seq1:", members_of("connection-1", COUNT, PresenceAction::Present)));
        assert_all_there(&channel.presence().get().await.unwrap(), "connection-1", COUNT);
        for enter in entered {
            assert_eq!(enters.next().await, Some(enter));
        }
        assert!(enters.next().now_or_never().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP4/bulk-enterclient-diff-connections-1
    async fn many_members_seen_from_another_connection(format) {
        let (_one, _service, mut peer, channel) = with_channel(format).await;
        let (other, _other_service, mut other_peer) = connected(format).await;
        let other_channel = other.channels().get("ch");
        let attaching = attaching(&other_channel);
        other_peer.expect_attach("ch").await;
        other_peer.send(attached_with_presence());
        attaching.await.unwrap().unwrap();
        let mut enters = other_channel.presence().subscribe().action(Enter).await.unwrap();
        enter_many(&channel, &mut peer, COUNT, |_, _| {}).await;
        let entered = members_of("conn-A", COUNT, Enter);
        for enter in &entered {
            other_peer.send(presence(vec![enter.clone()]));
        }
        other_peer.send(sync("seq1:", members_of("conn-A", COUNT, PresenceAction::Present)));
        assert_all_there(&other_channel.presence().get().await.unwrap(), "conn-A", COUNT);
        for enter in entered {
            assert_eq!(enters.next().await, Some(enter));
        }
        assert!(enters.next().now_or_never().is_none());
    }
}
