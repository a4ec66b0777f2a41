//! Received items reach the right subscriptions (RTL1).

use capably::{Message, PresenceAction, PresenceMessage};
use capably_protocol::{Flags, ServerFrame, frame::Delivery};

use crate::{in_both_formats, support::*};

/// Something that a client on another connection did.
fn did(action: PresenceAction, client: &str) -> PresenceMessage {
    PresenceMessage {
        id: Some(format!("c1:{client}:0").into()),
        action: Some(action),
        client_id: Some(client.into()),
        connection_id: Some("c1".into()),
        timestamp: Some(1000),
        ..PresenceMessage::default()
    }
}

in_both_formats! {
    // Spec: RTL1, RTL9, RTL9a
    async fn messages_and_presence_are_delivered_from_the_attach_on(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let other = client.channels().get("other");
        let mut messages = channel.subscribe().attach(false).await.unwrap();
        let mut events = channel.presence().subscribe().attach(false).await.unwrap();
        let mut others = other.presence().subscribe().attach(false).await.unwrap();
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        // All frames are queued before the client reads the first.
        peer.send(attached_with("ch", |attached| attached.flags = Flags::HAS_PRESENCE));
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![Message::new("first", "d")])));
        let mut sync = Delivery::new("ch", vec![did(PresenceAction::Present, "ada")]);
        sync.channel_serial = Some("sync:".into());
        peer.send(ServerFrame::Sync(sync));
        let enters = vec![did(PresenceAction::Enter, "bob")];
        peer.send(ServerFrame::Presence(Delivery::new("ch", enters)));
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![Message::new("second", "d")])));
        attaching.await.unwrap().unwrap();
        for name in ["first", "second"] {
            assert_eq!(messages.next().await.unwrap().name.as_deref(), Some(name));
        }
        for (action, who) in [(PresenceAction::Present, "ada"), (PresenceAction::Enter, "bob")] {
            let event = events.next().await.unwrap();
            assert_eq!((event.action, event.client_id.as_deref()), (Some(action), Some(who)));
        }
        // Each channel has its own presence.
        let members = channel.presence().get().await.unwrap();
        let mut who: Vec<_> = members.iter().map(|own| own.client_id.as_deref().unwrap()).collect();
        who.sort_unstable();
        assert_eq!(who, ["ada", "bob"]);
        quiet(&client, &mut peer).await;
        assert!(futures_util::FutureExt::now_or_never(others.next()).is_none());
    }
}
