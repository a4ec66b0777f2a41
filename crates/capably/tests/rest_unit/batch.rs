//! Batches (RSC22, RSC24, BAR, BSP, BPR, BPF, BGR, BGF).

use capably::{
    BatchPublishResult, BatchPublishSpec, BatchPublished, BatchResult, ClientOptions, Data,
    Message, PresenceAction,
};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, respond},
};

fn spec(channels: &[&str], messages: impl Into<Vec<Message>>) -> BatchPublishSpec {
    BatchPublishSpec::new(channels.iter().copied(), messages)
}

fn hello(channels: &[&str]) -> BatchPublishSpec {
    spec(channels, [Message::new("event", "hello")])
}

fn published(channel: &str) -> Value {
    json!({"channel": channel, "messageId": format!("id-{channel}"), "serials": ["s1"]})
}

fn denied(channel: &str) -> Value {
    let message = "Channel operation not permitted";
    let error = json!({
        "code": 40160, "statusCode": 401, "message": message,
        "href": "https://help.ably.io/error/40160",
    });
    json!({"channel": channel, "error": error})
}

fn envelope(results: &[Value]) -> Value {
    let failures = results.iter().filter(|result| result.get("error").is_some()).count();
    json!({
        "successCount": results.len() - failures, "failureCount": failures, "results": results,
    })
}

fn channels(result: &BatchResult<BatchPublishResult>) -> Vec<Result<&str, &str>> {
    let results = result.results.iter();
    results
        .map(|result| match result {
            Ok(published) => Ok(&*published.channel),
            Err(failure) => Err(&*failure.channel),
        })
        .collect()
}

fn plain(options: ClientOptions) -> ClientOptions {
    options.idempotent_rest_publishing(false)
}

// UTS: rest/unit/RSC22c/single-spec-post-messages-0
// UTS: rest/unit/BSP2a/channels-array-strings-0
// Spec: RSC22, RSC22c, BSP1, BSP2, BSP2a
#[tokio::test]
async fn a_batch_is_one_request() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(201, envelope(&[published("a"), published("b")])));
        let rest = http.rest_with(plain(options));
        let result = rest.batch_publish(hello(&["a", "b"])).await.unwrap();
        assert_eq!(channels(&result), [Ok("a"), Ok("b")]);
        assert_eq!((result.success_count, result.failure_count), (2, 0));
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("POST", "/messages"));
        let messages = json!([{"name": "event", "data": "hello"}]);
        assert_eq!(request.body(), json!({"channels": ["a", "b"], "messages": messages}));
    }
}

// UTS: rest/unit/RSC22c/array-specs-post-messages-0
// UTS: rest/unit/RSC22c/array-specs-array-results-0
// Spec: RSC22b
#[tokio::test]
async fn several_batches_are_one_request() {
    let flat = json!([published("a"), published("b")]);
    let enveloped = json!([envelope(&[published("a")]), envelope(&[published("b")])]);
    for options in both_formats() {
        for body in [flat.clone(), enveloped.clone()] {
            let http = ScriptedHttp::always(respond(201, body));
            let specs = [
                spec(&["a"], [Message::new("e1", "d1")]),
                spec(&["b"], [Message::new("e2", "d2")]),
            ];
            let rest = http.rest_with(plain(options.clone()));
            let results = rest.batch_publish_all(specs).await.unwrap();
            assert_eq!(results.len(), 2);
            assert_eq!(channels(&results[0]), [Ok("a")]);
            assert_eq!(channels(&results[1]), [Ok("b")]);
            let request = http.request();
            assert_eq!((request.method(), request.path()), ("POST", "/messages"));
            assert_eq!(
                request.body(),
                json!([
                    {"channels": ["a"], "messages": [{"name": "e1", "data": "d1"}]},
                    {"channels": ["b"], "messages": [{"name": "e2", "data": "d2"}]},
                ])
            );
        }
    }
}

// UTS: rest/unit/RSC22c/single-spec-single-result-0
// UTS: rest/unit/BPR2a/success-channel-name-0
// UTS: rest/unit/BPR2b/success-message-id-prefix-0
// UTS: rest/unit/BPR2c/serials-array-0
// UTS: rest/unit/BPR2c/serials-null-conflated-0
// Spec: BPR1, BPR2, BPR2a, BPR2b, BPR2c
#[tokio::test]
async fn a_success_has_the_published_serials() {
    let outcome = json!({
        "channel": "a", "messageId": "unique-id-prefix", "serials": ["serial1", null, "serial3"],
    });
    for options in both_formats() {
        for body in
            [outcome.clone(), envelope(std::slice::from_ref(&outcome)), json!([outcome.clone()])]
        {
            let http = ScriptedHttp::always(respond(201, body));
            let rest = http.rest_with(options.clone());
            let result = rest.batch_publish(hello(&["a"])).await.unwrap();
            assert_eq!((result.success_count, result.failure_count), (1, 0));
            let expected = BatchPublished {
                channel: "a".into(),
                message_id: Some("unique-id-prefix".into()),
                serials: vec![Some("serial1".into()), None, Some("serial3".into())],
            };
            assert_eq!(result.results, [Ok(expected)]);
        }
    }
}

