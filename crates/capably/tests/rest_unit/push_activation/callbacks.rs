//! The program's code in an activation: transports and callbacks, which may fail, hang and panic.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

// Spec: RSH3a2d, RSH3b4a, RSH8h
#[tokio::test(start_paused = true)]
async fn a_transport_that_gives_no_address_ends_the_activation() {
    let denied = || Error::new(ErrorCode(40160), 401, "the user does not allow it");
    let storage = MemoryPushStorage::new;
    let transports = [
        (push_with(&storage(), move || async move { Err(denied()) }), 40160),
        (push_with(&storage(), || async { Ok(PushRecipient::from(json!({}))) }), 40000),
        (push_with(&storage(), || async { panic!("a transport that panics") }), 50000),
        (push_with(&storage(), || -> std::future::Ready<_> { panic!("at once") }), 50000),
        (push_with(&storage(), std::future::pending::<Result<PushRecipient>>), 50003),
    ];
    for (push, code) in transports {
        let http = service();
        let rest = http.rest_with(ClientOptions::new(KEY).push(push));
        for _ in 0..2 {
            assert_eq!(rest.push().activate().await.unwrap_err().code().0, code);
        }
        assert!(http.requests().is_empty());
        // An address from elsewhere helps.
        rest.push().update_recipient(PushRecipient::fcm("t")).await.unwrap();
        rest.push().activate().await.unwrap();
        assert_eq!(methods(&http), ["POST"]);
    }
}

// Spec: RSH3b3a, RSH3d2a, RSH3d3a, RSH3a2a2
#[tokio::test]
async fn callbacks_take_the_place_of_requests() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (registered, deregistered) = (Arc::clone(&calls), Arc::clone(&calls));
    let push = push(&MemoryPushStorage::new())
        .register_callback(move |device| {
            let mut calls = registered.lock().unwrap();
            assert!(device.device_secret.is_some());
            calls.push(device.push.recipient["registrationToken"].as_str().unwrap().to_owned());
            let number = calls.len();
            async move {
                if number == 2 {
                    return Err(Error::new(ErrorCode(40300), 403, "not now"));
                }
                Ok(format!("identity-{number}").into())
            }
        })
        .deregister_callback(move |id| {
            deregistered.lock().unwrap().push(id.to_string());
            async { Ok(()) }
        });
    let (push, mut updates) = with_updates(push);
    let http = service();
    let rest = http.rest_with(ClientOptions::new(KEY).push(push));
    let identity = || rest.device().unwrap().device_identity_token.unwrap();
    rest.push().activate().await.unwrap();
    assert_eq!(identity(), "identity-1");
    rest.push().update_recipient(PushRecipient::fcm("t1")).await.unwrap();
    assert_eq!(soon(updates.recv()).await.unwrap().unwrap_err().code().0, 40300);
    assert_eq!(identity(), "identity-1");
    rest.push().activate().await.unwrap();
    assert_eq!(identity(), "identity-3");
    let id = rest.device().unwrap().id;
    rest.push().deactivate().await.unwrap();
    assert_eq!(*calls.lock().unwrap(), ["t0", "t1", "t1", &*id]);
    assert!(http.requests().is_empty());
}

type SetCallback = fn(PushOptions) -> PushOptions;

