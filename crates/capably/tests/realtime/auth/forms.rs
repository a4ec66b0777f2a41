//! Every form of authentication that the options have, on a connection (RSA4, RSA8).

use std::sync::Arc;

use capably::{ClientOptions, Rest, TokenDetails, http::HttpResponse, realtime::ConnectionState};
use serde_json::json;

use crate::{
    http::scripted_http::{Answer, KEY, ScriptedHttp, respond},
    in_both_formats,
    support::*,
    tokens::*,
};

// Spec: RSA3c, RSA4, RSA8c, RSA8d, RSA8e, RTN2e
in_both_formats! {
    async fn every_form_of_token_connects(format) {
        let server = Rest::new(KEY).unwrap();
        let request = server.auth().create_token_request().await.unwrap();
        let exchange = || {
            ScriptedHttp::new(|request, _| {
                assert!(request.url.contains("/keys/appId.keyId/requestToken"), "{}", request.url);
                respond(200, json!({ "token": "the-token", "keyName": "appId.keyId" }))
            })
        };
        let plain = HttpResponse::new(200, "the-token").with_header("Content-Type", "text/plain");
        let never = || ScriptedHttp::new(|request, _| panic!("not expected: {}", request.url));
        let handed = request.clone();
        let forms = [
            (ClientOptions::default().token("the-token"), never()),
            (ClientOptions::default().token_details(TokenDetails::new("the-token")), never()),
            (ClientOptions::default().token_request(request), exchange()),
            (ClientOptions::new(KEY).use_token_auth(true), exchange()),
            (
                ClientOptions::default()
                    .auth_callback(|_| async { Ok::<_, capably::Error>("the-token") }),
                never(),
            ),
            (
                ClientOptions::default().auth_callback(|_| async {
                    Ok::<_, capably::Error>(TokenDetails::new("the-token"))
                }),
                never(),
            ),
            (
                ClientOptions::default().auth_callback(move |_| {
                    let request = handed.clone();
                    async { Ok::<_, capably::Error>(request) }
                }),
                exchange(),
            ),
            (
                ClientOptions::default().auth_url("https://auth.example.com/token"),
                ScriptedHttp::always(Answer::Raw(plain)),
            ),
        ];
        for (options, http) in forms {
            let options = options.http_client(Arc::new(http));
            let (client, mut service) = client_of(format, options);
            client.connection().connect();
            let attempt = service.attempt().await;
            assert_eq!(attempt.param("accessToken").as_deref(), Some("the-token"));
            assert_eq!(attempt.param("key"), None);
            let mut peer = attempt.accept();
            peer.send(connected_frame("connection-1", "key-1"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            assert_eq!(client.auth().token_details().unwrap().token, "the-token");
        }
    }
}

// Spec: RSA4c
in_both_formats! {
    async fn a_refused_token_request_fails_the_attempt(format) {
        let http = ScriptedHttp::always(respond(
            401,
            json!({ "error": { "code": 40101, "statusCode": 401, "message": "no such key" } }),
        ));
        let options = ClientOptions::new(KEY)
            .use_token_auth(true)
            .fallback_hosts(NO_HOSTS)
            .http_client(Arc::new(http));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(reason(&client), Some((80019, Some(401), Some(40101))));
        assert!(service.is_quiet());
    }
}

in_both_formats! {
    async fn a_panicking_callback_fails_the_attempt(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|_| Box::pin(async { panic!("a fault of the user's") }));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(reason(&client), Some((80019, Some(401), Some(40170))));
        assert!(service.is_quiet());
    }
}
