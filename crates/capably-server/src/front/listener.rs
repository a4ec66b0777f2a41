//! Accepting sockets. Every task of a server is in one set here, and ends with it.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use capably_protocol::ServerFrame;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinSet, unconstrained, yield_now},
    time::{sleep, timeout},
};

use super::{Shared, reply::Response, router, session, upgrade::Upgrade};
use crate::hub::error;

/// How long a request's head may take to arrive, an idle connection's included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// Connections that are accepted before other tasks get their turn. It is more than tokio's own budget: serving
/// a client takes longer than accepting one, and while all those accepted are served, the backlog fills and
/// drops whoever comes.
const BURST: usize = 1024;

/// How long clients may take to read their last frame when the server ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Serves until the server is to stop, then says goodbye to every client.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut tasks = JoinSet::new();
    let timekeeper = tasks.spawn(Arc::clone(&shared).keep_time());
    accept(listener, &mut tasks, &mut stop, |stream| serve_stream(stream, Arc::clone(&shared)))
        .await;
    timekeeper.abort();
    shared.end_all(&ServerFrame::Disconnected { error: Some(error::shutting_down()) });
    wait_for(tasks).await;
}

/// Accepts connections until the server is to stop, each served by a task of the set.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    tasks: &mut JoinSet<()>,
    stop: &mut watch::Receiver<bool>,
    mut serve: impl FnMut(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut burst = 0;
    loop {
        if burst == BURST {
            burst = 0;
            yield_now().await;
        }
        tokio::select! {
            () = stopped(stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = unconstrained(listener.accept()) => match accepted {
                Ok((stream, _)) => {
                    burst += 1;
                    // Latency matters more than the number of packets; a socket that refuses still works.
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(serve(stream));
                }
                Err(problem) => {
                    // Too many open files, most likely: some will close.
                    tracing::warn!(%problem, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// Waits for the tasks of a server that stops, but not for clients that read nothing.
pub(crate) async fn wait_for(mut tasks: JoinSet<()>) {
    let _ = timeout(SHUTDOWN_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Ends once the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the server.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve_stream(stream: TcpStream, shared: Arc<Shared>) {
    let stop = shared.stop.subscribe();
    let handler = Handler(Arc::clone(&shared));
    let Some((stream, already_read, upgrade)) = Box::pin(serve_http(stream, stop, &handler)).await
    else {
        return;
    };
    session::run(shared, stream, already_read, upgrade).await;
}

struct Handler(Arc<Shared>);

impl Handle for Handler {
    type Upgrade = Upgrade;

    async fn handle(
        &self,
        request: Request<Incoming>,
        upgrade: &mut Option<Upgrade>,
    ) -> Option<Response> {
        Some(router::handle(&self.0, request, upgrade).await)
    }
}

/// Answers requests.
pub(crate) trait Handle: Sync {
    /// What the connection may become.
    type Upgrade: Send;

    /// Answers one request; with nothing, the connection is closed without an answer. What the connection
    /// is to become after the answer is left in `upgrade`.
    fn handle(
        &self,
        request: Request<Incoming>,
        upgrade: &mut Option<Self::Upgrade>,
    ) -> impl Future<Output = Option<Response>> + Send;
}

/// Serves HTTP until the connection ends or becomes something else.
pub(crate) async fn serve_http<H: Handle>(
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
    handler: &H,
) -> Option<(TcpStream, bytes::Bytes, H::Upgrade)> {
    let slot: Mutex<Option<H::Upgrade>> = Mutex::new(None);
    let (stream, already_read) = {
        let service = service_fn(|request| {
            let slot = &slot;
            Box::pin(async move {
                let mut upgrade = None;
                let response = handler.handle(request, &mut upgrade).await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = upgrade;
                response.ok_or(Unanswered)
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

/// A request is not to be answered.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is not answered")
    }
}

impl std::error::Error for Unanswered {}
