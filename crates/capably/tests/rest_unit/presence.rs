//! Presence (RSP).

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{
    CipherParams, ClientOptions, Data, PresenceAction, PresenceMessage, Result,
    rest::{ChannelOptions, Direction, PaginatedResult},
};
use capably_protocol::Format;
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, respond},
};

fn empty() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

async fn get(items: Value) -> PaginatedResult<PresenceMessage> {
    let http = ScriptedHttp::always(respond(200, items));
    http.rest().channels().get("test").presence().get().await.unwrap()
}

// UTS: rest/unit/RSP1a/presence-channel-attribute-0
// UTS: rest/unit/RSP3a/get-request-endpoint-0
// UTS: rest/unit/RSP3b/get-returns-presence-messages-0
// Spec: RSL3, RSP1, RSP3, RSP3a
#[tokio::test]
async fn reads_the_present_members() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {
                    "action": 1, "clientId": "user123", "connectionId": "conn456",
                    "data": "status data", "encoding": null, "timestamp": 1_234_567_890_000_i64,
                },
                {"action": 1, "clientId": "client2", "data": "world"},
            ]),
        ));
        let channel = http.rest_with(options).channels().get("a:b");
        let page = channel.presence().get().await.unwrap();
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/channels/a%3Ab/presence"));
        let [first, second] = page.items() else { panic!("{page:?}") };
        assert_eq!(first.action, Some(PresenceAction::Present));
        assert_eq!(first.client_id.as_deref(), Some("user123"));
        assert_eq!(first.connection_id.as_deref(), Some("conn456"));
        assert_eq!(first.data.as_str(), Some("status data"));
        assert_eq!(first.timestamp, Some(1_234_567_890_000));
        assert_eq!(second.client_id.as_deref(), Some("client2"));
    }
}

// UTS: rest/unit/RSP1b/same-instance-returned-0
#[tokio::test]
async fn presence_is_always_that_of_the_channel() {
    let (cipher, items) = encrypted();
    let http = ScriptedHttp::always(respond(200, items));
    let rest = http.rest();
    let channel = rest.channels().get("test");
    let earlier = channel.presence();
    // Handles cannot be compared; options set later show that all belong to one channel.
    rest.channels().get_with("test", ChannelOptions::default().cipher(cipher));
    for presence in [earlier, channel.presence(), rest.channels().get("test").presence()] {
        let page = presence.get().await.unwrap();
        assert_eq!(page.items()[0].data.as_json(), Some(&json!({"secret": "data"})));
    }
    let requests = http.requests();
    let paths: Vec<_> = requests.iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/channels/test/presence"; 3]);
}

// UTS: rest/unit/RSP3c/get-empty-members-0
#[tokio::test]
async fn a_channel_may_have_no_members() {
    let page = get(json!([])).await;
    assert!(page.items().is_empty());
    assert!(!page.has_next());
}

// UTS: rest/unit/RSP3a1/get-limit-parameter-0
// UTS: rest/unit/RSP3a1/get-limit-max-1000-2
// UTS: rest/unit/RSP3a2/get-clientid-filter-0
// UTS: rest/unit/RSP3a3/get-connectionid-filter-0
// UTS: rest/unit/RSP3/get-multiple-filters-0
#[tokio::test]
async fn members_can_be_filtered() {
    let http = empty();
    let presence = http.rest().channels().get("test").presence();
    presence.get().limit(50).await.unwrap();
    presence.get().limit(1000).await.unwrap();
    presence.get().client_id("specific client").await.unwrap();
    presence.get().connection_id("conn123").await.unwrap();
    presence.get().limit(25).client_id("user1").connection_id("conn1").await.unwrap();
    let query = |index: usize| {
        let url = http.requests()[index].0.url.clone();
        url.split_once('?').expect("a query").1.to_owned()
    };
    assert_eq!(query(0), "limit=50");
    assert_eq!(query(1), "limit=1000");
    assert_eq!(query(2), "clientId=specific%20client");
    assert_eq!(query(3), "connectionId=conn123");
    assert_eq!(query(4), "limit=25&clientId=user1&connectionId=conn1");
}

