//! Certificates that do not verify.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::Realtime;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::sockets::{listener, options};

/// A self-signed certificate of `localhost`.
const CERTIFICATE: &str = "\
    MIIBkjCCATigAwIBAgIUHat5aqxo33oJ7jEsAcKKQr0K0f0wCgYIKoZIzj0EAwIwFDESMBAGA1UE\
    AwwJbG9jYWxob3N0MCAXDTI2MTEyMTEwNTE1OFoYDzIxMjYxMDI4MTA1MTU4WjAUMRIwEAYDVQQD\
    DAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARPWlcLFFP5by9HrfmcwfIpqI2G\
    oiBYCml2RXEgY3Xjs4NOiC7yTrwb776TFW8Wi73xEQw7vpluSgXt8mpaNAauo2YwZDAdBgNVHQ4E\
    FgQUZxRy4PJxF2cwU5CE2xKqCB1+XBgwHwYDVR0jBBgwFoAUZxRy4PJxF2cwU5CE2xKqCB1+XBgw\
    FAYDVR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIgBuXh\
    524vo83a3Rzu2FyQB6KzCXWDerZ8zmiSfNcoxP0CIQC00xA/4hrvxc/oHrwxbAbaLxVKfIoWth/D\
    6YG9tA1MdQ==\
    ";

/// Its key, which secures nothing.
const KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0ywFWa4X/1RvGHrQ7llURMmsHbV9\
    PyQog3vtnsQ4yluhRANCAARPWlcLFFP5by9HrfmcwfIpqI2GoiBYCml2RXEgY3Xjs4NOiC7yTrwb\
    776TFW8Wi73xEQw7vpluSgXt8mpaNAau\
    ";

fn acceptor() -> TlsAcceptor {
    let bytes = |text: &str| BASE64_STANDARD.decode(text.trim()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![bytes(CERTIFICATE).into()],
            PrivatePkcs8KeyDer::from(bytes(KEY)).into(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let (listener, port) = listener().await;
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        // The error says that the issuer is not trusted, and the client sends no request.
        acceptor().accept(stream).await.map(drop).unwrap_err()
    };
    let options = options(port).endpoint("localhost").tls(true).tls_port(port);
    let (result, refusal) = tokio::join!(Realtime::connect(options), server);
    let error = result.unwrap_err();
    assert_eq!((error.code().0, error.status()), (80000, None));
    assert!(error.message().contains("UnknownIssuer"), "{error}");
    assert!(error.message().contains(&format!("localhost:{port}")), "{error}");
    assert!(refusal.to_string().contains("UnknownCA"), "{refusal}");
}

#[tokio::test]
async fn tls_to_a_server_without_it_fails() {
    let (listener, port) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    };
    let options = options(port).tls(true).tls_port(port);
    let (result, ()) = tokio::join!(Realtime::connect(options), server);
    let error = result.unwrap_err();
    assert_eq!((error.code().0, error.status()), (80000, None));
    assert!(error.message().contains("TLS"), "{error}");
}
