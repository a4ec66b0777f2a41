//! A slow service.

use std::time::Duration;

use capably::{Realtime, realtime::ConnectionState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::sockets::{accept, listener, options};

// Spec: RTN23a
#[tokio::test]
async fn one_byte_a_second_counts_as_silence() {
    let (listener, port) = listener().await;
    let client = Realtime::new(options(port)).unwrap();
    let mut socket = accept(&listener).await;
    client.connection().when(ConnectionState::Connected).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    let dripping = async {
        // A binary frame of 100 bytes whose last byte is missing.
        let stream = socket.get_mut();
        stream.write_all(&[0x82, 100]).await.unwrap();
        for _ in 0..99 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if stream.write_all(&[0x80]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        accepted = listener.accept() => drop(accepted.unwrap()),
        () = dripping => {}
    }
    // Real sockets may take some virtual time.
    let waited = start.elapsed().as_secs();
    assert!((25..=30).contains(&waited), "{waited}");
    assert_eq!(client.connection().metrics().connected, 1);
    assert_eq!(client.connection().metrics().attempts, 2);
}

// Spec: RTN14c
#[tokio::test]
async fn a_handshake_of_one_byte_a_second_times_out() {
    let (listener, port) = listener().await;
    let client = Realtime::new(options(port)).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    tokio::time::pause();
    let start = Instant::now();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket";
    let dripping = async {
        for byte in answer {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let change = tokio::select! {
        change = client.connection().when(ConnectionState::Disconnected) => change.unwrap().unwrap(),
        () = dripping => unreachable!(),
    };
    let waited = start.elapsed().as_secs();
    assert!((9..=11).contains(&waited), "{waited}");
    let reason = change.reason.unwrap();
    assert_eq!((reason.code.0, reason.status_code), (80014, 408));
}
