//! Transports in their app and in the server.

use std::sync::Arc;

use super::outbox::Outbox;
#[cfg(feature = "console")]
use crate::front::operating::ClientFacts;
use crate::{
    front::{Shared, app::AppHandle, operating::TransportEntry, shared::TransportPlace},
    hub::{Now, TransportId, error},
};

/// A transport in its app and in the server. Dropping it removes the transport from both, however the session ends.
pub(in crate::front) struct Registration {
    pub(in crate::front) shared: Arc<Shared>,
    pub(in crate::front) app: Arc<AppHandle>,
    pub(in crate::front) transport: TransportId,
    pub(in crate::front) outbox: Arc<Outbox>,
    _place: TransportPlace,
}

impl Registration {
    /// Adds a transport with an empty outbox to the app.
    pub(in crate::front) fn new(
        shared: Arc<Shared>,
        app: Arc<AppHandle>,
        place: TransportPlace,
    ) -> Self {
        let transport = shared.new_transport();
        let outbox = Outbox::new(shared.max_queue);
        app.add_transport(transport, Arc::clone(&outbox));
        Self { shared, app, transport, outbox, _place: place }
    }

    /// The client is connected: a drain gives it up from now on.
    pub(in crate::front) fn connected(
        &self,
        now: Now,
        #[cfg(feature = "console")] client: Option<Arc<ClientFacts>>,
    ) {
        let Self { shared, app, transport, outbox, .. } = self;
        let entry = TransportEntry {
            app: Arc::clone(app),
            outbox: Arc::clone(outbox),
            #[cfg(feature = "console")]
            client,
        };
        shared.operating.transports.add(*transport, entry);
        // The server may have closed to new clients since it accepted the request. Then the drain may have made its list
        // before the transport was on it.
        if !shared.operating.readiness.accepts_clients() {
            let error = error::shutting_down();
            app.with(|hub, outputs| hub.disconnect(*transport, error, now, outputs));
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.app.remove_transport(self.transport, self.shared.now());
        self.shared.operating.transports.remove(self.transport);
    }
}
