//! The events of channels, for the webhooks and the metachannels of the app.

use std::sync::Arc;

use capably_protocol::ErrorInfo;

use super::App;
use crate::hub::{
    ChannelEvent, Now, Observed, Output, Turn, access::identity::Key, metachannel::Metachannel,
};

impl App {
    /// Sets the sources of events that webhooks report from now on.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.channels.observe(observed);
    }

    /// Whether any source of events is observed.
    pub(crate) fn is_observed(&self) -> bool {
        self.channels.observed().any()
    }

    /// The events since the last call, in their order, for webhooks. Subscribers of the metachannel receive theirs.
    pub(crate) fn take_events(&mut self, now: Now, outputs: &mut Vec<Output>) -> Vec<ChannelEvent> {
        let events = self.channels.take_events(now);
        if self.channels.is_watched(Metachannel::ChannelLifecycle) {
            let sent = outputs.len();
            let turn = &mut Turn { now, settings: &self.settings, outputs };
            events.iter().for_each(|event| self.channels.report_channel(event, turn));
            self.count(&outputs[sent..], now);
        }
        events
    }

    /// The key with this id, the part of its name after the app's id, to sign with.
    ///
    /// # Errors
    /// Code 40400 for an unknown key.
    pub(crate) fn signing_key(&self, id: &str) -> Result<Arc<Key>, ErrorInfo> {
        self.access.key(id)
    }
}
