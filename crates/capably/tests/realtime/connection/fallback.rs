//! Fallback domains (RTN17, REC).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use capably::{
    ClientOptions, Error, ErrorCode, Realtime,
    http::HttpResponse,
    realtime::{ConnectionState, ConnectionStateChange},
    rest::WrapperSdkProxyOptions,
};
use capably_protocol::{Format, ServerFrame};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    http::scripted_http::{Answer, KEY, ScriptedHttp, respond},
    in_both_formats,
    support::*,
    tokens::*,
};

const PRIMARY: &str = "main.realtime.ably.net";

/// A network that works, and a REST service without data.
fn online() -> ScriptedHttp {
    ScriptedHttp::new(|request, _| match request.url.contains("internet-up") {
        true => Answer::Raw(HttpResponse::new(200, "yes\n")),
        false => respond(200, json!([])),
    })
}

/// A client with the default domains.
fn client(format: Format, http: &ScriptedHttp) -> (Realtime, Service) {
    client_of(format, ClientOptions::new(KEY).http_client(Arc::new(http.clone())))
}

async fn accept(client: &Realtime, attempt: Attempt) -> Peer {
    let mut peer = attempt.accept();
    peer.send(connected_frame("connection-1", "key-1"));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    peer
}

fn checks(http: &ScriptedHttp) -> usize {
    http.requests().iter().filter(|request| request.0.url.contains("internet-up")).count()
}

/// The letters of the default fallback domains.
fn letter(host: &str) -> char {
    let rest = host.strip_prefix("main.").expect(host);
    let letter = rest.strip_suffix(".fallback.ably-realtime.com").expect(host);
    assert!(["a", "b", "c", "d", "e"].contains(&letter), "{host}");
    letter.chars().next().unwrap()
}

// UTS: realtime/unit/RTN17i/prefer-primary-domain-0
// UTS: realtime/unit/RTN17f/fallback-on-error-0
// UTS: realtime/unit/RTN17h/fallback-domains-from-rec2-0
// Spec: RTN17, REC1, REC1a, REC2, REC2c, REC2c1
in_both_formats! {
    async fn every_attempt_begins_with_the_primary_domain(format) {
        let http = online();
        let (client, mut service) = client(format, &http);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.request.host, PRIMARY);
        attempt.refuse();
        let attempt = service.attempt().await;
        letter(&attempt.request.host);
        let peer = accept(&client, attempt).await;
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(attempt.request.host, PRIMARY);
        accept(&client, attempt).await;
    }
}

// UTS: realtime/unit/RTN17f1/disconnected-5xx-fallback-0
in_both_formats! {
    async fn a_host_that_reports_a_server_error_is_left(format) {
        for (status, leads_away) in [(500, true), (503, true), (504, true), (505, false), (400, false)] {
            let http = online();
            let (client, mut service) = client(format, &http);
            client.connection().connect();
            let attempt = service.attempt().await;
            assert_eq!(attempt.request.host, PRIMARY);
            let mut peer = attempt.accept();
            peer.send(ServerFrame::Disconnected { error: Some(info(50003, status)) });
            peer.closed().await;
            if leads_away {
                let attempt = service.attempt().await;
                letter(&attempt.request.host);
                accept(&client, attempt).await;
            } else {
                client.connection().when(ConnectionState::Disconnected).await.unwrap();
                assert!(service.is_quiet());
                assert_eq!(checks(&http), 0);
            }
        }
    }
}

// UTS: realtime/unit/RTN17j/connectivity-check-before-fallback-0
// UTS: rest/unit/REC3a/default-connectivity-check-url-0
// Spec: RTN14c
in_both_formats! {
    async fn the_network_is_checked_first(format) {
        let http = online();
        let (client, mut service) = client(format, &http);
        let start = Instant::now();
        client.connection().connect();
        let mut black_hole = service.attempt().await;
        black_hole.abandoned().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        let attempt = service.attempt().await;
        let check = http.request();
        assert_eq!(check.method(), "GET");
        assert_eq!(check.0.url, "https://internet-up.ably-realtime.com/is-the-internet-up.txt");
        assert_eq!(check.header("Authorization"), None);
        accept(&client, attempt).await;
        assert_eq!(checks(&http), 1);
    }
}

