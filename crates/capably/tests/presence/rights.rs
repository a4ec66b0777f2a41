//! The rights to enter and to see members (RTP8h, RTP17a).

use capably::{PresenceAction::Enter, realtime::RealtimeChannelOptions};
use capably_protocol::ChannelMode;

use super::*;

in_both_formats! {
    // Spec: RTP8h
    async fn entering_needs_the_presence_mode(binary) {
        let server = server().await;
        let one = named(&server, binary, "ada").await;
        let options = RealtimeChannelOptions::new().modes([ChannelMode::PresenceSubscribe]);
        let channel = one.channels().get_with("room", options);
        let error = channel.presence().enter().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40165, Some(401)));
        assert_eq!(channel.presence().get().await.unwrap(), []);
    }
}

in_both_formats! {
    // Spec: RTP17a
    async fn without_the_subscribe_mode_a_client_receives_only_its_own_presence(binary) {
        let server = server().await;
        let (one, other) = (named(&server, binary, "ada").await, named(&server, binary, "bob").await);
        let other = attached(&other, "room").await;
        other.presence().enter().await.unwrap();
        let options = RealtimeChannelOptions::new().modes([ChannelMode::Presence]);
        let channel = one.channels().get_with("room", options);
        let mut events = channel.presence().subscribe().await.unwrap();
        channel.presence().enter().data("me").await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.action, event.client_id.as_deref()), (Some(Enter), Some("ada")));
        assert_eq!(readable(&channel.presence().get().await.unwrap()), [("ada", "me")]);
        assert_eq!(readable(&other.presence().get().await.unwrap()), [("ada", "me"), ("bob", "")]);
    }
}

in_both_formats! {
    // Spec: RTP8j, RTP15f
    async fn a_client_enters_only_under_its_own_id(binary) {
        let server = server().await;
        let (anyone, ada) = (client(&server, binary).await, named(&server, binary, "ada").await);
        let room = attached(&anyone, "room").await;
        assert_eq!(room.presence().enter().await.unwrap_err().code().0, 91000);
        let own = attached(&ada, "room").await;
        assert_eq!(own.presence().enter_client("bob").await.unwrap_err().code().0, 40012);
        own.presence().enter_client("ada").await.unwrap();
        // One client on two connections is two members.
        room.presence().enter_client("ada").data("other").await.unwrap();
        let members = own.presence().get().await.unwrap();
        assert_eq!(readable(&members), [("ada", ""), ("ada", "other")]);
        let id = anyone.connection().id().unwrap();
        let mine = own.presence().get().connection_id(id).await.unwrap();
        assert_eq!(readable(&mine), [("ada", "other")]);
    }
}
