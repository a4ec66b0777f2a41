//! Programs whose listeners wait for their own client, or are slow, against the embedded server: each message arrives
//! exactly once and in order, and no other listener waits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/app.rs"]
#[allow(
    unused_macros,
    unused_imports,
    reason = "the tests of this file are run with different rights, too"
)]
mod app;

use std::{collections::BTreeSet, time::Duration};

use capably::{
    Annotation, Channel, ChannelMode, ClientOptions, Realtime, Subscription,
    plugin::{Plugin, Vcdiff},
    realtime::{RealtimeChannelOptions, SubscriptionEvent},
};
use capably_protocol::Format;
use serde_json::json;
use tokio::time::timeout;

use self::app::App;

/// A longer run counts as a hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// A test in both formats, each with and without the right to read history.
macro_rules! with_and_without_history {
    (async fn $name:ident($app:ident, $rights:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn run(format: Format, $rights: Rights) {
                let $app = App::start(format).await;
                timeout(PATIENCE, async $body).await.expect("it hangs");
            }

            #[tokio::test]
            async fn json() {
                run(Format::Json, Rights::All).await;
            }

            #[tokio::test]
            async fn json_without_history() {
                run(Format::Json, Rights::NoHistory).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(Format::MsgPack, Rights::All).await;
            }

            #[tokio::test]
            async fn msgpack_without_history() {
                run(Format::MsgPack, Rights::NoHistory).await;
            }
        }
    };
}

/// The capability of a client.
#[derive(Clone, Copy)]
enum Rights {
    All,
    NoHistory,
}

impl Rights {
    async fn client(self, app: &App) -> Realtime {
        self.client_with(app, |options| options).await
    }

    async fn client_with(
        self,
        app: &App,
        change: impl FnOnce(ClientOptions) -> ClientOptions,
    ) -> Realtime {
        let credentials = |options: ClientOptions| match self {
            Self::All => options.key(app.key(0)).client_id("ada"),
            Self::NoHistory => {
                let rights = [
                    "publish",
                    "subscribe",
                    "presence",
                    "annotation-publish",
                    "annotation-subscribe",
                ];
                let capability = json!({"*": rights}).to_string();
                let claims = json!({"x-ably-capability": capability, "x-ably-clientId": "ada"});
                options.token(app::jwt(app.key(0), 3600, claims))
            }
        };
        app.realtime_with(|options| change(credentials(options))).await
    }
}

