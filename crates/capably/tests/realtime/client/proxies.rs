//! Calls of a realtime client that use REST (RTC5, RTC6, RTC9).

use std::sync::Arc;

use capably::{ClientOptions, Realtime, StatsUnit, http::HttpMethod};
use capably_protocol::Format;
use serde_json::{Value, json};

use crate::{
    http::scripted_http::{KEY, ScriptedHttp, respond},
    in_both_formats,
    support::*,
};

fn answering(format: Format, body: Value) -> (Realtime, ScriptedHttp) {
    let http = ScriptedHttp::always(respond(200, body));
    let options = ClientOptions::new(KEY).http_client(Arc::new(http.clone()));
    (client_of(format, options).0, http)
}

// UTS: realtime/unit/RTC9/request-proxies-rest-0
in_both_formats! {
    async fn requests(format) {
        let (client, http) = answering(format, json!([{ "a": 1 }]));
        let response = client
            .request(HttpMethod::Get, "/channels")
            .param("limit", 10)
            .header("X-Own", "yes")
            .await
            .unwrap();
        assert!(response.is_success());
        assert_eq!(response.items(), [json!({ "a": 1 })]);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/channels"));
        assert_eq!(request.param("limit").as_deref(), Some("10"));
        assert_eq!(request.header("X-Own"), Some("yes"));
        assert_eq!(request.header("Authorization"), Some("Basic YXBwSWQua2V5SWQ6a2V5U2VjcmV0"));
    }
}

// UTS: realtime/unit/RTC5/stats-proxies-rest-0
// Spec: RTC5a, RTC5b
in_both_formats! {
    async fn statistics(format) {
        let (client, http) = answering(format, json!([{
            "intervalId": "2024-01-01:13", "unit": "hour",
            "entries": { "messages.all.all.count": 7 },
        }]));
        let page = client.stats().unit(StatsUnit::Hour).limit(24).await.unwrap();
        assert_eq!(page.items()[0].entry("messages.all.all.count"), 7.0);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/stats"));
        assert_eq!(request.param("unit").as_deref(), Some("hour"));
        assert_eq!(request.param("limit").as_deref(), Some("24"));
    }
}

// UTS: realtime/unit/RTC6/time-proxies-rest-0
// Spec: RTC6a
in_both_formats! {
    async fn the_time(format) {
        let (client, http) = answering(format, json!([1_704_067_200_000_u64]));
        assert_eq!(client.time().await.unwrap(), 1_704_067_200_000);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/time"));
        assert_eq!(request.header("Authorization"), None);
    }
}
