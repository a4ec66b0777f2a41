//! A recovery key, and its effects in another client (RTN16). `crate::recovery` tests both together.

use capably::realtime::{ChannelState, ConnectionState};
use capably_protocol::{ServerFrame, frame::Attached};
use serde_json::{Value, json};

use crate::{in_both_formats, support::*};

fn attached_at(channel: &str, serial: &str) -> ServerFrame {
    ServerFrame::Attached(Box::new(Attached {
        channel: channel.into(),
        channel_serial: Some(serial.into()),
        ..Attached::default()
    }))
}

// UTS: realtime/unit/RTN16g/recovery-key-structure-0
// Spec: RTN16g1
in_both_formats! {
    async fn a_recovery_key_contains_key_serial_and_channels(format) {
        let (client, _service, mut peer) = connected(format).await;
        for (name, serial) in
            [("channel-alpha", "serial-a-001"), ("channel-éàü-世界", "serial-b-002")]
        {
            let channel = client.channels().get(name);
            let confirm = async {
                peer.expect_attach(name).await;
                peer.send(attached_at(name, serial));
            };
            let (attached, ()) = tokio::join!(channel.attach(), confirm);
            attached.unwrap();
        }
        let key = client.connection().create_recovery_key().await.unwrap();
        let key: Value = serde_json::from_str(&key).unwrap();
        let expected = json!({
            "connectionKey": "key-1",
            "msgSerial": 0,
            "channelSerials": {
                "channel-alpha": "serial-a-001",
                "channel-éàü-世界": "serial-b-002",
            },
        });
        assert_eq!(key, expected);
        let again: Value = serde_json::from_str(&key.to_string()).unwrap();
        assert_eq!(again["channelSerials"]["channel-éàü-世界"], "serial-b-002");
    }
}

// UTS: realtime/unit/RTN16g2/recovery-key-null-inactive-0
in_both_formats! {
    async fn without_a_connection_there_is_no_recovery_key(format) {
        let (client, mut service) = client(format);
        assert_eq!(client.connection().create_recovery_key().await, None);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert!(client.connection().create_recovery_key().await.is_some());
        let goodbye = async {
            peer.receive().await;
            assert_eq!(client.connection().state(), ConnectionState::Closing);
            assert_eq!(client.connection().create_recovery_key().await, None);
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), goodbye);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert_eq!(client.connection().create_recovery_key().await, None);

        let (failed, _service, mut peer) = connected(format).await;
        peer.send(error(None, 50000, 500));
        failed.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(failed.connection().create_recovery_key().await, None);

        let (suspended, mut service, peer) = connected(format).await;
        suspend(&suspended, &mut service, peer).await;
        assert_eq!(suspended.connection().create_recovery_key().await, None);
    }
}

fn key() -> String {
    json!({
        "connectionKey": "recovered-key-xyz",
        "msgSerial": 42,
        "channelSerials": {
            "channel-one": "serial-1-abc",
            "channel-two": "serial-2-def",
            "channel-üñîçöðé": "serial-3-unicode",
        },
    })
    .to_string()
}

// UTS: realtime/unit/RTN16k/recover-query-param-0
// Spec: RTN16
in_both_formats! {
    async fn a_client_recovers_once_and_then_resumes(format) {
        let (client, mut service) = client_with(format, |options| options.recover(key()));
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("recover").as_deref(), Some("recovered-key-xyz"));
        assert_eq!(attempt.param("resume"), None);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "new-key-after-recovery"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("new-key-after-recovery"));
        assert_eq!(attempt.param("recover"), None);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-3"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

// UTS: realtime/unit/RTN16f/recover-initializes-msgserial-0
in_both_formats! {
    async fn a_recovered_connection_continues_its_serials(format) {
        let (client, mut service) = client_with(format, |options| options.recover(key()));
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let channel = client.channels().get("test-channel");
        attach(&channel, &mut peer).await;
        let receipt = channel.publish("event", "data").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 42);
        peer.send(ack(42, 1));
        receipt.await.unwrap();
    }
}

// UTS: realtime/unit/RTN16f1/malformed-recovery-key-0
in_both_formats! {
    async fn a_malformed_recovery_key_is_ignored(format) {
        let (client, mut service) =
            client_with(format, |options| options.recover("this-is-not-valid-json!!!"));
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!((attempt.param("recover"), attempt.param("resume")), (None, None));
        let mut peer = attempt.accept();
        peer.send(connected_frame("fresh-conn", "fresh-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("fresh-conn"));
        assert_eq!(client.connection().key().as_deref(), Some("fresh-key"));
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN16j/recover-channel-serials-0
// Spec: RTN16i
in_both_formats! {
    async fn recovered_channels_continue_from_the_positions_of_the_key(format) {
        let (client, mut service) = client_with(format, |options| options.recover(key()));
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        for (name, serial) in [
            ("channel-one", Some("serial-1-abc")),
            ("channel-two", Some("serial-2-def")),
            ("channel-üñîçöðé", Some("serial-3-unicode")),
            ("another", None),
        ] {
            // The application attaches the channel; the client does not do so by itself.
            let channel = client.channels().get(name);
            quiet(&client, &mut peer).await;
            assert_eq!(channel.state(), ChannelState::Initialized);
            let attaching = attaching(&channel);
            let attach = peer.expect_attach(name).await;
            assert_eq!(attach.channel_serial.as_deref(), serial);
            peer.send(attached_at(name, "updated"));
            attaching.await.unwrap().unwrap();
        }
    }
}
