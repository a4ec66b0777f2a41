//! The inputs of an operator: counting channels, and disconnecting clients.

use capably_protocol::{ErrorInfo, Str};

use super::App;
use crate::hub::{Now, Output, TransportId, Turn};

impl App {
    /// The number of channels in memory.
    pub(crate) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The id of the connection that uses the transport.
    pub(crate) fn connection_id(&mut self, transport: TransportId) -> Option<Str> {
        self.connections.on_transport(transport).map(|connection| connection.id().clone())
    }

    /// The key of the connection that uses the transport.
    pub(crate) fn connection_key(&mut self, transport: TransportId) -> Option<Str> {
        let settings = &self.settings;
        self.connections.on_transport(transport).map(|connection| connection.key(settings))
    }

    /// Sends DISCONNECTED to the client on a transport, and closes the transport. The client may resume.
    pub(crate) fn disconnect(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.connections.disconnect(transport, error, &mut self.channels, turn);
        self.count(&[], now);
        self.send_metadata(now, outputs);
    }
}