// UTS: rest/unit/RSC22c/partial-success-mixed-results-0
// UTS: rest/unit/RSC22c/distinguish-success-failure-0
// UTS: rest/unit/BPF2a/failure-channel-name-0
// UTS: rest/unit/BPF2b/failure-error-info-0
// Spec: BAR1, BAR2, BAR2a, BAR2b, BAR2c, BPF1, BPF2, BPF2a, BPF2b
#[tokio::test]
async fn a_batch_may_fail_in_part() {
    let outcomes = [published("allowed"), denied("restricted")];
    for options in both_formats() {
        for body in [envelope(&outcomes), json!(outcomes)] {
            let http = ScriptedHttp::always(respond(201, body));
            let rest = http.rest_with(options.clone());
            let result = rest.batch_publish(hello(&["allowed", "restricted"])).await.unwrap();
            assert_eq!(channels(&result), [Ok("allowed"), Err("restricted")]);
            assert_eq!((result.success_count, result.failure_count), (1, 1));
            let failure = result.results[1].as_ref().unwrap_err();
            assert_eq!(failure.error.code.0, 40160);
            assert_eq!(failure.error.status_code, 401);
            assert!(failure.error.message.contains("not permitted"));
            assert_eq!(failure.error.href.as_deref(), Some("https://help.ably.io/error/40160"));
        }
    }
}

// UTS: rest/unit/RSC22c/multiple-channels-multiple-results-0
// UTS: rest/unit/RSC22/multiple-channels-multiple-messages-0
// UTS: rest/unit/RSC22/multiple-messages-per-channel-0
#[tokio::test]
async fn many_messages_go_to_many_channels() {
    let body = envelope(&[published("a"), published("b"), published("c")]);
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(201, body.clone()));
        let messages: Vec<_> = (0..100).map(|n| Message::new("n", n.to_string())).collect();
        let rest = http.rest_with(options);
        let result = rest.batch_publish(spec(&["a", "b", "c"], messages)).await.unwrap();
        assert_eq!(channels(&result), [Ok("a"), Ok("b"), Ok("c")]);
        let body = http.request().body();
        let sent = body["messages"].as_array().expect("an array");
        assert_eq!(sent.len(), 100);
        assert_eq!(sent[99]["data"], "99");
        assert_eq!(body["channels"], json!(["a", "b", "c"]));
    }
}

// UTS: rest/unit/RSC22c/messages-encoded-per-rsl4-0
// UTS: rest/unit/BSP2b/messages-array-objects-0
#[tokio::test]
async fn payloads_are_encoded() {
    let messages = || {
        vec![
            Message::new("text", "plain"),
            Message::new("binary", vec![0_u8, 255]),
            Message::new("json", json!({"key": "value"})),
        ]
    };
    let http = ScriptedHttp::always(respond(201, envelope(&[published("a")])));
    let [binary, text] = both_formats().map(plain);
    http.rest_with(text).batch_publish(spec(&["a"], messages())).await.unwrap();
    assert_eq!(
        http.request().body()["messages"],
        json!([
            {"name": "text", "data": "plain"},
            {"name": "binary", "data": "AP8=", "encoding": "base64"},
            {"name": "json", "data": "{\"key\":\"value\"}", "encoding": "json"},
        ])
    );
    http.rest_with(binary).batch_publish(spec(&["a"], messages())).await.unwrap();
    let sent: BatchPublishSpec = capably_protocol::codec::decode_body(
        capably_protocol::Format::MsgPack,
        http.requests()[1].bytes(),
        &capably_protocol::Limits::default(),
    )
    .unwrap();
    assert_eq!(sent.messages[1].data, Data::from(vec![0_u8, 255]));
    assert_eq!(sent.messages[1].encoding, None);
    assert_eq!(sent.messages[2].data.as_str(), Some("{\"key\":\"value\"}"));
    assert_eq!(sent.messages[2].encoding.as_deref(), Some("json"));
}

