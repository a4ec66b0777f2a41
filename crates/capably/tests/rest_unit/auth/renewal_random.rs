//! Renewals with callers and callbacks at random (RSA4b).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, Error, ErrorCode, Rest};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{runtime::Builder, time::sleep};

use super::read;
use crate::support::scripted_http::{ScriptedHttp, respond};

/// The time that a callback has, in ms.
const LIMIT: u64 = 10_000;

/// The outcome of a call of the callback, after this many ms.
#[derive(Clone, Copy, Debug)]
enum Call {
    Give(u64),
    Fail(u64),
    Panic(u64),
    Hang,
    UseTheClient(u64),
    UseTheClientInATask,
}

impl Call {
    fn random(rng: &mut Rng) -> Self {
        // Callers start at even times, and calls end at odd times.
        let after = rng.u64(..100) * 2 + 1;
        match rng.u8(..6) {
            0 => Self::Give(after),
            1 => Self::Fail(after),
            2 => Self::Panic(after),
            3 => Self::Hang,
            4 => Self::UseTheClient(after),
            _ => Self::UseTheClientInATask,
        }
    }

    /// Its duration in ms, and its outcome.
    fn expected(self) -> (u64, Result<(), u32>) {
        match self {
            Self::Give(after) => (after, Ok(())),
            Self::Fail(after) => (after, Err(50_000)),
            Self::Panic(after) | Self::UseTheClient(after) => (after, Err(40_170)),
            Self::Hang | Self::UseTheClientInATask => (LIMIT, Err(40_170)),
        }
    }
}

/// A caller that starts a request at one time, and abandons it at another.
#[derive(Clone, Copy, Debug)]
struct Caller {
    comes: u64,
    gives_up: Option<u64>,
}

/// The result of every caller, and the number of calls.
fn expected(callers: &[Caller], script: &[Call]) -> (Vec<Option<Result<(), u32>>>, usize) {
    let mut calls = 0;
    let mut running: Option<(u64, Result<(), u32>)> = None;
    let outcomes = callers.iter().map(|caller| {
        let outcome = match running {
            Some((_, Ok(()))) => running,
            Some((ends, _)) if ends > caller.comes => running,
            Some(_) | None => {
                let (takes, outcome) = script[calls].expected();
                calls += 1;
                Some((caller.comes + takes, outcome))
            }
        };
        running = outcome;
        let (ends, outcome) = outcome.expect("it was just set");
        let waits_till = caller.gives_up.map_or(u64::MAX, |after| caller.comes + after);
        (ends.max(caller.comes) < waits_till).then_some(outcome)
    });
    (outcomes.collect(), calls)
}

async fn run(rest: Rest, callers: &[Caller]) -> Vec<Option<Result<(), u32>>> {
    let tasks = callers.iter().map(|&Caller { comes, gives_up }| {
        let rest = rest.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(comes)).await;
            let reading = read(&rest);
            let outcome = match gives_up {
                Some(after) => {
                    tokio::time::timeout(Duration::from_millis(after), reading).await.ok()?
                }
                None => reading.await,
            };
            Some(outcome.map_err(|error| error.code().0))
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

#[test]
fn every_caller_shares_the_single_renewal() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(1..12);
        let mut times: Vec<u64> =
            (0..count).map(|_| rng.u64(..12_000) / [1, 60][rng.usize(..2)]).collect();
        times.sort_unstable();
        let callers: Vec<Caller> = (0..count)
            .zip(times)
            .map(|(index, at)| Caller {
                comes: (at + index as u64) * 2,
                gives_up: rng.bool().then(|| rng.u64(..150) * 2 + 2),
            })
            .collect();
        let script: Vec<Call> = (0..count).map(|_| Call::random(&mut rng)).collect();

        let (own, running, most, calls) = (
            Arc::new(OnceLock::<Rest>::new()),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let left = Arc::new(Mutex::new(VecDeque::from(script.clone())));
        let options = ClientOptions::default().use_binary_protocol(seed % 2 == 0).auth_callback({
            let (own, most, calls) = (Arc::clone(&own), Arc::clone(&most), Arc::clone(&calls));
            move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
                let guard = Running::begin(&running, &most);
                let call = left.lock().unwrap().pop_front().expect("not more calls than callers");
                let rest = own.get().expect("the client is there").clone();
                async move {
                    let _guard = guard;
                    sleep(Duration::from_millis(match call {
                        Call::Give(after)
                        | Call::Fail(after)
                        | Call::Panic(after)
                        | Call::UseTheClient(after) => after,
                        Call::Hang => u64::from(u32::MAX),
                        Call::UseTheClientInATask => 0,
                    }))
                    .await;
                    match call {
                        Call::Give(_) => Ok("token"),
                        Call::Fail(_) => Err(Error::new(ErrorCode(50_000), 500, "down")),
                        Call::Panic(_) => panic!("as the script says"),
                        Call::Hang => unreachable!("it hangs"),
                        Call::UseTheClient(_) => read(&rest).await.map(|()| "token"),
                        Call::UseTheClientInATask => {
                            let task = tokio::spawn(async move { read(&rest).await });
                            task.await.unwrap().map(|()| "token")
                        }
                    }
                }
            }
        });
        let rest = ScriptedHttp::always(respond(200, json!([]))).rest_with(options);
        own.set(rest.clone()).expect("once");
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        let outcomes = runtime.unwrap().block_on(run(rest, &callers));
        let (expected, expected_calls) = expected(&callers, &script);
        assert_eq!(outcomes, expected, "seed {seed}: {callers:?}, {script:?}");
        assert_eq!(calls.load(Ordering::Relaxed), expected_calls, "seed {seed}");
        assert_eq!(most.load(Ordering::Relaxed), 1, "seed {seed}: one at a time");
    }
}

/// Counts calls that run at the same time.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(running: &Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
        most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
