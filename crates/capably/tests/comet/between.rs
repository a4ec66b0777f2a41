//! Comet through networks that end TLS, and that hold streams back.

use std::{sync::Arc, time::Duration};

use capably::{ClientOptions, Realtime, realtime::ConnectionState, transport::Transport};
use capably_server::Server;
use tokio::{task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{exercise, middlebox::Middlebox};

const PATIENCE: Duration = Duration::from_secs(60);

fn direct(server: &Server) -> ClientOptions {
    ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false)
}

fn through(middlebox: &Middlebox, server: &Server, binary: bool) -> ClientOptions {
    ClientOptions::new(server.key())
        .endpoint("127.0.0.1")
        .port(middlebox.address.port())
        .tls(false)
        .use_binary_protocol(binary)
        .transports([Transport::Comet])
        // Two fifths of it are for the stream that does not arrive.
        .realtime_request_timeout(Duration::from_secs(5))
        .disconnected_retry_timeout(Duration::from_millis(1))
}

/// TLS with a certificate of `localhost`, and its root in PEM.
fn tls() -> (TlsAcceptor, String) {
    use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

#[tokio::test]
async fn comet_works_over_tls_as_a_stream_and_by_polling() {
    let server = Server::builder().start().await.unwrap();
    let (acceptor, root) = tls();
    for (binary, buffers) in [(false, false), (true, false), (false, true), (true, true)] {
        let middlebox = Middlebox::start(server.local_addr(), Some(acceptor.clone())).await;
        middlebox.buffer(buffers);
        let options = through(&middlebox, &server, binary)
            .endpoint("localhost")
            .tls(true)
            .tls_port(middlebox.address.port())
            .root_certificate(root.as_str());
        timeout(PATIENCE, exercise(options)).await.expect("the client comes to no end");
        assert_eq!(middlebox.count("/comet/connect?"), 1 + usize::from(buffers));
        assert_eq!(middlebox.count("stream=false"), usize::from(buffers));
        assert!(middlebox.count("/send?") > 0);
    }
}

#[tokio::test]
async fn comet_works_over_the_tls_of_the_server() {
    let tls = capably_server::Tls::self_signed(["localhost"]).unwrap();
    let server = Server::builder().tls(&tls).start().await.unwrap();
    for binary in [false, true] {
        let options = ClientOptions::new(server.key())
            .endpoint("localhost")
            .tls_port(server.port())
            .root_certificate(tls.certificate_pem())
            .use_binary_protocol(binary)
            .transports([Transport::Comet]);
        timeout(PATIENCE, exercise(options)).await.expect("the client comes to no end");
    }
}

#[tokio::test]
async fn a_client_whose_streams_are_held_back_polls_and_gets_every_message_once() {
    const MESSAGES: usize = 100;
    let server = Server::builder().start().await.unwrap();
    for binary in [false, true] {
        let middlebox = Middlebox::start(server.local_addr(), None).await;
        middlebox.buffer(true);
        let client = Realtime::connect(through(&middlebox, &server, binary)).await.unwrap();
        let id = client.connection().id();
        let channel = client.channels().get(format!("held:{binary}"));
        let mut messages = channel.subscribe().await.unwrap();
        let other = Realtime::connect(direct(&server)).await.unwrap();
        let far = other.channels().get(format!("held:{binary}"));
        let mut publishing = JoinSet::new();
        for (name, from) in [("near", channel.clone()), ("far", far)] {
            publishing.spawn(async move {
                for number in 0..MESSAGES {
                    from.publish(name, number.to_string()).await.unwrap();
                }
            });
        }
        let (mut near, mut far) = (Vec::new(), Vec::new());
        let receiving = async {
            while near.len() + far.len() < 2 * MESSAGES {
                let message = messages.next().await.unwrap();
                let number: usize = message.data.as_str().unwrap().parse().unwrap();
                match message.name.as_deref() {
                    Some("near") => near.push(number),
                    _ => far.push(number),
                }
            }
        };
        timeout(PATIENCE, receiving).await.expect("messages are lost");
        while let Some(published) = publishing.join_next().await {
            published.unwrap();
        }
        assert_eq!(near, Vec::from_iter(0..MESSAGES));
        assert_eq!(far, Vec::from_iter(0..MESSAGES));
        assert_eq!(client.connection().id(), id);
        // One attempt to receive a stream, and after that no other.
        assert_eq!(middlebox.count("stream=true"), 1);
        assert_eq!(middlebox.count("stream=false"), 1);
        assert!(middlebox.count("/recv?") > 1);
        client.close().await;
        other.close().await;
    }
}

#[tokio::test]
async fn a_client_that_comes_into_such_a_network_resumes_by_polling() {
    let server = Server::builder().start().await.unwrap();
    for binary in [false, true] {
        let middlebox = Middlebox::start(server.local_addr(), None).await;
        let client = Realtime::connect(through(&middlebox, &server, binary)).await.unwrap();
        let id = client.connection().id();
        let channel = client.channels().get(format!("moved:{binary}"));
        let mut messages = channel.subscribe().await.unwrap();
        let other = Realtime::connect(direct(&server)).await.unwrap();
        let publisher = other.channels().get(format!("moved:{binary}"));
        let mut changes = client.connection().changes();
        middlebox.buffer(true);
        middlebox.cut();
        for number in 0..20 {
            publisher.publish("n", number.to_string()).await.unwrap();
        }
        let connected =
            async { while changes.next().await.unwrap().current != ConnectionState::Connected {} };
        timeout(PATIENCE, connected).await.expect("the client comes back by polling");
        assert_eq!(client.connection().id(), id, "the connection is resumed");
        publisher.publish("n", "20").await.unwrap();
        for number in 0..=20 {
            let message = timeout(PATIENCE, messages.next()).await.expect("it is lost").unwrap();
            assert_eq!(message.data.as_str(), Some(&*number.to_string()));
        }
        assert_eq!((middlebox.count("stream=true"), middlebox.count("stream=false")), (2, 1));
        // From then on it does not wait for a stream again.
        middlebox.cut();
        let connected =
            async { while changes.next().await.unwrap().current != ConnectionState::Connected {} };
        timeout(PATIENCE, connected).await.expect("the client comes back again");
        publisher.publish("n", "21").await.unwrap();
        let message = timeout(PATIENCE, messages.next()).await.expect("it is lost").unwrap();
        assert_eq!(message.data.as_str(), Some("21"));
        assert_eq!(client.connection().id(), id);
        assert_eq!((middlebox.count("stream=true"), middlebox.count("stream=false")), (2, 2));
        client.close().await;
        other.close().await;
    }
}
