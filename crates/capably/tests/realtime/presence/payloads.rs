//! Data of members, encoded and encrypted (RTP8e, RTP14c).

use capably::{
    CipherParams, Data,
    PresenceAction::{Enter, Update},
    realtime::RealtimeChannelOptions,
};
use serde_json::json;

use super::*;
use crate::in_both_formats;

fn cipher() -> CipherParams {
    CipherParams::from_key(&[7; 16]).unwrap()
}

in_both_formats! {
    // Spec: RTP8e, RTP14c
    async fn every_type_of_data_is_sent_and_received(format) {
        let (client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        let payloads = [
            Data::from("text"),
            Data::from(vec![0, 159, 146, 150]),
            Data::from(json!({ "a": [1, 2] })),
            Data::None,
        ];
        for data in payloads {
            let update = channel.presence().update().data(data.clone());
            let (result, _) =
                tokio::join!(update.into_future(), echo(&mut peer, "connection-1", "my-client"));
            result.unwrap();
            let event = events.next().await.unwrap();
            assert_eq!((event.action, event.data, event.encoding), (Some(Update), data.clone(), None));
            quiet(&client, &mut peer).await;
            assert_eq!(channel.presence().get().await.unwrap()[0].data, data);
        }
        assert_eq!(code(channel.presence().update().data(json!(5)).await), 40013);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTP8e, RSL5a, RSL6a
    async fn presence_data_is_encrypted_as_messages_are(format) {
        let (client, mut service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let options = RealtimeChannelOptions::new().cipher(cipher());
        let channel = client.channels().get_with("ch", options);
        attach(&channel, &mut peer).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        let enter = channel.presence().enter().data("secret");
        let (result, said) =
            tokio::join!(enter.into_future(), echo(&mut peer, "connection-1", "my-client"));
        result.unwrap();
        assert!(said.encoding.as_deref().unwrap().starts_with("utf-8/cipher+aes-128-cbc"));
        assert_ne!(said.data.as_str(), Some("secret"));
        let event = events.next().await.unwrap();
        assert_eq!((event.data.as_str(), event.encoding), (Some("secret"), None));

        // The automatic enter has the same data, encrypted.
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        let again = accept(&mut peer).await;
        assert_eq!((again.action, &again.data, &again.encoding), (Some(Enter), &said.data, &said.encoding));
    }
}

in_both_formats! {
    // Spec: RSL6b
    async fn undecodable_data_is_delivered_partly_decoded(format) {
        let (client, _service, mut peer) = connected(format).await;
        let options = RealtimeChannelOptions::new().cipher(cipher());
        let channel = client.channels().get_with("ch", options);
        attach(&channel, &mut peer).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        for encoding in ["utf-8/cipher+aes-256-cbc", "mystery"] {
            let odd = PresenceMessage {
                encoding: Some(encoding.into()),
                ..did(Enter, "alice", &format!("{encoding}:0:0"), "left as it is")
            };
            peer.send(presence(vec![odd.clone()]));
            assert_eq!(events.next().await, Some(odd));
        }
        assert_eq!(channel.presence().get().await.unwrap().len(), 2);
    }
}

in_both_formats! {
    // Spec: TP5, TO3l8
    async fn data_that_is_too_large_is_refused(format) {
        let (client, _service, mut peer, channel) = with_channel_and(format, |options| {
            options.client_id("my-client").max_message_size(100)
        })
        .await;
        let error = channel.presence().enter().data("x".repeat(101)).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40009, Some(400)));
        quiet(&client, &mut peer).await;
        let enter = channel.presence().enter().data("x".repeat(100));
        let (result, _) = tokio::join!(enter.into_future(), accept(&mut peer));
        result.unwrap();
    }
}
