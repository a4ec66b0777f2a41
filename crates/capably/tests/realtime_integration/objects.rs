//! Objects that are shared through the embedded server.

use capably::{
    Channel, ChannelMode, Realtime, Rest,
    http::HttpMethod,
    realtime::{
        RealtimeChannelOptions,
        objects::{LiveCounter, LiveMap, ObjectValue, PathObject},
    },
};
use serde_json::{Value, json};

use crate::{
    app::{App, in_both_formats},
    support::within,
};

fn text(text: &str) -> ObjectValue {
    ObjectValue::String(text.into())
}

fn channel(client: &Realtime, name: &str) -> Channel {
    let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
    client.channels().get_with(name, RealtimeChannelOptions::new().modes(modes))
}

/// Two connected clients, and the tree of a channel as each sees it.
struct Pair {
    clients: [Realtime; 2],
    a: PathObject,
    b: PathObject,
}

impl Pair {
    async fn new(app: &App, name: &str) -> Self {
        let (a, b) = tokio::join!(app.realtime(), app.realtime());
        let (channel_a, channel_b) = (channel(&a, name), channel(&b, name));
        let (root_a, root_b) = (channel_a.objects().get(), channel_b.objects().get());
        let (root_a, root_b) = tokio::join!(within(root_a), within(root_b));
        Self { clients: [a, b], a: root_a.unwrap(), b: root_b.unwrap() }
    }

    async fn close(self) {
        let [a, b] = self.clients;
        tokio::join!(a.close(), b.close());
    }
}

/// Waits until a value, or nothing, is at a path.
async fn comes(root: &PathObject, path: &str, expected: Option<ObjectValue>) {
    // Not to the path itself: a change of a map above it is not reported there.
    let mut changes = root.subscribe().await.unwrap();
    within(async {
        while root.at(path).value().unwrap() != expected {
            changes.next().await.expect("the channel stays attached");
        }
    })
    .await;
}

async fn becomes(root: &PathObject, path: &str, expected: ObjectValue) {
    comes(root, path, Some(expected)).await;
}

async fn provision(rest: &Rest, channel: &str, operation: Value) {
    let path = format!("/channels/{channel}/object");
    let answer = rest.request(HttpMethod::Post, path).body(operation).await.unwrap();
    assert_eq!(answer.status(), 201);
}

// UTS: objects/integration/RTO23-RTPO15/set-primitive-propagates-0
// Spec: RTO23, RTPO15
in_both_formats! {
    async fn a_leaf_reaches_another_client(app) {
        let pair = Pair::new(&app, "set-primitive").await;
        pair.a.set("greeting", "hello").await.unwrap();
        becomes(&pair.b, "greeting", text("hello")).await;
        pair.close().await;
    }
}

// UTS: objects/integration/RTPO15/set-counter-value-type-0
// Spec: RTPO15
in_both_formats! {
    async fn a_new_counter_reaches_another_client(app) {
        let pair = Pair::new(&app, "set-counter").await;
        pair.a.set("my_counter", LiveCounter::new(42.0)).await.unwrap();
        becomes(&pair.b, "my_counter", ObjectValue::Number(42.0)).await;
        assert!(pair.b.get("my_counter").instance().unwrap().is_some());
        pair.close().await;
    }
}

// UTS: objects/integration/RTPO17/increment-propagates-0
// Spec: RTPO17
in_both_formats! {
    async fn an_increment_reaches_another_client(app) {
        let pair = Pair::new(&app, "increment").await;
        pair.a.set("hits", LiveCounter::new(0.0)).await.unwrap();
        becomes(&pair.b, "hits", ObjectValue::Number(0.0)).await;
        pair.a.get("hits").increment(10).await.unwrap();
        becomes(&pair.b, "hits", ObjectValue::Number(10.0)).await;
        assert_eq!(pair.a.get("hits").value().unwrap(), Some(ObjectValue::Number(10.0)));
        pair.close().await;
    }
}

// UTS: objects/integration/RTPO15/set-map-value-type-0
// Spec: RTPO15
in_both_formats! {
    async fn a_new_map_reaches_another_client(app) {
        let pair = Pair::new(&app, "set-map").await;
        let settings = LiveMap::new().with("theme", "dark").with("fontSize", 14);
        pair.a.set("settings", settings).await.unwrap();
        becomes(&pair.b, "settings.theme", text("dark")).await;
        assert_eq!(pair.b.at("settings.fontSize").value().unwrap(), Some(ObjectValue::Number(14.0)));
        pair.close().await;
    }
}

// UTS: objects/integration/RTO23/get-returns-path-object-0
// Spec: RTO23
in_both_formats! {
    async fn the_tree_of_a_new_channel_is_empty(app) {
        let client = app.realtime().await;
        let root = within(channel(&client, "get-root").objects().get()).await.unwrap();
        assert_eq!(root.path().to_string(), "");
        assert_eq!(root.size().unwrap(), Some(0));
        client.close().await;
    }
}

