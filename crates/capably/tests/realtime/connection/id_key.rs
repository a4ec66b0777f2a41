//! The connection's id and key (RTN8, RTN9).

use capably::realtime::ConnectionState;
use capably_protocol::ServerFrame;

use crate::{in_both_formats, support::*};

// UTS: realtime/unit/RTN8a/id-unset-until-connected-0
// UTS: realtime/unit/RTN9a/key-unset-until-connected-0
// UTS: realtime/unit/RTN8b/id-unique-per-connection-0
// UTS: realtime/unit/RTN9b/key-unique-per-connection-0
in_both_formats! {
    async fn id_and_key_are_those_of_the_connection(format) {
        let mut found = Vec::new();
        for number in [1, 2] {
            let (client, mut service) = client(format);
            assert_eq!((client.connection().id(), client.connection().key()), (None, None));
            client.connection().connect();
            let mut peer = service.accept().await;
            peer.send(connected_frame(&format!("conn-id-{number}"), &format!("conn-key-{number}")));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            found.push((client.connection().id().unwrap(), client.connection().key().unwrap()));
        }
        assert_eq!(
            found,
            [
                ("conn-id-1".into(), "conn-key-1".into()),
                ("conn-id-2".into(), "conn-key-2".into())
            ]
        );
    }
}

// UTS: realtime/unit/RTN8c/id-null-after-closed-0
// UTS: realtime/unit/RTN9c/key-null-after-closed-0
// Spec: RTN8d, RTN9d
in_both_formats! {
    async fn id_and_key_are_cleared_on_close(format) {
        let (client, _service, mut peer) = connected(format).await;
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-1"));
        let goodbye = async {
            peer.receive().await;
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), goodbye);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert_eq!((client.connection().id(), client.connection().key()), (None, None));
    }
}

// UTS: realtime/unit/RTN8c/id-key-null-after-failed-1
in_both_formats! {
    async fn id_and_key_are_cleared_on_failure(format) {
        for connects_before in [false, true] {
            let (client, mut service) = client(format);
            client.connection().connect();
            let mut peer = service.accept().await;
            if connects_before {
                peer.send(connected_frame("conn-id", "conn-key"));
                client.connection().when(ConnectionState::Connected).await.unwrap();
            }
            peer.send(error(None, 40005, 400));
            client.connection().when(ConnectionState::Failed).await.unwrap();
            assert_eq!((client.connection().id(), client.connection().key()), (None, None));
        }
    }
}

// UTS: realtime/unit/RTN8c/id-key-null-after-suspended-2
in_both_formats! {
    async fn id_and_key_are_unset_before_the_first_connection(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let refusals = async {
            loop {
                service.attempt().await.refuse();
            }
        };
        tokio::select! {
            suspended = client.connection().when(ConnectionState::Suspended) => {
                suspended.unwrap();
            }
            () = refusals => {}
        }
        assert_eq!((client.connection().id(), client.connection().key()), (None, None));
    }
}

// Spec: RTN8d, RTN9d, RTN14h
in_both_formats! {
    async fn id_and_key_stay_while_suspended(format) {
        let (client, mut service, peer) = connected(format).await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-1"));
    }
}
