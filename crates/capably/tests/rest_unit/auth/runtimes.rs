//! Runtimes that end or stall while a token is renewed (RSA4b).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, Error, Rest};
use futures_util::FutureExt;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::{authorizations, read};
use crate::support::scripted_http::{ScriptedHttp, respond};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// A client whose callback never answers its first call.
fn client() -> (Rest, ScriptedHttp, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let http = ScriptedHttp::always(respond(200, json!([])));
    let rest = http.rest_with(ClientOptions::default().auth_callback(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if call == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Error>(format!("token-{call}"))
        }
    }));
    (rest, http, calls)
}

/// Starts a renewal on this runtime.
fn begin(runtime: &Runtime, rest: &Rest) {
    runtime.block_on(async {
        let mut request = Box::pin(read(rest));
        assert!(request.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    });
}

#[test]
fn waiting_requests_restart_a_renewal_whose_runtime_has_ended() {
    let (rest, http, calls) = client();
    let first = runtime();
    begin(&first, &rest);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    runtime().block_on(async {
        let start = Instant::now();
        let mut waiting = Box::pin(read(&rest));
        assert!(waiting.as_mut().now_or_never().is_none());
        first.shutdown_background();
        let (one, two) = tokio::join!(waiting, read(&rest));
        one.unwrap();
        two.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(authorizations(&http), ["Bearer token-2"; 2]);
}

#[test]
fn a_renewal_on_a_stalled_runtime_times_out_for_waiting_requests() {
    let (rest, http, calls) = client();
    let first = runtime();
    begin(&first, &rest);
    runtime().block_on(async {
        let start = Instant::now();
        let (one, two) = tokio::join!(read(&rest), read(&rest));
        one.unwrap();
        two.unwrap();
        // 10 s for the callback, and twice 25 s for the following steps.
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    });
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(authorizations(&http), ["Bearer token-2"; 2]);
    drop(first);
}

#[test]
fn a_client_outlives_the_runtime_of_its_first_request() {
    let (rest, http, calls) = client();
    for _ in 0..3 {
        let runtime = runtime();
        begin(&runtime, &rest);
        drop(runtime);
        if calls.load(Ordering::Relaxed) == 2 {
            break;
        }
    }
    runtime().block_on(read(&rest)).unwrap();
    assert_eq!(authorizations(&http).last().unwrap(), "Bearer token-2");
}
