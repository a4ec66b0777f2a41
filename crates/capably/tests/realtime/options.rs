//! The least and the largest value of every duration and size among the options.

use std::{sync::Arc, time::Duration};

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::{ClientFrame, Format, ServerFrame};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    in_both_formats,
    support::{Peer, Service, attached, client_with, connected_frame_with},
};

type Setter = (&'static str, fn(ClientOptions, Duration) -> ClientOptions);

const TIMES: [Setter; 8] = [
    ("disconnected_retry_timeout", ClientOptions::disconnected_retry_timeout),
    ("suspended_retry_timeout", ClientOptions::suspended_retry_timeout),
    ("channel_retry_timeout", ClientOptions::channel_retry_timeout),
    ("http_open_timeout", ClientOptions::http_open_timeout),
    ("http_request_timeout", ClientOptions::http_request_timeout),
    ("realtime_request_timeout", ClientOptions::realtime_request_timeout),
    ("http_max_retry_duration", ClientOptions::http_max_retry_duration),
    ("fallback_retry_timeout", ClientOptions::fallback_retry_timeout),
];

/// The durations that the service sets, in ms: `connectionStateTtl` and `maxIdleInterval`.
type Details = (u64, u64);

const USUAL: Details = (10_000, 15_000);

/// Answers the client while `up`, and refuses attempts otherwise. Counts the attempts.
async fn serve(mut service: Service, details: Details, mut up: watch::Receiver<bool>) -> u64 {
    let mut attempts = 0;
    loop {
        let attempt = tokio::select! {
            attempt = service.next_attempt() => attempt,
            _ = up.changed() => continue,
        };
        let Some(attempt) = attempt else { return attempts };
        attempts += 1;
        if !*up.borrow() {
            attempt.refuse();
            continue;
        }
        let mut peer = attempt.accept();
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            if let Some(own) = &mut connected.details {
                (own.connection_state_ttl, own.max_idle_interval) =
                    (Some(details.0), Some(details.1));
            }
        }));
        tokio::select! {
            () = answer(&mut peer) => {}
            _ = up.wait_for(|up| !up) => {}
        }
    }
}

async fn answer(peer: &mut Peer) {
    while let Some(frame) = peer.receive().await {
        match frame {
            ClientFrame::Attach(attach) => peer.send(attached(&attach.channel)),
            ClientFrame::Heartbeat { id } => peer.send(ServerFrame::Heartbeat { id }),
            ClientFrame::Close => peer.send(ServerFrame::Closed),
            _ => {}
        }
    }
}

/// Connects, attaches, is dropped until it is suspended, comes back, and closes.
async fn live(
    format: Format,
    details: Details,
    what: &str,
    options: impl FnOnce(ClientOptions) -> ClientOptions,
) {
    let (client, service) = client_with(format, options);
    let (up, is_up) = watch::channel(true);
    let service = tokio::spawn(serve(service, details, is_up));
    let began = Instant::now();
    let changes = client.connection().changes();
    let channel = client.channels().get("ch");

    client.connection().connect();
    let calls = tokio::spawn(tell(Arc::new(client.clone())));
    sleep(Duration::from_secs(5)).await;
    up.send_replace(false);
    sleep(Duration::from_secs(15)).await;
    up.send_replace(true);
    client.connection().connect();
    sleep(Duration::from_secs(5)).await;
    let closed = timeout(Duration::from_secs(60), client.close()).await;
    closed.unwrap_or_else(|_| panic!("{what}: close does not return"));

    // A driver that panicked emits no CLOSED.
    let mut last = None;
    let mut changes = changes;
    while let Some(Some(change)) = futures_util::FutureExt::now_or_never(changes.next()) {
        last = Some(change.current);
    }
    assert_eq!(last, Some(ConnectionState::Closed), "{what}");
    let elapsed = began.elapsed().as_millis();
    calls.abort();
    drop((channel, client));
    let attempts = timeout(Duration::from_secs(60), service).await.expect(what).expect(what);
    assert!(attempts >= 1, "{what}");
    assert!(u128::from(attempts) <= elapsed, "{what}: {attempts} attempts in {elapsed} ms");
}

/// Calls that wait for the service; their results do not matter.
async fn tell(client: Arc<Realtime>) {
    let channel = client.channels().get("ch");
    loop {
        let _ = channel.attach().await;
        let _ = client.connection().ping().await;
        sleep(Duration::from_secs(1)).await;
    }
}

in_both_formats! {
    async fn durations_may_be_the_shortest_and_the_longest(format) {
        for (name, set) in TIMES {
            for time in [Duration::from_nanos(1), Duration::from_millis(1), Duration::MAX] {
                let what = format!("{name}({time:?})");
                live(format, USUAL, &what, |options| set(options, time)).await;
            }
        }
        let all = |options| TIMES.iter().fold(options, |options, (_, set)| set(options, Duration::MAX));
        live(format, USUAL, "all the longest", all).await;
    }
}

in_both_formats! {
    async fn sizes_may_be_the_least_and_the_largest(format) {
        for size in [1, usize::MAX] {
            let what = format!("sizes of {size}");
            live(format, USUAL, &what, |options| {
                options.max_message_size(size).max_frame_size(size).http_max_retry_count(size)
            })
            .await;
        }
    }
}

in_both_formats! {
    async fn durations_from_the_service_may_be_the_shortest_and_the_longest(format) {
        for time in [0, 1, u64::MAX] {
            for details in [(time, USUAL.1), (USUAL.0, time), (time, time)] {
                live(format, details, &format!("{details:?}"), |options| options).await;
            }
        }
    }
}

#[tokio::test]
async fn a_duration_of_zero_is_refused_where_it_has_no_meaning() {
    let refused: Vec<_> = TIMES
        .iter()
        .filter(|(_, set)| {
            let options = set(ClientOptions::new("app.key:secret"), Duration::ZERO);
            Realtime::new(options.auto_connect(false)).is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(refused, TIMES.map(|(name, _)| name)[..6]);
}
