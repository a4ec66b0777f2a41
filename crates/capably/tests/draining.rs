//! A server that drains under load, beside another one: every client goes on at the other at once, and every publish
//! that was acknowledged is on one of them, once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, pin::pin, time::Duration};

use capably::{ClientOptions, Realtime, Rest};
use capably_server::Server;
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

const KEY: &str = "drains.key:secret";
const CLIENTS: usize = 30;
/// How many publishes of a client are under way at a time.
const WINDOW: usize = 3;

/// A load balancer: each connection goes to the first server that is ready.
struct Balancer {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Balancer {
    async fn start(servers: [SocketAddr; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    for server in servers {
                        if is_ready(server).await
                            && let Ok(mut server) = TcpStream::connect(server).await
                        {
                            let _ = copy_bidirectional(&mut client, &mut server).await;
                            return;
                        }
                    }
                });
            }
        });
        Self { address, _task: task }
    }
}

async fn is_ready(server: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(server).await else { return false };
    let request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

fn client(address: SocketAddr, binary: bool) -> Realtime {
    let options = ClientOptions::new(KEY)
        .endpoint(address.ip().to_string())
        .port(address.port())
        .tls(false)
        .use_binary_protocol(binary)
        // A client that has to wait before it connects again fails the test.
        .disconnected_retry_timeout(Duration::from_secs(3600));
    Realtime::new(options).unwrap()
}

/// Passes on the names of all messages that a server delivers.
async fn watch_messages(server: SocketAddr, names: mpsc::UnboundedSender<(SocketAddr, String)>) {
    let client = client(server, true);
    let mut messages = client.channels().get("load").subscribe().await.unwrap();
    tokio::spawn(async move {
        // The client must live for as long as its messages are read.
        let _client = client;
        while let Some(message) = messages.next().await {
            let _ = names.send((server, message.name.as_deref().unwrap().to_owned()));
        }
    });
}

/// Publishes until it is told to stop, and returns the names of the messages, all of them acknowledged.
async fn publish(
    client: Realtime,
    number: usize,
    started: mpsc::Sender<()>,
    stop: watch::Receiver<bool>,
) -> Vec<String> {
    let channel = client.channels().get("load");
    let mut names = Vec::new();
    while !*stop.borrow() {
        let mut receipts = Vec::new();
        for _ in 0..WINDOW {
            let name = format!("{number}/{}", names.len());
            receipts.push(channel.publish(name.clone(), "d").submit().await.unwrap());
            names.push(name);
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        if names.len() == 2 * WINDOW {
            started.send(()).await.unwrap();
        }
    }
    client.close().await;
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_draining_server_go_on_at_another_and_lose_nothing() {
    let all = async {
        let old = Server::builder().key(KEY).start().await.unwrap();
        let new = Server::builder().key(KEY).start().await.unwrap();
        let balancer = Balancer::start([old.local_addr(), new.local_addr()]).await;
        let (stop, stopping) = watch::channel(false);
        let (started, mut starts) = mpsc::channel(CLIENTS);
        let mut publishers = JoinSet::new();
        for number in 0..CLIENTS {
            let client = client(balancer.address, number.is_multiple_of(2));
            publishers.spawn(publish(client, number, started.clone(), stopping.clone()));
        }
        for _ in 0..CLIENTS {
            starts.recv().await.unwrap();
        }
        // The watchers connect last, so that the old server drains its watcher last: it receives everything that is
        // accepted there from then on. The history has the rest.
        let (names, mut seen) = mpsc::unbounded_channel();
        watch_messages(old.local_addr(), names.clone()).await;
        watch_messages(new.local_addr(), names).await;
        assert_eq!((old.connections(), new.connections()), (CLIENTS + 1, 1));

        let options = ClientOptions::new(KEY).endpoint("127.0.0.1").port(old.port()).tls(false);
        let history = Rest::new(options).unwrap().channels().get("load").history();
        let mut history = pin!(history.limit(1000).await.unwrap().items_stream());
        let (mut on_old, mut on_new) = (BTreeSet::new(), BTreeSet::new());
        while let Some(message) = history.next().await {
            on_old.insert(message.unwrap().name.as_deref().unwrap().to_owned());
        }

        old.drain(Duration::from_secs(3)).await;
        // At once, and not after the time to retry, which is an hour.
        while new.connections() <= CLIENTS {
            tokio::task::yield_now().await;
        }
        stop.send(true).unwrap();
        let mut published = BTreeSet::new();
        while let Some(names) = publishers.join_next().await {
            published.extend(names.unwrap());
        }
        let mut live = BTreeSet::new();
        while !published.iter().all(|name| on_old.contains(name) || on_new.contains(name)) {
            let (server, name) = seen.recv().await.unwrap();
            assert!(live.insert(name.clone()), "{name} was delivered twice");
            let on = if server == new.local_addr() { &mut on_new } else { &mut on_old };
            on.insert(name);
        }
        let both: Vec<_> = on_old.intersection(&on_new).collect();
        assert!(both.is_empty(), "on both servers: {both:?}");
        assert!(on_new.len() >= CLIENTS * WINDOW, "{}", on_new.len());
        new.shutdown().await;
    };
    timeout(Duration::from_secs(60), all).await.expect("a client or the drain hangs");
}