// Spec: RSH3c3, RSH3g3
#[tokio::test(start_paused = true)]
async fn callbacks_that_fail_end_their_calls() {
    let registers: [(SetCallback, u32); 4] = [
        (|push| push.register_callback(|_| async { Ok("".into()) }), 40000),
        (|push| push.register_callback(|_| async { panic!("a callback that panics") }), 50000),
        (|push| push.register_callback(|_| -> std::future::Ready<_> { panic!("at once") }), 50000),
        (|push| push.register_callback(|_| std::future::pending()), 50003),
    ];
    for (register, code) in registers {
        let rest = service()
            .rest_with(ClientOptions::new(KEY).push(register(push(&MemoryPushStorage::new()))));
        let error = rest.push().activate().await.unwrap_err();
        assert_eq!(error.code().0, code, "{error}");
        assert!(!rest.device().unwrap().is_registered());
    }
    // A refusal by the program's own server says nothing about the service.
    let deregisters: [(SetCallback, u32); 4] = [
        (
            |push| {
                push.deregister_callback(|_| async { Err(Error::new(ErrorCode(40100), 401, "no")) })
            },
            40100,
        ),
        (|push| push.deregister_callback(|_| async { panic!("a callback that panics") }), 50000),
        (|push| push.deregister_callback(|_| -> std::future::Ready<_> { panic!("now") }), 50000),
        (|push| push.deregister_callback(|_| std::future::pending()), 50003),
    ];
    for (deregister, code) in deregisters {
        let rest = service()
            .rest_with(ClientOptions::new(KEY).push(deregister(push(&MemoryPushStorage::new()))));
        rest.push().activate().await.unwrap();
        let error = rest.push().deactivate().await.unwrap_err();
        assert_eq!(error.code().0, code, "{error}");
        assert!(rest.device().unwrap().is_registered());
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_callbacks_has_the_limit_of_the_options() {
    let push = push_with(&MemoryPushStorage::new(), std::future::pending::<Result<PushRecipient>>);
    let push = push.callback_timeout(Duration::from_secs(5));
    let rest = service().rest_with(ClientOptions::new(KEY).push(push));
    let start = tokio::time::Instant::now();
    let error = rest.push().activate().await.unwrap_err();
    assert_eq!(error.code().0, 50003);
    assert!(error.remediation().unwrap().contains("callback_timeout"));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

// Spec: RSH3e2c
#[tokio::test]
async fn a_callback_for_updates_that_panics_changes_nothing() {
    let (sender, mut called) = mpsc::unbounded_channel();
    let push = push(&MemoryPushStorage::new()).updated_callback(move |_| {
        sender.send(()).unwrap();
        panic!("a callback that panics");
    });
    let http = service();
    let rest = http.rest_with(ClientOptions::new(KEY).push(push));
    rest.push().activate().await.unwrap();
    for token in ["t1", "t2"] {
        rest.push().update_recipient(PushRecipient::fcm(token)).await.unwrap();
        soon(called.recv()).await.unwrap();
    }
    assert_eq!(methods(&http), ["POST", "PATCH", "PATCH"]);
}

// Spec: RSH8g, RSH8i
#[tokio::test]
async fn a_later_process_sends_the_address_if_it_has_changed() {
    let storage = MemoryPushStorage::new();
    service().rest_with(options(&storage)).push().activate().await.unwrap();

    for (token, expected) in [("t0", vec![]), ("t1", vec!["PATCH"]), ("t1", vec![])] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let (sent, mut answers) = mpsc::unbounded_channel();
        let transport = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            sent.send(()).unwrap();
            async move { Ok(PushRecipient::fcm(token)) }
        };
        let (push, mut updates) = with_updates(push_with(&storage, transport));
        let http = service();
        let rest = http.rest_with(ClientOptions::new(KEY).push(push));
        rest.push().activate().await.unwrap();
        soon(answers.recv()).await.unwrap();
        if !expected.is_empty() {
            soon(updates.recv()).await.unwrap().unwrap();
        }
        // Once in a process.
        rest.push().activate().await.unwrap();
        rest.push().device().await.unwrap();
        assert_eq!(methods(&http), expected);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(rest.device().unwrap().push.recipient["registrationToken"], token);
    }

    // A transport that does not know changes nothing, also for a later activation (RSH8h).
    let denied = || async { Err(Error::new(ErrorCode(40160), 401, "not now")) };
    let http = service();
    let rest = http.rest_with(ClientOptions::new(KEY).push(push_with(&storage, denied)));
    rest.push().activate().await.unwrap();
    rest.push().deactivate().await.unwrap();
    rest.push().update_recipient(PushRecipient::fcm("t2")).await.unwrap();
    rest.push().activate().await.unwrap();
    assert_eq!(methods(&http), ["DELETE", "POST"]);
}

#[tokio::test(start_paused = true)]
async fn an_auth_callback_that_needs_the_device_gets_an_error() {
    let slot: Arc<Mutex<Option<Rest>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let options = ClientOptions::default()
        .auth_callback(move |_| {
            let rest = inner.lock().unwrap().clone().unwrap();
            let sender = sender.clone();
            async move {
                // It needs the token that this callback is to give.
                let outcome = rest.push().activate().await;
                sender.send(outcome.map_err(|error| error.code().0)).unwrap();
                Ok::<_, Error>("a token".to_owned())
            }
        })
        .push(push(&MemoryPushStorage::new()));
    let rest = service().rest_with(options);
    *slot.lock().unwrap() = Some(rest.clone());
    rest.stats().await.unwrap_err();
    assert_eq!(outcomes.recv().await.unwrap(), Err(40170));
    slot.lock().unwrap().take();
}