// UTS: rest/unit/REC3/connectivity-check-validation-0
// Spec: RTN17j
in_both_formats! {
    async fn without_a_network_no_other_host_is_tried(format) {
        let ok = |status, body: &'static str| Answer::Raw(HttpResponse::new(status, body));
        for (answer, online) in [
            (ok(200, "yes"), true),
            (ok(200, "no"), false),
            (ok(200, ""), false),
            (ok(404, "Not Found"), false),
            (ok(500, "yes"), false),
            (Answer::Fail(capably::http::HttpErrorKind::Connect), false),
            (Answer::Hang, false),
        ] {
            let http = ScriptedHttp::always(answer);
            let (client, mut service) = client(format, &http);
            let mut changes = client.connection().changes();
            client.connection().connect();
            service.attempt().await.refuse();
            if online {
                let attempt = service.attempt().await;
                letter(&attempt.request.host);
                accept(&client, attempt).await;
                assert_eq!(checks(&http), 1);
                continue;
            }
            client.connection().when(ConnectionState::Disconnected).await.unwrap();
            assert!(service.is_quiet());
            assert_eq!(checks(&http), 1);
            let changes = seen(&mut changes);
            assert_eq!(states(&changes), [ConnectionState::Connecting, ConnectionState::Disconnected]);
            // The error reason is the answer of the host.
            assert_eq!(changes[1].reason.as_ref().unwrap().code.0, 80000);
        }
    }
}

