//! Withdrawing entries that the storage could not persist.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, ServerFrame};

use super::{Keeping, Kept, Mark};
use crate::hub::{App, Output, channel::Channel};

impl App {
    /// Removes the entries after `mark`. No client has received them yet. All clients are disconnected, and have to
    /// connect without a resume, since the state of their connections may depend on the removed entries.
    pub(crate) fn withdraw(&mut self, mark: Mark, error: &ErrorInfo, outputs: &mut Vec<Output>) {
        let frame = ServerFrame::Disconnected { error: Some(error.clone()) };
        self.connections.drop_all(&frame, outputs);
        self.channels.presence.leave_fixtures();
        let max_message_size = self.settings.max_message_size;
        self.channels.each(|channel| channel.withdraw(mark, max_message_size));
        // The state of the storage is unknown: the next records repeat it.
        if self.channels.keeping.is_some() {
            self.channels.keeping = Some(Keeping::default());
        }
    }
}

impl Channel {
    fn withdraw(&mut self, Mark(mark): Mark, max_message_size: usize) {
        self.kept = self.kept.take().map(|kept| Kept { evicted: kept.evicted, ..Kept::default() });
        self.drop_subscribers();
        if self.log.last() <= mark {
            return;
        }
        let entries = self.log.iter().filter(|entry| entry.position() <= mark);
        let entries: Vec<_> = entries.map(Arc::clone).collect();
        self.log.clear();
        self.ids.clear();
        self.changes.clear();
        self.rebuild(entries, max_message_size);
    }
}
