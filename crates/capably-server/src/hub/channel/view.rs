//! Channels under names with a qualifier: the same channel, with parameters or through a filter.

use std::{collections::BTreeMap, sync::Arc};

use capably_protocol::{Flags, MessageAction, ServerFrame, Str, frame::Delivery, frame::Params};

use super::{Channel, Subscriber, delta::Fanout, filter::Filter, occupancy::Occupancy};
use crate::hub::{
    Output, TransportId,
    log::{Entry, position::Position},
    message::change::rewound,
};

/// What a name with a qualifier stands for.
#[derive(Debug)]
pub(crate) struct View {
    /// The whole name. Frames carry it.
    pub(crate) name: Str,
    /// The channel that is seen.
    pub(crate) base: Str,
    /// What a capability is asked for.
    pub(crate) resource: Str,
    /// Which messages are seen; without one, everything is.
    pub(crate) filter: Option<Filter>,
    pub(crate) params: Params,
}

impl View {
    /// The entry as it is seen, if there is anything to see of it.
    pub(crate) fn of(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let (position, at, name) = (entry.position(), entry.at(), self.name.clone());
        match entry.frame() {
            ServerFrame::Message(delivery) => {
                let Some(filter) = &self.filter else {
                    let delivery = Delivery { channel: name, ..delivery.clone() };
                    return Some(Entry::new(position, at, delivery));
                };
                let seen = |index: &usize| filter.matches(&delivery.items[*index]);
                let seen: Vec<usize> = (0..delivery.items.len()).filter(seen).collect();
                if seen.is_empty() {
                    return None;
                }
                // What a message takes from its frame depends on its place there, which is another here.
                let items = seen.iter().filter_map(|index| entry.message(*index)).collect();
                Some(Entry::new(position, at, Delivery { channel: name, items, ..head(delivery) }))
            }
            _ if self.filter.is_some() => None,
            ServerFrame::Annotation(delivery) => {
                let delivery = Delivery { channel: name, ..delivery.clone() };
                Some(Entry::annotations(position, at, delivery))
            }
            ServerFrame::Presence(delivery) => {
                let delivery = Delivery { channel: name, ..delivery.clone() };
                Some(Entry::presence(position, at, delivery))
            }
            _ => None,
        }
    }

    /// Whether there is anything to see of the entry when it is replayed.
    pub(crate) fn shows(&self, channel: &Channel, to: &Subscriber, entry: &Arc<Entry>) -> bool {
        let Some(filter) = &self.filter else { return true };
        let entry = to.replayed(&channel.changes, entry);
        entry.items().iter().any(|message| filter.matches(message))
    }

    /// The position from which the newest `count` messages that are seen follow.
    pub(crate) fn rewind_count(&self, channel: &Channel, count: usize) -> Position {
        let log = &channel.log;
        let Some(filter) = &self.filter else { return log.rewind_count(count) };
        let mut messages = 0;
        for entry in log.iter().rev() {
            if messages >= count {
                return entry.position();
            }
            if entry.is_creation() {
                let latest = rewound(&channel.changes, entry, log.last());
                messages += latest.items().iter().filter(|message| filter.matches(message)).count();
            }
        }
        log.floor()
    }
}

/// All of a frame but its channel and its items.
fn head<T>(delivery: &Delivery<T>) -> Delivery<T> {
    Delivery {
        channel: Str::new(),
        channel_serial: delivery.channel_serial.clone(),
        id: delivery.id.clone(),
        connection_id: delivery.connection_id.clone(),
        timestamp: delivery.timestamp,
        flags: delivery.flags,
        items: Vec::new(),
    }
}

/// Who sees a channel under names with a qualifier, by the name.
pub(crate) type Views = BTreeMap<Str, Viewers>;

/// Who sees a channel under one such name.
#[derive(Debug)]
pub(crate) struct Viewers {
    view: Arc<View>,
    pub(crate) subscribers: BTreeMap<TransportId, Subscriber>,
}

impl Viewers {
    /// Sends what is seen of the entry to the subscribers that want it and that `filter` lets through.
    pub(crate) fn send(
        &mut self,
        entry: &Entry,
        filter: impl Fn(&Subscriber) -> bool,
        outputs: &mut Vec<Output>,
    ) {
        // An earlier version of a message may not have been seen, so that an addition to it would not do.
        let filtered = self.view.filter.is_some();
        let is_addition =
            || entry.items().first().is_some_and(|it| it.action == Some(MessageAction::Append));
        if filtered && is_addition() {
            return;
        }
        let is_sent = |subscriber: &Subscriber| {
            let is_due = subscriber.is_due(entry) && subscriber.wants(entry);
            is_due && (filtered || filter(subscriber))
        };
        let mut subscribers =
            self.subscribers.iter_mut().filter(|(_, subscriber)| is_sent(subscriber)).peekable();
        if subscribers.peek().is_none() {
            return;
        }
        let Some(seen) = self.view.of(entry) else { return };
        let mut fanout = Fanout::new(&seen);
        for (transport, subscriber) in subscribers {
            outputs.push(Output::Broadcast(*transport, fanout.broadcast(subscriber)));
        }
    }
}

/// The subscriber on the transport that has this view.
pub(crate) fn viewer<'a>(
    views: &'a mut Views,
    view: &View,
    transport: TransportId,
) -> Option<&'a mut Subscriber> {
    views.get_mut(&view.name)?.subscribers.get_mut(&transport)
}

impl Channel {
    pub(crate) fn subscribe(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        subscriber: Subscriber,
    ) {
        let subscribers = match view {
            None => &mut self.subscribers,
            Some(view) => {
                let viewers = self.views.entry(view.name.clone()).or_insert_with(|| Viewers {
                    view: Arc::clone(view),
                    subscribers: BTreeMap::new(),
                });
                &mut viewers.subscribers
            }
        };
        self.attached_at = self.attached_at.max(subscriber.live_since);
        let watches = subscriber.watch.is_some();
        let before = subscribers.insert(transport, subscriber);
        self.watchers += usize::from(watches);
        self.watchers -= usize::from(before.is_some_and(|before| before.watch.is_some()));
    }

    /// What a subscriber may see has changed.
    pub(crate) fn set_modes(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        modes: Flags,
    ) {
        let subscriber = match view {
            None => self.subscribers.get_mut(&transport),
            Some(view) => viewer(&mut self.views, view, transport),
        };
        if let Some(subscriber) = subscriber {
            subscriber.modes = modes;
        }
    }

    /// Nobody is attached any more.
    pub(crate) fn drop_subscribers(&mut self) {
        self.subscribers.clear();
        self.views.clear();
        self.watchers = 0;
        self.used = Occupancy::default();
    }

    pub(crate) fn unsubscribe(&mut self, transport: TransportId, view: Option<&Arc<View>>) {
        let removed = match view {
            None => self.subscribers.remove(&transport),
            Some(view) => {
                let Some(viewers) = self.views.get_mut(&view.name) else { return };
                let removed = viewers.subscribers.remove(&transport);
                if viewers.subscribers.is_empty() {
                    self.views.remove(&view.name);
                }
                removed
            }
        };
        self.watchers -= usize::from(removed.is_some_and(|it| it.watch.is_some()));
    }
}
