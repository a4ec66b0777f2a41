//! Subscribers: the attachments that receive a channel's entries.

use std::{collections::BTreeMap, sync::Arc};

use capably_protocol::{Flags, MessageAction, Str};

use super::{
    Channel,
    attachment::Attachment,
    delta::{Deltas, Fanout},
    objects_sync::ObjectsFeed,
    occupancy::Watch,
    view::View,
};
use crate::hub::{
    Output, TransportId,
    ids::ConnectionId,
    log::{Entry, position::Position},
    message::change::{Changes, rewound},
};

/// An attachment that receives entries.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(super) connection: ConnectionId,
    /// The granted modes: they decide which entries the subscriber may see.
    pub(super) modes: Flags,
    /// Whether the client wants the messages of its own connection.
    pub(super) echo: bool,
    /// Whether the client wants appends as updates with the whole message.
    whole_appends: bool,
    /// The base of the next delta, if the client wants deltas.
    pub(super) deltas: Option<Deltas>,
    /// The subscriber has received the entries after this position, or receives them in a replay.
    pub(super) since: Position,
    /// Entries after this position are sent as they happened. Older ones are rewound: each message is sent once, in its
    /// latest version, and no presence event, since a sync has the members.
    pub(super) live_since: Position,
    /// The position that a replay has reached. While it is set, new entries go to the log only, so that the subscriber
    /// receives them in order.
    pub(super) behind: Option<Position>,
    /// Whether the replay can have entries about members or objects that this server has not applied.
    pub(super) may_see_unapplied: bool,
    /// Whether the replay has sent events of members that may be among those. A sync follows it.
    pub(super) needs_members: bool,
    /// Set if the client receives operations on objects.
    pub(super) objects: Option<Box<ObjectsFeed>>,
    /// Set if the client asks for the occupancy.
    pub(super) watch: Option<Box<Watch>>,
}

impl Subscriber {
    /// A subscriber that receives the entries from `since` on.
    pub(super) fn new(
        connection: ConnectionId,
        attachment: &Attachment,
        echo: bool,
        since: Position,
    ) -> Self {
        Self {
            connection,
            modes: attachment.granted,
            echo,
            whole_appends: attachment.whole_appends,
            deltas: attachment.deltas.then(Deltas::default),
            since,
            live_since: since,
            behind: None,
            may_see_unapplied: false,
            needs_members: false,
            objects: None,
            watch: attachment.metrics.map(Watch::new),
        }
    }

    /// Whether the subscriber is to receive the entry.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let own = entry.connection() == Some(&self.connection);
        let may_see = self.modes.contains(entry.mode().flag());
        if !entry.operations().is_empty() {
            // Clients wait for the operations that they publish, whether they want an echo of messages or not. The sync has those
            // before it.
            return may_see && self.objects.as_deref().is_some_and(|feed| feed.wants(entry));
        }
        if self.is_rewound(entry) {
            may_see && (self.echo || !own) && entry.is_creation()
        } else if entry.members().is_empty() {
            may_see && (self.echo || !own)
        } else {
            // A connection always receives events of its own members (RTP17a).
            may_see || own
        }
    }

    /// Whether to send the entry at once. While a replay is in progress, it delivers new entries too, except ephemeral
    /// ones: those are in no log.
    pub(super) fn is_due(&self, entry: &Entry) -> bool {
        self.behind.is_none() || entry.is_ephemeral()
    }

    /// Whether a message with this history can be completed by its latest append alone: the subscriber has received one
    /// of the `known` versions, and accepts appends.
    pub(super) fn accepts_append(&self, known: &[Arc<Entry>]) -> bool {
        let mut received = known.iter().rev().take_while(|entry| entry.position() > self.since);
        !self.whole_appends && received.any(|entry| self.wants(entry))
    }

    /// The entry as a replay sends it.
    pub(super) fn replayed(&self, changes: &Changes, entry: &Arc<Entry>) -> Arc<Entry> {
        if self.is_rewound(entry) {
            rewound(changes, entry, self.live_since)
        } else {
            Arc::clone(entry)
        }
    }

    /// Whether the entry is older than the attachment, and rewound rather than missed.
    fn is_rewound(&self, entry: &Entry) -> bool {
        entry.position() <= self.live_since
    }
}

/// The subscribers of a channel under one name with a qualifier.
#[derive(Debug)]
pub(super) struct Viewers {
    view: Arc<View>,
    pub(super) subscribers: BTreeMap<TransportId, Box<Subscriber>>,
}

impl Viewers {
    /// Sends the visible part of the entry to the subscribers that want it and that `filter` accepts.
    pub(super) fn send(
        &mut self,
        entry: &Entry,
        filter: impl Fn(&Subscriber) -> bool,
        outputs: &mut Vec<Output>,
    ) {
        // A client may not have received an earlier version of the message through the filter, so the append alone
        // would be useless to it: it receives the whole version.
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

/// The subscriber on this transport, under the name of the view if there is one.
pub(super) fn find<'a>(
    subscribers: &'a mut BTreeMap<TransportId, Box<Subscriber>>,
    views: &'a mut BTreeMap<Str, Viewers>,
    transport: TransportId,
    view: Option<&Arc<View>>,
) -> Option<&'a mut Subscriber> {
    let subscriber = match view {
        None => subscribers.get_mut(&transport),
        Some(view) => views.get_mut(&view.name)?.subscribers.get_mut(&transport),
    };
    subscriber.map(|subscriber| &mut **subscriber)
}

impl Channel {
    pub(super) fn subscribe(
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
        let watches = subscriber.watch.is_some();
        let before = subscribers.insert(transport, Box::new(subscriber));
        self.watchers += usize::from(watches);
        self.watchers -= usize::from(before.is_some_and(|before| before.watch.is_some()));
    }

    pub(super) fn unsubscribe(&mut self, transport: TransportId, view: Option<&Arc<View>>) {
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

    /// The subscribers that receive the occupancy, with the names under which they are attached.
    pub(super) fn watching(
        &mut self,
    ) -> impl Iterator<Item = (&Str, TransportId, &mut Subscriber)> {
        let name = &self.name;
        let own = self.subscribers.iter_mut().map(move |(id, it)| (name, *id, &mut **it));
        let viewers = self.views.iter_mut().flat_map(|(name, viewers)| {
            viewers.subscribers.iter_mut().map(move |(id, it)| (name, *id, &mut **it))
        });
        own.chain(viewers).filter(|(_, _, subscriber)| subscriber.watch.is_some())
    }
}
