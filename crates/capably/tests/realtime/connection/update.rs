//! CONNECTED while connected (RTN24).

use std::sync::Arc;

use capably::{
    ClientOptions, Realtime, Rest,
    http::HttpMethod,
    realtime::{ConnectionEvent, ConnectionState},
    rest::WrapperSdkProxyOptions,
};
use capably_protocol::Format;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    http::scripted_http::{KEY, ScriptedHttp, respond},
    in_both_formats,
    support::*,
};

/// A connected client whose connection has these details, and its changes so far.
async fn world(format: Format) -> (Realtime, Service, Peer) {
    let (client, service, mut peer) = connected(format).await;
    quiet(&client, &mut peer).await;
    (client, service, peer)
}

// UTS: realtime/unit/RTN24/connected-emits-update-0
// UTS: realtime/unit/RTN24/connection-details-override-2
// Spec: RTN21, CD1, CD2, CD2a, CD2b
in_both_formats! {
    async fn a_second_connected_is_an_update_with_new_details(format) {
        let (client, mut service, mut peer) = world(format).await;
        let mut changes = client.connection().changes();
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            let details = connected.details.as_mut().unwrap();
            details.max_idle_interval = Some(20_000);
            details.max_message_size = Some(32_768);
            details.server_id = Some("server-2".into());
            details.client_id = Some("client-updated".into());
        }));
        let updated = Instant::now();
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ConnectionEvent::Update);
        assert_eq!(change.previous, ConnectionState::Connected);
        assert_eq!(change.current, ConnectionState::Connected);
        assert_eq!((change.reason, change.retry_in), (None, None));
        expect_none(&mut changes);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-1"));
        assert_eq!(client.client_id().as_deref(), Some("client-updated"));
        // A publish may have exactly the new size limit.
        let channel = client.channels().get("ch");
        let fits = channel.publish("n", "x".repeat(32_767)).submit().await.unwrap();
        let error = channel.publish("n", "x".repeat(32_768)).await.unwrap_err();
        assert_eq!(error.code().0, 40009);
        assert_eq!(peer.message().await.0, 0);
        peer.send(ack(0, 1));
        fits.await.unwrap();
        // The new limit of silence applies, too.
        service.attempt().await;
        assert_eq!(updated.elapsed().as_secs(), 30);
    }
}

// Spec: CD2d
in_both_formats! {
    async fn an_update_sets_the_size_limit(format) {
        let http = ScriptedHttp::always(respond(200, json!([])));
        let options = ClientOptions::new(KEY).max_frame_size(50).http_client(Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let wrapper = WrapperSdkProxyOptions::new().agent("wrapper", None);
        let wrapped = client.create_wrapper_sdk_proxy(&wrapper).unwrap();
        let send = |rest: &Rest, size: usize| {
            // Either format adds two bytes: quotation marks, or a MessagePack header.
            let body = json!("x".repeat(size - 2));
            rest.request(HttpMethod::Post, "/x").body(body).into_future()
        };
        for (limit, said) in [(50, None), (100, Some(100)), (40, Some(40))] {
            if said.is_some() {
                peer.send(connected_frame_with("connection-1", "key-1", |connected| {
                    connected.details.as_mut().unwrap().max_frame_size = said;
                }));
                quiet(&client, &mut peer).await;
            }
            for rest in [client.rest(), wrapped.rest()] {
                let sent = http.requests().len();
                send(rest, limit).await.unwrap();
                assert_eq!(code(send(rest, limit + 1).await), 40009);
                assert_eq!(http.requests().len(), sent + 1);
            }
        }
    }
}

// UTS: realtime/unit/RTN24/update-event-with-error-1
in_both_formats! {
    async fn an_update_may_have_a_reason(format) {
        let (client, _service, mut peer) = world(format).await;
        let mut changes = client.connection().changes();
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            connected.error = Some(info(40142, 401));
        }));
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ConnectionEvent::Update);
        assert_eq!(change.previous, ConnectionState::Connected);
        assert_eq!(change.current, ConnectionState::Connected);
        assert_eq!(change.reason, Some(info(40142, 401)));
        assert_eq!(client.connection().error_reason().unwrap().code().0, 40142);
    }
}

// UTS: realtime/unit/RTN24/no-duplicate-connected-event-3
in_both_formats! {
    async fn an_update_is_never_the_event_connected(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-id-1", "connection-key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let before = seen(&mut changes).into_iter().map(|change| change.event);
        assert_eq!(
            before.collect::<Vec<_>>(),
            [
                ConnectionEvent::State(ConnectionState::Connecting),
                ConnectionEvent::State(ConnectionState::Connected)
            ]
        );
        for _ in 0..3 {
            peer.send(connected_frame("connection-id-1", "connection-key-1"));
        }
        quiet(&client, &mut peer).await;
        let after = seen(&mut changes);
        assert_eq!(after.len(), 3);
        for change in after {
            assert_eq!(change.event, ConnectionEvent::Update);
            assert_eq!(change.previous, ConnectionState::Connected);
            assert_eq!(change.current, ConnectionState::Connected);
        }
    }
}