// UTS: objects/integration/RTPO15/rest-provisioned-data-sync-0
// Spec: RTPO15
in_both_formats! {
    async fn a_client_sees_what_was_set_over_rest(app) {
        let set = json!({ "mapSet": { "key": "provisioned", "value": { "string": "from_rest" } }, "objectId": "root" });
        provision(&app.rest(), "rest-provision", set).await;
        let client = app.realtime().await;
        let root = within(channel(&client, "rest-provision").objects().get()).await.unwrap();
        assert_eq!(root.get("provisioned").value().unwrap(), Some(text("from_rest")));
        client.close().await;
    }
}

// UTS: objects/integration/RTO4-RTO5/attach-sync-get-0
// Spec: RTO4, RTO5
in_both_formats! {
    async fn an_attach_begins_a_sync(app) {
        let client = app.realtime().await;
        let channel = channel(&client, "sync");
        within(channel.attach()).await.unwrap();
        let root = within(channel.objects().get()).await.unwrap();
        assert_eq!(root.path().to_string(), "");
        client.close().await;
    }
}

// UTS: objects/integration/RTO5-RTO17/two-clients-sync-0
// Spec: RTO5, RTO17
in_both_formats! {
    async fn a_client_that_comes_later_sees_what_is_there(app) {
        let (a, b) = tokio::join!(app.realtime(), app.realtime());
        let root_a = within(channel(&a, "two-sync").objects().get()).await.unwrap();
        root_a.set("key1", "value1").await.unwrap();
        let root_b = within(channel(&b, "two-sync").objects().get()).await.unwrap();
        assert_eq!(root_b.get("key1").value().unwrap(), Some(text("value1")));
        tokio::join!(a.close(), b.close());
    }
}

// UTS: objects/integration/RTO17/reattach-resyncs-0
// Spec: RTO17
in_both_formats! {
    async fn a_client_that_attaches_again_sees_what_was_there(app) {
        let client = app.realtime().await;
        let channel = channel(&client, "reattach");
        let root = within(channel.objects().get()).await.unwrap();
        root.set("before_detach", "hello").await.unwrap();
        assert_eq!(root.get("before_detach").value().unwrap(), Some(text("hello")));
        within(channel.detach()).await.unwrap();
        within(channel.attach()).await.unwrap();
        let root = within(channel.objects().get()).await.unwrap();
        becomes(&root, "before_detach", text("hello")).await;
        client.close().await;
    }
}

// UTS: objects/integration/RTO4/attach-subscribe-only-0
// Spec: RTO4
in_both_formats! {
    async fn a_client_that_only_reads_gets_the_tree(app) {
        let client = app.realtime().await;
        let options = RealtimeChannelOptions::new().modes([ChannelMode::ObjectSubscribe]);
        let channel = client.channels().get_with("subscribe-only", options);
        let root = within(channel.objects().get()).await.unwrap();
        assert_eq!(root.size().unwrap(), Some(0));
        client.close().await;
    }
}

// UTS: objects/integration/RTO10/tombstoned-object-gc-recreate-0
// Spec: RTO10, RTLM5d2h, RTLM7
in_both_formats! {
    async fn a_new_counter_takes_the_place_of_a_removed_one(app) {
        let client = app.realtime().await;
        let root = within(channel(&client, "gc-object").objects().get()).await.unwrap();
        let counter = root.get("counter");
        root.set("counter", LiveCounter::new(42.0)).await.unwrap();
        becomes(&root, "counter", ObjectValue::Number(42.0)).await;
        let first = counter.instance().unwrap().unwrap().id().cloned();
        root.remove("counter").await.unwrap();
        comes(&root, "counter", None).await;
        root.set("counter", LiveCounter::new(99.0)).await.unwrap();
        becomes(&root, "counter", ObjectValue::Number(99.0)).await;
        assert_ne!(counter.instance().unwrap().unwrap().id().cloned(), first);
        client.close().await;
    }
}

// UTS: objects/integration/RTLM19/tombstoned-entry-gc-reset-0
// Spec: RTLM19, RTLM5d2h
in_both_formats! {
    async fn a_removed_key_is_set_again(app) {
        let client = app.realtime().await;
        let root = within(channel(&client, "gc-entry").objects().get()).await.unwrap();
        root.set("ephemeral", "temporary").await.unwrap();
        becomes(&root, "ephemeral", text("temporary")).await;
        root.remove("ephemeral").await.unwrap();
        comes(&root, "ephemeral", None).await;
        root.set("ephemeral", "revived").await.unwrap();
        becomes(&root, "ephemeral", text("revived")).await;
        client.close().await;
    }
}

in_both_formats! {
    async fn clients_that_count_at_the_same_time_agree(app) {
        let pair = Pair::new(&app, "counting").await;
        pair.a.set("votes", LiveCounter::default()).await.unwrap();
        becomes(&pair.b, "votes", ObjectValue::Number(0.0)).await;
        let count = async |root: &PathObject| {
            for _ in 0..50 {
                root.get("votes").increment(1).await.unwrap();
            }
        };
        within(async { tokio::join!(count(&pair.a), count(&pair.b)) }).await;
        becomes(&pair.a, "votes", ObjectValue::Number(100.0)).await;
        becomes(&pair.b, "votes", ObjectValue::Number(100.0)).await;
        assert_eq!(pair.a.compact_json().unwrap(), Some(json!({ "votes": 100 })));
        pair.close().await;
    }
}