// UTS: rest/unit/RSC22c/uses-configured-auth-0
// UTS: rest/unit/RSC22/standard-headers-included-0
// UTS: rest/unit/RSC22/request-id-included-0
#[tokio::test]
async fn sends_credentials_headers_and_a_request_id() {
    for (credentials, scheme) in [(KEY, "Basic "), ("my-token", "Bearer my-token")] {
        let http = ScriptedHttp::always(respond(201, envelope(&[published("a")])));
        let options = ClientOptions::new(credentials).add_request_ids(true);
        let rest = http.rest_with(options.use_binary_protocol(false));
        rest.batch_publish(hello(&["a"])).await.unwrap();
        let request = http.request();
        assert!(request.header("Authorization").unwrap().starts_with(scheme));
        assert_eq!(request.header("X-Ably-Version"), Some("6"));
        assert!(request.header("Ably-Agent").unwrap().starts_with("capably-rust/"));
        assert_eq!(request.header("Content-Type"), Some("application/json"));
        assert_eq!(request.param("request_id").map(|id| id.len()), Some(16));
    }
}

// UTS: rest/unit/RSC22d/idempotent-ids-generated-0
#[tokio::test]
async fn each_batch_has_ids_of_its_own() {
    let body = json!([envelope(&[published("a")]), envelope(&[published("b")])]);
    let http = ScriptedHttp::always(respond(201, body));
    let two = || [Message::new("a", "1"), Message::new("b", "2")];
    let rest = http.rest_with(ClientOptions::new(KEY).idempotent_rest_publishing(true));
    rest.batch_publish_all([spec(&["a"], two()), spec(&["b"], two())]).await.unwrap();
    let body = http.request().body();
    let bases: Vec<_> = [0, 1]
        .map(|batch: usize| {
            let ids = [0, 1].map(|index: usize| {
                let id = body[batch]["messages"][index]["id"].as_str().expect("an id");
                let (base, number) = id.split_once(':').expect("a base and a number");
                assert_eq!(number, index.to_string());
                base.to_owned()
            });
            assert_eq!(ids[0], ids[1]);
            assert_eq!(ids[0].len(), 16, "12 bytes");
            ids[0].clone()
        })
        .into();
    assert_ne!(bases[0], bases[1]);
}

// UTS: rest/unit/RSC22d/explicit-ids-preserved-0
// UTS: rest/unit/RSC22d/ids-not-generated-disabled-0
#[tokio::test]
async fn given_ids_are_kept() {
    let http = ScriptedHttp::always(respond(201, envelope(&[published("a")])));
    let own = Message { id: Some("explicit".into()), ..Message::new("a", "1") };
    let enabled = http.rest_with(ClientOptions::new(KEY).idempotent_rest_publishing(true));
    enabled.batch_publish(spec(&["a"], [own, Message::new("b", "2")])).await.unwrap();
    http.rest_with(plain(ClientOptions::new(KEY))).batch_publish(hello(&["a"])).await.unwrap();
    let [first, second] = [0, 1].map(|index: usize| http.requests()[index].body());
    assert_eq!(first["messages"][0]["id"], "explicit");
    assert_eq!(first["messages"][1].get("id"), None);
    assert_eq!(second["messages"][0].get("id"), None);
}

// UTS: rest/unit/RSC22/empty-channels-rejected-0
// UTS: rest/unit/RSC22/empty-messages-rejected-0
#[tokio::test]
async fn an_empty_batch_is_refused() {
    let http = ScriptedHttp::always(respond(201, json!([])));
    let rest = http.rest();
    let errors = [
        rest.batch_publish(hello(&[])).await.unwrap_err(),
        rest.batch_publish(spec(&["a"], [])).await.unwrap_err(),
        rest.batch_publish_all([]).await.unwrap_err(),
        rest.batch_publish_all([hello(&["a"]), hello(&[])]).await.unwrap_err(),
        rest.batch_presence::<&str>([]).await.unwrap_err(),
        rest.batch_presence(["a", ""]).await.unwrap_err(),
        rest.batch_presence(["a", "b,c"]).await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40003, Some(400)); 7]);
    assert!(http.requests().is_empty());
}

// UTS: rest/unit/RSC22/server-error-propagated-0
// UTS: rest/unit/RSC22/auth-error-propagated-0
// UTS: rest/unit/RSC24/server-error-propagated-0
// UTS: rest/unit/RSC24/auth-error-propagated-0
#[tokio::test]
async fn passes_errors_on() {
    for (code, status) in [(50000, 500), (40101, 401)] {
        let body = json!({"error": {"code": code, "statusCode": status, "message": "no"}});
        let http = ScriptedHttp::always(respond(status, body));
        let rest = http.rest();
        let errors = [
            rest.batch_publish(hello(&["a"])).await.unwrap_err(),
            rest.batch_publish_all([hello(&["a"])]).await.unwrap_err(),
            rest.batch_presence(["any-channel"]).await.unwrap_err(),
        ];
        assert_eq!(errors.map(|error| (error.code().0, error.status())), [(code, Some(status)); 3]);
    }
}

#[tokio::test]
async fn a_reply_that_does_not_fit_the_batch_is_an_error() {
    for body in [
        json!([]),
        json!([published("a"), published("b"), published("c")]),
        json!({"results": [{"channel": "a"}]}),
        json!({}),
        json!("done"),
    ] {
        let http = ScriptedHttp::always(respond(201, body.clone()));
        let error = http.rest().batch_publish(hello(&["a", "b"])).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{body}");
    }
}

