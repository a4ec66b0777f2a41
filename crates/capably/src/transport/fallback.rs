//! Chooses between WebSockets and comet.
//!
//! WebSockets come first. When one cannot be opened or takes long, a check finds out whether the network lets any
//! WebSocket through: it opens one to another host. If that succeeds, the host is at fault, and the client tries
//! other hosts. If not, the connection is opened over comet, and so are later ones, until a check succeeds.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use capably_protocol::ErrorCode;
use futures_util::future::{Either, select};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use super::{Connector, DialRequest, Dialling, WebSocket};
use crate::{Error, Result};

/// Opens WebSockets, or connections over comet where the network lets no WebSocket through.
#[derive(Debug)]
pub(crate) struct FallbackConnector(Arc<Fallback>);

struct Fallback {
    websocket: Arc<dyn Connector>,
    comet: Arc<dyn Connector>,
    /// The WebSocket that a check opens.
    check: DialRequest,
    preference: Mutex<Preference>,
}

/// The transport to begin with, for the life of the client.
#[derive(Default)]
enum Preference {
    #[default]
    WebSocket,
    /// The last connection was over comet.
    Comet(Option<Check>),
}

/// A check that runs. Dropping it ends it.
struct Check(AbortHandle);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How an attempt to open a WebSocket has ended.
enum Attempt {
    Opened(Box<dyn WebSocket>),
    /// The network lets WebSockets through, so another host may do better.
    HostFailed(Error),
    /// The network lets no WebSocket through.
    Blocked(Error),
}

impl FallbackConnector {
    /// Chooses between these transports. A check opens the WebSocket of the request `check`.
    pub(crate) fn new(
        websocket: Arc<dyn Connector>,
        comet: Arc<dyn Connector>,
        check: DialRequest,
    ) -> Self {
        let preference = Mutex::default();
        Self(Arc::new(Fallback { websocket, comet, check, preference }))
    }
}

impl Drop for FallbackConnector {
    fn drop(&mut self) {
        self.0.prefer(Preference::WebSocket);
    }
}

impl Connector for FallbackConnector {
    fn connect(&self, request: DialRequest) -> Dialling {
        let fallback = Arc::clone(&self.0);
        Box::pin(async move { fallback.open(request).await })
    }
}

impl Fallback {
    async fn open(self: Arc<Self>, request: DialRequest) -> Result<Box<dyn WebSocket>> {
        if let Some(check) = self.check_if_comet() {
            match select(self.comet.connect(request.clone()), check).await {
                Either::Left((opened, _)) => return self.opened_over_comet(opened),
                Either::Right((Ok(true), _)) => {}
                Either::Right((_, comet)) => return self.opened_over_comet(comet.await),
            }
        }
        let refused = match self.try_websocket(&request).await {
            Attempt::Opened(socket) => return Ok(socket),
            Attempt::HostFailed(error) => return Err(error),
            Attempt::Blocked(error) => error,
        };
        tracing::info!(%refused, "no WebSocket can be opened: trying comet");
        let opened = self.comet.connect(request).await;
        // Without comet either, the reason for the WebSocket decides whether other hosts are tried.
        self.opened_over_comet(opened.map_err(|error| {
            tracing::debug!(%error, "comet has failed, too");
            refused
        }))
    }

    async fn try_websocket(&self, request: &DialRequest) -> Attempt {
        let slow = request.timeout * 2 / 5;
        let mut dialling = self.websocket.connect(request.clone());
        let checking = self.is_open(request.timeout.saturating_sub(slow));
        match timeout(slow, &mut dialling).await {
            Ok(Ok(socket)) => return Attempt::Opened(socket),
            Ok(Err(error)) => return failed(error, checking.await),
            Err(_) => {}
        }
        // The check has a limit, after which the WebSocket is given up.
        let checking = Box::pin(checking);
        match select(dialling, checking).await {
            Either::Left((Ok(socket), _)) => Attempt::Opened(socket),
            Either::Left((Err(error), checking)) => failed(error, checking.await),
            Either::Right((false, _)) => Attempt::Blocked(timed_out()),
            Either::Right((true, dialling)) => match timeout(request.timeout, dialling).await {
                Ok(Ok(socket)) => Attempt::Opened(socket),
                Ok(Err(error)) => Attempt::HostFailed(error),
                Err(_) => Attempt::HostFailed(timed_out()),
            },
        }
    }

