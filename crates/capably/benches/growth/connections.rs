//! Idle connections to one server. They are bare WebSockets: their clients need little memory.

use std::time::Instant;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config, tungstenite::protocol::WebSocketConfig,
};

use crate::{
    Loads, median, millis,
    process::{KEY, Process, publish, runtime},
};

const SAMPLES: usize = 51;

pub(crate) fn connections(loads: Loads) -> Vec<Vec<f64>> {
    let server = Process::start();
    runtime().block_on(async {
        let client = server.client().await;
        let mut sockets = Vec::new();
        let mut rows = Vec::new();
        for load in loads.from(1, 10) {
            while sockets.len() < load {
                sockets.push(connect(&server).await);
            }
            let memory = server.memory();
            let mut times = Vec::with_capacity(SAMPLES);
            for _ in 0..SAMPLES {
                let start = Instant::now();
                let socket = connect(&server).await;
                times.push(millis(start.elapsed()));
                drop(socket);
            }
            let acknowledged = publish(&client.channels().get("prices")).await;
            rows.push(vec![load as f64, memory, median(times), acknowledged]);
        }
        rows
    })
}

/// A connection that has received CONNECTED.
async fn connect(server: &Process) -> WebSocketStream<TcpStream> {
    let address = server.address;
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{address}/?v=6&key={KEY}&format=msgpack");
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket
}
