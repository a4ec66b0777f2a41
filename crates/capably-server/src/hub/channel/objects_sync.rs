//! Syncs of a channel's objects: who receives one, and how far it is (RTO4, RTO5).

use std::sync::Arc;

use capably_objects::ObjectsPool;
use capably_protocol::{ChannelMode, ErrorInfo, Flags, ServerFrame, Str, frame::ErrorFrame};

use super::{Channel, Channels, Session, attachment::Attachment, subscriber, view::View};
use crate::hub::{
    Output, TransportId, Turn,
    access::capability::Operation,
    error,
    log::{Entry, position::Position},
    objects::SyncPages,
};

/// The syncs of a channel.
#[derive(Debug, Default)]
pub(super) struct ObjectsSyncs {
    /// The pages with the objects as they are, once a client needed them.
    newest: Option<Arc<SyncPages>>,
    /// Whether a client has needed the pages since the last sweep.
    is_used: bool,
    /// The number of times that pages were made. It makes the id of each sync unique.
    made: u64,
}

impl ObjectsSyncs {
    /// The objects have changed.
    pub(super) fn forget(&mut self) {
        self.newest = None;
    }

    /// Drops pages that no client has needed for a while: they take as much memory as the objects.
    pub(super) fn sweep(&mut self) {
        if !std::mem::take(&mut self.is_used) {
            self.newest = None;
        }
    }
}

/// The sync of an attachment, after which operations follow.
#[derive(Debug, Default)]
pub(super) struct ObjectsFeed(Progress);

#[derive(Debug, Default)]
enum Progress {
    /// The sync begins when the transport has room for a page. A client without an ATTACHED before it applies operations
    /// until then, so none may be left out of the sync.
    #[default]
    Due,
    Sending {
        sync: Arc<SyncPages>,
        /// The last entry of the channel when the sync began. The pages may be older, but nothing has changed since.
        since: Position,
        /// The index of the next page.
        next: usize,
        /// Whether the client has requested another sync meanwhile.
        again: bool,
    },
    /// The sync had the operations up to this position.
    Sent(Position),
}

impl ObjectsFeed {
    /// Whether the client receives these operations after the sync, rather than in it.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        match &self.0 {
            Progress::Due => false,
            Progress::Sending { since, .. } | Progress::Sent(since) => entry.position() > *since,
        }
    }

    /// Begins another sync, after the one that is under way.
    pub(super) fn request(&mut self) {
        match &mut self.0 {
            Progress::Due => {}
            Progress::Sending { again, .. } => *again = true,
            Progress::Sent(_) => self.0 = Progress::Due,
        }
    }

    /// Sends pages, by about `budget` bytes.
    ///
    /// Operations are delivered meanwhile: clients apply them after the sync, except those that a state has already (RTO7).
    fn send(&mut self, transport: TransportId, budget: &mut usize, outputs: &mut Vec<Output>) {
        let Progress::Sending { sync, since, next, again } = &mut self.0 else { return };
        while *budget > 0 {
            let Some(page) = sync.get(*next) else {
                self.0 = if *again { Progress::Due } else { Progress::Sent(*since) };
                return;
            };
            *next += 1;
            *budget = budget.saturating_sub(page.size());
            outputs.push(Output::Broadcast(transport, Arc::clone(page)));
        }
    }
}

/// The flag of an ATTACHED with these modes that says whether a sync of the objects follows (RTO4). There is always the root.
pub(super) fn objects_flag(modes: Flags) -> Flags {
    if modes.contains(ChannelMode::ObjectSubscribe.flag()) {
        Flags::HAS_OBJECTS
    } else {
        Flags::NONE
    }
}

/// The sync of an attachment with these modes.
pub(super) fn objects_feed(modes: Flags) -> Option<Box<ObjectsFeed>> {
    (objects_flag(modes) != Flags::NONE).then(Box::default)
}

