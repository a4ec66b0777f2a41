//! Operating the server: its health and its metrics over HTTP, and how it gives up its clients before it stops.

mod drain;
mod endpoints;
mod listener;
mod transports;

use std::sync::Arc;

use super::Shared;
use crate::{
    metrics::{Gauges, Metrics},
    readiness::{Readiness, State},
};

#[cfg(feature = "console")]
pub(super) use self::transports::ClientFacts;
pub(crate) use self::{drain::drain, listener::serve_metrics};
pub(super) use self::{
    endpoints::answer,
    transports::{TransportEntry, Transports},
};

/// The metrics and the readiness of a server, and the transports that a drain closes.
#[derive(Debug, Default)]
pub(crate) struct Operating {
    /// The owner of the engine reports the time of commits here.
    pub(crate) metrics: Arc<Metrics>,
    /// The owner of the engine reports whether it can commit here.
    pub(crate) readiness: Arc<Readiness>,
    pub(super) transports: Transports,
    /// Whether clients of the main port may read the metrics.
    pub(crate) metrics_on_main_port: bool,
}

/// The metrics as text. Locks each app for a moment.
fn metrics_text(shared: &Shared) -> Option<String> {
    let Operating { metrics, readiness, transports, .. } = &shared.operating;
    let apps = shared.apps();
    let gauges = Gauges {
        ready: readiness.state() == State::Ready,
        connections: shared.transports() as u64,
        apps: apps.len() as u64,
        channels: apps.iter().map(|app| app.with(|hub, _| hub.channel_count()) as u64).sum(),
        queue_bytes: transports.queue_bytes(),
    };
    metrics.encode(gauges).ok()
}
