//! Watching the network of this machine (RTN20).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use crate::{endpoint, options::Config};

/// Watches the IP addresses of this machine.
pub(crate) struct NetworkWatch {
    /// All addresses: once at the start, and again after each change.
    addresses: Pin<Box<dyn Stream<Item = Vec<IpAddr>> + Send>>,
    /// The addresses that lead to other networks; `None` before the first list.
    usable: Option<BTreeSet<IpAddr>>,
}

/// The meaning of a change of addresses for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkChange {
    /// There is a network, or a different one.
    Available,
    /// There is no network any more.
    Lost,
}

impl NetworkWatch {
    /// A watch for a client with these options; `None` if it is turned off or the system cannot be watched.
    ///
    /// By default there is none for a service on this machine, which needs no network, and none with the program's
    /// own connector, which may use another network.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let watches = config.options.network_events.unwrap_or_else(|| {
            let has_own_connector = config.options.connector.is_some();
            !has_own_connector && !endpoint::is_loopback(&config.domains.primary)
        });
        if watches { system::addresses().map(Self::of) } else { None }
    }

    fn of(addresses: impl Stream<Item = Vec<IpAddr>> + Send + 'static) -> Self {
        Self { addresses: Box::pin(addresses), usable: None }
    }

    /// The next change that affects a connection.
    pub(super) fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<NetworkChange> {
        loop {
            let Some(addresses) = ready!(self.addresses.as_mut().poll_next(cx)) else {
                return Poll::Pending;
            };
            let now: BTreeSet<_> = addresses.into_iter().filter(is_usable).collect();
            let Some(before) = self.usable.replace(now.clone()) else { continue };
            if now.is_empty() && !before.is_empty() {
                return Poll::Ready(NetworkChange::Lost);
            }
            if !now.is_subset(&before) {
                return Poll::Ready(NetworkChange::Available);
            }
        }
    }
}

/// Whether the address may reach networks beyond this machine and its link.
fn is_usable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || *address == Ipv6Addr::UNSPECIFIED,
    };
    !is_link_local && !address.is_loopback() && !address.is_unspecified()
}

#[cfg(all(feature = "network-events", target_os = "linux"))]
mod system {
    use std::net::IpAddr;

    use futures_core::Stream;
    use futures_util::stream;
    use netwatcher::async_adapter::Tokio;

    /// The addresses of this machine: once at the start, and again after each change.
    pub(super) fn addresses() -> Option<impl Stream<Item = Vec<IpAddr>> + Send + 'static> {
        let watch = netwatcher::watch_interfaces_async::<Tokio>().inspect_err(|error| {
            tracing::warn!(?error, "the network cannot be watched");
        });
        Some(stream::unfold(watch.ok()?, |mut watch| async move {
            let interfaces = watch.changed().await.interfaces;
            let addresses = interfaces.values().flat_map(|own| own.ips.iter().map(|own| own.ip));
            Some((addresses.collect(), watch))
        }))
    }
}

#[cfg(not(all(feature = "network-events", target_os = "linux")))]
mod system {
    use std::net::IpAddr;

    use futures_util::stream;

    /// This build cannot watch the network.
    pub(super) fn addresses() -> Option<stream::Empty<Vec<IpAddr>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use capably_server::Server;
    use futures_util::{FutureExt, stream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{ClientOptions, Realtime, realtime::ConnectionState};

    /// A watch, and a sender for the addresses of its machine.
    fn watch() -> (NetworkWatch, mpsc::UnboundedSender<Vec<IpAddr>>) {
        let (machine, told) = mpsc::unbounded_channel();
        let addresses = stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) });
        (NetworkWatch::of(addresses), machine)
    }

    fn list(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    // Spec: RTN20
    #[test]
    fn what_matters_is_whether_there_is_an_address_to_connect_from() {
        let (mut watch, machine) = watch();
        let mut then = |addresses: &[&str]| {
            machine.send(list(addresses)).expect("the watch is there");
            poll_fn(|cx| watch.poll_change(cx)).now_or_never()
        };
        let (lost, available) = (Some(NetworkChange::Lost), Some(NetworkChange::Available));
        assert_eq!(then(&["127.0.0.1", "::1", "192.0.2.7"]), None, "as it was");
        assert_eq!(then(&["127.0.0.1", "::1"]), lost);
        assert_eq!(
            then(&["127.0.0.1", "::1", "fe80::1", "169.254.3.4"]),
            None,
            "not beyond the link"
        );
        assert_eq!(then(&["192.0.2.7"]), available);
        assert_eq!(then(&["192.0.2.7", "2001:db8::1"]), available);
        assert_eq!(then(&["2001:db8::1"]), None, "there still is one");
        assert_eq!(then(&["192.0.2.8"]), available, "another network");
        assert_eq!(then(&["192.0.2.8"]), None);
        assert_eq!(then(&[]), lost);
        assert_eq!(then(&[]), None);
    }

    #[test]
    fn only_what_is_elsewhere_is_watched() {
        let config = |options: ClientOptions| options.validate().expect("good");
        let options = || ClientOptions::new("token").tls(false);
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(NetworkWatch::new(&config(options().endpoint(host))).is_none(), "{host}");
        }
    }

    // Spec: RTN20a, RTN20b
    #[tokio::test]
    async fn a_connection_follows_the_network() {
        let server = Server::builder().start().await.expect("a server");
        let options = ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .disconnected_retry_timeout(Duration::from_secs(3_600));
        let (watch, machine) = watch();
        machine.send(list(&["192.0.2.7"])).expect("the watch is there");
        let client = Realtime::start(options, |_| Some(watch)).expect("the options are good");
        let connection = client.connection();
        connection.when(ConnectionState::Connected).await.expect("a connection");
        let mut changes = connection.changes();
        machine.send(Vec::new()).expect("the watch is there");
        let change = changes.next().await.expect("the client lives");
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.map(|reason| reason.code.0), Some(80003));
        connection.when(ConnectionState::Connected).await.expect("the server is there");
        // The server ends, and is back with the network. Without the watch the client would wait for an hour.
        let address = server.local_addr();
        server.shutdown().await;
        while changes
            .next()
            .await
            .expect("the client lives")
            .retry_in
            .is_none_or(|wait| wait.is_zero())
        {}
        let key = server.key().to_owned();
        drop(server);
        let again = Server::builder().key(key).port(address.port());
        let _again = again.start().await.expect("the port is free");
        machine.send(list(&["192.0.2.8"])).expect("the watch is there");
        connection.when(ConnectionState::Connected).await.expect("the network is there");
    }

    // Spec: RTN20
    #[cfg(all(feature = "network-events", target_os = "linux"))]
    #[tokio::test]
    async fn the_system_tells_its_addresses() {
        let addresses = system::addresses().expect("a system that can be watched");
        let mut addresses = Box::pin(addresses);
        let first = poll_fn(|cx| addresses.as_mut().poll_next(cx)).await.expect("what there is");
        assert!(first.iter().any(IpAddr::is_loopback), "{first:?}");
        assert!(poll_fn(|cx| addresses.as_mut().poll_next(cx)).now_or_never().is_none(), "no news");
        let watches = |options: ClientOptions| {
            let config = options.validate().expect("the options are good");
            NetworkWatch::new(&config).is_some()
        };
        let far = || ClientOptions::new("app.key:secret");
        assert!(watches(far()), "by default");
        assert!(!watches(far().network_events(false)), "turned off");
        let local = || far().tls(false).endpoint("localhost");
        assert!(!watches(local()), "a service on this machine");
        assert!(watches(local().network_events(true)), "on request");
    }
}
