//! Logging (RSC2 to RSC4, TI5). The log is that of `tracing`: the installed subscriber selects and handles events.

use capably::{ClientOptions, http::HttpResponse};
use serde_json::json;
use tracing::Level;

use crate::{
    both_formats,
    support::{
        log::{Log, Said},
        scripted_http::{Answer, KEY, ScriptedHttp, respond},
    },
};

/// The events at this level of a request for the time.
async fn said(level: Level) -> Vec<Said> {
    let log = Log::new(level);
    let _guard = tracing::subscriber::set_default(log.clone());
    let http = ScriptedHttp::always(respond(200, json!([1_704_067_200_000_i64])));
    http.rest().time().await.unwrap();
    log.said()
}

// UTS: rest/unit/TO3b/log-level-changeable-0
// Spec: RSC3
#[tokio::test]
async fn the_level_decides_which_events_are_logged() {
    let all = said(Level::TRACE).await;
    assert!(all.iter().any(|said| said.level == Some(Level::INFO)), "{all:?}");
    let mut debug = all.iter().filter(|said| said.level == Some(Level::DEBUG));
    assert!(debug.any(|said| said.message.contains("HTTP request")), "{all:?}");

    let less = said(Level::INFO).await;
    assert!(!less.is_empty());
    assert!(less.iter().all(|said| said.level == Some(Level::INFO)), "{less:?}");
    let warnings = said(Level::WARN).await;
    assert!(warnings.is_empty(), "nothing is wrong: {warnings:?}");
}

// UTS: rest/unit/TO3c/custom-handler-structured-events-0
// Spec: RSC4
#[tokio::test]
async fn a_handler_receives_events_with_their_context() {
    let said = said(Level::INFO).await;
    assert!(said.iter().any(|said| !said.context.is_empty()), "{said:?}");
}

// UTS: rest/unit/TO3c2/context-contains-expected-keys-0
#[tokio::test]
async fn a_request_is_logged_with_method_host_and_path() {
    let said = said(Level::DEBUG).await;
    let request = said.iter().find(|said| said.message.contains("HTTP request")).unwrap();
    assert_eq!(request.level, Some(Level::DEBUG));
    assert_eq!(request.context["method"], "\"GET\"");
    assert_eq!(request.context["host"], "\"main.realtime.ably.net\"");
    assert_eq!(request.context["path"], "\"/time\"");
}

/// Makes requests with events of every level, in an application without a subscriber.
#[tokio::test]
async fn a_client_without_a_log() {
    let time = respond(200, json!([1_704_067_200_000_i64]));
    ScriptedHttp::always(time).rest().time().await.unwrap();
    let refusal = respond(404, json!({"error": {"code": 40400, "message": "gone"}}));
    ScriptedHttp::always(refusal).rest().time().await.unwrap_err();
}

// UTS: rest/unit/RSC2b/log-level-none-suppresses-all-0
#[tokio::test]
async fn without_a_log_no_event_is_emitted() {
    // The same requests emit events.
    assert!(!said(Level::TRACE).await.is_empty());
    // Only a separate process has an output that no other test writes to.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logging::a_client_without_a_log", "--nocapture", "--test-threads=1"])
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().filter(|line| !line.is_empty()).collect();
    let [running, test, result] = lines[..] else { panic!("{stdout}") };
    assert_eq!(running, "running 1 test");
    assert_eq!(test, "test logging::a_client_without_a_log ... ok");
    assert!(result.starts_with("test result: ok. 1 passed; 0 failed;"), "{result}");
}

// Spec: TI5, RSC7c
#[tokio::test]
async fn an_error_is_logged_with_its_request_and_its_help_link() {
    let elsewhere = "https://example.com/why";
    for (body, see) in [
        (json!({"code": 40400, "message": "gone"}), "See https://help.ably.io/error/40400"),
        (
            json!({"code": 40400, "message": "gone", "href": elsewhere}),
            "See https://example.com/why",
        ),
    ] {
        for options in both_formats() {
            let log = Log::new(Level::DEBUG);
            let _guard = tracing::subscriber::set_default(log.clone());
            let http = ScriptedHttp::always(respond(404, json!({"error": body})));
            let error = http.rest_with(options.add_request_ids(true)).time().await.unwrap_err();
            let said = log.said();
            let failed = said.iter().find(|said| said.message.contains("failed")).unwrap();
            assert!(failed.context["error"].ends_with(see), "{failed:?}");
            let id = error.request_id().unwrap();
            assert!(failed.context["request_id"].contains(id), "{failed:?}");
        }
    }
    let message = format!("gone: {elsewhere}");
    let body = json!({"error": {"code": 40400, "message": message, "href": elsewhere}});
    let log = Log::new(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(log.clone());
    ScriptedHttp::always(respond(404, body)).rest().time().await.unwrap_err();
    let said = format!("{:?}", log.said());
    assert_eq!(said.matches(elsewhere).count(), 1, "{said}");
}

#[tokio::test]
async fn the_log_contains_no_secret() {
    let log = Log::new(Level::TRACE);
    let _guard = tracing::subscriber::set_default(log.clone());
    let unauthorized = HttpResponse::new(401, "{\"error\":{\"code\":40142,\"statusCode\":401}}")
        .with_header("Content-Type", "application/json");
    let http = ScriptedHttp::always(Answer::Raw(unauthorized));
    for options in
        [KEY.into(), ClientOptions::new("token.hush"), ClientOptions::new(KEY).token("hush")]
    {
        let rest = http.rest_with(options);
        rest.channels().get("c").publish("n", "d").await.unwrap_err();
    }
    let said = format!("{:?}", log.said());
    assert!(!said.contains("hush") && !said.contains("keySecret"), "{said}");
}
