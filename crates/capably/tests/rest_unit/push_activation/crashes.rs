//! Calls at once, calls that are dropped, and processes that end in the middle.

use super::*;

// Spec: RSH3b1, RSH3c1
#[tokio::test]
async fn activations_at_once_register_one_device() {
    let storage = MemoryPushStorage::new();
    let options = options(&storage);
    let http = service();
    // Two handles of one client, and another client with the same options.
    let one = http.rest_with(options.clone());
    let other = http.rest_with(options);
    let (first, second, third) =
        tokio::join!(one.push().activate(), one.clone().push().activate(), other.push().activate());
    for outcome in [first, second, third] {
        outcome.unwrap();
    }
    assert_eq!(methods(&http), ["POST"]);
    assert_eq!(one.device(), other.device());
}

// Spec: RSH3g1, RSH4
#[tokio::test]
async fn an_activation_begins_when_the_deactivations_before_it_have_ended() {
    let http = service();
    let rest = http.rest_with(options(&MemoryPushStorage::new()));
    let push = rest.push();
    push.activate().await.unwrap();
    let first = rest.device().unwrap().id;
    // The second deactivation joins the first, which is under way.
    let (deactivated, activated, joined) =
        tokio::join!(push.deactivate(), push.activate(), push.deactivate());
    for outcome in [deactivated, activated, joined] {
        outcome.unwrap();
    }
    assert_eq!(methods(&http), ["POST", "DELETE", "POST"]);
    assert_ne!(rest.device().unwrap().id, first);
}

// Spec: RSH4
#[tokio::test]
async fn a_deactivation_waits_for_the_registration_under_way() {
    let http = service();
    let rest = http.rest_with(options(&MemoryPushStorage::new()));
    rest.push().update_recipient(PushRecipient::fcm("t0")).await.unwrap();
    let (activated, deactivated) = tokio::join!(rest.push().activate(), rest.push().deactivate());
    activated.unwrap();
    deactivated.unwrap();
    assert_eq!(methods(&http), ["POST", "DELETE"]);
    assert_eq!(rest.device(), None);
}

// Spec: RSH3b2
#[tokio::test]
async fn a_deactivation_ends_an_activation_that_waits_for_the_address() {
    let (asked, mut is_asked) = mpsc::unbounded_channel();
    let push = push_with(&MemoryPushStorage::new(), move || {
        asked.send(()).unwrap();
        std::future::pending::<Result<PushRecipient>>()
    });
    let rest = service().rest_with(ClientOptions::new(KEY).push(push));
    let activation = tokio::spawn(rest.push().activate());
    soon(is_asked.recv()).await.unwrap();
    rest.push().deactivate().await.unwrap();
    let error = activation.await.unwrap().unwrap_err();
    assert_eq!((error.code().0, error.status()), (40000, Some(400)));
    assert!(error.message().contains("deactivate"), "{error}");
}

/// A service whose answers to this method wait for a permit.
fn gated(method: &'static str) -> (ScriptedHttp, Arc<Mutex<bool>>) {
    let open = Arc::new(Mutex::new(false));
    let gate = Arc::clone(&open);
    let http = ScriptedHttp::new(move |request, _| {
        if request.method.as_str() == method && !*gate.lock().unwrap() {
            return Answer::Hang;
        }
        answer(request.method.as_str())
    });
    (http, open)
}

