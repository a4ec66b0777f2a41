//! Auth callbacks that use the client for which they provide a token (RSA4e).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{
    ClientOptions, Error, Rest,
    auth::AuthOptions,
    http::{BoxFuture, HttpMethod},
    rest::WrapperSdkProxyOptions,
};
use serde_json::json;
use tokio::time::Instant;

use super::{authorizations, read, rejected, telling_time};
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

type Act = fn(Rest) -> BoxFuture<'static, Result<(), Error>>;

/// A client whose callback runs this with the client before it returns a token, and the number of its calls.
fn client(http: &ScriptedHttp, binary: bool, act: Act) -> (Rest, Arc<AtomicUsize>) {
    let (own, calls) = (Arc::new(OnceLock::<Rest>::new()), Arc::new(AtomicUsize::new(0)));
    let (it, counted) = (Arc::clone(&own), Arc::clone(&calls));
    let options = ClientOptions::default().use_binary_protocol(binary).auth_callback(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let rest = it.get().expect("the client is there").clone();
        async move { act(rest).await.map(|()| "token-1") }
    });
    let rest = http.rest_with(options);
    own.set(rest.clone()).expect("once");
    (rest, calls)
}

/// A request that needs the token.
const NEEDY: [(&str, Act); 8] = [
    ("history", |rest| Box::pin(async move { read(&rest).await })),
    ("publish", |rest| {
        Box::pin(async move { rest.channels().get("c").publish("n", "d").await.map(drop) })
    }),
    ("request", |rest| {
        Box::pin(async move { rest.request(HttpMethod::Get, "/stats").await.map(drop) })
    }),
    ("stats", |rest| Box::pin(async move { rest.stats().await.map(drop) })),
    ("a wrapper SDK's", |rest| {
        Box::pin(async move {
            let options = WrapperSdkProxyOptions::new().agent("wrapper", Some("1"));
            read(&rest.create_wrapper_sdk_proxy(&options)?).await
        })
    }),
    ("authorize", |rest| Box::pin(async move { rest.auth().authorize().await.map(drop) })),
    ("request_token", |rest| Box::pin(async move { rest.auth().request_token().await.map(drop) })),
    ("authorize with another callback", |rest| {
        let options = AuthOptions::new().auth_callback(async |_| Ok::<_, Error>("other"));
        Box::pin(async move { rest.auth().authorize().options(options).await.map(drop) })
    }),
];

#[tokio::test(start_paused = true)]
async fn requests_of_a_callback_that_need_its_token_fail_at_once() {
    for (name, act) in NEEDY {
        for binary in [true, false] {
            let http = telling_time();
            let (rest, calls) = client(&http, binary, act);
            let start = Instant::now();
            let error = read(&rest).await.expect_err(name);
            assert_eq!((error.code().0, error.status()), (40170, Some(401)), "{name}");
            assert!(error.message().contains("auth callback"), "{name}: {error}");
            assert_eq!(start.elapsed(), Duration::ZERO, "{name}");
            assert_eq!(calls.load(Ordering::Relaxed), 1, "{name}");
            assert_eq!(http.requests().len(), 0, "{name}");
            // Each cause of a call of the callback.
            for error in [
                rest.auth().authorize().await.expect_err(name),
                rest.auth().request_token().await.expect_err(name),
            ] {
                assert_eq!(error.code().0, 40170, "{name}");
            }
            assert_eq!(calls.load(Ordering::Relaxed), 3, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_callback_that_need_no_new_token_work() {
    let others: [Act; 3] = [
        |rest| Box::pin(async move { rest.time().await.map(drop) }),
        |_| {
            Box::pin(async move {
                let other = ScriptedHttp::always(respond(200, json!([])));
                read(&other.rest_with(ClientOptions::new(KEY))).await
            })
        },
        |rest| {
            let options = AuthOptions::new().token("given");
            Box::pin(async move { rest.auth().authorize().options(options).await.map(drop) })
        },
    ];
    for act in others {
        let http = telling_time();
        let (rest, calls) = client(&http, true, act);
        read(&rest).await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_may_use_the_valid_token() {
    let http = telling_time();
    let (rest, calls) = client(&http, true, |rest| Box::pin(async move { read(&rest).await }));
    let given = AuthOptions::new().token("given");
    rest.auth().authorize().options(given).await.unwrap();
    // Its options are those of the client again, and its token is valid meanwhile.
    let own = {
        let rest = rest.clone();
        AuthOptions::new().auth_callback(move |_| {
            let rest = rest.clone();
            async move { read(&rest).await.map(|()| "next") }
        })
    };
    assert_eq!(rest.auth().request_token().options(own).await.unwrap().token, "next");
    assert_eq!(authorizations(&http), ["Bearer given"]);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_does_not_call_the_callback_again_from_inside() {
    let http = ScriptedHttp::always(rejected(40142));
    let (rest, calls) = client(&http, true, |rest| Box::pin(async move { read(&rest).await }));
    let start = Instant::now();
    assert_eq!(read(&rest).await.unwrap_err().code().0, 40170);
    assert_eq!((start.elapsed(), calls.load(Ordering::Relaxed)), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn two_clients_whose_callbacks_use_each_other_do_not_deadlock() {
    let http = telling_time();
    let (first, second) = (Arc::new(OnceLock::<Rest>::new()), Arc::new(OnceLock::<Rest>::new()));
    let using = |other: &Arc<OnceLock<Rest>>| {
        let other = Arc::clone(other);
        http.rest_with(ClientOptions::default().auth_callback(move |_| {
            let rest = other.get().expect("it is there").clone();
            async move { read(&rest).await.map(|()| "token") }
        }))
    };
    first.set(using(&second)).expect("once");
    second.set(using(&first)).expect("once");
    let start = Instant::now();
    let error = read(first.get().unwrap()).await.unwrap_err();
    assert_eq!((error.code().0, start.elapsed()), (40170, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_request_from_a_task_of_the_callback_ends_with_the_callback() {
    for binary in [true, false] {
        let http = telling_time();
        let (rest, calls) = client(&http, binary, |rest| {
            Box::pin(async move { tokio::spawn(async move { read(&rest).await }).await.unwrap() })
        });
        let start = Instant::now();
        let error = read(&rest).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40170, Some(401)));
        assert_eq!(start.elapsed(), Duration::from_secs(10), "the time that a callback has");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorization_by_a_task_of_the_callback_ends() {
    let acts: [Act; 2] = [
        |rest| {
            Box::pin(async move {
                tokio::spawn(async move { rest.auth().authorize().await.map(drop) }).await.unwrap()
            })
        },
        |rest| {
            Box::pin(async move {
                let asked = async move { rest.auth().request_token().await.map(drop) };
                tokio::spawn(asked).await.unwrap()
            })
        },
    ];
    for act in acts {
        let (rest, calls) = client(&telling_time(), true, act);
        let start = Instant::now();
        let error = read(&rest).await.unwrap_err();
        assert_eq!((error.code().0, start.elapsed()), (40170, Duration::ZERO));
        assert_eq!(calls.load(Ordering::Relaxed), 128);
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }
}
