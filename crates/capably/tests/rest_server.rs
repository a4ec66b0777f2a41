//! The REST client against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capably::{
    CipherParams, ClientOptions, Data, Message, Millis, Rest,
    rest::{ChannelOptions, Direction, PaginatedResult, RestChannel},
};
use capably_server::Server;
use futures_util::TryStreamExt;
use serde_json::json;

async fn server() -> Server {
    Server::builder().start().await.expect("a free port")
}

fn rest_with(server: &Server, options: ClientOptions) -> Rest {
    let options = options.endpoint(server.endpoint()).tls(false).port(server.port());
    Rest::new(options).expect("the options are good")
}

/// A client in each format, MessagePack first.
fn clients(server: &Server) -> [Rest; 2] {
    [true, false].map(|binary| {
        rest_with(server, ClientOptions::new(server.key()).use_binary_protocol(binary))
    })
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_millis().try_into().expect("before the year 292 million")
}

// UTS: rest/integration/RSC16/time-returns-server-time-0
#[tokio::test]
async fn tells_the_time() {
    let server = server().await;
    for rest in clients(&server) {
        let before = now();
        let time = rest.time().await.unwrap();
        assert!((before..=now()).contains(&time), "{before} <= {time}");
    }
}

#[tokio::test]
async fn what_one_format_publishes_the_other_reads() {
    let server = server().await;
    let payloads = [
        Data::from("text ✓"),
        Data::from(""),
        Data::from(b"valid UTF-8".to_vec()),
        Data::from(vec![0, 159, 146, 150]),
        Data::from(json!({"a": [1, null, {"b": "c"}]})),
        Data::from(json!([])),
        Data::None,
    ];
    let clients = clients(&server);
    for (at, publisher) in clients.iter().enumerate() {
        let name = format!("any:name/with ünï ✓ #{at}?&%");
        let channel = publisher.channels().get(name.as_str());
        let mut serials = Vec::new();
        for data in &payloads {
            let result = channel.publish("event", data.clone()).await.unwrap();
            assert_eq!(result.serials.len(), 1);
            serials.push(result.serials[0].clone().expect("a serial"));
        }
        for reader in &clients {
            let history = reader.channels().get(name.as_str()).history();
            let page = history.direction(Direction::Forwards).await.unwrap();
            let received: Vec<_> = page.items().iter().map(|m| m.data.clone()).collect();
            assert_eq!(received, payloads);
            let read: Vec<_> = page.items().iter().map(|m| m.serial.clone().unwrap()).collect();
            assert_eq!(read, serials);
            assert!(page.items().iter().all(|message| message.encoding.is_none()));
            assert!(page.is_last());
        }
    }
}

#[tokio::test]
async fn a_message_keeps_its_fields() {
    let server = server().await;
    for (at, rest) in clients(&server).iter().enumerate() {
        let channel = rest.channels().get(format!("fields-{at}"));
        let extras = json!({"headers": {"a": 1}});
        let published = channel.publish("name", "data").id("my-id").client_id("ada");
        published.extras(extras.as_object().cloned().unwrap()).await.unwrap();
        let page = channel.history().await.unwrap();
        let [message] = page.items() else { panic!("{page:?}") };
        assert_eq!(message.id.as_deref(), Some("my-id"));
        assert_eq!(message.name.as_deref(), Some("name"));
        assert_eq!(message.client_id.as_deref(), Some("ada"));
        assert_eq!(message.extras.as_ref(), extras.as_object());
        assert!(message.timestamp.is_some_and(|timestamp| (now() - timestamp).abs() < 60_000));
    }
}

