//! Whether a client connects by itself (RTN3).

use capably::{ClientOptions, Realtime, realtime::ConnectionState};

use crate::{http::scripted_http::KEY, in_both_formats, support::*};

// UTS: realtime/unit/RTN3/auto-connect-true-0
in_both_formats! {
    async fn a_client_connects_by_itself_by_default(format) {
        let (script, mut service) = script();
        let options = ClientOptions::new(KEY)
            .use_binary_protocol(format == capably_protocol::Format::MsgPack)
            .connector(std::sync::Arc::new(script));
        let client = Realtime::new(options).unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-id"));
    }
}

// UTS: realtime/unit/RTN3/auto-connect-false-1
// UTS: realtime/unit/RTN3/explicit-connect-after-false-2
in_both_formats! {
    async fn without_auto_connect_a_client_waits_for_connect(format) {
        let (client, mut service) = client(format);
        for _ in 0..10 {
            advance(50).await;
            tokio::task::yield_now().await;
        }
        assert!(service.is_quiet());
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}
