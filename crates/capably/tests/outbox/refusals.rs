//! Publishes that the service refuses for good are moved aside and reported.

use capably::{ClientOptions, Realtime, outbox::OutboxPolicy};

use crate::scene::{Scene, end, in_both_formats, outbox};

async fn limited(scene: &Scene) -> ClientOptions {
    let token = scene.token(&["allowed"]).await;
    scene.options_without_key().token(token).outbox(scene.store.clone())
}

in_both_formats! {
    async fn a_refused_publish_is_reported_and_kept_and_the_others_go_on(scene) {
        let client = Realtime::connect(limited(&scene).await).await.unwrap();
        let mut refusals = outbox(&client).refusals();
        let denied = client.channels().get("denied").publish("no", "x").id("n").submit();
        let denied = denied.await.unwrap();
        client.channels().get("allowed").publish("yes", "x").await.unwrap();
        assert_eq!(denied.await.unwrap_err().code().0, 40160);
        let refused = refusals.next().await.unwrap();
        assert_eq!((&*refused.channel, refused.error.code().0), ("denied", 40160));
        assert_eq!(refused.messages[0].id.as_deref(), Some("n"));
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("allowed").await, ["yes"]);
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.refused, metrics.refused_waiting, metrics.acknowledged), (1, 1, 1));
        end(client).await;

        // A later client does not send it by itself, and sends it when it is told to.
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        let refused = outbox(&client).refused().await.unwrap();
        assert_eq!((refused.len(), refused[0].error.code().0), (1, 40160));
        assert!(scene.names("denied").await.is_empty());
        assert_eq!(outbox(&client).retry(refused[0].seq).await.unwrap(), 1);
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("denied").await, ["no"]);
        assert!(outbox(&client).refused().await.unwrap().is_empty());
        assert_eq!(outbox(&client).retry(None).await.unwrap(), 0);
    }
}

in_both_formats! {
    async fn refused_publishes_can_be_discarded_and_are_bounded(scene) {
        let options = limited(&scene).await.outbox_policy(OutboxPolicy::new().max_refused_bytes(1500));
        let client = Realtime::connect(options).await.unwrap();
        for number in 0..5 {
            let channel = client.channels().get("denied");
            channel.publish(number.to_string(), "x".repeat(500)).await.unwrap();
        }
        outbox(&client).flush().await.unwrap();
        let names = |refused: Vec<capably::outbox::RefusedPublish>| -> Vec<String> {
            refused.iter().map(|one| one.messages[0].name.clone().unwrap().to_string()).collect()
        };
        assert_eq!(names(outbox(&client).refused().await.unwrap()), ["3", "4"]);
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.refused, metrics.dropped, metrics.refused_waiting), (5, 3, 2));
        let last = outbox(&client).refused().await.unwrap()[1].seq;
        assert_eq!(outbox(&client).discard(last).await.unwrap(), 1);
        assert_eq!(names(outbox(&client).refused().await.unwrap()), ["3"]);
        assert_eq!(outbox(&client).discard(None).await.unwrap(), 1);
        assert_eq!(outbox(&client).metrics().refused_waiting, 0);
    }
}

in_both_formats! {
    async fn a_publish_that_is_too_large_is_refused_before_it_is_stored(scene) {
        let client = scene.client().await;
        let channel = client.channels().get("orders");
        let error = channel.publish("large", "x".repeat(70_000)).await.unwrap_err();
        assert_eq!(error.code().0, 40009);
        assert_eq!(outbox(&client).metrics().accepted, 0);
        // With a greater limit of the client, the service's limit decides.
        end(client).await;
        let client = Realtime::connect(scene.options().max_message_size(100_000)).await.unwrap();
        let channel = client.channels().get("orders");
        let receipt = channel.publish("large", "x".repeat(70_000)).submit().await.unwrap();
        assert_eq!(receipt.await.unwrap_err().code().0, 40009);
        assert_eq!(outbox(&client).metrics().refused, 1);
    }
}
