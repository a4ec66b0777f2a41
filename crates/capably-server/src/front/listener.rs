//! Accepting sockets. Every task of a server is in one set here, and ends with it.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use capably_protocol::ServerFrame;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Shared, http, session, upgrade::Upgrade};
use crate::hub::error;

/// How long a request's head may take to arrive, an idle connection's included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// How long clients may take to read their last frame when the server ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Serves until the server is to stop, then says goodbye to every client.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut tasks = JoinSet::new();
    let timekeeper = tasks.spawn(Arc::clone(&shared).keep_time());
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(serve_stream(stream, Arc::clone(&shared)));
                }
                Err(problem) => {
                    // Too many open files, most likely: some will close.
                    tracing::warn!(%problem, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    timekeeper.abort();
    shared.end_all(&ServerFrame::Disconnected { error: Some(error::shutting_down()) });
    let _ = timeout(SHUTDOWN_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Ends once the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the server.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve_stream(stream: TcpStream, shared: Arc<Shared>) {
    // Latency matters more than the number of packets; a socket that refuses still works.
    let _ = stream.set_nodelay(true);
    let Some((stream, already_read, upgrade)) =
        Box::pin(serve_http(stream, Arc::clone(&shared))).await
    else {
        return;
    };
    session::run(shared, stream, already_read, upgrade).await;
}

/// Serves HTTP until the connection ends or becomes a WebSocket.
async fn serve_http(
    stream: TcpStream,
    shared: Arc<Shared>,
) -> Option<(TcpStream, bytes::Bytes, Upgrade)> {
    let slot: Mutex<Option<Upgrade>> = Mutex::new(None);
    let mut stop = shared.stop.subscribe();
    let (stream, already_read) = {
        let service = service_fn(|request| {
            let (shared, slot) = (&shared, &slot);
            Box::pin(async move {
                let mut upgrade = None;
                let response = http::handle(shared, request, &mut upgrade).await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = upgrade;
                Ok::<_, Infallible>(response)
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut stopping = pin!(stopped(&mut stop));
        let mut told = false;
        let served = poll_fn(|cx| {
            if !told && stopping.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        })
        .await;
        if let Err(problem) = served {
            tracing::debug!(%problem, "HTTP connection ended");
            return None;
        }
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        (io.into_inner(), read_buf)
    };
    let upgrade = slot.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Some((stream, already_read, upgrade))
}
