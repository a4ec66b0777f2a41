//! The timeouts of the options (RTC7).

use std::time::Duration;

use capably::{
    ClientOptions, Realtime,
    realtime::{ChannelState, ConnectionState},
};
use capably_protocol::Format;
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

async fn impatient(format: Format) -> (Realtime, Service, Peer) {
    connected_with(format, |options| options.realtime_request_timeout(Duration::from_millis(500)))
        .await
}

// UTS: realtime/unit/RTC7/attach-request-timeout-0
in_both_formats! {
    async fn attaching(format) {
        let (client, _service, mut peer) = impatient(format).await;
        let channel = client.channels().get("test-RTC7-attach");
        let start = Instant::now();
        assert_eq!(code(channel.attach().await), 90007);
        assert_eq!(start.elapsed().as_millis() / 10, 50);
        assert_eq!(channel.state(), ChannelState::Suspended);
        peer.expect_attach("test-RTC7-attach").await;
    }
}

// UTS: realtime/unit/RTC7/detach-request-timeout-1
in_both_formats! {
    async fn detaching(format) {
        let (client, _service, mut peer) = impatient(format).await;
        let channel = client.channels().get("test-RTC7-detach");
        attach(&channel, &mut peer).await;
        let start = Instant::now();
        assert_eq!(code(channel.detach().await), 90007);
        assert_eq!(start.elapsed().as_millis() / 10, 50);
        assert_eq!(channel.state(), ChannelState::Attached);
        peer.expect_detach("test-RTC7-detach").await;
    }
}

// UTS: realtime/unit/RTC7/disconnected-retry-timeout-2
in_both_formats! {
    async fn reconnecting(format) {
        let (client, mut service, peer) = connected_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(2))
        }).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let failed = Instant::now();
        advance(1_500).await;
        tokio::task::yield_now().await;
        assert!(service.is_quiet());
        service.attempt().await;
        let waited = failed.elapsed().as_millis();
        assert!((1_600..=2_002).contains(&waited), "{waited}");
    }
}

// UTS: realtime/unit/RTC7/default-timeouts-applied-3
// Spec: TO3l1, TO3l2, TO3l3, TO3l4, TO3l7, TO3l11
#[test]
fn defaults() {
    let options = format!("{:?}", ClientOptions::default());
    for expected in [
        "realtime_request_timeout: 10s",
        "disconnected_retry_timeout: 15s",
        "suspended_retry_timeout: 30s",
        "channel_retry_timeout: 15s",
        "http_open_timeout: 4s",
        "http_request_timeout: 10s",
    ] {
        assert!(options.contains(expected), "{expected}: {options}");
    }
}