// UTS: rest/unit/RSP3a1/get-limit-default-100-1
// UTS: rest/unit/RSP4b2/history-direction-backwards-default-0
// UTS: rest/unit/RSP4b3/history-limit-default-100-1
#[tokio::test]
async fn leaves_the_defaults_to_the_service() {
    let http = empty();
    let presence = http.rest().channels().get("test").presence();
    presence.get().await.unwrap();
    presence.history().await.unwrap();
    assert_eq!(http.requests().len(), 2);
    for request in http.requests() {
        assert!(!request.0.url.contains('?'), "{request:?}");
    }
}

// UTS: rest/unit/RSP4a/history-request-endpoint-0
// UTS: rest/unit/RSP4a/history-returns-paginated-1
#[tokio::test]
async fn reads_the_actions_of_members() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {"action": 2, "clientId": "user1", "data": "d1", "timestamp": 1000},
                {"action": 3, "clientId": "user1", "data": "d2", "timestamp": 2000},
                {"action": 4, "clientId": "user1", "data": "d3", "timestamp": 3000},
            ]),
        ));
        let channel = http.rest_with(options).channels().get("a:b");
        let page = channel.presence().history().await.unwrap();
        let request = http.request();
        let path = "/channels/a%3Ab/presence/history";
        assert_eq!((request.method(), request.path()), ("GET", path));
        let actions: Vec<_> = page.items().iter().map(|item| item.action).collect();
        let expected = [PresenceAction::Enter, PresenceAction::Leave, PresenceAction::Update];
        assert_eq!(actions, expected.map(Some));
    }
}

// UTS: rest/unit/RSP4b1/history-start-parameter-0
// UTS: rest/unit/RSP4b1/history-end-parameter-1
// UTS: rest/unit/RSP4b1/history-start-end-params-2
// UTS: rest/unit/RSP4b2/history-direction-forwards-1
// UTS: rest/unit/RSP4b2/history-direction-backwards-explicit-2
// UTS: rest/unit/RSP4b3/history-limit-parameter-0
// UTS: rest/unit/RSP4b3/history-limit-max-1000-2
// UTS: rest/unit/RSP4/history-all-parameters-0
#[tokio::test]
async fn history_takes_parameters() {
    let http = empty();
    let presence = http.rest().channels().get("test").presence();
    let history = || presence.history();
    let (start, end) = (1_609_459_200_000, 1_609_545_600_000);
    let forwards = Direction::Forwards;
    for (query, expected) in [
        (history().start(start), "start=1609459200000"),
        (history().end(end), "end=1609545600000"),
        (history().start(start).end(end), "start=1609459200000&end=1609545600000"),
        (history().direction(forwards), "direction=forwards"),
        (history().direction(Direction::Backwards), "direction=backwards"),
        (history().limit(50), "limit=50"),
        (history().limit(1000), "limit=1000"),
        (
            history().start(start).end(end).direction(forwards).limit(50),
            "start=1609459200000&end=1609545600000&limit=50&direction=forwards",
        ),
    ] {
        query.await.unwrap();
        let request = http.requests().pop().expect("a request");
        assert_eq!(request.0.url.split_once('?').expect("a query").1, expected);
    }
}

// UTS: rest/unit/RSP4b1/history-datetime-objects-3
// Spec: RSP4b, RSP4b1
#[tokio::test]
async fn history_takes_times_of_the_system() {
    let http = empty();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_609_459_200);
    let history = http.rest().channels().get("test").presence().history();
    history.start(start).end(start + Duration::from_millis(1)).await.unwrap();
    let request = http.request();
    assert_eq!(request.param("start").as_deref(), Some("1609459200000"));
    assert_eq!(request.param("end").as_deref(), Some("1609459200001"));
}