    /// Whether the network lets a WebSocket through, to another host.
    async fn is_open(&self, limit: Duration) -> bool {
        let request = DialRequest { timeout: limit, ..self.check.clone() };
        match timeout(limit, self.websocket.connect(request)).await {
            Ok(Ok(mut socket)) => {
                socket.close();
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Remembers an attempt over comet.
    fn opened_over_comet(&self, opened: Result<Box<dyn WebSocket>>) -> Result<Box<dyn WebSocket>> {
        let mut preference = self.preference();
        match (&opened, &*preference) {
            (Ok(_), Preference::WebSocket) => *preference = Preference::Comet(None),
            (Ok(_), Preference::Comet(_)) => {}
            (Err(_), _) => {
                drop(preference);
                self.prefer(Preference::WebSocket);
            }
        }
        opened
    }

    /// If comet is preferred, starts a check whether that is still right, in place of one that may run. The check
    /// goes on when the connection is open.
    fn check_if_comet(self: &Arc<Self>) -> Option<JoinHandle<bool>> {
        let mut preference = self.preference();
        let Preference::Comet(check) = &mut *preference else { return None };
        let fallback = Arc::downgrade(self);
        let limit = self.check.timeout;
        let running = tokio::spawn(async move {
            let Some(own) = fallback.upgrade() else { return false };
            let is_open = own.is_open(limit).await;
            if is_open {
                tracing::info!("WebSockets can be opened again");
                own.prefer(Preference::WebSocket);
            }
            is_open
        });
        let before = check.replace(Check(running.abort_handle()));
        drop(preference);
        drop(before);
        Some(running)
    }

    fn prefer(&self, preference: Preference) {
        let before = std::mem::replace(&mut *self.preference(), preference);
        // Outside the lock: it ends a check.
        drop(before);
    }

    fn preference(&self) -> MutexGuard<'_, Preference> {
        self.preference.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefers_comet = matches!(*self.preference(), Preference::Comet(_));
        f.debug_struct("Fallback").field("prefers_comet", &prefers_comet).finish_non_exhaustive()
    }
}

fn failed(error: Error, is_open: bool) -> Attempt {
    if is_open { Attempt::HostFailed(error) } else { Attempt::Blocked(error) }
}

fn timed_out() -> Error {
    let message = "the WebSocket was not open in time";
    Error::new(ErrorCode::CONNECTION_FAILED, 0, message)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::transport::{Packet, Transport};

    /// What a dial comes to, after this many seconds.
    #[derive(Clone, Copy, Debug)]
    enum Dial {
        Opens(u64),
        Fails(u64),
        Hangs,
    }

    use Dial::{Fails, Hangs, Opens};

    /// The network: what becomes of a WebSocket to the service, of that of a check, and of a connection over comet.
    type Network = (Dial, Dial, Dial);

    /// Connectors of one network, which a test may change.
    #[derive(Debug)]
    struct Fake {
        transport: Transport,
        network: Arc<Mutex<Network>>,
    }

    #[derive(Debug)]
    struct FakeSocket(Transport);

    impl Connector for Fake {
        fn connect(&self, request: DialRequest) -> Dialling {
            let (service, check, comet) = *self.network.lock().unwrap();
            let dial = match self.transport {
                Transport::Comet => comet,
                Transport::WebSocket if request.host == "check" => check,
                Transport::WebSocket => service,
            };
            let transport = self.transport;
            Box::pin(async move {
                match dial {
                    Opens(after) => {
                        sleep(Duration::from_secs(after)).await;
                        Ok(Box::new(FakeSocket(transport)) as Box<dyn WebSocket>)
                    }
                    Fails(after) => {
                        sleep(Duration::from_secs(after)).await;
                        Err(Error::new(ErrorCode::CONNECTION_FAILED, 403, "refused"))
                    }
                    Hangs => std::future::pending().await,
                }
            })
        }
    }

    impl WebSocket for FakeSocket {
        fn poll_receive(
            &mut self,
            _: &mut Context<'_>,
            packets: &mut Vec<Packet>,
            _: usize,
        ) -> Poll<Result<()>> {
            // Tells the test which transport it is.
            packets.extend((self.0 == Transport::Comet).then_some(Packet::Ping));
            Poll::Ready(Ok(()))
        }

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn send(&mut self, _: Packet) -> Result<()> {
            Ok(())
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn close(&mut self) {}
    }

    fn request(host: &str) -> DialRequest {
        let url = format!("ws://{host}/");
        DialRequest::of_url(&url, 1024, Duration::from_secs(10)).unwrap()
    }

    /// A connector in this network.
    fn connector(network: Network) -> (FallbackConnector, Arc<Mutex<Network>>) {
        let network = Arc::new(Mutex::new(network));
        let fake = |transport| Arc::new(Fake { transport, network: Arc::clone(&network) });
        let (websocket, comet) = (fake(Transport::WebSocket), fake(Transport::Comet));
        (FallbackConnector::new(websocket, comet, request("check")), network)
    }

    /// Connects. Returns the transport, or none, and the seconds that it took.
    async fn connect(connector: &FallbackConnector) -> (Option<Transport>, u64) {
        let start = Instant::now();
        let opened = connector.connect(request("service")).await;
        let transport = opened.ok().map(|mut socket| {
            let mut packets = Vec::new();
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            assert!(socket.poll_receive(cx, &mut packets, 1).is_ready());
            if packets.is_empty() { Transport::WebSocket } else { Transport::Comet }
        });
        (transport, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn comet_is_for_networks_that_let_no_websocket_through() {
        let (websocket, comet) = (Some(Transport::WebSocket), Some(Transport::Comet));
        let table: [(Network, (Option<Transport>, u64)); 10] = [
            ((Opens(0), Hangs, Hangs), (websocket, 0)),
            ((Opens(6), Opens(0), Hangs), (websocket, 6)),
            ((Fails(0), Fails(0), Opens(1)), (comet, 1)),
            // The host is at fault, and others are tried next.
            ((Fails(0), Opens(1), Opens(0)), (None, 1)),
            ((Fails(5), Opens(2), Opens(0)), (None, 6)),
            // Slow: the check begins after two fifths of the time, and has the rest.
            ((Hangs, Fails(1), Opens(0)), (comet, 5)),
            ((Hangs, Hangs, Opens(0)), (comet, 10)),
            ((Hangs, Opens(1), Opens(0)), (None, 15)),
            ((Opens(7), Hangs, Opens(0)), (websocket, 7)),
            ((Fails(0), Fails(0), Fails(2)), (None, 2)),
        ];
        for (network, expected) in table {
            let (connector, _) = connector(network);
            assert_eq!(connect(&connector).await, expected, "{network:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn comet_is_preferred_until_a_check_succeeds() {
        let (websocket, comet) = (Some(Transport::WebSocket), Some(Transport::Comet));
        let (connector, network) = connector((Fails(3), Fails(3), Opens(1)));
        let set = |to| *network.lock().unwrap() = to;
        assert_eq!(connect(&connector).await, (comet, 7));
        assert_eq!(connect(&connector).await, (comet, 1), "no WebSocket is tried before");
        set((Opens(0), Opens(3), Opens(1)));
        assert_eq!(connect(&connector).await, (comet, 1), "it is open before the check");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(connect(&connector).await, (websocket, 0), "the check has gone on");
        set((Fails(0), Fails(0), Opens(1)));
        assert_eq!(connect(&connector).await, (comet, 1));
        set((Opens(2), Opens(1), Opens(8)));
        assert_eq!(connect(&connector).await, (websocket, 3), "the check was first");
    }

    #[tokio::test(start_paused = true)]
    async fn after_comet_has_failed_a_websocket_is_tried_first() {
        let (connector, network) = connector((Fails(0), Fails(0), Opens(0)));
        assert_eq!(connect(&connector).await.0, Some(Transport::Comet));
        *network.lock().unwrap() = (Opens(0), Hangs, Fails(0));
        assert_eq!(connect(&connector).await.0, None);
        assert_eq!(connect(&connector).await.0, Some(Transport::WebSocket));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_ends_with_its_client() {
        let (connector, network) = connector((Fails(0), Fails(0), Opens(0)));
        assert_eq!(connect(&connector).await.0, Some(Transport::Comet));
        network.lock().unwrap().1 = Hangs;
        assert_eq!(connect(&connector).await.0, Some(Transport::Comet));
        let fallback = Arc::downgrade(&connector.0);
        drop(connector);
        tokio::task::yield_now().await;
        assert_eq!(fallback.strong_count(), 0);
    }
}