#[tokio::test]
async fn pages_hold_all_messages_once_and_in_order() {
    let server = server().await;
    for (at, rest) in clients(&server).iter().enumerate() {
        let channel = rest.channels().get(format!("pages-{at}"));
        let messages: Vec<_> =
            (0..25).map(|n| Message::new(format!("n{n}"), n.to_string())).collect();
        let result = channel.publish_messages(messages).await.unwrap();
        assert_eq!(result.serials.len(), 25);

        let oldest_first: Vec<_> = (0..25).map(|n| format!("n{n}")).collect();
        let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();

        let first = channel.history().limit(10).await.unwrap();
        assert_eq!(names(first.items()), newest_first[..10]);
        let second = first.next().await.unwrap().expect("a second page");
        assert_eq!(names(second.items()), newest_first[10..20]);
        let third = second.next().await.unwrap().expect("a third page");
        assert_eq!(names(third.items()), newest_first[20..]);
        assert!(third.is_last());
        assert!(third.next().await.unwrap().is_none());
        let again = third.first().await.unwrap().expect("the first page");
        assert_eq!(names(again.items()), newest_first[..10]);
        let current = second.current().await.unwrap();
        assert_eq!(names(current.items()), newest_first[10..20]);

        let history = channel.history().direction(Direction::Forwards).limit(7);
        let all: Vec<_> = history.await.unwrap().items_stream().try_collect().await.unwrap();
        assert_eq!(names(&all), oldest_first);
    }
}

// UTS: rest/integration/RSL1k5/idempotent-client-ids-0
#[tokio::test]
async fn publishing_the_same_id_again_has_no_effect() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("idempotent-explicit");
    for data in ["data-1", "data-2", "data-3"] {
        channel.publish("event", data).id("client-supplied-id").await.unwrap();
    }
    let page = channel.history().await.unwrap();
    let [message] = page.items() else { panic!("{page:?}") };
    assert_eq!(message.id.as_deref(), Some("client-supplied-id"));
    assert_eq!(message.data.as_str(), Some("data-1"));
}

#[tokio::test]
async fn the_service_stores_what_a_cipher_made() {
    let server = server().await;
    let [binary, json] = clients(&server);
    let options = || ChannelOptions::default().cipher(CipherParams::from_key(&[3; 16]).unwrap());
    let channel = binary.channels().get_with("secret", options());
    channel.publish("event", json!({"a": 1})).await.unwrap();

    let plain = json.channels().get("secret").history().await.unwrap();
    assert_eq!(plain.items()[0].encoding.as_deref(), Some("json/utf-8/cipher+aes-128-cbc"));
    let channel = json.channels().get_with("secret", options());
    let page = channel.history().await.unwrap();
    assert_eq!(page.items()[0].data, Data::Json(json!({"a": 1})));
}

#[tokio::test]
async fn a_client_id_is_stamped_on_messages() {
    let server = server().await;
    let rest = rest_with(&server, ClientOptions::new(server.key()).client_id("ada"));
    let channel = rest.channels().get("identified");
    channel.publish("event", ()).await.unwrap();
    let page = channel.history().await.unwrap();
    assert_eq!(page.items()[0].client_id.as_deref(), Some("ada"), "RSL1m1");

    let error = channel.publish("event", ()).client_id("someone-else").await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40012, Some(400)), "RSL1m4");
}

#[tokio::test]
async fn the_service_s_errors_arrive_in_both_formats() {
    let server = server().await;
    let (name, _) = server.key().split_once(':').unwrap();
    for binary in [true, false] {
        let wrong = ClientOptions::new(format!("{name}:s3cr3t")).use_binary_protocol(binary);
        let error = rest_with(&server, wrong).channels().get("c").history().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40101, Some(401)), "{error}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");

        let options = ClientOptions::new(server.key()).use_binary_protocol(binary);
        let rest = rest_with(&server, options.max_message_size(1 << 20));
        let error = rest.channels().get("c").publish("n", "x".repeat(70_000)).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40009, Some(400)), "{error}");
    }
}

