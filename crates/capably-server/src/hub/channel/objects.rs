//! Objects: publishing operations on a channel's objects, and their syncs (RTO).

use std::collections::VecDeque;

use capably_objects::ObjectsPool;
use capably_protocol::{ChannelMode, ErrorInfo, Flags, Millis, ObjectMessage, ServerFrame, Str};

use super::{
    Channel, Channels,
    commit::Commit,
    order::{Order, Proposed},
    subscriber,
    view::View,
};
use crate::hub::{
    Output, TransportId, Turn,
    access::capability::Operation,
    channel_name,
    log::{
        position::Position,
        proposal::{Body, Items, Operations},
    },
    message::publish::{Publisher, Receipt, check_ids},
    objects::{check_operations, objects_entry, page_size, sync_frames},
};

/// The objects of an attachment.
#[derive(Debug)]
pub(super) struct ObjectsFeed {
    /// The sync has the operations up to this position.
    pub(super) since: Position,
    /// The pages of the sync that are not sent yet.
    pages: VecDeque<ServerFrame>,
}

impl Channels {
    /// Publishes operations on a channel's objects, all or none (RTO15).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 92000 for an invalid operation, 92002 for a deleted object,
    /// 92006 without an object id, 40012 for a client id, 40031 for ids, 40009 for the size, 40000 for no operation, 40034
    /// for too many, 40114 for one channel too many.
    pub(crate) fn publish_objects(
        &mut self,
        name: &Str,
        messages: Vec<ObjectMessage>,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let name = &channel_name::plain_str(name)?;
        publisher.identity.require(name, Operation::ObjectPublish)?;
        let channel = self.get(name);
        let objects = channel.and_then(|channel| channel.objects.as_deref());
        let max_size = turn.settings.max_message_size;
        let (messages, bytes) =
            check_operations(name, messages, publisher.identity, objects, max_size)?;
        let chosen_id = check_ids(messages.iter().map(|message| message.id.as_ref()))?;
        let first_id = messages.first().and_then(|first| first.id.as_ref());
        let repeated = first_id.and_then(|id| channel?.position_of_id(id));
        let receipt = Receipt { messages: messages.len(), bytes, chosen_id };
        if let Some(position) = repeated {
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        self.require_room(name, turn)?;
        let frame = Items {
            id: publisher.frame_id,
            connection: publisher.connection.cloned(),
            items: messages,
        };
        let operations = Operations { frame, grace: turn.settings.objects_grace_period };
        self.propose(name, Body::Objects(operations), receipt, turn)
    }

    /// Applies committed operations.
    pub(super) fn apply_objects(
        &mut self,
        name: &Str,
        commit: Commit,
        operations: Operations,
        turn: &mut Turn<'_>,
    ) {
        let is_replay = matches!(self.order, Order::Replay);
        let Operations { frame, grace } = operations;
        let channel = self.get_or_create(name);
        for id in frame.items.iter().filter_map(|message| message.id.as_ref()) {
            channel.ids.insert(id.clone(), commit.position);
        }
        let Commit { position, time, at, .. } = commit;
        let entry = objects_entry(&channel.name, frame, position, time, at);
        if !is_replay {
            let grace = Millis::try_from(grace.as_millis()).unwrap_or(Millis::MAX);
            let objects = channel.objects.get_or_insert_default();
            objects.apply(entry.operations(), time, grace);
        }
        channel.commit(&entry, turn);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
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

impl Channel {
    /// A sync of the objects, for an attachment with these modes under this name.
    pub(super) fn objects_feed(&mut self, name: &Str, modes: Flags) -> Option<Box<ObjectsFeed>> {
        if objects_flag(modes) == Flags::NONE {
            return None;
        }
        self.syncs += 1;
        let since = self.log.last();
        // Clients read letters, digits and dashes.
        let id = format!("{}-{}", since.0, self.syncs);
        let pages = match &self.objects {
            Some(objects) => sync_frames(objects.pool(), name, &id),
            None => sync_frames(&ObjectsPool::new(), name, &id),
        };
        Some(Box::new(ObjectsFeed { since, pages }))
    }

    /// Begins a new sync for a subscriber.
    pub(super) fn sync_objects(
        &mut self,
        transport: TransportId,
        name: &Str,
        view: Option<&std::sync::Arc<View>>,
    ) {
        let found = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        let Some(modes) = found.map(|subscriber| subscriber.modes) else { return };
        let feed = self.objects_feed(name, modes);
        let found = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        if let Some(subscriber) = found {
            subscriber.objects = feed;
        }
    }
}

impl ObjectsFeed {
    /// Sends pages of the sync, by about `budget` bytes. Returns whether all are sent.
    ///
    /// Operations are delivered meanwhile: clients apply them after the sync, except those that a state has already (RTO7).
    pub(super) fn send(
        &mut self,
        transport: TransportId,
        budget: &mut usize,
        outputs: &mut Vec<Output>,
    ) -> bool {
        while *budget > 0
            && let Some(page) = self.pages.pop_front()
        {
            *budget = budget.saturating_sub(page_size(&page));
            outputs.push(Output::Frame(transport, page));
        }
        self.pages.is_empty()
    }
}