/// Lets other tasks run until there have been this many requests.
async fn requests(http: &ScriptedHttp, count: usize) {
    soon(async {
        while http.requests().len() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_nothing_back() {
    let http = service();
    let storage = MemoryPushStorage::new();
    let rest = http.rest_with(options(&storage));
    // Never polled: nothing happens.
    drop(rest.push().activate());
    assert_eq!(storage.load().unwrap(), None);
    let call = rest.push().activate();
    tokio::select! {
        biased;
        _ = call => panic!("it is not done at once"),
        () = std::future::ready(()) => {}
    }
    requests(&http, 1).await;
    // The result of the dropped call is there.
    while !rest.push().device().await.unwrap().is_registered() {}
    assert_eq!(methods(&http), ["POST"]);
}

// Spec: RSH3h, RSH8a
#[tokio::test]
async fn a_process_that_ends_during_the_registration_leaves_it_to_the_next_one() {
    for format in both_formats() {
        let storage = MemoryPushStorage::new();
        let (http, open) = gated("POST");
        let rest = http.rest_with(format.clone().push(push(&storage)));
        let call = tokio::spawn(rest.push().activate());
        requests(&http, 1).await;
        let first = http.request().body();
        call.abort();
        drop(rest);

        *open.lock().unwrap() = true;
        let rest = http.rest_with(format.push(push(&storage)));
        rest.push().activate().await.unwrap();
        assert_eq!(http.requests().len(), 2);
        assert_eq!(http.requests()[1].body(), first, "the same device with the same secret");
        assert_eq!(rest.device().unwrap().id, first["id"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_process_that_ends_during_a_deregistration_leaves_it_to_the_next_one() {
    let storage = MemoryPushStorage::new();
    let (http, open) = gated("DELETE");
    let rest = http.rest_with(options(&storage));
    rest.push().activate().await.unwrap();
    let id = rest.device().unwrap().id;
    let call = tokio::spawn(rest.push().deactivate());
    requests(&http, 2).await;
    call.abort();
    drop(rest);

    *open.lock().unwrap() = true;
    // The next process wants to be active: first the old registration goes.
    let rest = http.rest_with(options(&storage));
    rest.push().activate().await.unwrap();
    assert_eq!(methods(&http), ["POST", "DELETE", "DELETE", "POST"]);
    assert_eq!(http.requests()[2].param("deviceId").as_deref(), Some(&*id));
    assert_ne!(rest.device().unwrap().id, id);
}

#[tokio::test]
async fn a_process_that_ends_during_an_update_leaves_it_to_the_next_one() {
    let storage = MemoryPushStorage::new();
    let (http, open) = gated("PATCH");
    let rest = http.rest_with(options(&storage));
    rest.push().activate().await.unwrap();
    rest.push().update_recipient(PushRecipient::fcm("t1")).await.unwrap();
    requests(&http, 2).await;
    drop(rest);

    *open.lock().unwrap() = true;
    let (push, mut updates) = with_updates(push_with(&storage, PushRecipient::fcm("t1")));
    let rest = http.rest_with(ClientOptions::new(KEY).push(push));
    rest.push().activate().await.unwrap();
    soon(updates.recv()).await.unwrap().unwrap();
    assert_eq!(methods(&http), ["POST", "PATCH", "PUT"]);
    let recipient = &http.requests()[2].body()["push"]["recipient"];
    assert_eq!(recipient["registrationToken"], "t1");
}

#[test]
fn a_runtime_that_ends_leaves_the_activation_to_the_next_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (http, open) = gated("POST");
    let rest = http.rest_with(options(&MemoryPushStorage::new()));
    let first = runtime();
    first.block_on(async {
        tokio::spawn(rest.push().activate());
        requests(&http, 1).await;
    });
    *open.lock().unwrap() = true;
    drop(first);
    runtime().block_on(async { rest.push().activate().await.unwrap() });
    assert_eq!(methods(&http), ["POST", "POST"]);
    assert_eq!(http.requests()[0].body()["id"], http.requests()[1].body()["id"]);
}

#[test]
fn a_call_goes_on_when_the_runtime_of_another_call_ends() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let first = runtime();
    let (http, open) = gated("POST");
    let rest = http.rest_with(options(&MemoryPushStorage::new()));
    first.spawn(rest.push().activate());
    runtime().block_on(async {
        requests(&http, 1).await;
        let mut joined = rest.push().activate();
        tokio::select! {
            biased;
            _ = &mut joined => panic!("the registration has not ended"),
            () = std::future::ready(()) => {}
        }
        *open.lock().unwrap() = true;
        first.shutdown_background();
        soon(joined).await.unwrap();
    });
    assert_eq!(methods(&http), ["POST", "POST"]);
}
