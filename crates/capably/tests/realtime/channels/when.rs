//! Waiting for a state (RTL25).

use capably::{
    Channel, Error,
    realtime::{ChannelState, ChannelStateChange},
};
use tokio::task::JoinHandle;

use crate::{in_both_formats, support::*};

fn waiting(
    channel: &Channel,
    state: ChannelState,
) -> JoinHandle<Result<Option<ChannelStateChange>, Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.when(state).await })
}

// Spec: RTL25
in_both_formats! {
    async fn a_wait_ends_with_the_reason_when_no_state_follows(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let waits = waiting(&channel, ChannelState::Suspended);
        quiet(&client, &mut peer).await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(waits.await.unwrap()), 40160);
        assert_eq!(code(channel.when(ChannelState::Attached).await), 40160);
        assert_eq!(channel.when(ChannelState::Failed).await.unwrap(), None);

        let detached_one = client.channels().get("detached");
        attach(&detached_one, &mut peer).await;
        let waits = waiting(&detached_one, ChannelState::Suspended);
        quiet(&client, &mut peer).await;
        let detaching = detaching(&detached_one);
        peer.expect_detach("detached").await;
        peer.send(detached("detached"));
        detaching.await.unwrap().unwrap();
        assert_eq!(code(waits.await.unwrap()), 90001);
        assert_eq!(code(detached_one.when(ChannelState::Attached).await), 90001);

        let released = client.channels().get("released");
        let waits = waiting(&released, ChannelState::Attached);
        quiet(&client, &mut peer).await;
        client.channels().release("released");
        assert_eq!(code(waits.await.unwrap()), 90001);
    }
}

// Spec: RTL25b
in_both_formats! {
    async fn a_wait_covers_an_attach_that_was_just_requested(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        let (attached, change, _) = tokio::join!(
            channel.attach(),
            channel.when(ChannelState::Attached),
            peer.attach("ch")
        );
        attached.unwrap();
        assert_eq!(change.unwrap().unwrap().current, ChannelState::Attached);
    }
}

// Spec: RTS4a
in_both_formats! {
    async fn a_wait_ends_when_the_channel_is_released(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached("ch"));
        let mut changes = channel.changes();
        client.channels().release("ch");
        assert_eq!(channel.state(), ChannelState::Detached);
        assert_eq!(changes.next().await, None);
        let _ = attaching.await.unwrap();
        peer.expect_detach("ch").await;
        assert_eq!(channel.state(), ChannelState::Detached);
    }
}