impl Channels {
    /// Handles an OBJECT_SYNC: sends the objects again. While a sync is under way, one more at most follows it. A client that is
    /// not attached receives nothing.
    ///
    /// Without the mode, the answer is an ERROR with code 40160 or 40165. It ends the attachment for the client (RTL14), and
    /// so here.
    pub(crate) fn request_objects_sync(
        &mut self,
        session: &mut Session<'_>,
        name: &Str,
        turn: &mut Turn<'_>,
    ) {
        let Some(attachment) = session.attached.get(name) else { return };
        let transport = session.transport;
        if let Err(error) = may_sync(session, name, attachment) {
            self.detach(session, name, turn);
            let frame = ErrorFrame { channel: Some(name.clone()), error: Some(error) };
            turn.outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
            return;
        }
        let view = attachment.view.as_ref();
        let Some(channel) = self.map.get_mut(&**attachment.channel(name)) else { return };
        let found = subscriber::find(&mut channel.subscribers, &mut channel.views, transport, view);
        let Some(feed) = found.and_then(|it| it.objects.as_deref_mut()) else { return };
        feed.request();
        turn.outputs.push(Output::Behind(transport));
    }
}

fn may_sync(session: &Session<'_>, name: &Str, attachment: &Attachment) -> Result<(), ErrorInfo> {
    let mode = ChannelMode::ObjectSubscribe;
    if attachment.granted.contains(mode.flag()) {
        return Ok(());
    }
    session.identity.require(attachment.resource(name), Operation::ObjectSubscribe)?;
    Err(error::mode_missing(mode.name()))
}

impl Channel {
    /// The pages with the objects as they are, for the clients under this name.
    fn sync_pages(&mut self, view: Option<&Arc<View>>) -> Arc<SyncPages> {
        let is_shared = view.is_none();
        if let Some(newest) = self.syncs.newest.as_ref().filter(|_| is_shared) {
            self.syncs.is_used = true;
            return Arc::clone(newest);
        }
        self.syncs.made += 1;
        let since = self.log.last();
        // Clients read letters, digits and dashes.
        let id = format!("{}-{}", since.0, self.syncs.made);
        let name = view.map_or(&self.name, |view| &view.name);
        let empty = ObjectsPool::new();
        let pool = self.objects.as_ref().map_or(&empty, |objects| objects.pool());
        let sync = Arc::new(SyncPages::new(pool, name, &id, since));
        if is_shared {
            self.syncs.newest = Some(Arc::clone(&sync));
            self.syncs.is_used = true;
        }
        sync
    }

    /// Continues the sync of the objects to a subscriber, by about `budget` bytes. Returns whether it is complete.
    pub(super) fn fill_objects(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        budget: &mut usize,
        outputs: &mut Vec<Output>,
    ) -> bool {
        loop {
            let found = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
            let Some(feed) = found.and_then(|it| it.objects.as_deref_mut()) else { return true };
            match feed.0 {
                Progress::Sent(_) => return true,
                Progress::Sending { .. } => feed.send(transport, budget, outputs),
                Progress::Due => {
                    let sync = self.sync_pages(view);
                    let since = self.log.last();
                    let found =
                        subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
                    let Some(feed) = found.and_then(|it| it.objects.as_deref_mut()) else {
                        return true;
                    };
                    feed.0 = Progress::Sending { sync, since, next: 0, again: false };
                }
            }
            if *budget == 0 {
                return false;
            }
        }
    }

    /// Begins a new sync for a subscriber.
    pub(super) fn sync_objects(&mut self, transport: TransportId, view: Option<&Arc<View>>) {
        let found = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        if let Some(subscriber) = found {
            subscriber.objects = objects_feed(subscriber.modes);
        }
    }

    /// The number of times that the pages of a sync were made.
    #[cfg(test)]
    pub(crate) fn syncs_made(&self) -> u64 {
        self.syncs.made
    }
}
