//! The client id, before and after the connection (RSA7, RSA12, RSA15).

use capably::{ClientOptions, TokenDetails, realtime::ConnectionState};
use capably_protocol::ServerFrame;

use crate::{in_both_formats, support::*, tokens::*};

fn connected_frame_of(client_id: Option<&str>) -> ServerFrame {
    connected_frame_with("connection-1", "key-1", |connected| {
        connected.details.as_mut().unwrap().client_id = client_id.map(Into::into);
    })
}

// Spec: RTC4a, RSA7b3, RSA12a, RSA12b, RTC17, RTC17a
in_both_formats! {
    async fn connected_sets_the_client_id(format) {
        for confirmed in [Some("ada"), None, Some("*")] {
            let (client, mut service) = client(format);
            assert_eq!(client.auth().client_id(), None);
            client.connection().connect();
            let mut peer = service.accept().await;
            peer.send(connected_frame_of(confirmed));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            assert_eq!(client.auth().client_id().as_deref(), confirmed, "RSA7b4");
            assert_eq!(client.client_id(), client.auth().client_id());
        }
    }
}

// Spec: RSA7b3, RTN24
in_both_formats! {
    async fn an_update_sets_the_client_id(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give(TokenDetails::new("anonymous")),
            _ => give(TokenDetails::new("of-ada").client_id("ada")),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        assert_eq!(client.client_id(), None);
        let answer = async {
            assert_eq!(peer.expect_auth().await, "of-ada");
            peer.send(connected_frame_of(Some("ada")));
        };
        let (token, ()) = tokio::join!(client.auth().authorize(), answer);
        token.unwrap();
        assert_eq!(client.client_id().as_deref(), Some("ada"));
    }
}

// Spec: RSA15a, RSA15c
in_both_formats! {
    async fn a_connection_of_another_client_is_a_failure(format) {
        let (client, mut service) = client_with(format, |options| options.client_id("ada"));
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame_of(Some("eve")));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((40102, Some(401), None)));
        peer.closed().await;
        advance(600_000).await;
        assert!(service.is_quiet());
    }
}

// Spec: RSA15a, RSA15b
in_both_formats! {
    async fn an_update_to_another_client_is_a_failure(format) {
        let (client, mut service) = client_with(format, |options| options.client_id("ada"));
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame_of(Some("*")));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.client_id().as_deref(), Some("ada"));
        peer.send(connected_frame_of(Some("eve")));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((40102, Some(401), None)));
        peer.closed().await;
    }
}

// Spec: RSA15a, RSA15c
in_both_formats! {
    async fn a_token_for_another_client_is_a_failure(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|_| give(TokenDetails::new("of-eve").client_id("eve")));
        let options: ClientOptions = options.client_id("ada");
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((40102, Some(401), None)));
        assert!(service.is_quiet());
    }
}