#[tokio::test]
async fn refuses_invalid_parameters() {
    let http = empty();
    let presence = http.rest().channels().get("test").presence();
    for query in
        [presence.get().limit(0), presence.get().limit(1001), presence.history().start(2).end(1)]
    {
        let error = query.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40003, Some(400)), "{error}");
    }
    assert!(http.requests().is_empty());
}

// UTS: rest/unit/RSP5/decode-string-data-0
// UTS: rest/unit/RSP5/decode-json-data-1
// UTS: rest/unit/RSP5/decode-base64-binary-2
// UTS: rest/unit/RSP5/decode-utf8-data-4
// UTS: rest/unit/RSP5/decode-chained-encoding-5
// UTS: rest/unit/RSP5/decode-history-messages-6
// Spec: RSP5
#[tokio::test]
async fn payloads_are_decoded() {
    let items = json!([
        {"action": 1, "data": "plain string data"},
        {"action": 1, "data": r#"{"status":"online","count":42}"#, "encoding": "json"},
        {"action": 1, "data": "SGVsbG8gV29ybGQ=", "encoding": "base64"},
        {"action": 1, "data": "SGVsbG8gV29ybGQ=", "encoding": "utf-8/base64"},
        {"action": 1, "data": "eyJrZXkiOiJ2YWx1ZSJ9", "encoding": "json/base64"},
    ]);
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(200, items.clone()));
        let presence = http.rest_with(options).channels().get("test").presence();
        for query in [presence.get(), presence.history()] {
            let page = query.await.unwrap();
            let data: Vec<_> = page.items().iter().map(|item| item.data.clone()).collect();
            assert_eq!(
                data,
                [
                    Data::from("plain string data"),
                    Data::from(json!({"status": "online", "count": 42})),
                    Data::from(b"Hello World".to_vec()),
                    Data::from("Hello World"),
                    Data::from(json!({"key": "value"})),
                ]
            );
            assert!(page.items().iter().all(|item| item.encoding.is_none()));
        }
    }
}

// UTS: rest/unit/RSP5/decode-msgpack-binary-3
#[tokio::test]
async fn binary_stays_binary_even_if_it_could_be_text() {
    let item = PresenceMessage {
        action: Some(PresenceAction::Present),
        client_id: Some("client1".into()),
        data: b"some data".to_vec().into(),
        ..PresenceMessage::default()
    };
    let body = capably_protocol::codec::encode_items(Format::MsgPack, &[item]);
    let response = capably::http::HttpResponse::new(200, body)
        .with_header("Content-Type", "application/x-msgpack");
    let http = ScriptedHttp::always(Answer::Raw(response));
    let page = http.rest().channels().get("test").presence().get().await.unwrap();
    assert_eq!(page.items()[0].data, Data::from(b"some data".to_vec()));
    assert_eq!(page.items()[0].encoding, None);
}

/// A cipher, and a member whose data is encrypted with it.
fn encrypted() -> (CipherParams, Value) {
    let cipher = CipherParams::from_base64("WUP6u0K7MXI5Zeo0VppPwg==").unwrap();
    let mut data = Data::from(json!({"secret": "data"}));
    let mut encoding = None;
    capably_protocol::encoding::encode(&mut data, &mut encoding, Some((&cipher, [9; 16]))).unwrap();
    let Data::Binary(bytes) = data else { panic!("{data:?}") };
    let items = json!([{
        "action": 1, "clientId": "c1", "data": BASE64_STANDARD.encode(bytes),
        "encoding": "json/utf-8/cipher+aes-128-cbc/base64",
    }]);
    (cipher, items)
}

