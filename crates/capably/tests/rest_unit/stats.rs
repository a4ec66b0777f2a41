//! Statistics (RSC6, TS).

use capably::{StatsUnit, rest::Direction};
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{ScriptedHttp, respond},
};

const START: i64 = 1_704_067_200_000;
const END: i64 = 1_706_745_599_000;

fn empty() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

// UTS: rest/unit/RSC6a/returns-paginated-stats-0
// Spec: TS1, TS12, TS12a, TS12p, TS12c, TS12r, RSC6
#[tokio::test]
async fn returns_a_page_of_statistics() {
    for options in both_formats() {
        let all = json!({"messages": {"count": 100, "data": 5000}, "all": {"count": 100}});
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {"intervalId": "2024-01-01:00:00", "unit": "hour", "all": all},
                {"intervalId": "2024-01-01:01:00", "unit": "hour"},
            ]),
        ));
        let page = http.rest_with(options).stats().await.unwrap();
        assert_eq!(page.items().len(), 2);
        let first = &page.items()[0];
        assert_eq!(&*first.interval_id, "2024-01-01:00:00");
        assert_eq!(first.unit, Some(StatsUnit::Hour));
        assert_eq!(first.interval_time(), Some(START));
        assert_eq!(first.entry("messages.all.messages.data"), 5000.0);
        assert_eq!(&*page.items()[1].interval_id, "2024-01-01:01:00");
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/stats"));
    }
}

// Spec: TS12q, TS12r, TS12s, TS12t
#[tokio::test]
async fn reads_entries_with_dotted_names() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([{
                "intervalId": "2024-01", "unit": "month", "inProgress": "2024-01-31:23:59",
                "schema": "https://schemas.example/app-stats", "appId": "app",
                "entries": {"messages.all.all.count": 7, "connections.all.mean": 0.5},
            }]),
        ));
        let page = http.rest_with(options).stats().await.unwrap();
        let month = &page.items()[0];
        assert_eq!(month.in_progress.as_deref(), Some("2024-01-31:23:59"));
        assert_eq!(month.schema.as_deref(), Some("https://schemas.example/app-stats"));
        assert_eq!(month.app_id.as_deref(), Some("app"));
        assert_eq!(month.entry("messages.all.all.count"), 7.0);
        assert_eq!(month.entry("connections.all.mean"), 0.5);
        assert_eq!(month.entries.len(), 2);
    }
}

// UTS: rest/unit/RSC6a/authenticated-with-headers-1
#[tokio::test]
async fn sends_credentials_and_headers() {
    let http = empty();
    http.rest().stats().await.unwrap();
    let request = http.request();
    assert!(request.header("Authorization").unwrap().starts_with("Basic "));
    assert_eq!(request.header("X-Ably-Version"), Some("6"));
    assert!(request.header("Ably-Agent").unwrap().starts_with("capably-rust/"));
}

// UTS: rest/unit/RSC6b1/start-param-millis-0
// UTS: rest/unit/RSC6b1/end-param-millis-1
// UTS: rest/unit/RSC6b2/direction-param-forwards-0
// UTS: rest/unit/RSC6b3/limit-param-value-0
// UTS: rest/unit/RSC6b4/unit-param-values-0
// Spec: RSC6b2, RSC6b3, RSC6b4
#[tokio::test]
async fn sends_each_parameter_in_the_query() {
    let http = empty();
    let rest = http.rest();
    rest.stats().start(START).await.unwrap();
    rest.stats().end(END).await.unwrap();
    rest.stats().direction(Direction::Forwards).await.unwrap();
    rest.stats().limit(10).await.unwrap();
    for unit in [StatsUnit::Minute, StatsUnit::Hour, StatsUnit::Day, StatsUnit::Month] {
        rest.stats().unit(unit).await.unwrap();
    }
    let urls: Vec<_> = http.requests().into_iter().map(|request| request.0.url).collect();
    let base = "https://main.realtime.ably.net/stats";
    let expected = [
        "start=1704067200000",
        "end=1706745599000",
        "direction=forwards",
        "limit=10",
        "unit=minute",
        "unit=hour",
        "unit=day",
        "unit=month",
    ];
    assert_eq!(urls, expected.map(|query| format!("{base}?{query}")));
}

// UTS: rest/unit/RSC6b1/start-and-end-params-2
// UTS: rest/unit/RSC6b/all-params-combined-0
// Spec: RSC6b
#[tokio::test]
async fn sends_all_parameters_together() {
    let http = empty();
    let stats = http.rest().stats().start(START).end(END);
    stats.direction(Direction::Forwards).limit(50).unit(StatsUnit::Hour).await.unwrap();
    let request = http.request();
    for (name, value) in [
        ("start", "1704067200000"),
        ("end", "1706745599000"),
        ("direction", "forwards"),
        ("limit", "50"),
        ("unit", "hour"),
    ] {
        assert_eq!(request.param(name).as_deref(), Some(value));
    }
}

// UTS: rest/unit/RSC6b2/direction-defaults-backwards-1
// UTS: rest/unit/RSC6b3/limit-defaults-to-100-1
// UTS: rest/unit/RSC6b4/unit-defaults-to-minute-1
// UTS: rest/unit/RSC6a/no-params-clean-request-2
// UTS: rest/unit/RSC6a/empty-results-handled-4
#[tokio::test]
async fn leaves_the_defaults_to_the_service() {
    let http = empty();
    let page = http.rest().stats().await.unwrap();
    assert!(page.items().is_empty());
    assert_eq!((page.has_next(), page.is_last()), (false, true));
    assert_eq!(http.request().0.url, "https://main.realtime.ably.net/stats");
}

// UTS: rest/unit/RSC6a/pagination-link-headers-3
#[tokio::test]
async fn pages_lead_to_the_next() {
    let http = ScriptedHttp::sequence([
        respond(200, json!([{"intervalId": "2024-01-01:01:00", "unit": "hour"}]))
            .link("</stats?start=1704070800000&limit=1>; rel=\"next\""),
        respond(200, json!([{"intervalId": "2024-01-01:00:00", "unit": "hour"}])),
    ]);
    let first = http.rest().stats().limit(1).await.unwrap();
    assert_eq!(&*first.items()[0].interval_id, "2024-01-01:01:00");
    assert_eq!((first.has_next(), first.is_last()), (true, false));
    let second = first.next().await.unwrap().expect("there is a next page");
    assert_eq!(&*second.items()[0].interval_id, "2024-01-01:00:00");
    assert_eq!((second.items().len(), second.has_next(), second.is_last()), (1, false, true));
}

// UTS: rest/unit/RSC6a/error-propagated-5
#[tokio::test]
async fn passes_errors_on() {
    let body = json!({"error": {"message": "Unauthorized", "code": 40100, "statusCode": 401}});
    let error = ScriptedHttp::always(respond(401, body)).rest().stats().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40100, Some(401)));
}

#[tokio::test]
async fn refuses_invalid_parameters() {
    let http = empty();
    let stats = || http.rest().stats();
    for query in [stats().limit(0), stats().limit(1001), stats().start(END).end(START)] {
        let error = query.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40003, Some(400)), "{error}");
    }
    assert!(http.requests().is_empty());
}
