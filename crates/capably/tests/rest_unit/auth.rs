//! Credentials on requests (RSA, RSC1, RSC17, RSC18).

use std::sync::{Arc, Mutex};

use capably::{
    ClientOptions, Rest, TokenDetails, TokenParams,
    http::{HttpRequest, HttpResponse},
};
use serde_json::{Value, json};

use crate::support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond};

mod authorize;
mod bad_server;
mod callback;
mod calling_back;
mod client_id;
mod logging;
mod renewal;
mod renewal_random;
mod revoke_tokens;
mod runtimes;
mod scheme;
mod token_details;
mod token_request;
mod url;

/// The time of the wall clock in these tests.
const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
const AUTH_URL: &str = "https://auth.example.com/token";

/// A token that is valid for an hour.
fn good(token: impl Into<String>) -> TokenDetails {
    TokenDetails::new(token.into()).expires(NOW + HOUR)
}

fn rejected(code: u32) -> Answer {
    respond(401, json!({"error": {"code": code, "statusCode": 401, "message": "Token expired"}}))
}

/// An answer of an auth server.
fn served(status: u16, content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
    Answer::Raw(HttpResponse::new(status, body).with_header("Content-Type", content_type))
}

fn served_json(status: u16, body: &Value) -> Answer {
    served(status, "application/json", body.to_string())
}

fn to_auth_server(request: &HttpRequest) -> bool {
    request.url.starts_with(AUTH_URL)
}

/// A service that accepts every token, and an auth server with this answer.
fn auth_server(answer: Answer) -> ScriptedHttp {
    ScriptedHttp::new(move |request, _| {
        if to_auth_server(request) { answer.clone() } else { respond(200, json!([])) }
    })
}

/// A service that returns this for every token request, and accepts every token.
fn giving(details: Value) -> ScriptedHttp {
    ScriptedHttp::new(move |request, _| {
        if request.url.contains("/requestToken") {
            respond(201, details.clone())
        } else {
            respond(200, json!([]))
        }
    })
}

/// A service whose time is `NOW`, and that accepts every token.
fn telling_time() -> ScriptedHttp {
    ScriptedHttp::new(|request, _| {
        let body = if request.url.contains("/time") { json!([NOW]) } else { json!([]) };
        respond(200, body)
    })
}

type Asked = Arc<Mutex<Vec<TokenParams>>>;

/// Options with a callback that makes a token from the number of the call, from 1, and the token parameters.
fn with_callback(
    give: impl Fn(usize) -> TokenDetails + Send + Sync + 'static,
) -> (ClientOptions, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let options = ClientOptions::default().wall_clock(|| NOW).auth_callback(move |params| {
        let count = {
            let mut seen = seen.lock().unwrap();
            seen.push(params);
            seen.len()
        };
        let details = give(count);
        async move { Ok::<_, capably::Error>(details) }
    });
    (options, asked)
}

/// Options with a callback that returns `token-1`, `token-2` and so on.
fn numbered() -> (ClientOptions, Asked) {
    with_callback(|count| good(format!("token-{count}")))
}

/// Any request that needs credentials.
async fn read(rest: &Rest) -> capably::Result<()> {
    rest.channels().get("test").history().await.map(drop)
}

/// The credentials of each request for a channel.
fn authorizations(http: &ScriptedHttp) -> Vec<String> {
    let requests = http.requests();
    let channels = requests.iter().filter(|request| request.path().starts_with("/channels/"));
    channels.map(|request| request.header("Authorization").unwrap().to_owned()).collect()
}

async fn history_request(options: ClientOptions) -> Request {
    let http = ScriptedHttp::always(respond(200, json!([])));
    http.rest_with(options).channels().get("test").history().await.unwrap();
    http.request()
}

// UTS: rest/unit/RSA2/basic-auth-header-format-0
// Spec: RSA11, TO3j1
#[tokio::test]
async fn a_key_is_sent_as_basic_authentication() {
    let request = history_request("app123.key456:secretXYZ".into()).await;
    assert_eq!(
        request.header("Authorization"),
        Some("Basic YXBwMTIzLmtleTQ1NjpzZWNyZXRYWVo="),
        "RSA11"
    );
}

// Spec: RSC1, RSC1a, RSC1c, RSA3b, TO3j2
#[tokio::test]
async fn a_token_is_sent_as_a_bearer_and_goes_before_a_key() {
    let request = history_request("explicit-token-string".into()).await;
    assert_eq!(request.header("Authorization"), Some("Bearer explicit-token-string"), "RSA3b");
    let request = history_request(ClientOptions::new(KEY).token("t")).await;
    assert_eq!(request.header("Authorization"), Some("Bearer t"), "RSA4");
}

// Spec: RSA7e
#[tokio::test]
async fn a_client_id_is_sent_in_base64() {
    let request = history_request(ClientOptions::new(KEY).client_id("ada ✓")).await;
    assert_eq!(request.header("X-Ably-ClientId"), Some("YWRhIOKckw=="), "RSA7e2");
    assert_eq!(history_request(KEY.into()).await.header("X-Ably-ClientId"), None);
}

// UTS: rest/unit/RSC5/auth-attribute-accessible-0
// UTS: rest/unit/RSA7a/clientid-from-options-0
// UTS: rest/unit/RSC17/client-id-from-options-0
// Spec: RSA7b1
#[test]
fn auth_knows_the_client_id_of_the_options() {
    let rest = Rest::new(ClientOptions::new(KEY).client_id("explicit-client-id")).unwrap();
    assert_eq!(rest.auth().client_id().as_deref(), Some("explicit-client-id"));
}

// UTS: rest/unit/RSA7c/clientid-null-unidentified-0
#[test]
fn without_a_client_id_auth_has_none() {
    assert_eq!(Rest::new(KEY).unwrap().auth().client_id(), None);
}

// UTS: rest/unit/RSC18/basic-auth-over-http-rejected-1
#[tokio::test]
async fn a_key_is_refused_without_tls_and_a_token_is_not() {
    let error = Rest::new(ClientOptions::new(KEY).tls(false)).unwrap_err();
    assert_eq!(error.code().0, 40103);

    let http = ScriptedHttp::always(respond(200, json!([1_234_567_890_000_i64])));
    let rest = http.rest_with(ClientOptions::default().token("some-token-string").tls(false));
    assert_eq!(rest.time().await.unwrap(), 1_234_567_890_000);
}

#[tokio::test]
async fn a_key_goes_without_tls_to_a_server_on_this_machine() {
    let request = history_request(ClientOptions::new(KEY).tls(false).endpoint("localhost")).await;
    assert_eq!((request.scheme(), request.authority()), ("http", "localhost"));
    assert!(request.header("Authorization").is_some());
}

// UTS: rest/unit/RSC1b/no-auth-method-error-0
#[test]
fn a_client_needs_credentials() {
    let error = Rest::new(ClientOptions::default()).unwrap_err();
    assert_eq!(error.code().0, 40106);
    assert!(error.remediation().is_some());
}

#[test]
fn debug_of_a_client_shows_no_secret() {
    let rest = Rest::new(ClientOptions::new(KEY).token("t0ken")).unwrap();
    let text = format!("{rest:?} {:?} {:?}", rest.auth(), rest.channels().get("a"));
    assert!(!text.contains("keySecret") && !text.contains("t0ken"), "{text}");
}
