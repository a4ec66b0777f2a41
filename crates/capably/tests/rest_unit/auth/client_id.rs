//! The client id (RSA7, RSA12, RSA15).

use capably::{ClientOptions, Rest, TokenDetails, TokenParams};
use serde_json::json;

use super::{AUTH_URL, NOW, auth_server, good, numbered, read, served_json, with_callback};
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

fn with_details(details: TokenDetails) -> ClientOptions {
    ClientOptions::default().wall_clock(|| NOW).token_details(details)
}

fn client_id(rest: &Rest) -> Option<String> {
    rest.auth().client_id().map(String::from)
}

// UTS: rest/unit/RSA7b/clientid-from-token-details-0
#[test]
fn token_details_name_the_client() {
    let rest = Rest::new(with_details(good("t").client_id("token-client-id"))).unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("token-client-id"));
}

// UTS: rest/unit/RSA7b/clientid-from-callback-token-1
// Spec: RSA7b2
#[tokio::test]
async fn token_details_of_a_callback_name_the_client() {
    let rest =
        accepting().rest_with(with_callback(|_| good("t").client_id("callback-client-id")).0);
    assert_eq!(client_id(&rest), None, "RSA12b");
    read(&rest).await.unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("callback-client-id"));
}

// UTS: rest/unit/RSA7c/clientid-null-unidentified-token-1
#[test]
fn a_token_without_a_client_names_none() {
    assert_eq!(client_id(&Rest::new(with_details(good("t"))).unwrap()), None, "RSA12a");
}

// UTS: rest/unit/RSA12a/clientid-passed-to-callback-0
#[tokio::test]
async fn a_callback_receives_the_client_id() {
    let (options, asked) = numbered();
    read(&accepting().rest_with(options.client_id("library-client-id"))).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [TokenParams::new().client_id("library-client-id")]);
}

// UTS: rest/unit/RSA12b/clientid-sent-to-authurl-0
#[tokio::test]
async fn an_auth_url_receives_the_client_id() {
    let http = auth_server(served_json(200, &json!({"token": "url-token"})));
    let options = ClientOptions::default().auth_url(AUTH_URL).client_id("url-client-id");
    read(&http.rest_with(options)).await.unwrap();
    let requests = http.requests();
    assert_eq!(requests[0].authority(), "auth.example.com");
    assert_eq!(requests[0].param("clientId").as_deref(), Some("url-client-id"));
}

// Only `Auth` of a REST client returns its client id (RSC17).
// UTS: rest/unit/RSC17/client-id-matches-auth-1
#[test]
fn auth_has_the_client_id_of_the_options() {
    let rest = accepting().rest_with(ClientOptions::new(KEY).client_id("explicit-client-id"));
    assert_eq!(rest.auth().client_id().as_deref(), Some("explicit-client-id"));
}

// UTS: rest/unit/RSA7/clientid-updated-after-authorize-0
#[tokio::test]
async fn a_new_token_may_name_another_client() {
    let (options, _) = with_callback(|n| good(format!("t{n}")).client_id(format!("client-{n}")));
    let rest = accepting().rest_with(options);
    read(&rest).await.unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("client-1"));
    rest.auth().authorize().await.unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("client-2"));
}

// Spec: RSA10h
#[tokio::test]
async fn authorizing_requests_the_client_of_the_last_token() {
    let (options, asked) = with_callback(|n| good(format!("t{n}")).client_id("ada"));
    let rest = accepting().rest_with(options);
    read(&rest).await.unwrap();
    rest.auth().authorize().params(TokenParams::new()).await.unwrap();
    let asked: Vec<_> = asked.lock().unwrap().iter().map(|p| p.client_id.clone()).collect();
    assert_eq!(asked, [None, Some("ada".into())]);
}

// UTS: rest/unit/RSA12/wildcard-clientid-0
// Spec: RSA7b4
#[test]
fn a_wildcard_token_has_the_client_id_of_a_wildcard() {
    let rest = Rest::new(with_details(good("wildcard-token").client_id("*"))).unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("*"));
}

// UTS: rest/unit/RSA7/clientid-mismatch-error-1
// UTS: rest/unit/RSA15a/token-clientid-must-match-0
// Spec: RSA15
#[tokio::test]
async fn the_client_of_a_token_must_be_that_of_the_options() {
    for of_token in [Some("client-a"), None, Some("*")] {
        let mut details = good("t");
        details.client_id = of_token.map(Into::into);
        let rest = accepting().rest_with(with_details(details).client_id("client-a"));
        read(&rest).await.unwrap();
        assert_eq!(client_id(&rest).as_deref(), Some("client-a"));
    }
    let rest = accepting().rest_with(with_details(good("t").client_id("client-b")));
    read(&rest).await.unwrap();
    assert_eq!(client_id(&rest).as_deref(), Some("client-b"));

    let options = with_details(good("t").client_id("client-b")).client_id("client-a");
    let error = Rest::new(options).unwrap_err();
    assert_eq!((error.code().0, error.status()), (40102, Some(401)));
    assert!(error.message().contains("clientId mismatch"), "{error}");
}

// UTS: rest/unit/RSA15b/wildcard-token-permits-any-0
#[test]
fn a_wildcard_token_permits_the_client_of_the_options() {
    let options = with_details(good("wildcard-token").client_id("*")).client_id("any-client");
    assert_eq!(client_id(&Rest::new(options).unwrap()).as_deref(), Some("any-client"));
}

// UTS: rest/unit/RSA15c/incompatible-clientid-error-0
#[tokio::test]
async fn a_requested_token_for_another_client_is_an_error_and_not_used() {
    let http = accepting();
    let (options, _) = with_callback(|_| good("t").client_id("eve"));
    let rest = http.rest_with(options.client_id("ada"));
    for error in [read(&rest).await.unwrap_err(), rest.auth().authorize().await.unwrap_err()] {
        assert_eq!((error.code().0, error.status()), (40102, Some(401)));
    }
    assert_eq!((http.requests().len(), rest.auth().token_details()), (0, None));
}

// Spec: RSA7a4, RSA7d
#[tokio::test]
async fn the_client_of_the_options_precedes_that_of_the_default_parameters() {
    let rest = accepting().rest_with(
        ClientOptions::new(KEY)
            .client_id("ada")
            .default_token_params(TokenParams::new().client_id("eve")),
    );
    let request = rest.auth().create_token_request().await.unwrap();
    assert_eq!(request.client_id.as_deref(), Some("ada"));
}

// Spec: RSA7a1
#[tokio::test]
async fn an_identified_client_leaves_the_client_id_of_messages_alone() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s"]})));
    let rest = http.rest_with(with_details(good("t").client_id("ada")).client_id("ada"));
    rest.channels().get("test").publish("n", "d").await.unwrap();
    let body = http.request().body();
    let message = body.get(0).unwrap_or(&body);
    assert_eq!((&message["name"], message.get("clientId")), (&json!("n"), None));
}

// Spec: RSA7e2
#[tokio::test]
async fn token_requests_carry_the_client_as_any_request() {
    let http = super::giving(json!({"token": "t"}));
    let options = ClientOptions::new(KEY).use_token_auth(true).client_id("ada");
    read(&http.rest_with(options)).await.unwrap();
    let requests = http.requests();
    assert_eq!(requests[0].body()["clientId"], json!("ada"), "RSA7d");
    for request in requests {
        assert_eq!(request.header("X-Ably-ClientId"), Some("YWRh"));
    }
}
