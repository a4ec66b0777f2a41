//! The life of a service: it binds an address, serves each connection in a task of one set, and ends when it is
//! stopped or dropped. [`Server`](crate::Server), [`FaultProxy`](crate::faults::FaultProxy) and
//! [`FaultControl`](crate::faults::FaultControl) are services.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Mutex, watch},
    task::{AbortHandle, JoinHandle, JoinSet, unconstrained, yield_now},
    time::{sleep, timeout},
};

use crate::ServerError;

/// A running service. Dropping it aborts its tasks.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// None once the task has ended.
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

impl Service {
    /// Serves the listener until it is to stop.
    pub(crate) fn start<F>(listener: Listener, serve: impl FnOnce(TcpListener, Stop) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Listener { socket, address } = listener;
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(serve(socket, Stop(stopping)));
        let abort = task.abort_handle();
        Self { address, stop, task: Mutex::new(Some(task)), abort }
    }

    /// The address that the service listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host that clients can connect to.
    pub(crate) fn host(&self) -> String {
        host(self.address.ip())
    }

    /// Asks the service to stop.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the service has ended. It can be cancelled, and called more than once.
    pub(crate) async fn ended(&self) {
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            // An error means that the task was aborted or panicked: it has ended, too.
            let _ = running.await;
            *task = None;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// The request to stop, as the tasks of a service see it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Ends once the service is to stop.
    pub(crate) async fn requested(&mut self) {
        // An error means that the service was dropped, and with it the sender: that aborts the task.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A socket that listens, and its address.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// With the port that the system has chosen when port 0 was asked for.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Listens on an address; port 0 takes a free port.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let bind_error = |source| ServerError::Bind { address, source };
        let socket = bind(address).map_err(bind_error)?;
        let address = socket.local_addr().map_err(bind_error)?;
        Ok(Self { socket, address })
    }

    /// The host that clients can connect to.
    pub(crate) fn host(&self) -> String {
        host(self.address.ip())
    }
}

/// How many connections may wait to be accepted. The system lowers it to its own maximum
/// (`net.core.somaxconn` on Linux).
///
/// The 128 of [`TcpListener::bind`] are too few when many clients come back at once, as after a restart: the system
/// drops a connection that finds the queue full, and the client tries again after 1, 3, 7, 15 s.
const BACKLOG: u32 = 65_535;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that restarts may find its old connections in TIME_WAIT. On Windows the option would let two servers
    // share a port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The host that clients can connect to when a service listens on this address.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(address) if address.is_unspecified() => "localhost".to_owned(),
        other => other.to_string(),
    }
}

/// How many connections are accepted before other tasks run.
///
/// It is more than tokio's own budget, because serving a client takes longer than accepting a connection: if other
/// tasks ran sooner, the backlog would fill in the meantime, and the system would drop connections.
const BURST: usize = 1024;

/// Accepts connections until the service is to stop. Each connection is served by a task of the set.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    tasks: &mut JoinSet<()>,
    stop: &mut Stop,
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
            () = stop.requested() => break,
            Some(_) = tasks.join_next() => {}
            accepted = unconstrained(listener.accept()) => match accepted {
                Ok((stream, _)) => {
                    burst += 1;
                    // Latency matters more than the number of packets. A socket that refuses the option still works.
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(serve(stream));
                }
                Err(problem) => {
                    // Most likely the process has too many open files. Some will close; do not spin until then.
                    tracing::warn!(%problem, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// How long the tasks of a service may take to end after it was asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Waits for the tasks of a service that stops, but no longer than three seconds: a client that reads nothing would
/// block it forever.
pub(crate) async fn drain(mut tasks: JoinSet<()>) {
    let _ = timeout(SHUTDOWN_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}
