//! Publishes that the service may have accepted before are not accepted twice.

use std::time::Duration;

use capably::{
    Realtime,
    outbox::{OutboxPolicy, WhenUnsure},
};
use capably_protocol::{
    ErrorInfo, ServerFrame,
    frame::{Action, Nack},
};
use capably_server::faults::Rule;

use crate::scene::{Scene, behind, end, in_both_formats, outbox};

/// Publishes a message that the service accepts, or loses, without an acknowledgement, with a clock that is behind.
async fn send_without_ack(scene: &Scene, seconds_behind: i64, reaches_the_service: bool) {
    let listener = Realtime::connect(scene.plain_options()).await.unwrap();
    let mut messages = listener.channels().get("orders").subscribe().await.unwrap();
    let options = scene.options().wall_clock(behind(seconds_behind)).client_id("publisher");
    let client = Realtime::connect(options).await.unwrap();
    if reaches_the_service {
        scene.faults.add(Rule::to_client().action(Action::Ack).suppress());
    } else {
        scene.faults.add(Rule::to_server().action(Action::Message).suppress());
    }
    client.channels().get("orders").publish("once", "x").await.unwrap();
    if reaches_the_service {
        assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("once"));
    } else {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while scene.faults.log().client_frames(Action::Message).is_empty() {
            interval.tick().await;
        }
    }
    end(client).await;
    scene.faults.clear();
}

in_both_formats! {
    async fn a_publish_whose_acknowledgement_was_lost_is_recognised_by_its_id(scene) {
        send_without_ack(&scene, 0, true).await;
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.sent, metrics.acknowledged, metrics.unsure), (1, 1, 0));
        assert_eq!(scene.names("orders").await, ["once"]);
    }
}

in_both_formats! {
    async fn after_the_time_of_recognition_history_shows_that_it_was_accepted(scene) {
        send_without_ack(&scene, 600, true).await;
        let client = scene.client().await;
        client.channels().get("orders").publish("next", ()).await.unwrap();
        outbox(&client).flush().await.unwrap();
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.sent, metrics.acknowledged, metrics.unsure), (1, 2, 0));
        assert_eq!(scene.names("orders").await, ["once", "next"]);
    }
}

in_both_formats! {
    async fn a_clock_that_was_set_back_makes_it_ask_history(scene) {
        send_without_ack(&scene, -600, true).await;
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.sent, metrics.acknowledged, metrics.unsure), (0, 1, 0));
        assert_eq!(scene.names("orders").await, ["once"]);
    }
}

in_both_formats! {
    async fn a_publish_that_did_not_arrive_is_sent_if_history_is_silent_about_it(scene) {
        send_without_ack(&scene, 600, false).await;
        for choice in [WhenUnsure::Refuse, WhenUnsure::Send] {
            let options = scene.options().outbox_policy(OutboxPolicy::new().when_unsure(choice));
            let client = Realtime::connect(options).await.unwrap();
            outbox(&client).flush().await.unwrap();
            assert_eq!(outbox(&client).metrics().unsure, 1);
            if choice == WhenUnsure::Refuse {
                let refused = outbox(&client).refused().await.unwrap();
                assert_eq!(refused[0].error.code().0, 50003);
                assert!(scene.names("orders").await.is_empty());
                assert_eq!(outbox(&client).metrics().refused_waiting, 1);
                // The application decides to send it: it is unsure once more, and the next policy sends it.
                let options = scene.options().auto_connect(false);
                end(client).await;
                let client = Realtime::new(options).unwrap();
                assert_eq!(outbox(&client).retry(None).await.unwrap(), 1);
                end(client).await;
            } else {
                assert_eq!(scene.names("orders").await, ["once"]);
                end(client).await;
            }
        }
    }
}

in_both_formats! {
    async fn a_publish_that_was_never_sent_is_not_asked_for(scene) {
        let client = Realtime::new(scene.options().wall_clock(behind(600)).auto_connect(false)).unwrap();
        client.channels().get("orders").publish("new", ()).await.unwrap();
        end(client).await;
        let client = scene.client().await;
        outbox(&client).flush().await.unwrap();
        assert_eq!(outbox(&client).metrics().unsure, 0);
        assert!(scene.faults.log().requests("history").is_empty());
        assert!(scene.faults.log().requests("/messages").is_empty());
        assert_eq!(scene.names("orders").await, ["new"]);
    }
}

in_both_formats! {
    async fn an_error_that_passes_has_the_publish_sent_again_with_its_id(scene) {
        let error = ErrorInfo::new(42911.into(), 429, "too fast");
        let nack = Nack { msg_serial: 0, count: 1, error: Some(error) };
        // The service accepts the message, and the client learns otherwise.
        let rule = Rule::to_client().action(Action::Ack).times(1);
        scene.faults.add(rule.replace(ServerFrame::Nack(nack)));
        let options = scene.options().outbox_policy(OutboxPolicy::new().max_in_flight(1));
        let client = Realtime::connect(options).await.unwrap();
        let channel = client.channels().get("orders");
        for name in ["a", "b", "c"] {
            channel.publish(name, ()).await.unwrap();
        }
        outbox(&client).flush().await.unwrap();
        let metrics = outbox(&client).metrics();
        assert_eq!((metrics.sent, metrics.acknowledged, metrics.refused), (4, 3, 0));
        assert_eq!(scene.names("orders").await, ["a", "b", "c"]);
    }
}

in_both_formats! {
    async fn a_connection_that_is_lost_again_and_again_neither_loses_nor_repeats(scene) {
        let options = scene.options().disconnected_retry_timeout(Duration::from_millis(20));
        let client = Realtime::connect(options.client_id("publisher")).await.unwrap();
        let channel = client.channels().get("orders");
        let mut receipts = Vec::new();
        for number in 0..600 {
            receipts.push(channel.publish(number.to_string(), ()).submit().await.unwrap());
            if number % 60 == 30 {
                scene.faults.connections().param("clientId", "publisher").disconnect();
            }
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let expected: Vec<_> = (0..600).map(|number| number.to_string()).collect();
        assert_eq!(scene.names("orders").await, expected);
    }
}
