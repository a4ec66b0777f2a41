//! Endpoints with `https`: private roots, and certificates that do not verify.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A self-signed certificate of `localhost`, which is valid in these years, as TLS and as PEM.
fn certificate(years: std::ops::Range<i32>) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

#[tokio::test]
async fn an_endpoint_with_a_private_root_is_called_once_the_server_trusts_it() {
    let (acceptor, root) = certificate(2020..4000);
    for mode in MODES {
        let mut endpoint = Endpoint::with_tls(acceptor.clone()).await;
        let rule =
            Rule::new(Source::Message, endpoint.url_at("localhost")).id("rule").request_mode(mode);
        let server =
            hasty().webhook_root(&root).unwrap().webhook_rules([rule]).start().await.unwrap();
        publish(&server, "a", numbers(0..3)).await;
        assert_eq!(endpoint.data_until("2").await, ["0", "1", "2"]);
        assert_eq!(dead_letters(&server, "rule", 0).await["total"], 0);
    }
}

#[tokio::test]
async fn a_dead_letter_says_what_is_wrong_with_the_certificate_and_what_to_do() {
    let (valid, valid_root) = certificate(2020..4000);
    let (expired, expired_root) = certificate(2020..2021);
    let (early, early_root) = certificate(3000..4000);
    // It answers as a server of HTTP does to what it cannot read.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut client, _) = plain.accept().await.unwrap();
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (acceptor, root, host, problem, remedy) in [
        (Some(valid.clone()), None, "localhost", "UnknownIssuer", "--webhook-ca"),
        (Some(valid), Some(valid_root), "127.0.0.1", "not valid for name", "`target.url`"),
        (
            Some(expired),
            Some(expired_root),
            "localhost",
            "certificate expired",
            "renew the certificate",
        ),
        (
            Some(early),
            Some(early_root),
            "localhost",
            "certificate not valid yet",
            "check the clock",
        ),
        (None, None, "localhost", "TLS: ", "then use http in `target.url`"),
    ] {
        let endpoint = match acceptor {
            Some(acceptor) => Some(Endpoint::with_tls(acceptor).await),
            None => None,
        };
        let port = endpoint.as_ref().map_or(plain_port, |endpoint| endpoint.address().port());
        let rule = Rule::new(Source::Message, format!("https://{host}:{port}/hook")).id("rule");
        let mut builder = hasty().webhook_rules([rule]);
        if let Some(root) = root {
            builder = builder.webhook_root(root).unwrap();
        }
        let server = builder.start().await.unwrap();
        publish(&server, "a", ["x".to_owned()]).await;
        let letters = dead_letters(&server, "rule", 1).await;
        let error = &letters["items"][0]["error"];
        assert_eq!(error["code"], 70001, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(problem), "{problem}: {message}");
        assert!(message.contains(remedy), "{remedy}: {message}");
        assert_eq!(endpoint.as_ref().map_or(0, Endpoint::count), 0);
    }
}

#[test]
fn a_root_that_is_no_certificate_is_refused() {
    let refused = builder().webhook_root("nonsense").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the certificate cannot be read: it has no section CERTIFICATE"
    );
}
