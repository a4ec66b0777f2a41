//! The parts of a client (RTC2, RTC3, RTC4, RTC13, RTC15, RTC16, RTC17).

use capably::{
    Auth, Channel,
    realtime::{Channels, Connection, ConnectionState},
    rest::{Push, PushAdmin},
};
use capably_protocol::ServerFrame;

use crate::{in_both_formats, support::*};

// UTS: realtime/unit/RTC2/connection-attribute-0
// UTS: realtime/unit/RTC3/channels-attribute-0
// UTS: realtime/unit/RTC4/auth-attribute-0
// UTS: realtime/unit/RTC13/push-attribute-0
in_both_formats! {
    async fn a_client_has_its_parts(format) {
        let (client, _service) = client(format);
        let connection: &Connection = client.connection();
        assert_eq!(connection.state(), ConnectionState::Initialized);
        let channels: &Channels = client.channels();
        let channel: Channel = channels.get("test-RTC3");
        assert_eq!(channel.name(), "test-RTC3");
        let auth: &Auth = client.auth();
        assert_eq!(auth.token_details(), None);
        let push: Push = client.push();
        let _admin: PushAdmin = push.admin();
    }
}

// UTS: realtime/unit/RTC17/client-id-attribute-0
in_both_formats! {
    async fn the_client_id_is_that_of_auth(format) {
        let (client, _service) =
            client_with(format, |options| options.client_id("explicit-client-id"));
        assert_eq!(client.client_id().as_deref(), Some("explicit-client-id"));
        assert_eq!(client.client_id(), client.auth().client_id());
    }
}

// `Realtime::connect` creates a connected client; `Connection::connect` connects an existing one.
// UTS: realtime/unit/RTC15/connect-method-0
// Spec: RTC15a, RTN12
// UTS: realtime/unit/RTC16/close-method-0
in_both_formats! {
    async fn a_client_connects_and_closes(format) {
        let (client, mut service) = client(format);
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        client.connection().connect();
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let goodbye = async {
            assert_eq!(peer.receive().await, Some(capably_protocol::ClientFrame::Close));
            assert_eq!(client.connection().state(), ConnectionState::Closing);
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), goodbye);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}