// UTS: rest/integration/RSL1l1/publish-params-force-nack-0
#[tokio::test]
async fn params_reach_the_service() {
    let server = server().await;
    for rest in clients(&server) {
        let message = Message::new("event", "data");
        let channel = rest.channels().get("force-nack-test");
        let error = channel.publish_message(message).param("_forceNack", "true").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40099, Some(400)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_a_clear_error() {
    let server = server().await;
    let [rest, _] = clients(&server);
    rest.time().await.unwrap();
    server.shutdown().await;
    let error = rest.time().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (80000, None), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishes_at_once_all_arrive() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("many");
    let publishes = (0..64).map(|n| {
        let publish = channel.publish(format!("n{n}"), vec![0; 300]);
        async move { publish.await.map(|_| ()) }
    });
    let publishes = futures_util::future::try_join_all(publishes);
    tokio::time::timeout(Duration::from_secs(30), publishes).await.expect("in time").unwrap();
    let page = channel.history().await.unwrap();
    let mut names: Vec<_> = page.items().iter().map(|message| message.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 64);
}

/// The names of messages.
fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.name.as_deref().expect("a name")).collect()
}

/// Publishes `event-1` to `event-{count}`, one by one.
async fn publish_events(channel: &RestChannel, count: usize) {
    for n in 1..=count {
        channel.publish(format!("event-{n}"), n.to_string()).await.unwrap();
    }
}

// UTS: rest/integration/RSL1n/publish-result-serials-0
#[tokio::test]
async fn publishing_returns_unique_serials() {
    let server = server().await;
    for (at, rest) in clients(&server).iter().enumerate() {
        let channel = rest.channels().get(format!("test-serials-{at}"));
        let one = channel.publish("event1", "data1").await.unwrap();
        let messages = ["event2", "event3", "event4"].map(|name| Message::new(name, "data"));
        let three = channel.publish_messages(messages).await.unwrap();
        assert_eq!((one.serials.len(), three.serials.len()), (1, 3));
        let serials = one.serials.iter().chain(&three.serials);
        let serials: HashSet<_> = serials.map(|serial| serial.as_deref().unwrap()).collect();
        assert_eq!(serials.len(), 4);
        assert!(serials.iter().all(|serial| !serial.is_empty()));
    }
}

// UTS: rest/integration/RSL2a/history-returns-messages-0
#[tokio::test]
async fn history_returns_what_was_published_newest_first() {
    let server = server().await;
    for (at, rest) in clients(&server).iter().enumerate() {
        let channel = rest.channels().get(format!("history-test-RSL2a-{at}"));
        channel.publish("event1", "data1").await.unwrap();
        channel.publish("event2", "data2").await.unwrap();
        channel.publish("event3", json!({"key": "value"})).await.unwrap();
        let page = channel.history().await.unwrap();
        assert_eq!(names(page.items()), ["event3", "event2", "event1"]);
        let data: Vec<_> = page.items().iter().map(|message| message.data.clone()).collect();
        assert_eq!(data, [Data::Json(json!({"key": "value"})), "data2".into(), "data1".into()]);
        assert!(page.items().iter().all(|message| message.timestamp.is_some()));
    }
}

// UTS: rest/integration/RSL2b1/history-direction-forwards-0
#[tokio::test]
async fn history_forwards_is_oldest_first() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("history-direction");
    for (name, data) in [("first", "1"), ("second", "2"), ("third", "3")] {
        channel.publish(name, data).await.unwrap();
    }
    let page = channel.history().direction(Direction::Forwards).await.unwrap();
    assert_eq!(names(page.items()), ["first", "second", "third"]);
}

// UTS: rest/integration/RSL2b2/history-limit-parameter-0
#[tokio::test]
async fn history_has_a_limit() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("history-limit");
    publish_events(&channel, 10).await;
    let page = channel.history().limit(5).await.unwrap();
    assert_eq!(names(page.items()), ["event-10", "event-9", "event-8", "event-7", "event-6"]);
}

