//! Clients for the SDKs that are built upon this one (WP).

use std::sync::Arc;

use capably::{
    CipherParams, ClientOptions, Message, PushChannelSubscription, Realtime, Rest,
    http::{HttpErrorKind, HttpMethod},
    rest::{ChannelOptions, PushRecipient, WrapperSdkProxyOptions},
};
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond},
};

fn wrapped(rest: &Rest) -> Rest {
    let options =
        WrapperSdkProxyOptions::new().agent("wrapper", Some("1.2.3")).agent("flavour", None);
    rest.create_wrapper_sdk_proxy(&options).unwrap()
}

// Spec: RTC14, RTC14a, WP6
#[tokio::test]
async fn rest_requests_of_a_realtime_client_s_wrapper_name_it() {
    let http = ScriptedHttp::always(respond(200, json!([1])));
    let options = ClientOptions::new(KEY).auto_connect(false).http_client(Arc::new(http.clone()));
    let client = Realtime::new(options).unwrap();
    let wrapper = WrapperSdkProxyOptions::new().agent("wrapper", Some("1.2.3"));
    let wrapped = client.create_wrapper_sdk_proxy(&wrapper).unwrap();
    wrapped.time().await.unwrap();
    wrapped.rest().time().await.unwrap();
    client.time().await.unwrap();
    assert_eq!(products(&http.requests()), ["wrapper/1.2.3", "wrapper/1.2.3", ""]);
}

/// The agents of requests besides the library and its platform.
fn products(requests: &[Request]) -> Vec<String> {
    let own = |agent: &str| agent.split(' ').skip(2).collect::<Vec<_>>().join(" ");
    requests.iter().map(|request| own(request.header("Ably-Agent").unwrap())).collect()
}

/// Calls that each send one request.
async fn call_everything(rest: &Rest) {
    let channel = rest.channels().get("channel");
    rest.time().await.unwrap();
    rest.stats().await.unwrap();
    rest.request(HttpMethod::Get, "/anything").await.unwrap();
    channel.history().await.unwrap();
    channel.presence().get().await.unwrap();
    channel.message_versions("serial").await.unwrap();
    channel.annotations().get("serial").await.unwrap();
    let admin = rest.push().admin();
    admin.device_registrations().list().await.unwrap();
    admin.channel_subscriptions().list_channels().await.unwrap();
}

// Spec: RSC26, RSC26a, RSC26b, RSC7d7, WP1, WP2, WP6, WPO1, WPO2, WPO2a
#[tokio::test]
async fn requests_of_a_wrapper_name_it() {
    for options in both_formats() {
        let http = ScriptedHttp::new(|request, _| {
            let time = request.url.ends_with("/time");
            respond(200, if time { json!([1]) } else { json!([]) })
        });
        let rest = http.rest_with(options.agent("own", Some("4")));
        call_everything(&rest).await;
        let plain = http.requests();
        assert_eq!(products(&plain), vec!["own/4"; plain.len()]);

        let wrapped = wrapped(&rest);
        call_everything(&wrapped).await;
        let all = http.requests();
        let named = &all[plain.len()..];
        assert_eq!(named.len(), plain.len());
        assert_eq!(products(named), vec!["own/4 wrapper/1.2.3 flavour"; named.len()]);
        for (plain, named) in plain.iter().zip(named) {
            assert_eq!((plain.method(), &plain.0.url), (named.method(), &named.0.url));
        }

        call_everything(&rest).await;
        assert_eq!(products(&http.requests()[all.len()..]), vec!["own/4"; plain.len()]);
    }
}

// Spec: WP6
#[tokio::test]
async fn requests_of_a_wrapper_with_a_body_name_it() {
    for options in both_formats() {
        let http = ScriptedHttp::new(|request, _| {
            if request.url.contains("push/channel") {
                respond(201, json!({"channel": "c", "clientId": "ada"}))
            } else {
                respond(201, json!({"serials": ["s"], "versionSerial": "v"}))
            }
        });
        let rest = wrapped(&http.rest_with(options));
        let channel = rest.channels().get("channel");
        channel.publish("name", "data").await.unwrap();
        channel.publish_messages([Message::new("name", "data")]).await.unwrap();
        let change = Message { serial: Some("s".into()), ..Message::default() };
        channel.update_message(change).await.unwrap();
        let admin = rest.push().admin();
        let data = json!({"data": {"a": "b"}});
        admin.publish(PushRecipient::client("ada"), data).await.unwrap();
        let subscription = PushChannelSubscription::for_client("c", "ada");
        admin.channel_subscriptions().save(&subscription).await.unwrap();
        assert_eq!(products(&http.requests()), ["wrapper/1.2.3 flavour"; 5]);
    }
}

// Spec: WP6
#[tokio::test]
async fn further_pages_of_a_wrapper_name_it() {
    let page = respond(200, json!([])).link("<./messages?from=2>; rel=\"next\"");
    let http = ScriptedHttp::sequence([page, respond(200, json!([]))]);
    let page = wrapped(&http.rest()).channels().get("channel").history().await.unwrap();
    page.next().await.unwrap().expect("a second page");
    assert_eq!(products(&http.requests()), ["wrapper/1.2.3 flavour"; 2]);
}

