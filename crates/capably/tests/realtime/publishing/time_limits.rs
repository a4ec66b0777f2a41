//! Time limits of publishes: for an acknowledgement, and for a connection.

use std::time::Duration;

use capably::{Channel, Error, PublishResult, realtime::ChannelState};
use tokio::{task::JoinHandle, time::Instant};

use crate::{in_both_formats, support::*};

fn publishing(channel: &Channel) -> JoinHandle<Result<PublishResult, Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.publish("n", "d").await })
}

/// A connection on which the service only sends heartbeats.
async fn heartbeats(client: &capably::Realtime, peer: &mut Peer, seconds: u64) {
    for _ in 0..seconds / 10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        quiet(client, peer).await;
    }
}

in_both_formats! {
    async fn a_publish_times_out_without_an_acknowledgement(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let start = Instant::now();
        let (first, second) = (publishing(&channel), publishing(&channel));
        peer.skip(2).await;
        heartbeats(&client, &mut peer, 100).await;
        // Each acknowledgement restarts the time limit.
        peer.send(ack(0, 1));
        first.await.unwrap().unwrap();
        heartbeats(&client, &mut peer, 110).await;
        assert!(!second.is_finished());
        heartbeats(&client, &mut peer, 20).await;
        let error = second.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (50003, Some(408)));
        assert_eq!(start.elapsed().as_secs(), 230);
        // The connection and its serials continue.
        let third = publishing(&channel);
        assert_eq!(peer.message().await.0, 2);
        peer.send(ack(1, 2));
        third.await.unwrap().unwrap();
    }
}

in_both_formats! {
    async fn calls_of_a_client_that_never_connects_time_out(format) {
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        let mut messages = channel.subscribe().listen();
        let start = Instant::now();
        let (attaching, publishing) = (attaching(&channel), publishing(&channel));
        assert_eq!(code(attaching.await.unwrap()), 50003);
        assert_eq!(code(publishing.await.unwrap()), 50003);
        assert_eq!(start.elapsed().as_secs(), 120);
        assert_eq!(channel.state(), ChannelState::Suspended);
        // The channel attaches once the client connects, as after a long loss of the connection.
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        peer.attach("ch").await;
        peer.send(self::messages("ch", &["late"]));
        assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("late"));
    }
}