// UTS: rest/integration/RSL2b3/history-time-range-0
#[tokio::test]
async fn history_is_bounded_by_time() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("history-timerange");
    channel.publish("early1", "e1").await.unwrap();
    channel.publish("early2", "e2").await.unwrap();
    let early = channel.history().await.unwrap().items()[0].timestamp.unwrap();
    // The service's clock has to move on before the next publish.
    while rest.time().await.unwrap() <= early + 1 {}
    channel.publish("late1", "l1").await.unwrap();
    channel.publish("late2", "l2").await.unwrap();

    let all = channel.history().await.unwrap();
    let timestamp = |at: usize| all.items()[at].timestamp.unwrap();
    let (late, early) = (timestamp(1), timestamp(2));
    assert!(late > early);
    let boundary = i64::midpoint(early, late);
    let page = channel.history().start(early - 1000).end(boundary).await.unwrap();
    assert_eq!(names(page.items()), ["early2", "early1"]);
    let page = channel.history().start(boundary + 1).end(late + 1000).await.unwrap();
    assert_eq!(names(page.items()), ["late2", "late1"]);
}

// UTS: rest/integration/RSL2/history-empty-channel-0
#[tokio::test]
async fn history_of_a_channel_without_messages_is_empty() {
    let server = server().await;
    for rest in clients(&server) {
        let page = rest.channels().get("history-empty").history().await.unwrap();
        assert!(page.items().is_empty());
        assert_eq!((page.has_next(), page.is_last()), (false, true));
    }
}

// UTS: rest/integration/TG1/items-and-navigation-0
#[tokio::test]
async fn a_page_knows_that_there_are_more() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("pagination-basic");
    publish_events(&channel, 15).await;
    let page = channel.history().limit(5).await.unwrap();
    assert_eq!(page.items().len(), 5);
    assert_eq!((page.has_next(), page.is_last()), (true, false));
}

// UTS: rest/integration/TG3/next-retrieves-page-0
#[tokio::test]
async fn pages_do_not_overlap() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("pagination-next");
    publish_events(&channel, 12).await;
    let first = channel.history().limit(5).await.unwrap();
    let second = first.next().await.unwrap().expect("a second page");
    let third = second.next().await.unwrap().expect("a third page");
    let pages = [&first, &second, &third];
    assert_eq!(pages.map(|page| page.items().len()), [5, 5, 2]);
    let ids: HashSet<_> =
        pages.iter().flat_map(|page| page.items()).map(|message| message.id.as_ref()).collect();
    assert_eq!(ids.len(), 12);
}

// UTS: rest/integration/TG4/first-retrieves-page-0
#[tokio::test]
async fn first_returns_the_same_items() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("pagination-first");
    publish_events(&channel, 10).await;
    let page = channel.history().limit(3).await.unwrap();
    let second = page.next().await.unwrap().expect("a second page");
    let first = second.first().await.unwrap().expect("a first page");
    assert_eq!(names(first.items()), ["event-10", "event-9", "event-8"]);
    let ids = |page: &PaginatedResult<Message>| -> Vec<_> {
        page.items().iter().map(|message| message.id.clone()).collect()
    };
    assert_eq!(ids(&first), ids(&page));
}

// UTS: rest/integration/TG5/iterate-all-pages-0
#[tokio::test]
async fn all_pages_together_hold_all_messages() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("pagination-iterate");
    publish_events(&channel, 25).await;
    let mut page = channel.history().limit(7).await.unwrap();
    let mut all = Vec::new();
    loop {
        all.extend(names(page.items()).into_iter().map(str::to_owned));
        let Some(next) = page.next().await.unwrap() else { break };
        page = next;
    }
    let expected: Vec<_> = (1..=25).rev().map(|n| format!("event-{n}")).collect();
    assert_eq!(all, expected);
}

// UTS: rest/integration/TG3/next-last-page-null-1
#[tokio::test]
async fn the_last_page_has_no_next() {
    let server = server().await;
    let [rest, _] = clients(&server);
    let channel = rest.channels().get("pagination-lastnext");
    publish_events(&channel, 3).await;
    let page = channel.history().limit(10).await.unwrap();
    assert_eq!(page.items().len(), 3);
    assert_eq!((page.has_next(), page.is_last()), (false, true));
    assert!(page.next().await.unwrap().is_none());
}
