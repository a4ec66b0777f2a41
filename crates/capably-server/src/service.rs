//! The life of a service: it binds an address, serves each connection in a task of one set, and ends when it is
//! stopped or dropped. [`Server`](crate::Server), [`FaultProxy`](crate::faults::FaultProxy) and
//! [`FaultControl`](crate::faults::FaultControl) are services.

mod listener;
mod stream;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::timeout,
};

use self::listener::host;
pub(crate) use self::{
    listener::{Listener, Sockets, accept},
    stream::Stream,
};

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
    pub(crate) fn start<F>(listener: Listener, serve: impl FnOnce(Sockets, Stop) -> F) -> Self
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

/// How long the tasks of a service may take to end after it was asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Waits for the tasks of a service that stops, but no longer than three seconds: a client that reads nothing would
/// block it forever.
pub(crate) async fn drain(mut tasks: JoinSet<()>) {
    let _ = timeout(SHUTDOWN_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}
