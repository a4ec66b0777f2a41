//! Accepted publishes are sent in order, also by the next client.

use capably::{
    Data, Message, Realtime,
    outbox::{FileOutbox, Outbox},
    realtime::{ChannelState, ConnectionState, RealtimeChannelOptions},
    rest::ChannelOptions,
};
use capably_protocol::{ErrorInfo, ServerFrame, frame::ErrorFrame};
use futures_util::future::join_all;
use std::future::IntoFuture;

use crate::scene::{Scene, end, in_both_formats, outbox};

in_both_formats! {
    async fn publishes_without_a_connection_are_stored_and_then_sent_in_order(scene) {
        let client = scene.offline();
        let channels = ["a", "b"].map(|name| client.channels().get(name));
        for number in 0..20 {
            let stored = channels[number % 2].publish(number.to_string(), "x").await.unwrap();
            assert_eq!(stored.serials, [None], "the service has assigned none");
        }
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.accepted, metrics.waiting, metrics.sent), (20, 20, 0));
        assert!(metrics.bytes > 20 && metrics.oldest.is_some());

        client.connection().connect();
        outbox(&client).flush().await.unwrap();
        let even: Vec<_> = (0..20).step_by(2).map(|number| number.to_string()).collect();
        let odd: Vec<_> = (1..20).step_by(2).map(|number| number.to_string()).collect();
        assert_eq!((scene.names("a").await, scene.names("b").await), (even, odd));
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.sent, metrics.acknowledged, metrics.waiting), (20, 20, 0));
        assert_eq!((metrics.bytes, metrics.oldest), (0, None));
    }
}

in_both_formats! {
    async fn what_a_client_left_behind_is_sent_first_by_the_next_one(scene) {
        let directory = tempfile::tempdir().unwrap();
        let options = || {
            let store = FileOutbox::open(directory.path()).unwrap();
            scene.plain_options().outbox(store).auto_connect(false)
        };
        let client = Realtime::new(options()).unwrap();
        let channel = client.channels().get("orders");
        for number in 0..3000 {
            // The receipts are not awaited: nothing is sent.
            let _receipt = channel.publish(number.to_string(), vec![7; 300]).submit().await.unwrap();
        }
        end(client).await;

        let client = Realtime::new(options()).unwrap();
        assert_eq!(outbox(&client).metrics().waiting, 3000);
        client.channels().get("orders").publish("newer", ()).await.unwrap();
        client.connection().connect();
        outbox(&client).flush().await.unwrap();
        let mut names = names_of_all(&scene, "orders").await;
        assert_eq!(names.pop().as_deref(), Some("newer"));
        assert_eq!(names, (0..3000).map(|number| number.to_string()).collect::<Vec<_>>());
        end(client).await;
        let store = FileOutbox::open(directory.path()).unwrap();
        assert_eq!(store.usage().entries, 0);
    }
}

async fn names_of_all(scene: &Scene, channel: &str) -> Vec<String> {
    use futures_util::TryStreamExt;

    let rest = capably::Rest::new(scene.plain_options()).unwrap();
    let page = rest.channels().get(channel).history().limit(1000).await.unwrap();
    let messages: Vec<Message> = page.items_stream().try_collect().await.unwrap();
    messages.into_iter().rev().map(|message| message.name.unwrap().to_string()).collect()
}

in_both_formats! {
    async fn a_receipt_has_the_serials_of_the_service(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        let receipts: Vec<_> = (0..100)
            .map(|number| channel.publish(number.to_string(), ()).submit())
            .collect();
        let mut serials = Vec::new();
        for receipt in join_all(receipts).await {
            serials.push(receipt.unwrap().await.unwrap().serials[0].clone().unwrap());
        }
        let several = [Message::new("one", "1"), Message::new("two", "2")];
        let receipt = channel.publish_messages(several).submit().await.unwrap();
        assert_eq!(receipt.await.unwrap().serials.len(), 2);
        let history = scene.history("orders").await;
        let expected: Vec<_> =
            history.iter().take(100).map(|message| message.serial.clone().unwrap()).collect();
        assert_eq!(serials, expected, "in the order of submission");
        assert_eq!(history.len(), 102);
    }
}

in_both_formats! {
    async fn ids_are_the_publisher_s_or_of_a_common_base(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        channel.publish("own", ()).id("mine").await.unwrap();
        channel.publish_messages([Message::new("a", ()), Message::new("b", ())]).await.unwrap();
        let with_id = Message { id: Some("x:0".into()), ..Message::new("c", ()) };
        let mixed = channel.publish_messages([with_id, Message::new("d", ())]).await.unwrap_err();
        assert_eq!(mixed.code().0, 40031);
        outbox(&client).flush().await.unwrap();
        let ids: Vec<_> =
            scene.history("orders").await.into_iter().map(|message| message.id.unwrap()).collect();
        let base = ids[1].strip_suffix(":0").unwrap();
        assert_eq!(ids, ["mine", &format!("{base}:0"), &format!("{base}:1")]);
    }
}

