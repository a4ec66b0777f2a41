//! A way to a broker that can be cut, or slow.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::brokers::Brokers;

/// Forwards connections to the first broker.
pub(crate) struct Proxy {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    broker: String,
    is_open: AtomicBool,
    /// How long each byte is under way, in ms.
    delay: AtomicU64,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

impl Proxy {
    pub(crate) async fn start(brokers: &Brokers) -> Self {
        let broker = brokers.addresses().remove(0);
        let state = Arc::new(State {
            broker: broker.trim_start_matches("nats://").to_owned(),
            is_open: AtomicBool::new(true),
            delay: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("nats://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state }
    }

    /// Ends all connections, and refuses others.
    pub(crate) fn cut(&self) {
        self.state.is_open.store(false, Ordering::Relaxed);
        let mut connections = self.state.connections.lock().unwrap();
        connections.drain(..).for_each(|connection| connection.abort());
    }

    pub(crate) fn restore(&self) {
        self.state.is_open.store(true, Ordering::Relaxed);
    }

    /// Delays bytes of both directions.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((node, _)) = listener.accept().await {
        if state.is_open.load(Ordering::Relaxed) {
            let connection = tokio::spawn(forward(node, Arc::clone(&state)));
            state.connections.lock().unwrap().push(connection);
        }
    }
}

async fn forward(node: TcpStream, state: Arc<State>) {
    // The broker may be away.
    let Ok(broker) = TcpStream::connect(&state.broker).await else { return };
    let (node, broker) = (node.into_split(), broker.into_split());
    tokio::select! {
        () = copy(node.0, broker.1, &state) => {}
        () = copy(broker.0, node.1, &state) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &State) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let receive = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = Duration::from_millis(state.delay.load(Ordering::Relaxed));
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let send = async {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = send => {}
    }
}
