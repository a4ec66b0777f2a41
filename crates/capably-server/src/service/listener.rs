//! Listening on an address, and accepting the connections of clients.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinSet, unconstrained, yield_now},
    time::sleep,
};

use super::Stop;
use crate::ServerError;

/// The sockets that listen on an address, and the address.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Sockets,
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
        let socket = Sockets::bind(address).map_err(bind_error)?;
        let address = socket.sockets[0].local_addr().map_err(bind_error)?;
        Ok(Self { socket, address })
    }

    /// The host that clients can connect to.
    pub(crate) fn host(&self) -> String {
        host(self.address.ip())
    }
}

/// The host that clients can connect to when a service listens on this address.
pub(super) fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(address) if address.is_unspecified() => "localhost".to_owned(),
        other => other.to_string(),
    }
}

/// Sockets that listen on one address. The system distributes the connections over their queues.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// At least one.
    sockets: Vec<TcpListener>,
    /// The socket whose turn it is.
    next: usize,
}

/// How many connections may wait to be accepted in the queue of a socket. The system lowers it to its own maximum
/// (`net.core.somaxconn` on Linux, 4096 by default).
///
/// The 128 of [`TcpListener::bind`] are too few when many clients come back at once, as after a restart: the system
/// drops a connection that finds the queue full, and the client tries again after 1, 3, 7, 15 s.
const BACKLOG: u32 = 65_535;

/// The sockets of an address, each with a queue of its own. With the usual maximum on Linux, 16,384 connections find
/// room even while nothing accepts them.
#[cfg(target_os = "linux")]
const SOCKETS: usize = 4;

/// Other systems have no such option, or do not distribute connections.
#[cfg(not(target_os = "linux"))]
const SOCKETS: usize = 1;

impl Sockets {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket(address)?;
        // Without the option to share the port: it fails if another server listens there.
        socket.bind(address)?;
        let is_shared = SOCKETS > 1 && share_port(&socket).is_ok();
        let mut sockets = vec![socket.listen(BACKLOG)?];
        if is_shared {
            let address = sockets[0].local_addr()?;
            // A system that allows fewer sockets has shorter queues.
            sockets.extend((1..SOCKETS).map_while(|_| listen_too(address).ok()));
        }
        Ok(Self { sockets, next: 0 })
    }

    /// The next connection.
    async fn accept(&mut self) -> io::Result<TcpStream> {
        poll_fn(|cx| {
            for _ in 0..self.sockets.len() {
                let accepted = self.sockets[self.next].poll_accept(cx);
                if let Poll::Ready(accepted) = accepted {
                    return Poll::Ready(accepted.map(|(stream, _)| stream));
                }
                // A socket keeps its turn while connections wait: each empty queue costs a system call.
                self.next = (self.next + 1) % self.sockets.len();
            }
            Poll::Pending
        })
        .await
    }
}

/// One more socket for an address that a socket of this server has.
fn listen_too(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    share_port(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that restarts may find its old connections in TIME_WAIT. On Windows the option would let two servers
    // share a port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn share_port(socket: &TcpSocket) -> io::Result<()> {
    socket.set_reuseport(true)
}

#[cfg(not(target_os = "linux"))]
fn share_port(_: &TcpSocket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How many connections are accepted before other tasks run.
///
/// It is more than tokio's own budget, because serving a client takes longer than accepting a connection: if other
/// tasks ran sooner, the backlog would fill in the meantime, and the system would drop connections.
const BURST: usize = 1024;

/// Accepts connections until the service is to stop. Each connection is served by a task of the set.
pub(crate) async fn accept<F>(
    mut sockets: Sockets,
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
            accepted = unconstrained(sockets.accept()) => match accepted {
                Ok(stream) => {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn listen() -> Listener {
        Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_accepted_from_whichever_queue_it_waits_in() {
        let Listener { mut socket, address } = listen();
        assert_eq!(socket.sockets.len(), SOCKETS);
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let mut accepted = BTreeSet::new();
        for _ in 0..clients.len() {
            accepted.insert(socket.accept().await.unwrap().peer_addr().unwrap());
        }
        let connected = clients.iter().map(|client| client.local_addr().unwrap());
        assert_eq!(accepted, connected.collect());
    }

    #[tokio::test]
    async fn a_second_server_on_the_same_address_is_refused() {
        let first = listen();
        match Listener::bind(first.address) {
            Err(ServerError::Bind { address, source }) => {
                assert_eq!((address, source.kind()), (first.address, io::ErrorKind::AddrInUse));
            }
            other => panic!("{other:?}"),
        }
    }
}