fn service_with_tokens(request: &capably::http::HttpRequest, count: usize) -> Answer {
    if request.url.contains("/requestToken") {
        respond(
            201,
            json!({
                "token": format!("token-{count}"), "keyName": "appId.keyId", "issued": 1,
                "expires": 99_999_999_999_999_i64, "capability": "{\"*\":[\"*\"]}",
            }),
        )
    } else if request.url.ends_with("/time") {
        respond(200, json!([1_700_000_000_000_i64]))
    } else {
        respond(200, json!([]))
    }
}

/// The last segment of the path of each request, and its agents.
fn story(requests: &[Request]) -> Vec<(String, String)> {
    let word = |request: &Request| request.path().rsplit('/').next().unwrap().to_owned();
    requests.iter().map(word).zip(products(requests)).collect()
}

// Spec: WP6a, WP6b
#[tokio::test]
async fn requests_for_tokens_name_no_wrapper() {
    for options in both_formats() {
        let http = ScriptedHttp::new(service_with_tokens);
        let rest = wrapped(&http.rest_with(options.use_token_auth(true).query_time(true)));
        rest.channels().get("channel").history().await.unwrap();
        let named = "wrapper/1.2.3 flavour".to_owned();
        let expected = [
            ("time".to_owned(), String::new()),
            ("requestToken".to_owned(), String::new()),
            ("messages".to_owned(), named.clone()),
        ];
        assert_eq!(story(&http.requests()), expected);

        rest.auth().request_token().await.unwrap();
        rest.auth().authorize().await.unwrap();
        rest.auth().create_token_request().await.unwrap();
        rest.time().await.unwrap();
        let expected = [
            ("requestToken".to_owned(), String::new()),
            ("requestToken".to_owned(), String::new()),
            ("time".to_owned(), named),
        ];
        assert_eq!(story(&http.requests()[3..]), expected);
    }
}

// Spec: WP5
#[tokio::test]
async fn a_wrapper_has_the_client_s_token_and_channels() {
    let http = ScriptedHttp::new(service_with_tokens);
    let options = ClientOptions::new(KEY).use_token_auth(true).use_binary_protocol(false);
    let rest = http.rest_with(options);
    let wrapped = wrapped(&rest);
    wrapped.channels().get("channel").history().await.unwrap();
    rest.channels().get("channel").history().await.unwrap();
    assert_eq!(rest.auth().token_details(), wrapped.auth().token_details());
    let tokens = http.requests().iter().filter(|it| it.path().ends_with("requestToken")).count();
    assert_eq!(tokens, 1);
    let bearers: Vec<_> = http
        .requests()
        .iter()
        .filter_map(|request| request.header("Authorization").map(str::to_owned))
        .collect();
    assert_eq!(bearers.len(), 2);
    assert_eq!(bearers[0], bearers[1]);

    let cipher = CipherParams::from_base64("WUP6u0K7MXI5Zeo0VppPwg==").unwrap();
    let encrypted = ChannelOptions::default().cipher(cipher);
    wrapped.channels().get_with("secret", encrypted);
    assert!(rest.channels().exists("secret"));
    let before = http.requests().len();
    rest.channels().get("secret").publish("name", "data").await.unwrap();
    let body = http.requests()[before].body();
    assert_eq!(body[0]["encoding"], "utf-8/cipher+aes-128-cbc/base64", "{body}");
    rest.channels().release("secret");
    assert!(!wrapped.channels().exists("secret"));
}

// Spec: WP5
#[tokio::test]
async fn a_wrapper_uses_the_working_host() {
    let http = ScriptedHttp::new(|request, _| {
        if request.url.contains("main.realtime.ably.net") {
            Answer::Fail(HttpErrorKind::Connect)
        } else {
            respond(200, json!([1]))
        }
    });
    let rest = http.rest();
    rest.time().await.unwrap();
    wrapped(&rest).time().await.unwrap();
    let hosts: Vec<_> = http.requests().iter().map(|it| it.authority().to_owned()).collect();
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    assert_eq!(hosts[1], hosts[2]);
}

// Spec: WPO2a
#[tokio::test]
async fn a_wrapper_may_have_no_product_and_no_product_that_breaks_a_header() {
    let http = ScriptedHttp::always(respond(200, json!([1])));
    let rest = http.rest();
    rest.create_wrapper_sdk_proxy(&WrapperSdkProxyOptions::new()).unwrap().time().await.unwrap();
    let outer = wrapped(&rest);
    let inner = WrapperSdkProxyOptions::new().agent("inner", None);
    outer.create_wrapper_sdk_proxy(&inner).unwrap().time().await.unwrap();
    assert_eq!(products(&http.requests()), ["", "wrapper/1.2.3 flavour inner"]);

    for (name, version) in [("two words", None), ("", None), ("a/b", None), ("a", Some("1\r\n2"))] {
        let options = WrapperSdkProxyOptions::new().agent(name, version);
        let error = rest.create_wrapper_sdk_proxy(&options).unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)), "{name:?}");
    }
}
