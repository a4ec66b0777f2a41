//! History.

use capably::{Data, rest::Direction};
use serde_json::json;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: rest/integration/RSL2a/history-returns-messages-0
    async fn history_returns_the_newest_message_first(app) {
        let channel = app.rest().channels().get("history-test-RSL2a");
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

in_both_formats! {
    // UTS: rest/integration/RSL2b1/history-direction-forwards-0
    async fn history_forwards_is_oldest_first(app) {
        let channel = app.rest().channels().get("history-direction");
        for (name, data) in [("first", "1"), ("second", "2"), ("third", "3")] {
            channel.publish(name, data).await.unwrap();
        }
        let page = channel.history().direction(Direction::Forwards).await.unwrap();
        assert_eq!(names(page.items()), ["first", "second", "third"]);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL2b2/history-limit-parameter-0
    async fn history_has_a_limit(app) {
        let channel = app.rest().channels().get("history-limit");
        publish_events(&channel, 10).await;
        let page = channel.history().limit(5).await.unwrap();
        assert_eq!(names(page.items()), ["event-10", "event-9", "event-8", "event-7", "event-6"]);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL2b3/history-time-range-0
    async fn history_is_bounded_by_time(app) {
        let rest = app.rest();
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
}

in_both_formats! {
    // UTS: rest/integration/RSL2/history-empty-channel-0
    async fn history_of_a_channel_without_messages_is_empty(app) {
        let page = app.rest().channels().get("history-empty").history().await.unwrap();
        assert!(page.items().is_empty());
        assert_eq!((page.has_next(), page.is_last()), (false, true));
    }
}
