//! The events of channels, for the webhooks of the app.

use std::sync::Arc;

use capably_protocol::ErrorInfo;

use super::App;
use crate::hub::{ChannelEvent, Now, Observed, access::identity::Key};

impl App {
    /// Sets the sources of events that are observed from now on.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.channels.observe(observed);
    }

    /// Whether any source of events is observed.
    pub(crate) fn is_observed(&self) -> bool {
        self.channels.observed().any()
    }

    /// The events since the last call, in their order.
    pub(crate) fn take_events(&mut self, now: Now) -> Vec<ChannelEvent> {
        self.channels.take_events(now)
    }

    /// The key with this id, the part of its name after the app's id, to sign with.
    ///
    /// # Errors
    /// Code 40400 for an unknown key.
    pub(crate) fn signing_key(&self, id: &str) -> Result<Arc<Key>, ErrorInfo> {
        self.access.key(id)
    }
}
