//! Statistics of an app.

use capably::{StatsUnit, http::HttpMethod, rest::Direction};
use serde_json::json;

use crate::in_both_formats;

in_both_formats! {
    // UTS: rest/integration/RSC6/stats-returns-result-0
    async fn an_app_has_statistics(app) {
        let rest = app.rest();
        assert_eq!(rest.stats().await.unwrap().items(), [], "nobody has used it");
        rest.channels().get("any").publish("name", "data").await.unwrap();
        let page = rest.stats().await.unwrap();
        // Statistics of one minute, or of two at its end.
        assert!(!page.items().is_empty());
        for minute in page.items() {
            assert!(minute.interval_time().is_some());
            assert_eq!(minute.unit, Some(StatsUnit::Minute));
        }
        let messages = page.items().iter().map(|it| it.entry("messages.inbound.rest.messages.count"));
        assert_eq!(messages.sum::<f64>(), 1.0);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSC6/stats-with-parameters-1
    // Spec: RSC6b1, RSC6b2, RSC6b3, RSC6b4, TS12a, TS12c, TS12p, TS12r, TS12t
    async fn statistics_are_selected_by_time_and_unit(app) {
        let rest = app.rest();
        let fixtures: Vec<_> = (10..20)
            .map(|hour| {
                let id = format!("2024-02-03:{hour}:30");
                json!({"intervalId": id, "channels": {"peak": hour, "opened": 1}})
            })
            .collect();
        rest.request(HttpMethod::Post, "/stats").body(json!(fixtures)).await.unwrap();
        // From 12:00 to 18:00 on that day.
        let (start, end) = (1_706_961_600_000, 1_706_983_200_000);
        let hours = rest
            .stats()
            .start(start)
            .end(end)
            .limit(5)
            .direction(Direction::Forwards)
            .unit(StatsUnit::Hour)
            .await
            .unwrap();
        let ids: Vec<_> = hours.items().iter().map(|it| &*it.interval_id).collect();
        let expected =
            ["2024-02-03:12", "2024-02-03:13", "2024-02-03:14", "2024-02-03:15", "2024-02-03:16"];
        assert_eq!(ids, expected);
        assert!(hours.items().iter().all(|it| it.unit == Some(StatsUnit::Hour)));
        assert_eq!(hours.items()[0].interval_time(), Some(start));
        assert_eq!(hours.items()[0].app_id.as_deref(), Some(&app.key(0)[..6]));
        let rest_of_them = hours.next().await.unwrap().unwrap();
        assert_eq!(rest_of_them.items().len(), 2);
        assert!(rest_of_them.next().await.unwrap().is_none());

        let day = rest.stats().start(start).end(end).unit(StatsUnit::Day).await.unwrap();
        assert_eq!(day.items()[0].interval_id, "2024-02-03");
        assert_eq!(day.items()[0].entry("channels.peak"), 19.0);
        assert_eq!(day.items()[0].entry("channels.opened"), 10.0);
    }
}
