//! The service asks for a new token (RTN22).

use capably::realtime::{ConnectionEvent, ConnectionState};
use capably_protocol::ServerFrame;

use crate::{in_both_formats, support::*, tokens::*};

// UTS: realtime/unit/RTN22/server-auth-triggers-reauth-0
// UTS: realtime/unit/RTN22/stays-connected-during-reauth-1
in_both_formats! {
    async fn a_requested_token_is_sent_on_the_same_connection(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Auth);
        assert_eq!(peer.expect_auth().await, "token-2");
        peer.send(connected_frame("connection-1", "key-1-updated"));
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ConnectionEvent::Update);
        assert_eq!(change.previous, ConnectionState::Connected);
        assert_eq!(change.current, ConnectionState::Connected);
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        assert_eq!(tokens.asked(), 2);
        assert_eq!(client.auth().token_details().unwrap().token, "token-2");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().key().as_deref(), Some("key-1-updated"));
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN22a/forced-disconnect-reauth-failure-0
in_both_formats! {
    async fn without_a_new_token_the_service_disconnects_the_client(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.unwrap().code.0, 40142);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
    }
}

// Spec: RTN22, RSA4c3
in_both_formats! {
    async fn a_later_renewal_clears_the_error(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            2 => refuse(50000, 500),
            _ => give(format!("token-{number}")),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        peer.send(ServerFrame::Auth);
        quiet(&client, &mut peer).await;
        assert_eq!(reason(&client), Some((80019, Some(401), Some(50000))));
        peer.send(ServerFrame::Auth);
        assert_eq!(peer.expect_auth().await, "token-3");
        peer.send(connected_frame("connection-1", "key-2"));
        quiet(&client, &mut peer).await;
        assert_eq!(reason(&client), None);
    }
}

// Spec: RTN22
in_both_formats! {
    async fn a_client_with_a_key_ignores_a_request_for_a_token(format) {
        let (client, _service, mut peer) = connected(format).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Auth);
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}
