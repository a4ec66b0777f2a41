//! Endpoints that fail: what is repeated, what is given up, and who is not harmed.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    endpoint::Reaction,
    support::{app, basic},
    *,
};

#[tokio::test]
async fn a_failed_request_is_repeated_before_later_events_of_its_channel() {
    for mode in MODES {
        for failure in [Reaction::Status(500), Reaction::Status(429), Reaction::Close] {
            let first = failure.clone();
            let mut endpoint = Endpoint::with(move |number, _| match number {
                0 | 1 => first.clone(),
                _ => Reaction::Status(200),
            })
            .await;
            let server = start([messages(&endpoint).request_mode(mode)]).await;
            publish(&server, "a", numbers(0..10)).await;
            let mut data = endpoint.data_until("9").await;
            assert_eq!(data.first().unwrap(), "0");
            data.dedup();
            // A batch that is repeated has what it had before, and more: the last one is accepted.
            let start = data.iter().rposition(|it| it == "0").unwrap();
            let expected: Vec<String> = numbers(0..10).collect();
            assert_eq!(data[start..], expected, "{mode:?} {failure:?}");
            // A request that failed may have had all of them: the one that is accepted comes, too.
            while endpoint.count() < 3 {
                endpoint.next().await;
            }
            let counts = counts(&server, "rule").await;
            assert_eq!(counts["deadLetters"], 0);
            server.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_single_event_is_given_up_after_three_attempts() {
    let endpoint = Endpoint::with(|_, request| match request.data()[..] {
        [ref data] if data == "bad" => Reaction::Status(503),
        _ => Reaction::Status(200),
    })
    .await;
    let server = start([messages(&endpoint)]).await;
    publish(&server, "a", ["bad".to_owned(), "good".to_owned()]).await;
    let letters = dead_letters(&server, "rule", 1).await;
    let letter = &letters["items"][0];
    assert_eq!((&letters["total"], &letter["attempts"]), (&json!(1), &json!(3)));
    assert_eq!(
        (&letter["error"]["code"], &letter["error"]["statusCode"]),
        (&json!(70002), &json!(503))
    );
    assert_eq!(letter["event"]["messages"][0]["data"], "bad");
    let mut endpoint = endpoint;
    assert_eq!(endpoint.data_until("good").await, ["bad", "bad", "bad", "good"]);
}

#[tokio::test]
async fn a_request_that_the_endpoint_refuses_is_not_repeated_for_a_single_event() {
    let mut endpoint =
        Endpoint::with(|number, _| Reaction::Status(if number == 0 { 400 } else { 200 })).await;
    let server = start([messages(&endpoint)]).await;
    publish(&server, "a", numbers(0..2)).await;
    assert_eq!(endpoint.data_until("1").await, ["0", "1"]);
    assert_eq!(dead_letters(&server, "rule", 1).await["items"][0]["attempts"], 1);
}

#[tokio::test]
async fn a_batch_is_repeated_until_its_events_are_too_old() {
    let endpoint = Endpoint::with(|_, _| Reaction::Status(404)).await;
    let builder = builder().webhook_retry_unit(Duration::from_millis(1));
    let rule = messages(&endpoint).request_mode(RequestMode::Batch);
    let server = builder.webhook_rules([rule]).start().await.unwrap();
    publish(&server, "a", numbers(0..5)).await;
    let letters = dead_letters(&server, "rule", 5).await;
    assert!(letters["items"][0]["attempts"].as_u64().unwrap() > 3, "{letters}");
    assert_eq!(counts(&server, "rule").await["waiting"], 0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_has_failed() {
    for stalled in [Reaction::Stall, Reaction::Late(Arc::new(Semaphore::new(0)))] {
        let mut endpoint = Endpoint::with(move |number, _| match number {
            0 => stalled.clone(),
            _ => Reaction::Status(200),
        })
        .await;
        let builder = hasty().webhook_timeout(Duration::from_millis(100));
        let server = builder.webhook_rules([messages(&endpoint)]).start().await.unwrap();
        publish(&server, "a", numbers(0..2)).await;
        assert_eq!(endpoint.data_until("1").await, ["0", "0", "1"]);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_status_counts() {
    let mut endpoint = Endpoint::with(|number, _| match number {
        0 => Reaction::Endless(500),
        _ => Reaction::Endless(200),
    })
    .await;
    let server = start([messages(&endpoint)]).await;
    publish(&server, "a", numbers(0..3)).await;
    assert_eq!(endpoint.data_until("2").await, ["0", "0", "1", "2"]);
    assert_eq!(endpoint.connections(), 4, "a connection that was cut is not used again");
}

#[tokio::test]
async fn a_connection_that_the_endpoint_has_closed_is_replaced_at_once() {
    let mut endpoint = Endpoint::with(|_, _| Reaction::OkAndClose).await;
    // Without a repetition: a failure would end in the dead letters.
    let builder = builder().webhook_retry_unit(Duration::from_secs(3600));
    let server = builder.webhook_rules([messages(&endpoint)]).start().await.unwrap();
    for number in numbers(0..20) {
        publish(&server, "a", [number.clone()]).await;
        assert_eq!(endpoint.next().await.data(), [number]);
    }
    assert_eq!(counts(&server, "rule").await["deadLetters"], 0);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_bounded_and_harms_nobody_else() {
    let mut healthy = Endpoint::new().await;
    let closed = ClosedPort::new();
    for mode in MODES {
        let dead = Rule::new(Source::Message, closed.url()).id("dead").request_mode(mode);
        // Without a repetition: on a slow machine the last would end in the dead letters, too.
        let builder = builder().webhook_retry_unit(Duration::from_secs(3600));
        let builder = builder.webhook_queue(10, 1024 * 1024);
        let server = builder.webhook_rules([dead, messages(&healthy)]).start().await.unwrap();
        let expected: Vec<String> = numbers(0..100).collect();
        for number in &expected {
            // The healthy endpoint has each before the next is published, so its bound is not reached.
            publish(&server, "a", [number.clone()]).await;
            assert_eq!(healthy.next().await.data(), std::slice::from_ref(number));
        }
        let letters = dead_letters(&server, "dead", 90).await;
        let counts = counts(&server, "dead").await;
        assert_eq!((&counts["waiting"], &counts["deadLetters"]), (&json!(10), &json!(90)));
        let newest = &letters["items"][0];
        assert_eq!(newest["error"]["code"], 70003);
        assert_eq!(newest["event"]["messages"][0]["data"], "89", "the oldest are given up first");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_stalled_endpoint_does_not_delay_that_of_another_rule() {
    let mut stalled = Endpoint::with(|_, _| Reaction::Stall).await;
    let mut healthy = Endpoint::new().await;
    let rule = Rule::new(Source::Message, stalled.url()).id("stalled");
    let server = builder().webhook_rules([rule, messages(&healthy)]).start().await.unwrap();
    for channel in 0..30 {
        publish(&server, &format!("c{channel}"), numbers(channel..channel + 1)).await;
        assert_eq!(healthy.next().await.data(), [channel.to_string()]);
    }
    for _ in 0..25 {
        stalled.next().await;
    }
    assert_eq!(stalled.count(), 25, "there are no more requests at a time");
}

#[tokio::test]
async fn an_app_that_is_deleted_ends_its_deliveries() {
    let mut endpoint = Endpoint::with(|_, _| Reaction::Status(500)).await;
    let server = start([]).await;
    let rule = json!({
        "ruleType": "http", "requestMode": "batch", "source": {"type": "channel.message"},
        "target": {"url": endpoint.url(), "format": "json"},
    });
    let keys = app(&server, &json!({"keys": [{}], "rules": [rule]})).await;
    let path = "/channels/a/messages";
    ask(&server, &keys[0], Format::Json, "POST", path, &json!({"data": "x"})).await;
    endpoint.next().await;
    let id = keys[0].split('.').next().unwrap();
    let headers = [basic(&keys[0])];
    let deleted = support::Http::connect(&server)
        .await
        .request("DELETE", &format!("/apps/{id}"), &headers, b"")
        .await;
    assert_eq!(deleted.status, 204);
    // The endpoint of the rule fails for ever: another one tells that time has passed.
    let count = endpoint.count();
    let mut other =
        Endpoint::with(|number, _| Reaction::Status(if number < 3 { 500 } else { 200 })).await;
    let rule = json!({
        "ruleType": "http", "requestMode": "batch", "source": {"type": "channel.message"},
        "target": {"url": other.url(), "format": "json"},
    });
    let keys = app(&server, &json!({"keys": [{}], "rules": [rule]})).await;
    ask(&server, &keys[0], Format::Json, "POST", path, &json!({"data": "x"})).await;
    for _ in 0..4 {
        other.next().await;
    }
    // A request may have been under way.
    assert!(endpoint.count() <= count + 1, "{} {count}", endpoint.count());
}
