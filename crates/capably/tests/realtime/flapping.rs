//! A connection that flaps for ever: each drops before the service has answered anything. Every future resolves within a
//! stated time nevertheless.

use std::{future::IntoFuture, time::Duration};

use capably::{Annotation, Channel, Error, Realtime, realtime::RealtimeChannelOptions};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{in_both_formats, support::*, tokens::*};

/// The connectionStateTtl and the realtimeRequestTimeout: so long an operation survives losses of its connection.
const LIMIT: Duration = Duration::from_secs(120 + 10);

/// Accepts connections that live for a random time, and answers nothing on them.
async fn flap(mut service: Service, mut rng: Rng, life: Duration, refusals: u8) {
    let mut random = move |most: Duration| most.mul_f64(rng.f64());
    let mut refuse = Rng::with_seed(u64::from(refusals));
    while let Some(attempt) = service.next_attempt().await {
        if refuse.u8(..100) < refusals {
            attempt.refuse();
            continue;
        }
        sleep(random(Duration::from_secs(2))).await;
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        sleep(random(life)).await;
    }
}

type Call = (&'static str, BoxFuture<'static, Result<(), Error>>);

/// A call as a task, with its result left out.
fn call<T: Send + 'static>(
    name: &'static str,
    call: impl IntoFuture<Output = Result<T, Error>, IntoFuture: Send + 'static>,
) -> Call {
    (name, call.into_future().map(|result| result.map(drop)).boxed())
}

/// Everything that waits for the service: on a channel that is attached, and on channels that are not.
fn calls(client: &Realtime, attached: &Channel) -> Vec<Call> {
    let other = |name: &str| client.channels().get(name);
    let annotation = Annotation {
        annotation_type: Some("reaction:distinct.v1".into()),
        name: Some("like".into()),
        ..Annotation::default()
    };
    let options = RealtimeChannelOptions::new().param("rewind", "1");
    vec![
        call("publish", attached.publish("n", "d")),
        call("publish to a channel that is not attached", other("a").publish("n", "d")),
        call("annotate", attached.annotations().publish("serial", annotation)),
        call("enter", attached.presence().enter()),
        call("enter a channel that is not attached", other("b").presence().enter()),
        call("get the members", other("c").presence().get()),
        call("attach", other("d").attach()),
        call("subscribe", other("e").subscribe()),
        call("set options", other("d").set_options(options)),
        call("detach", attached.detach()),
        call("authorize", client.auth().authorize()),
        call("ping", client.connection().ping()),
    ]
}

/// Runs the calls. Returns how each ended, and after how long.
async fn outcomes(calls: Vec<Call>) -> Vec<(&'static str, Result<(), u32>, Duration)> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (name, call) in calls {
        tasks.spawn(async move {
            let result = call.await.map_err(|error| error.code().0);
            (name, result, begun.elapsed())
        });
    }
    tasks.join_all().await
}

async fn attached_client(format: capably_protocol::Format) -> (Realtime, Service, Peer, Channel) {
    let tokens = Tokens::default();
    let (client, service, mut peer) = connected_as(format, tokens.options().client_id("ada")).await;
    let channel = client.channels().get("ch");
    attach(&channel, &mut peer).await;
    (client, service, peer, channel)
}

// Spec: RTN7e, RTN13c, RTN19a, RTN19b, RTL4f, RTL5f, RTL11, RTC8b1
in_both_formats! {
    async fn every_call_ends_with_its_error(format) {
        let (client, service, peer, channel) = attached_client(format).await;
        let calls = calls(&client, &channel);
        let flapping = async {
            sleep(Duration::from_secs(1)).await;
            drop(peer);
            flap(service, Rng::with_seed(1), Duration::from_secs(12), 0).await
        };
        let mut ended = tokio::select! {
            ended = outcomes(calls) => ended,
            () = flapping => panic!("the client is gone"),
        };
        ended.sort_unstable_by_key(|(name, ..)| *name);
        let results: Vec<_> = ended.iter().map(|(name, result, _)| (*name, *result)).collect();
        assert_eq!(results, [
            ("annotate", Err(50003)),
            ("attach", Err(90007)),
            ("authorize", Ok(())),
            ("detach", Err(90007)),
            ("enter", Err(50003)),
            ("enter a channel that is not attached", Err(91001)),
            ("get the members", Err(90007)),
            ("ping", Err(50003)),
            ("publish", Err(50003)),
            ("publish to a channel that is not attached", Err(50003)),
            ("set options", Err(90007)),
            ("subscribe", Err(90007)),
        ]);
        for (name, _, after) in ended {
            let most = match name {
                "authorize" | "ping" => Duration::from_secs(20),
                _ => LIMIT + Duration::from_secs(20),
            };
            assert!(after <= most, "{name}: {after:?}");
        }
    }
}

in_both_formats! {
    async fn every_call_ends_however_the_connection_flaps(format) {
        for seed in 0..12 {
            let mut rng = Rng::with_seed(seed);
            let (client, service, peer, channel) = attached_client(format).await;
            let life = rng.choice([0, 5, 60, 119]).map(Duration::from_secs).unwrap();
            let refusals = rng.choice([0, 50]).unwrap();
            let mut calls = calls(&client, &channel);
            rng.shuffle(&mut calls);
            drop(peer);
            let flapping = flap(service, rng, life, refusals);
            let ended = tokio::select! {
                ended = outcomes(calls) => ended,
                () = flapping => panic!("the client is gone"),
            };
            for (name, _, after) in ended {
                // The last loss is followed by an outage at most, and by the time that an acknowledgement may take.
                let most = 2 * (LIMIT + Duration::from_secs(120 + 40 + 120));
                assert!(after <= most, "seed {seed}: {name} took {after:?}");
            }
        }
    }
}
