//! Recovery across processes (RTN16).

use capably::realtime::ConnectionState;
use capably_protocol::{
    ClientFrame, ServerFrame,
    frame::{Attached, Connected, Delivery},
};

use crate::{in_both_formats, support::*};

fn failed_recovery(frame: ServerFrame) -> ServerFrame {
    let ServerFrame::Connected(connected) = frame else { panic!("not CONNECTED: {frame:?}") };
    ServerFrame::Connected(Box::new(Connected { error: Some(info(80018, 400)), ..*connected }))
}

// Spec: RTN16d, RTN16f, RTN16g, RTN16g1, RTN16i, RTN16j, RTN16k
in_both_formats! {
    async fn a_key_continues_the_connection_in_another_client(format) {
        let (first, _service, mut peer) = connected(format).await;
        let name = "größe,🦀\"";
        let channel = first.channels().get(name);
        let (attached, _) = tokio::join!(channel.attach(), peer.attach(name));
        attached.unwrap();
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 0);
        peer.send(ack(0, 1));
        receipt.await.unwrap();
        let key = first.connection().create_recovery_key().await.unwrap();

        let (second, mut service) = client_with(format, |options| options.recover(key));
        assert_eq!(second.connection().create_recovery_key().await, None);
        second.connection().connect();
        // Every attempt recovers until one has succeeded (RTN16k).
        service.attempt().await.refuse();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("recover").as_deref(), Some("key-1"));
        assert_eq!(attempt.param("resume"), None);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-2"));
        second.connection().when(ConnectionState::Connected).await.unwrap();
        let channel = second.channels().get(name);
        let (attached, attach) = tokio::join!(channel.attach(), peer.attach(name));
        attached.unwrap();
        assert_eq!(attach.channel_serial, Some(format!("{name}-serial").into()));
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 1);
        peer.send(ack(1, 1));
        receipt.await.unwrap();
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("recover"), None);
        assert_eq!(attempt.param("resume").as_deref(), Some("key-2"));
    }
}

// Spec: RTN16l
in_both_formats! {
    async fn a_recovery_that_fails_starts_serials_anew(format) {
        let (first, _service, mut peer) = connected(format).await;
        let channel = first.channels().get("ch");
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 0);
        peer.send(ack(0, 1));
        receipt.await.unwrap();
        let key = first.connection().create_recovery_key().await.unwrap();

        let (second, mut service) = client_with(format, |options| options.recover(key));
        let receipt = second.channels().get("ch").publish("n", "d").submit().await.unwrap();
        second.connection().connect();
        let mut peer = service.accept().await;
        peer.send(failed_recovery(connected_frame("connection-2", "key-2")));
        assert_eq!(peer.message().await.0, 0);
        peer.send(ack(0, 1));
        receipt.await.unwrap();
        assert_eq!(second.connection().error_reason().unwrap().code().0, 80018);
    }
}

// Spec: RTN16g2
in_both_formats! {
    async fn the_key_contains_only_the_positions_of_attached_channels(format) {
        let (client, _service, mut peer) = connected(format).await;
        assert!(client.connection().create_recovery_key().await.is_some());
        let (a, b) = (client.channels().get("a"), client.channels().get("b"));
        let mut messages = {
            let (messages, _) = tokio::join!(async { a.subscribe().await }, peer.attach("a"));
            messages.unwrap()
        };
        let (attached, _) = tokio::join!(b.attach(), peer.attach("b"));
        attached.unwrap();
        let mut frame = Delivery::new("a", vec![capably::Message::new("n", "d")]);
        frame.channel_serial = Some("a-2".into());
        peer.send(ServerFrame::Message(frame));
        messages.next().await.unwrap();
        let detached = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Detach { channel: "b".into() }));
            peer.send(ServerFrame::Detached { channel: "b".into(), error: None });
        };
        tokio::join!(async { b.detach().await.unwrap() }, detached);
        let key = client.connection().create_recovery_key().await.unwrap();
        let key = capably_protocol::RecoveryKey::decode(&key).unwrap();
        let serials: Vec<_> = key.channel_serials.into_iter().collect();
        assert_eq!(serials, [("a".into(), "a-2".into())]);
        peer.send(ServerFrame::Attached(Box::new(Attached {
            channel: "a".into(),
            ..Attached::default()
        })));
        peer.send(error(None, 50000, 500));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(client.connection().create_recovery_key().await, None);
    }
}

// Spec: RTN16f1
in_both_formats! {
    async fn a_malformed_key_does_not_prevent_a_connection(format) {
        let (client, mut service) = client_with(format, |options| options.recover("{nonsense"));
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!((attempt.param("recover"), attempt.param("resume")), (None, None));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}
