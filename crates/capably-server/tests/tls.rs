//! A server with TLS.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{sync::Arc, time::Duration};

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, codec, frame::Attach};
use capably_server::{Server, ServerError, Tls, faults::Faults};
use futures_util::{SinkExt, StreamExt};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{client_async, tungstenite::Message as WsMessage};

use support::*;

fn tls() -> Tls {
    Tls::self_signed(["localhost", "127.0.0.1"]).unwrap()
}

async fn start(tls: &Tls) -> Server {
    builder().tls(tls).start().await.unwrap()
}

/// Connects as a client that trusts this certificate.
async fn connect(server: &Server, root: &str, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tcp = TcpStream::connect(server.local_addr()).await?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

fn certificate_error(error: &std::io::Error) -> &CertificateError {
    match error.get_ref().unwrap().downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// Sends a request, and reads the answer until it has this text.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str, until: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&answer).contains(until) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
        }
    };
    timeout(PATIENCE, read).await.expect("no answer");
    String::from_utf8(answer).unwrap()
}

const GET_TIME: &str = "GET /time HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn rest_event_streams_and_websockets_work_over_tls() {
    let tls = tls();
    let server = start(&tls).await;
    let root = tls.certificate_pem();
    let mut rest = connect(&server, &root, "localhost").await.unwrap();
    let answer = exchange(&mut rest, GET_TIME, "]").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let apps = "POST /apps HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 13\r\n\r\n{\"keys\":[{}]}";
    let answer = exchange(&mut rest, apps, "\"tls\"").await;
    assert!(answer.contains("\"tls\":true"), "{answer}");
    let mut events = connect(&server, &root, "127.0.0.1").await.unwrap();
    let request =
        format!("GET /sse?channels=a&key={} HTTP/1.1\r\nhost: localhost\r\n\r\n", server.key());
    exchange(&mut events, &request, "id: ").await;

    for format in [Format::Json, Format::MsgPack] {
        let stream = connect(&server, &root, "localhost").await.unwrap();
        let name = format.name();
        let url = format!("ws://localhost/?v=6&format={name}&key={}", server.key());
        let (mut socket, _) = client_async(url, stream).await.unwrap();
        let encode = |frame: &ClientFrame| {
            let mut bytes = Vec::new();
            codec::encode_client_frame(format, frame, &mut bytes);
            match format {
                Format::Json => WsMessage::text(String::from_utf8(bytes).unwrap()),
                Format::MsgPack => WsMessage::binary(bytes),
            }
        };
        let attach = Attach { channel: "a".into(), ..Attach::default() };
        socket.send(encode(&ClientFrame::Attach(attach))).await.unwrap();
        // More than one record of TLS, and more than the buffers of the sockets.
        let data = "x".repeat(60_000);
        const MESSAGES: u64 = 40;
        for serial in 0..MESSAGES {
            let frame = publish("a", serial, vec![Message::new("n", data.as_str())]);
            socket.feed(encode(&frame)).await.unwrap();
        }
        socket.flush().await.unwrap();
        let mut messages = 0;
        while messages < MESSAGES {
            let received = timeout(PATIENCE, socket.next()).await.expect("nothing arrived");
            let bytes = received.unwrap().unwrap().into_data();
            let frame = codec::decode_server_frame(format, &bytes, &Default::default()).unwrap();
            if let ServerFrame::Message(delivery) = frame {
                assert_eq!(delivery.items[0].data.as_str().unwrap().len(), data.len());
                messages += 1;
            }
        }
    }
    exchange(&mut events, "", "event: message\ndata: {\"channel\":\"a\"").await;
}

#[tokio::test]
async fn clients_check_the_certificate() {
    let tls = tls();
    let server = start(&tls).await;
    let unknown = connect(&server, &self::tls().certificate_pem(), "localhost").await.unwrap_err();
    assert!(
        matches!(
            certificate_error(&unknown),
            CertificateError::UnknownIssuer | CertificateError::BadSignature
        ),
        "{unknown}"
    );
    let wrong = connect(&server, &tls.certificate_pem(), "other.example").await.unwrap_err();
    assert!(
        matches!(certificate_error(&wrong), CertificateError::NotValidForNameContext { .. }),
        "{wrong}"
    );
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let old = params.self_signed(&key).unwrap().pem();
    tls.replace(old.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let expired = connect(&server, &old, "localhost").await.unwrap_err();
    let problem = certificate_error(&expired);
    assert!(matches!(problem, CertificateError::ExpiredContext { .. }), "{problem}");
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    let server = start(&tls()).await;
    let answer = Http::connect(&server).await.request("GET", "/time", &[], b"").await;
    assert_eq!(answer.error(), (400, 40000));
    assert_eq!(answer.json()["error"]["message"], "this port speaks TLS only: use https or wss");
}

#[tokio::test]
async fn a_client_that_stalls_in_the_handshake_holds_up_nobody_and_is_dropped() {
    let tls = tls();
    let server = start(&tls).await;
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut half = TcpStream::connect(server.local_addr()).await.unwrap();
    // The head of a record that never comes.
    half.write_all(&[0x16, 3, 1, 2]).await.unwrap();
    let mut ended = TcpStream::connect(server.local_addr()).await.unwrap();
    ended.write_all(&[0x16, 3, 1]).await.unwrap();
    ended.shutdown().await.unwrap();
    let mut other = connect(&server, &tls.certificate_pem(), "localhost").await.unwrap();
    exchange(&mut other, GET_TIME, "]").await;
    tokio::time::pause();
    let start = Instant::now();
    let mut rest = Vec::new();
    for stalled in [&mut silent, &mut half, &mut ended] {
        let _ = stalled.read_to_end(&mut rest).await;
    }
    assert!(start.elapsed() <= Duration::from_secs(11), "{:?}", start.elapsed());
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections() {
    let tls = tls();
    let server = start(&tls).await;
    let old = tls.certificate_pem();
    let mut before = connect(&server, &old, "localhost").await.unwrap();
    exchange(&mut before, GET_TIME, "]").await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (new, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    assert!(tls.replace(new.as_bytes(), b"nonsense").is_err());
    connect(&server, &old, "localhost").await.unwrap();
    tls.replace(new.as_bytes(), key.as_bytes()).unwrap();
    connect(&server, &old, "localhost").await.unwrap_err();
    let mut after = connect(&server, &new, "localhost").await.unwrap();
    exchange(&mut after, GET_TIME, "]").await;
    exchange(&mut before, GET_TIME, "]").await;
}

#[tokio::test]
async fn a_server_that_stops_ends_handshakes_and_faults_do_not_go_with_tls() {
    let tls = tls();
    let server = start(&tls).await;
    let mut half = TcpStream::connect(server.local_addr()).await.unwrap();
    half.write_all(&[0x16]).await.unwrap();
    connect(&server, &tls.certificate_pem(), "localhost").await.unwrap();
    timeout(Duration::from_secs(2), server.shutdown()).await.expect("the handshake holds it up");
    let refused = builder().tls(&tls).faults(&Faults::new()).start().await.unwrap_err();
    assert!(matches!(refused, ServerError::FaultsWithTls), "{refused}");
}
