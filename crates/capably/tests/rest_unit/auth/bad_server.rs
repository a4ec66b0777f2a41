//! Auth servers and a service that return no token (RSA4e, RSA4f).

use std::time::Duration;

use capably::{ClientOptions, Error, http::HttpErrorKind};
use serde_json::json;

use super::{AUTH_URL, auth_server, giving, read, served, served_json};
use crate::support::scripted_http::{Answer, KEY, ScriptedHttp, respond};

async fn failure(answer: Answer) -> Error {
    let http = auth_server(answer);
    let error = read(&http.rest_with(ClientOptions::default().auth_url(AUTH_URL))).await;
    let error = error.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40170, Some(401)), "{error}");
    assert!(error.remediation().is_some());
    assert_eq!(http.request().authority(), "auth.example.com", "it is asked once, and nobody else");
    error
}

// Spec: RSA4e
#[tokio::test(start_paused = true)]
async fn a_silent_auth_server_times_out() {
    let http = auth_server(Answer::Hang);
    let limit = Duration::from_secs(2);
    let options = ClientOptions::default().auth_url(AUTH_URL).http_request_timeout(limit);
    let start = tokio::time::Instant::now();
    let error = read(&http.rest_with(options)).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40170, Some(401)));
    assert!(error.message().contains("within 2000 ms"), "{error}");
    assert_eq!(start.elapsed(), limit);
}

#[tokio::test]
async fn an_unreachable_auth_server_is_an_error() {
    for kind in [HttpErrorKind::Connect, HttpErrorKind::Interrupted, HttpErrorKind::Response] {
        failure(Answer::Fail(kind)).await;
    }
}

// Spec: RSA4f
#[tokio::test]
async fn an_auth_server_that_returns_3_mb_is_an_error() {
    for kind in ["text/plain", "application/json", "text/html"] {
        for status in [200, 500] {
            let error = failure(served(status, kind, vec![b'x'; 3_000_000])).await;
            assert!(error.message().contains("3000000 bytes"), "{error}");
            assert!(error.to_string().len() < 500, "the body is not in it");
        }
    }
}

#[tokio::test]
async fn the_refusal_of_an_auth_server_is_the_cause() {
    let error = failure(served_json(403, &json!({"user": "unknown"}))).await;
    let cause = error.cause().unwrap();
    assert_eq!((cause.code.0, cause.status_code), (40300, 403), "RSA4d looks at this");
    let stated = json!({"error": {"code": 40160, "statusCode": 403, "message": "no"}});
    let error = failure(served_json(403, &stated)).await;
    let cause = error.cause().unwrap();
    assert_eq!((cause.code.0, cause.status_code, &*cause.message), (40160, 403, "no"));
    for status in [300, 302, 399] {
        let error = failure(served(status, "text/plain", "token")).await;
        assert!(error.message().contains(&format!("status {status}")), "{error}");
    }
}

// Spec: RSA4f
#[tokio::test]
async fn the_error_of_a_malformed_answer_does_not_quote_it() {
    for answer in [
        served(200, "text/html", "<html>hush</html>"),
        served(200, "application/x-msgpack", "hush"),
        served(200, "", "hush"),
        served(200, "application/json", "hush"),
        served(200, "application/json", r#"{"hush":true}"#),
        served(200, "application/json", "[]"),
        served(200, "text/plain", vec![0xff, 0xfe]),
        served(200, "text/plain", " \n"),
        served(204, "text/plain", ""),
        Answer::Raw(capably::http::HttpResponse::new(200, "hush")),
    ] {
        let error = failure(answer).await;
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_token_is_an_error() {
    for (body, code) in [
        (json!({"token": ""}), 40170),
        (json!({"keyName": "a.b"}), 40013),
        (json!([]), 40013),
        (json!("x"), 40013),
    ] {
        for binary in [true, false] {
            let options = ClientOptions::new(KEY).use_token_auth(true).use_binary_protocol(binary);
            let error = read(&giving(body.clone()).rest_with(options)).await.unwrap_err();
            assert_eq!(error.code().0, code, "{body}");
        }
    }
}

#[tokio::test]
async fn a_refused_token_request_has_the_error_of_the_service() {
    let stated = json!({"error": {"code": 40104, "statusCode": 401, "message": "too old"}});
    let http = ScriptedHttp::always(respond(401, stated));
    let rest = http.rest_with(ClientOptions::new(KEY).use_token_auth(true));
    let error = read(&rest).await.unwrap_err();
    assert_eq!((error.code().0, error.status(), error.message()), (40104, Some(401), "too old"));
    assert_eq!(http.requests().len(), 1);
}
