//! Faults in front of a server: which clients go through them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::ServerError;
#[cfg(feature = "console")]
use crate::front::console::{Console, FaultAccess};
use crate::{
    faults::{self, Faults},
    front::{self, Shared},
    service::{Listener, Service},
};

/// Which clients go through faults.
pub(super) enum Injection {
    Never,
    Always(Faults),
    /// Those that connect while the console has rules.
    #[cfg(feature = "console")]
    OnDemand(Faults),
}

impl Injection {
    /// The faults as the console uses them.
    #[cfg(feature = "console")]
    pub(super) fn access(&self) -> Option<FaultAccess> {
        match self {
            Self::Never => None,
            Self::Always(faults) => Some(FaultAccess::always(faults.clone())),
            Self::OnDemand(faults) => Some(FaultAccess::on_demand(faults.clone())),
        }
    }

    /// Starts to serve clients.
    pub(super) fn start(
        self,
        listener: Listener,
        shared: &Arc<Shared>,
    ) -> Result<Service, ServerError> {
        let shared = Arc::clone(shared);
        let faults = match &self {
            Self::Never => {
                return Ok(Service::start(listener, |socket, stop| {
                    front::serve(socket, stop, shared)
                }));
            }
            Self::Always(faults) => faults.clone(),
            #[cfg(feature = "console")]
            Self::OnDemand(faults) => faults.clone(),
        };
        // Clients connect to the proxy; the server listens on a port of its own behind it.
        let inner = Listener::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        let target = faults::Target {
            faults,
            address: inner.address.to_string(),
            #[cfg(feature = "console")]
            server: Some(Arc::clone(&shared)),
        };
        Ok(match self {
            #[cfg(feature = "console")]
            Self::OnDemand(_) => Service::start(listener, |socket, stop| async move {
                let (console, direct) = (Arc::clone(&shared), Arc::clone(&shared));
                let is_armed =
                    move || console.console.as_ref().is_some_and(Console::has_armed_faults);
                let serve =
                    move |stream, stop| front::serve_stream(stream, stop, Arc::clone(&direct));
                let outer = faults::serve_on_demand(socket, stop.clone(), target, is_armed, serve);
                let server = front::serve(inner.socket, stop, shared);
                tokio::join!(outer, server);
            }),
            _ => Service::start(listener, |socket, stop| async move {
                let proxy = faults::serve(socket, stop.clone(), target);
                let server = front::serve(inner.socket, stop, shared);
                tokio::join!(proxy, server);
            }),
        })
    }
}
