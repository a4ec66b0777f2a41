//! Clients over TLS, with a certificate that is not in the usual roots.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use capably::{
    ClientOptions, ErrorCode, Realtime, Rest, realtime::ConnectionState, transport::Transport,
};
use capably_server::{Server, Tls};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

async fn server() -> (Server, String) {
    let tls = Tls::self_signed(["localhost"]).unwrap();
    (Server::builder().tls(&tls).start().await.unwrap(), tls.certificate_pem())
}

fn options(server: &Server, endpoint: &str) -> ClientOptions {
    ClientOptions::new(server.key()).endpoint(endpoint).tls_port(server.port())
}

#[tokio::test]
async fn an_additional_root_is_trusted_by_rest_and_realtime() {
    let (server, root) = server().await;
    for binary in [false, true] {
        let options = options(&server, "localhost")
            .root_certificate(root.as_str())
            .use_binary_protocol(binary);
        assert!(!format!("{options:?}").contains("BEGIN"));
        let rest = Rest::new(options.clone()).unwrap();
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get(if binary { "binary" } else { "json" });
        let mut messages = channel.subscribe().await.unwrap();
        let name = channel.name().to_string();
        rest.channels().get(&name).publish("n", "over TLS").await.unwrap();
        let message = timeout(PATIENCE, messages.next()).await.expect("nothing arrived").unwrap();
        assert_eq!(message.data.as_str(), Some("over TLS"));
        client.connection().close().await;
    }
}

#[tokio::test]
async fn a_service_with_an_unknown_root_or_another_name_is_refused() {
    let (server, root) = server().await;
    let unknown = options(&server, "localhost");
    let wrong_name = options(&server, "127.0.0.1").root_certificate(root.as_str());
    for options in [unknown, wrong_name] {
        let rest = Rest::new(options.clone().fallback_hosts([""; 0])).unwrap();
        assert!(rest.time().await.is_err());
        let client = Realtime::new(options.fallback_hosts([""; 0])).unwrap();
        let mut states = client.connection().changes();
        let refused = async {
            loop {
                let change = states.next().await.unwrap();
                if change.current == ConnectionState::Disconnected {
                    break change.reason.unwrap();
                }
            }
        };
        let reason = timeout(PATIENCE, refused).await.expect("no answer");
        assert!(reason.message.contains("TLS"), "{reason}");
    }
}

/// A self-signed certificate of `localhost` that has expired.
fn expired() -> Tls {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Tls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

#[tokio::test]
async fn every_way_to_the_service_names_what_is_wrong_with_a_certificate() {
    let valid = Tls::self_signed(["localhost"]).unwrap();
    for (tls, endpoint, is_trusted, problem) in [
        (&expired(), "localhost", true, "certificate expired"),
        (&valid, "127.0.0.1", true, "not valid for name"),
        (&valid, "localhost", false, "UnknownIssuer"),
    ] {
        let server = Server::builder().tls(tls).start().await.unwrap();
        for binary in [false, true] {
            let mut options = options(&server, endpoint).use_binary_protocol(binary);
            if is_trusted {
                options = options.root_certificate(tls.certificate_pem());
            }
            let rest = Rest::new(options.clone()).unwrap();
            let mut errors = vec![rest.time().await.unwrap_err()];
            errors.push(rest.channels().get("a").publish("n", "1").await.unwrap_err());
            for transport in [Transport::WebSocket, Transport::Comet] {
                let connecting = Realtime::connect(options.clone().transports([transport]));
                let refused = timeout(PATIENCE, connecting).await.expect("no answer");
                errors.push(refused.unwrap_err());
            }
            for error in errors {
                assert_eq!(error.code(), ErrorCode::CONNECTION_FAILED, "{error}");
                assert!(error.message().contains(problem), "{problem}: {error}");
            }
        }
    }
}

#[test]
fn a_root_that_is_no_certificate_is_refused_when_the_client_is_made() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error =
            Rest::new(ClientOptions::new("app.key:secret").root_certificate(pem)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BAD_REQUEST, "{pem}");
        assert!(error.detail().contains_key("root_certificate"), "{pem}");
    }
}