fn members() -> Value {
    json!([
        {
            "clientId": "client-1", "action": 1, "connectionId": "conn-abc", "id": "conn-abc:0:0",
            "timestamp": 1_700_000_000_000_i64, "data": "hello",
        },
        {"clientId": "client-2", "action": 1, "data": {"key": "value"}},
        {"clientId": "client-3", "action": 1, "data": "[1]", "encoding": "json"},
    ])
}

// UTS: rest/unit/RSC24/get-presence-channels-param-0
// UTS: rest/unit/RSC24/single-channel-param-0
// UTS: rest/unit/RSC24/special-chars-comma-joined-0
// UTS: rest/unit/RSC24/uses-configured-auth-0
#[tokio::test]
async fn presence_of_several_channels_is_one_request() {
    let http = ScriptedHttp::always(respond(200, envelope(&[])));
    let rest = http.rest();
    rest.batch_presence(["channel-a", "channel-b"]).await.unwrap();
    rest.batch_presence(["my-channel"]).await.unwrap();
    rest.batch_presence(["foo:bar", "baz/qux"]).await.unwrap();
    assert_eq!(http.requests().len(), 3);
    for (request, names) in
        http.requests().iter().zip(["channel-a,channel-b", "my-channel", "foo:bar,baz/qux"])
    {
        assert_eq!((request.method(), request.path()), ("GET", "/presence"));
        assert_eq!(request.param("channels").as_deref(), Some(names));
        assert!(request.header("Authorization").unwrap().starts_with("Basic "));
    }
}

// UTS: rest/unit/BAR2/mixed-success-failure-counts-0
// UTS: rest/unit/BAR2/all-success-counts-0
// UTS: rest/unit/BAR2/all-failure-counts-0
#[tokio::test]
async fn counts_successes_and_failures() {
    let nobody = |channel: &str| json!({"channel": channel, "presence": []});
    for options in both_formats() {
        for (results, expected) in [
            (vec![nobody("1"), nobody("2"), nobody("3"), denied("4")], (3, 1)),
            (vec![nobody("a"), nobody("b")], (2, 0)),
            (vec![denied("a"), denied("b")], (0, 2)),
        ] {
            let http = ScriptedHttp::always(respond(200, envelope(&results)));
            let rest = http.rest_with(options.clone());
            let result = rest.batch_presence(["a"]).await.unwrap();
            assert_eq!((result.success_count, result.failure_count), expected);
            assert_eq!(result.results.len(), results.len());
        }
    }
}

// UTS: rest/unit/BGR2/success-with-members-0
// UTS: rest/unit/BGR2/success-empty-presence-0
// UTS: rest/unit/BGF2/failure-error-details-0
// UTS: rest/unit/RSC24/mixed-success-failure-results-0
// Spec: BGR1, BGR2, BGR2a, BGR2b, BGF1, BGF2, BGF2a, BGF2b
#[tokio::test]
async fn the_presence_result_has_the_members_of_each_channel() {
    let results = [
        json!({"channel": "my-channel", "presence": members()}),
        json!({"channel": "empty-channel", "presence": []}),
        denied("restricted-channel"),
    ];
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(200, envelope(&results)));
        let result = http.rest_with(options).batch_presence(["x"]).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (2, 1));
        let [Ok(full), Ok(empty), Err(failure)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!(&*full.channel, "my-channel");
        assert_eq!(full.presence.len(), 3);
        let first = &full.presence[0];
        assert_eq!(first.client_id.as_deref(), Some("client-1"));
        assert_eq!(first.action, Some(PresenceAction::Present));
        assert_eq!(first.connection_id.as_deref(), Some("conn-abc"));
        assert_eq!(first.data.as_str(), Some("hello"));
        assert_eq!(full.presence[1].client_id.as_deref(), Some("client-2"));
        assert_eq!(full.presence[1].data.as_json(), Some(&json!({"key": "value"})));
        assert_eq!(full.presence[2].data.as_json(), Some(&json!([1])));
        assert_eq!(&*empty.channel, "empty-channel");
        assert!(empty.presence.is_empty());
        assert_eq!(&*failure.channel, "restricted-channel");
        assert_eq!((failure.error.code.0, failure.error.status_code), (40160, 401));
        assert!(failure.error.message.contains("not permitted"));
    }
}

#[tokio::test]
async fn a_truncated_batch_is_an_error() {
    let response = capably::http::HttpResponse::new(200, r#"{"successCount":1,"results":[{"#)
        .with_header("Content-Type", "application/json");
    let http = ScriptedHttp::always(Answer::Raw(response));
    let error = http.rest().batch_presence(["a"]).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40013, Some(400)));
}
