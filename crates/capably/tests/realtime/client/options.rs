//! Options of a client that show in its connection (RTC1, RTC12).

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::Format;
use serde_json::json;

use crate::{http::scripted_http::KEY, in_both_formats, support::*};

/// The first attempt of a client with these options.
async fn attempt(format: Format, options: ClientOptions) -> (Realtime, Service, Attempt) {
    let (client, mut service) = client_of(format, options);
    client.connection().connect();
    let attempt = service.attempt().await;
    (client, service, attempt)
}

// UTS: realtime/unit/RTC12/constructor-string-detection-0
// UTS: realtime/unit/RTC12/invalid-arguments-error-1
in_both_formats! {
    async fn a_string_is_a_key_or_a_token(format) {
        let (_client, _service, by_key) = attempt(format, ClientOptions::new(KEY)).await;
        assert_eq!(by_key.param("key").as_deref(), Some(KEY));
        assert_eq!(by_key.param("accessToken"), None);
        let (_client, _service, by_token) = attempt(format, ClientOptions::new("a-token")).await;
        assert_eq!(by_token.param("accessToken").as_deref(), Some("a-token"));
        assert_eq!(by_token.param("key"), None);
        assert_eq!(Realtime::new("").unwrap_err().code().0, 40005);
        assert_eq!(Realtime::new(ClientOptions::default()).unwrap_err().code().0, 40106);
    }
}

// UTS: realtime/unit/RTC1a/echo-messages-option-0
// Spec: RTC1, TO3h
in_both_formats! {
    async fn echo_is_on_unless_turned_off(format) {
        let (_client, _service, by_default) = attempt(format, ClientOptions::new(KEY)).await;
        assert_eq!(by_default.param("echo").as_deref(), Some("true"));
        let options = ClientOptions::new(KEY).echo_messages(false);
        let (_client, _service, without) = attempt(format, options).await;
        assert_eq!(without.param("echo").as_deref(), Some("false"));
    }
}

// UTS: realtime/unit/RTC1b/auto-connect-option-0
// Spec: TO3e
in_both_formats! {
    async fn connecting_is_automatic_unless_turned_off(format) {
        let (script, mut service) = script();
        let options = ClientOptions::new(KEY)
            .use_binary_protocol(format == Format::MsgPack)
            .connector(std::sync::Arc::new(script));
        let client = Realtime::new(options.clone()).unwrap();
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();

        let client = Realtime::new(options.auto_connect(false)).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(service.is_quiet());
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTC1c/recover-option-0
// Spec: TO3i
in_both_formats! {
    async fn recovery_is_for_the_first_connection(format) {
        let key = json!({
            "connectionKey": "previous-connection-key",
            "msgSerial": 5,
            "channelSerials": { "channel1": "serial1" },
        });
        let options = ClientOptions::new(KEY).recover(key.to_string());
        let (client, mut service, first) = attempt(format, options).await;
        assert_eq!(first.param("recover").as_deref(), Some("previous-connection-key"));
        let mut peer = first.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        drop(peer);
        assert_eq!(service.attempt().await.param("recover"), None);

        let options = ClientOptions::new(KEY).recover("invalid-not-a-valid-recovery-key");
        let (_client, _service, attempt) = attempt(format, options).await;
        assert_eq!(attempt.param("recover"), None);
    }
}

// UTS: realtime/unit/RTC1f/transport-params-option-0
// Spec: RTC1f1, TO3q
in_both_formats! {
    async fn transport_params_replace_parameters_of_the_url(format) {
        let options = ClientOptions::new(KEY)
            .transport_param("stringParam", "hello")
            .transport_param("numberParam", 42)
            .transport_param("boolTrueParam", true)
            .transport_param("boolFalseParam", false);
        let (_client, _service, with_params) = attempt(format, options).await;
        for (name, value) in [
            ("stringParam", "hello"),
            ("numberParam", "42"),
            ("boolTrueParam", "true"),
            ("boolFalseParam", "false"),
        ] {
            assert_eq!(with_params.param(name).as_deref(), Some(value));
        }
        let options = ClientOptions::new(KEY)
            .transport_params([("customParam", "customValue"), ("anotherParam", "123")])
            .transport_param("v", 3)
            .transport_param("heartbeats", true);
        let (_client, _service, attempt) = attempt(format, options).await;
        assert_eq!(attempt.param("customParam").as_deref(), Some("customValue"));
        assert_eq!(attempt.param("anotherParam").as_deref(), Some("123"));
        assert_eq!(attempt.param("v").as_deref(), Some("3"));
        assert_eq!(attempt.param("heartbeats").as_deref(), Some("true"));
    }
}

// Spec: RTN1, RSC18, TO3d, TO3f, RTN2, RTN2a
in_both_formats! {
    async fn the_url_has_the_required_parameters(format) {
        let (_client, _service, secure) = attempt(format, ClientOptions::new(KEY)).await;
        assert!(secure.request.url().starts_with("wss://main.realtime.ably.net/?"));
        for name in ["key", "v", "format", "heartbeats", "echo", "agent"] {
            assert!(secure.param(name).is_some(), "{name}");
        }
        assert_eq!(secure.param("format").as_deref(), Some(format.name()));
        let options = ClientOptions::new("test-token").tls(false);
        let (_client, _service, insecure) = attempt(format, options).await;
        assert!(insecure.request.url().starts_with("ws://main.realtime.ably.net/?"));
    }
}