// UTS: rest/unit/REC3b/custom-connectivity-check-url-0
in_both_formats! {
    async fn the_url_of_the_network_check_is_an_option(format) {
        let http = ScriptedHttp::always(Answer::Raw(HttpResponse::new(200, "ok")));
        let options = ClientOptions::new(KEY)
            .connectivity_check_url("https://custom.example.com/connectivity")
            .http_client(Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(http.request().0.url, "https://custom.example.com/connectivity");
        assert_eq!(checks(&http), 0);
    }
}

// Spec: WP6d
in_both_formats! {
    async fn the_check_of_the_network_names_no_wrapper(format) {
        let http = online();
        let (client, mut service) = client(format, &http);
        let agent = WrapperSdkProxyOptions::new().agent("wrapper", Some("1.2.3"));
        let wrapped = client.create_wrapper_sdk_proxy(&agent).unwrap();
        wrapped.connection().connect();
        service.attempt().await.refuse();
        accept(&client, service.attempt().await).await;
        assert_eq!(checks(&http), 1);
        assert_eq!(http.request().header("Ably-Agent"), None);
        // Its other requests name the wrapper.
        wrapped.rest().time().await.unwrap_err();
        let requests = http.requests();
        let agent = requests[1].header("Ably-Agent").unwrap();
        assert!(agent.ends_with(" wrapper/1.2.3"), "{agent}");
    }
}

// UTS: realtime/unit/RTN17g/empty-fallback-set-error-0
// Spec: REC2c2
in_both_formats! {
    async fn a_custom_host_has_no_fallbacks(format) {
        let http = online();
        let options = ClientOptions::new(KEY)
            .endpoint("custom.example.com")
            .http_client(Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.request.host, "custom.example.com");
        attempt.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        advance(2_000).await;
        tokio::task::yield_now().await;
        assert!(service.is_quiet());
        assert_eq!(checks(&http), 0);
    }
}

// UTS: realtime/unit/RTN17j/fallback-random-order-1
in_both_formats! {
    async fn fallbacks_are_tried_in_random_order(format) {
        let http = online();
        let mut orders = BTreeSet::new();
        for _ in 0..5 {
            let (client, mut service) = client(format, &http);
            client.connection().connect();
            let mut order = Vec::new();
            for _ in 0..3 {
                let attempt = service.attempt().await;
                order.push(attempt.request.host.clone());
                attempt.refuse();
            }
            let attempt = service.attempt().await;
            order.push(attempt.request.host.clone());
            accept(&client, attempt).await;
            assert_eq!(order.remove(0), PRIMARY);
            let letters: BTreeSet<_> = order.iter().map(|host| letter(host)).collect();
            assert_eq!(letters.len(), 3, "none is tried twice: {order:?}");
            orders.insert(order);
        }
        assert!(orders.len() >= 2, "{orders:?}");
        // There is one check per attempt.
        assert_eq!(checks(&http), 5);
    }
}

// Spec: RTN17j, RTN14d
in_both_formats! {
    async fn when_all_have_failed_the_client_waits(format) {
        let http = online();
        let (client, mut service) = client(format, &http);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut hosts = BTreeSet::new();
        for _ in 0..6 {
            let attempt = service.attempt().await;
            hosts.insert(attempt.request.host.clone());
            attempt.refuse();
        }
        assert_eq!(hosts.len(), 6);
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let changes: Vec<ConnectionStateChange> = seen(&mut changes);
        assert_eq!(states(&changes), [ConnectionState::Connecting, ConnectionState::Disconnected]);
        let wait = changes[1].retry_in.unwrap();
        assert!((Duration::from_secs(12)..=Duration::from_secs(15)).contains(&wait), "{wait:?}");
        assert_eq!(service.attempt().await.request.host, PRIMARY);
    }
}

// Spec: RTN17f, RSC15l3, RSC15l4
in_both_formats! {
    async fn a_refusal_by_the_service_leads_to_no_fallback(format) {
        for (status, leads_away) in [(401, false), (404, false), (426, false), (500, true), (503, true)] {
            let http = online();
            let (client, mut service) = client(format, &http);
            client.connection().connect();
            service.attempt().await.refuse_with(Error::new(
                ErrorCode::CONNECTION_FAILED,
                status,
                "the server answered the WebSocket request with a status",
            ));
            if leads_away {
                letter(&service.attempt().await.request.host);
            } else {
                client.connection().when(ConnectionState::Disconnected).await.unwrap();
                assert!(service.is_quiet());
            }
        }
    }
}

// UTS: realtime/unit/RTN17e/http-uses-same-fallback-0
in_both_formats! {
    async fn rest_requests_use_the_host_of_the_connection(format) {
        let http = online();
        let (client, mut service) = client(format, &http);
        client.connection().connect();
        service.attempt().await.refuse();
        let attempt = service.attempt().await;
        let host = attempt.request.host.clone();
        let peer = accept(&client, attempt).await;
        let asked = || {
            let requests = http.requests();
            let last = requests.last().unwrap();
            assert!(last.path().contains("/history") || last.path().contains("/messages"));
            last.authority().to_owned()
        };
        let history = client.rest().channels().get("ch");
        history.history().await.unwrap();
        assert_eq!(asked(), host);
        // As long as the connection lasts.
        drop(peer);
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        history.history().await.unwrap();
        assert_eq!(asked(), PRIMARY);
        let _peer = accept(&client, service.attempt().await).await;
        history.history().await.unwrap();
        assert_eq!(asked(), PRIMARY);
    }
}

// Spec: RTN17e, RSC15f
in_both_formats! {
    async fn a_failed_rest_request_goes_to_another_fallback(format) {
        let failing = Arc::new(std::sync::Mutex::new(String::new()));
        let down = Arc::clone(&failing);
        let http = ScriptedHttp::new(move |request, _| {
            let down = down.lock().unwrap();
            match &*request.url {
                url if url.contains("internet-up") => Answer::Raw(HttpResponse::new(200, "yes")),
                url if !down.is_empty() && url.contains(&**down) => respond(503, json!({})),
                _ => respond(200, json!([])),
            }
        });
        let (client, mut service) = client(format, &http);
        client.connection().connect();
        service.attempt().await.refuse();
        let attempt = service.attempt().await;
        let host = attempt.request.host.clone();
        let _peer = accept(&client, attempt).await;
        failing.lock().unwrap().clone_from(&host);
        let channel = client.rest().channels().get("ch");
        channel.history().await.unwrap();
        let hosts: Vec<_> =
            http.requests()[1..].iter().map(|request| request.authority().to_owned()).collect();
        assert_eq!(hosts.len(), 2, "{hosts:?}");
        assert_eq!(hosts[0], host);
        assert_ne!(letter(&hosts[1]), letter(&host));
        // Requests keep the working host; when it fails, they use the host of the connection again.
        channel.history().await.unwrap();
        assert_eq!(http.requests().last().unwrap().authority(), hosts[1]);
        failing.lock().unwrap().clone_from(&hosts[1]);
        channel.history().await.unwrap();
        assert_eq!(http.requests().last().unwrap().authority(), host);
    }
}

// Spec: RTN17e, REC2a
in_both_formats! {
    async fn a_fallback_gets_the_same_token(format) {
        let tokens = Tokens::default();
        let http = online();
        let options = tokens
            .options()
            .fallback_hosts(["fallback.example.com"])
            .http_client(Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        service.attempt().await.refuse();
        let attempt = service.attempt().await;
        assert_eq!(attempt.request.host, "fallback.example.com");
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        // A rejected token is renewed, and the request repeated at the same host.
        attempt.accept().send(error(None, 40142, 401));
        let attempt = service.attempt().await;
        assert_eq!(attempt.request.host, "fallback.example.com");
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
        accept(&client, attempt).await;
        assert_eq!(tokens.asked(), 2);
    }
}

in_both_formats! {
    async fn closing_while_the_network_is_checked_is_immediate(format) {
        let http = ScriptedHttp::always(Answer::Hang);
        let (client, mut service) = client(format, &http);
        client.connection().connect();
        service.attempt().await.refuse();
        while http.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        client.close().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        advance(600_000).await;
        assert!(service.is_quiet());
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}