in_both_formats! {
    async fn payloads_of_a_channel_with_a_cipher_are_encrypted_in_the_store(scene) {
        let directory = tempfile::tempdir().unwrap();
        let store = FileOutbox::open(directory.path()).unwrap();
        let client = Realtime::new(scene.plain_options().outbox(store).auto_connect(false)).unwrap();
        let key = vec![3; 16];
        let options = RealtimeChannelOptions::with_cipher_key(key.clone()).unwrap();
        let channel = client.channels().get_with("secrets", options);
        channel.publish("secret", "the plain text").await.unwrap();
        client.channels().get("open").publish("open", "the open text").await.unwrap();
        let file = std::fs::read(directory.path().join("outbox.log")).unwrap();
        let has = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
        assert!(has(b"the open text") && !has(b"the plain text"));

        client.connection().connect();
        outbox(&client).flush().await.unwrap();
        let rest = capably::Rest::new(scene.plain_options()).unwrap();
        let channel = rest.channels().get_with("secrets", ChannelOptions::with_cipher_key(key).unwrap());
        let page = channel.history().await.unwrap();
        assert_eq!(page.items()[0].data, Data::from("the plain text"));
    }
}

in_both_formats! {
    async fn publishes_go_on_while_their_channel_has_failed(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        let mut messages = channel.subscribe().await.unwrap();
        let error = ErrorInfo::new(90000.into(), 400, "of the test");
        let failed = ErrorFrame { channel: Some("orders".into()), error: Some(error) };
        scene.faults.connections().inject_to_client(ServerFrame::Error(failed));
        assert!(messages.next().await.is_none());
        assert_eq!(channel.state(), ChannelState::Failed);

        channel.publish("failed", ()).await.unwrap();
        outbox(&client).flush().await.unwrap();
        channel.attach().await.unwrap();
        let mut messages = channel.subscribe().await.unwrap();
        channel.publish("attached", ()).await.unwrap();
        assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("attached"));
        assert_eq!(scene.names("orders").await, ["failed", "attached"]);
    }
}

in_both_formats! {
    async fn a_closed_client_stores_and_sends_when_it_connects_again(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        channel.publish("before", ()).await.unwrap();
        outbox(&client).flush().await.unwrap();
        client.close().await;
        let receipt = channel.publish("closed", ()).submit().await.unwrap();
        let error = receipt.await.unwrap_err();
        assert_eq!(error.code().0, 80017);
        assert!(error.message().contains("stays in the outbox"), "{error}");
        client.connection().connect();
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["before", "closed"]);
    }
}

in_both_formats! {
    async fn a_client_that_is_dropped_leaves_its_publishes_to_the_next_one(scene) {
        let client = scene.offline();
        let receipt = client.channels().get("orders").publish("kept", ()).submit().await.unwrap();
        let handle = outbox(&client);
        drop(client);
        let error = receipt.await.unwrap_err();
        assert_eq!(error.code().0, 80017);
        assert_eq!(handle.flush().await.unwrap_err().code().0, 80017);
        handle.close().await;
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["kept"]);
    }
}

in_both_formats! {
    async fn publishes_after_the_outbox_was_closed_fail_and_leave_nothing(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        // Closing while publishes are under way: each is stored and sent later, or fails.
        let publishing: Vec<_> =
            (0..200).map(|n| channel.publish(n.to_string(), ()).into_future()).collect();
        let (results, ()) = tokio::join!(join_all(publishing), outbox(&client).close());
        let accepted = results.iter().filter(|result| result.is_ok()).count();
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.code().0, 80017);
        }
        assert_eq!(channel.publish("late", ()).await.unwrap_err().code().0, 80017);
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await.len(), accepted);
    }
}

in_both_formats! {
    async fn a_long_time_without_a_connection_loses_nothing(scene) {
        use capably_server::faults::Rule;
        use std::time::Duration;

        let short = Duration::from_millis(20);
        scene.faults.add(Rule::opening().refuse());
        let options = scene.options().disconnected_retry_timeout(short).suspended_retry_timeout(short);
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        let receipt = channel.publish("first", ()).submit().await.unwrap();
        let mut changes = client.connection().changes();
        for _ in 0..5 {
            while changes.next().await.unwrap().current != ConnectionState::Connecting {}
            channel.publish("more", ()).await.unwrap();
        }
        scene.faults.clear();
        assert!(receipt.await.unwrap().serials[0].is_some());
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await.len(), 6);
        assert_eq!(scene.names("orders").await[0], "first");
    }
}