// UTS: rest/unit/RSP5/decode-cipher-channel-7
#[tokio::test]
async fn encrypted_payloads_are_decrypted() {
    let (cipher, items) = encrypted();
    let http = ScriptedHttp::always(respond(200, items));
    let options = ChannelOptions::default().cipher(cipher);
    let channel = http.rest().channels().get_with("test", options);
    let page = channel.presence().get().await.unwrap();
    assert_eq!(page.items()[0].data.as_json(), Some(&json!({"secret": "data"})));
    assert_eq!(page.items()[0].encoding, None);
}

// UTS: rest/unit/RSP3/get-pagination-link-header-1
// UTS: rest/unit/RSP3/get-pagination-next-page-2
// UTS: rest/unit/RSP4/history-pagination-1
// UTS: rest/unit/TG/pagination-presence-results-7
#[tokio::test]
async fn pages_lead_to_the_next() {
    for (path, history) in [("presence", false), ("presence/history", true)] {
        let link = format!("</channels/test/{path}?page=2>; rel=\"next\"");
        let http = ScriptedHttp::sequence([
            respond(200, json!([{"action": 2, "clientId": "c1"}])).link(link),
            respond(200, json!([{"action": 3, "clientId": "c2"}])),
        ]);
        let presence = http.rest().channels().get("test").presence();
        let query = if history { presence.history() } else { presence.get() };
        let first = query.await.unwrap();
        assert_eq!(first.items()[0].action, Some(PresenceAction::Enter));
        assert!(first.has_next());
        let second = first.next().await.unwrap().expect("there is a next page");
        assert_eq!(second.items()[0].action, Some(PresenceAction::Leave));
        assert_eq!(second.items()[0].client_id.as_deref(), Some("c2"));
        assert!(!second.has_next());
        assert_eq!(http.requests()[1].param("page").as_deref(), Some("2"));
    }
}

// UTS: rest/unit/RSP3/get-server-error-3
// UTS: rest/unit/RSP4/history-auth-error-2
// UTS: rest/unit/RSP3/get-channel-not-found-4
#[tokio::test]
async fn passes_errors_on() {
    for (code, status) in [(50000, 500), (40101, 401), (40400, 404)] {
        let body = json!({"error": {"code": code, "statusCode": status, "message": "no"}});
        let http = ScriptedHttp::always(respond(status, body));
        let presence = http.rest().channels().get("test").presence();
        let errors: [Result<_>; 2] = [presence.get().await, presence.history().await];
        for result in errors {
            let error = result.unwrap_err();
            assert_eq!((error.code().0, error.status()), (code, Some(status)));
        }
    }
}

// UTS: rest/unit/RSP3/get-standard-headers-5
// UTS: rest/unit/RSP4/history-auth-header-3
// UTS: rest/unit/RSP3/get-request-id-enabled-6
#[tokio::test]
async fn sends_credentials_headers_and_a_request_id() {
    let http = empty();
    let rest = http.rest_with(ClientOptions::new(KEY).add_request_ids(true));
    let presence = rest.channels().get("test").presence();
    presence.get().await.unwrap();
    presence.history().await.unwrap();
    for request in http.requests() {
        assert_eq!(request.header("X-Ably-Version"), Some("6"));
        assert!(request.header("Ably-Agent").unwrap().contains("ably-"));
        assert_eq!(request.header("Accept"), Some("application/x-msgpack"));
        assert!(request.header("Authorization").unwrap().starts_with("Basic "));
        assert_eq!(request.param("request_id").map(|id| id.len()), Some(16));
    }
}

// UTS: rest/unit/RSP5/presence-action-mapping-8
#[tokio::test]
async fn actions_have_the_numbers_of_the_specification() {
    let items: Value = (0..=5).map(|action| json!({"action": action})).collect();
    let page = get(items).await;
    let actions: Vec<_> = page.items().iter().map(|item| item.action).collect();
    let expected = [
        PresenceAction::Absent,
        PresenceAction::Present,
        PresenceAction::Enter,
        PresenceAction::Leave,
        PresenceAction::Update,
        PresenceAction::Unknown(5),
    ];
    assert_eq!(actions, expected.map(Some));
}
