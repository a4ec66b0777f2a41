//! Restoring an app from its records, without its connections.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use capably_protocol::MessageAction;

use super::{Kept, Saved, read::SavedChannel};
use crate::hub::{
    App, Now, Settings,
    channel::{Channel, Channels},
    log::{Entry, Log, position::Position},
};

impl App {
    /// Restores an app, which outputs records from then on.
    pub(crate) fn restore(settings: Arc<Settings>, saved: Saved, now: Now) -> Self {
        let Saved { spec, serials, revocations, channels } = saved;
        let max_message_size = settings.max_message_size;
        let mut app = Self::new(settings, spec, now);
        app.keep();
        app.access.revocations = revocations;
        if let Some(serials) = serials {
            app.channels.go_on_after(serials);
        }
        for channel in channels {
            app.channels.restore(channel, max_message_size, now.steady);
        }
        // Its outputs are records of dropped channels. There are none, as only channels without stored entries are dropped.
        app.channels.make_room(&mut Vec::new());
        app
    }
}

impl Channels {
    fn restore(&mut self, saved: SavedChannel, max_message_size: usize, now: Duration) {
        let SavedChannel { name, floor, entries } = saved;
        let meter = self.room.meter.clone();
        let channel = self.get_or_create(&name);
        channel.log = Log::new(floor.unwrap_or_else(|| channel.log.floor()), meter);
        channel.kept = Some(Kept::stored(floor));
        channel.rebuild(entries, max_message_size);
        channel.expire(now);
    }
}

impl Channel {
    /// Appends entries to an empty log, and rebuilds the ids and the changes from them.
    pub(super) fn rebuild(&mut self, entries: Vec<Arc<Entry>>, max_message_size: usize) {
        let mut annotated = BTreeSet::new();
        for entry in entries {
            self.log.append(Arc::clone(&entry));
            for (index, item) in entry.items().iter().enumerate() {
                let at = match item.action {
                    Some(MessageAction::Create) => (entry.position(), index),
                    Some(MessageAction::Update | MessageAction::Delete) => {
                        let serial = item.serial.as_deref().unwrap_or_default();
                        match Position::parse_message(serial) {
                            // A change of a message that was dropped is ignored.
                            Some(at) if self.created(at).is_some() => at,
                            Some(_) | None => continue,
                        }
                    }
                    _ => continue,
                };
                if at.0 != entry.position() {
                    self.changes.entry(at).or_default().versions.push(Arc::clone(&entry));
                }
                if let Some(id) = &item.id {
                    self.ids.insert(id.clone(), entry.position());
                }
            }
            for (index, item) in entry.annotation_items().iter().enumerate() {
                let serial = item.message_serial.as_deref().unwrap_or_default();
                let at = Position::parse_message(serial);
                let Some(at) = at.filter(|at| self.created(*at).is_some()) else { continue };
                if self.changes.entry(at).or_default().annotations.add(&entry, index) {
                    annotated.insert(at);
                }
            }
        }
        for at in annotated {
            self.changes.entry(at).or_default().annotations.summarize(max_message_size);
        }
    }
}