/// Publishes jobs `0..count` without waiting for one before the next.
async fn publish_jobs(channel: &Channel, count: usize) {
    let mut receipts = Vec::new();
    for number in 0..count {
        receipts.push(channel.publish("job", number.to_string()).submit().await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

/// The number of the next job. Anything else, and a gap above all, is an error.
async fn next_job(jobs: &mut Subscription) -> usize {
    match jobs.next_event().await {
        Some(SubscriptionEvent::Message(job)) => job.data.as_str().unwrap().parse().unwrap(),
        other => panic!("not a job: {other:?}; {:?}", jobs.end_reason()),
    }
}

// Every job is answered with a publish that is waited for, and the jobs come faster than that.
with_and_without_history! {
    async fn a_hundred_thousand_jobs_are_answered(app, rights) {
        const COUNT: usize = 100_000;
        // Under load a debug build is behind by more than the two minutes for which other channels are stored.
        const JOBS: &str = "persisted:jobs";
        let client = rights.client(&app).await;
        let mut jobs = client.channels().get(JOBS).subscribe().await.unwrap();
        let results = client.channels().get("results");
        let other = app.realtime().await;
        let publisher = other.channels().get(JOBS);
        let work = async {
            for number in 0..COUNT {
                assert_eq!(next_job(&mut jobs).await, number);
                results.publish("done", number.to_string()).await.unwrap();
            }
        };
        tokio::join!(publish_jobs(&publisher, COUNT), work);
    }
}

with_and_without_history! {
    async fn a_listener_may_await_calls_of_the_client(app, rights) {
        let client = rights.client(&app).await;
        let subscribe = client.channels().get("jobs").subscribe();
        let mut jobs = subscribe.capacity(10).await.unwrap();
        let other = app.realtime().await;
        publish_jobs(&other.channels().get("jobs"), 1_000).await;
        for number in 0..1_000 {
            assert_eq!(next_job(&mut jobs).await, number);
            match number % 50 {
                0 => client.channels().get(format!("job-{number}")).attach().await.unwrap(),
                10 => client.channels().get("jobs").presence().update().await.unwrap(),
                20 => {
                    client.connection().ping().await.unwrap();
                }
                30 => {
                    client.channels().get("jobs").presence().get().await.unwrap();
                }
                40 => {
                    let history = client.channels().get("jobs").history().limit(1).await;
                    assert_eq!(history.is_ok(), matches!(rights, Rights::All));
                }
                _ => {}
            }
        }
    }
}

with_and_without_history! {
    async fn a_queue_of_one_is_enough(app, rights) {
        let client = rights.client(&app).await;
        let channel = client.channels().get("jobs");
        let mut jobs = channel.subscribe().capacity(1).await.unwrap();
        let mut weighed = channel.subscribe().capacity_bytes(0).await.unwrap();
        let other = app.realtime().await;
        let publisher = other.channels().get("jobs");
        let work = async {
            for number in 0..3_000 {
                assert_eq!(next_job(&mut jobs).await, number);
                channel.presence().enter().await.unwrap();
            }
        };
        let weigh = async {
            for number in 0..3_000 {
                assert_eq!(next_job(&mut weighed).await, number);
            }
        };
        tokio::join!(publish_jobs(&publisher, 3_000), work, weigh);
    }
}

with_and_without_history! {
    async fn a_listener_that_is_never_read_delays_no_other(app, rights) {
        let client = rights.client(&app).await;
        let channel = client.channels().get("jobs");
        let mut held = channel.subscribe().capacity(10).await.unwrap();
        let mut read = channel.subscribe().await.unwrap();
        let mut elsewhere = client.channels().get("elsewhere").subscribe().await.unwrap();
        let other = app.realtime().await;
        publish_jobs(&other.channels().get("jobs"), 2_000).await;
        other.channels().get("elsewhere").publish("job", "7").await.unwrap();
        assert_eq!(next_job(&mut elsewhere).await, 7);
        for number in 0..2_000 {
            assert_eq!(next_job(&mut read).await, number);
        }
        channel.publish("job", "2000").await.unwrap();
        client.connection().ping().await.unwrap();
        assert_eq!(next_job(&mut read).await, 2_000);
        // In the end, the listener is read.
        for number in 0..=2_000 {
            assert_eq!(next_job(&mut held).await, number);
        }
        other.channels().get("jobs").publish("job", "2001").await.unwrap();
        assert_eq!(next_job(&mut held).await, 2_001);
        assert_eq!(next_job(&mut read).await, 2_001);
    }
}

with_and_without_history! {
    async fn channels_that_publish_to_each_other_in_a_ring(app, rights) {
        const SEEDS: usize = 1_000;
        let client = rights.client(&app).await;
        let names = ["ring-0", "ring-1", "ring-2"];
        let mut hops = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let mut messages = client.channels().get(*name).subscribe().capacity(5).await.unwrap();
            let next = client.channels().get(names[(index + 1) % names.len()]);
            hops.push(tokio::spawn(async move {
                // Each message passes every channel twice.
                let mut seen = Vec::new();
                while seen.len() < 2 * SEEDS {
                    let number = next_job(&mut messages).await;
                    seen.push(number);
                    // The message counts its hops: the sixth is not sent on.
                    if number / SEEDS < 5 {
                        next.publish("job", (number + SEEDS).to_string()).await.unwrap();
                    }
                }
                seen
            }));
        }
        let other = app.realtime().await;
        publish_jobs(&other.channels().get("ring-0"), SEEDS).await;
        for (index, hop) in hops.into_iter().enumerate() {
            let seen = hop.await.unwrap();
            for round in [index, index + 3] {
                let own: Vec<_> = seen.iter().filter(|number| **number / SEEDS == round).collect();
                let expected: Vec<_> = (round * SEEDS..(round + 1) * SEEDS).collect();
                assert!(own.into_iter().eq(&expected), "round {round} of channel {index}");
            }
        }
    }
}

with_and_without_history! {
    async fn suppressed_echoes_are_no_gap(app, _rights) {
        let client = app
            .realtime_with(|options| options.key(app.key(0)).echo_messages(false))
            .await;
        let channel = client.channels().get("jobs");
        let mut jobs = channel.subscribe().capacity(5).await.unwrap();
        let other = app.realtime().await;
        let publisher = other.channels().get("jobs");
        publish_jobs(&publisher, 500).await;
        // The client does not receive the frame at the last position.
        channel.publish("own", "own").await.unwrap();
        for number in 0..500 {
            assert_eq!(next_job(&mut jobs).await, number);
        }
        publisher.publish("job", "500").await.unwrap();
        assert_eq!(next_job(&mut jobs).await, 500);
    }
}

with_and_without_history! {
    async fn deltas_are_applied_while_behind(app, rights) {
        let client = rights.client_with(&app, |options| options.plugin(Plugin::vcdiff(Vcdiff))).await;
        let options = RealtimeChannelOptions::new().param("delta", "vcdiff");
        let channel = client.channels().get_with("jobs", options);
        let mut slow = channel.subscribe().capacity(5).await.unwrap();
        let mut fast = channel.subscribe().await.unwrap();
        let other = app.realtime().await;
        let publisher = other.channels().get("jobs");
        let padded = |number: usize| format!("{number:0>500}");
        let mut receipts = Vec::new();
        for number in 0..1_000 {
            receipts.push(publisher.publish("job", padded(number)).submit().await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        for number in 0..1_000 {
            assert_eq!(next_job(&mut fast).await, number);
        }
        for number in 0..1_000 {
            assert_eq!(next_job(&mut slow).await, number);
        }
    }
}

with_and_without_history! {
    async fn a_slow_listener_to_presence_misses_no_member(app, rights) {
        let client = rights.client(&app).await;
        let channel = client.channels().get("jobs");
        let mut slow = channel.presence().subscribe().capacity(5).await.unwrap();
        let other = app.realtime_with(|options| options.key(app.key(0))).await;
        let members = other.channels().get("jobs");
        members.attach().await.unwrap();
        for number in 0..200 {
            members.presence().enter_client(format!("member-{number}")).await.unwrap();
        }
        let mut present = BTreeSet::new();
        while present.len() < 200 {
            present.insert(slow.next().await.unwrap().client_id.unwrap().to_string());
        }
        let expected: BTreeSet<_> = (0..200).map(|number| format!("member-{number}")).collect();
        assert_eq!(present, expected);
        assert_eq!(channel.presence().get().await.unwrap().len(), 200);
    }
}

with_and_without_history! {
    async fn a_slow_listener_to_annotations_misses_none(app, rights) {
        let client = rights.client(&app).await;
        let options = RealtimeChannelOptions::new().modes([ChannelMode::Subscribe, ChannelMode::AnnotationSubscribe]);
        let channel = client.channels().get_with("mutable:jobs", options);
        let mut slow = channel.annotations().subscribe().capacity(5).await.unwrap();
        let other = app.realtime().await;
        let annotated = other.channels().get("mutable:jobs");
        let serial = annotated.publish("job", "0").await.unwrap().serials[0].clone().unwrap();
        for number in 0..200 {
            let annotation = Annotation {
                annotation_type: Some("reaction:multiple.v1".into()),
                name: Some(format!("{number}").into()),
                ..Annotation::default()
            };
            annotated.annotations().publish(serial.clone(), annotation).await.unwrap();
        }
        for number in 0..200 {
            let annotation = slow.next().await.unwrap();
            assert_eq!(annotation.name.as_deref(), Some(&*number.to_string()));
        }
    }
}
