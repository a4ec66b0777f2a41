//! Copies the frames of one client to the console, while it records.

use std::sync::Arc;

use capably_protocol::ClientFrame;

use super::outbox::Item;
use crate::front::{Shared, app::AppHandle, console::Recorder, operating::ClientFacts};

/// The client, and the recorder of the server's console.
#[derive(Debug)]
pub(super) struct Tap {
    client: Arc<ClientFacts>,
    recorder: Arc<Recorder>,
}

impl Tap {
    pub(super) fn new(client: Arc<ClientFacts>, recorder: Arc<Recorder>) -> Self {
        Self { client, recorder }
    }

    pub(super) fn client(&self) -> Arc<ClientFacts> {
        Arc::clone(&self.client)
    }

    /// The client has sent a WebSocket message of `bytes` bytes; `None` if it is no frame.
    pub(super) fn received(
        &self,
        shared: &Shared,
        app: &AppHandle,
        frame: Option<&ClientFrame>,
        bytes: usize,
    ) {
        if self.recorder.is_recording() {
            self.recorder.received(app.id(), &self.client, frame, bytes, shared.now());
        }
    }

    /// The client was sent this item, in `bytes` bytes.
    pub(super) fn sent(&self, shared: &Shared, app: &AppHandle, item: &Item, bytes: usize) {
        if !self.recorder.is_recording() {
            return;
        }
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::Broadcast(broadcast) => broadcast.frame(),
        };
        self.recorder.sent(app.id(), &self.client, frame, bytes, shared.now());
    }
}
