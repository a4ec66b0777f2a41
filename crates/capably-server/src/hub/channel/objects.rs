//! Objects: publishing operations on a channel's objects, and applying them (RTO15, RTO9).

use capably_objects::ObjectsPool;
use capably_protocol::{ErrorInfo, ObjectMessage, Str};

use super::{
    Channel, Channels,
    commit::Commit,
    objects_stored::millis,
    order::{Order, Proposed},
};
use crate::hub::{
    Turn,
    access::{capability::Operation, identity::Identity},
    channel_name, error,
    log::{
        position::{MAX_ITEMS, Position},
        proposal::{Body, Items, Operations},
    },
    message::publish::{Publisher, Receipt, check_ids},
    objects::{
        ChannelObjects, Creates, NewObjects, ObjectView, Resolved, RestOperation, ViewForm,
        check_operations, objects_entry, resolve,
    },
};

impl Channels {
    /// Publishes operations on a channel's objects, all or none (RTO15).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 92000 for an invalid operation, 92002 for a deleted object,
    /// 92001 for too many objects, or too large ones, 92006 without an object id, 40012 for a client id, 40031 for ids, 40009
    /// for the size, 40000 for no operation, 40034 for too many, 40114 for one channel too many.
    pub(crate) fn publish_objects(
        &mut self,
        name: &Str,
        messages: Vec<ObjectMessage>,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let name = &channel_name::plain_str(name)?;
        publisher.identity.require(name, Operation::ObjectPublish)?;
        self.propose_objects(name, messages, Creates::WithObjectId, publisher, turn)
    }

    fn propose_objects(
        &mut self,
        name: &Str,
        messages: Vec<ObjectMessage>,
        creates: Creates,
        publisher: Publisher<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let channel = self.get(name);
        let chosen_id = check_ids(messages.iter().map(|message| message.id.as_ref()))?;
        let first_id = messages.first().and_then(|first| first.id.as_ref());
        let repeated = first_id.and_then(|id| channel?.position_of_id(id));
        // The object may have been deleted after the first copy of the frame, which is acknowledged again. If the frame is a new
        // one after all, every replica ignores its operations on deleted objects.
        let may_repeat = repeated.is_some()
            || publisher.may_repeat
            || (chosen_id.is_some() && self.has_engine());
        let objects = channel.and_then(Channel::objects).filter(|_| !may_repeat);
        let max_size = turn.settings.max_message_size;
        let (messages, bytes) =
            check_operations(name, messages, publisher.identity, (objects, creates), max_size)?;
        let receipt = Receipt { messages: messages.len(), bytes, chosen_id };
        if let Some(position) = repeated {
            return Ok(Proposed::Committed(receipt.at(position)));
        }
        self.require_room(name, turn)?;
        let mut none = ChannelObjects::default();
        let objects = self.map.get_mut(&**name).and_then(|it| it.objects.as_deref_mut());
        let objects = objects.unwrap_or(&mut none);
        objects.require_room(&messages, may_repeat, turn)?;
        let frame = Items {
            id: publisher.frame_id,
            connection: publisher.connection.cloned(),
            items: messages,
        };
        let operations = Operations { frame, grace: turn.settings.objects_grace_period };
        self.propose(name, Body::Objects(operations), receipt, turn)
    }

    /// Publishes the operations of a REST request, all or none. Returns the objects that the answer names, too.
    ///
    /// # Errors
    /// As [`publish_objects`](Self::publish_objects); 92004 for an unknown object, 92005 for a path without a value, 92007 for a
    /// value that an operation does not fit.
    pub(crate) fn request_objects(
        &mut self,
        name: &Str,
        operations: Vec<RestOperation>,
        identity: &Identity,
        new: &mut NewObjects<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(Proposed, Vec<Str>), ErrorInfo> {
        let name = &channel_name::plain_str(name)?;
        identity.require(name, Operation::ObjectPublish)?;
        if operations.len() > MAX_ITEMS {
            return Err(error::too_many_messages(MAX_ITEMS));
        }
        let chosen_id = check_ids(operations.iter().map(|operation| operation.id.as_ref()))?;
        let channel = self.get(name);
        if channel.is_none() && self.has_engine() {
            // There is no room to load it.
            return Err(error::too_many_channels(turn.settings.max_channels.unwrap_or_default()));
        }
        if let Some(base) = &chosen_id
            && let Some(position) = channel.and_then(|it| it.position_of_id(&first_id(base)))
        {
            let ids = self.requested_objects(name, position, Vec::new());
            let receipt = Receipt { messages: ids.len(), bytes: 0, chosen_id };
            return Ok((Proposed::Committed(receipt.at(position)), ids));
        }
        let objects = channel.and_then(Channel::objects);
        let empty = ObjectsPool::new();
        let pool = objects.map_or(&empty, ChannelObjects::pool);
        let Resolved { mut messages, object_ids } = resolve(operations, pool, new)?;
        if let Some(base) = &chosen_id {
            for (index, message) in messages.iter_mut().enumerate() {
                message.id = Some(format!("{base}:{index}").into());
            }
        }
        let publisher = Publisher { identity, connection: None, frame_id: None, may_repeat: false };
        let proposed = self.propose_objects(name, messages, Creates::Plain, publisher, turn)?;
        Ok((proposed, object_ids))
    }

    /// The objects that the answer to a request names, which was committed at this position: `own`, unless an earlier copy of the
    /// request was.
    pub(crate) fn requested_objects(
        &self,
        name: &str,
        position: Position,
        own: Vec<Str>,
    ) -> Vec<Str> {
        let entry = self.get(name).and_then(|channel| channel.log.get(position));
        let Some(entry) = entry else { return own };
        let operations = || entry.operations().iter().filter_map(|it| it.operation.as_deref());
        let is_named = |id| operations().any(|operation| operation.object_id.as_ref() == Some(id));
        if !own.is_empty() && own.iter().all(is_named) {
            return own;
        }
        let mut stored: Vec<Str> = Vec::new();
        for operation in operations() {
            // A create at a path is followed by the operation that sets the key.
            let set = operation.map_set.as_ref().and_then(|set| set.value.object_id.as_ref());
            if set.is_none() || set != stored.last() {
                stored.extend(operation.object_id.clone());
            }
        }
        stored
    }

    /// The value of a channel's objects at a path, from an object or from the root.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 92004 for an unknown object, 92005 for a path without a value,
    /// 40114 for one channel too many.
    pub(crate) fn object_view(
        &self,
        identity: &Identity,
        name: &str,
        object_id: Option<&str>,
        path: &str,
        form: ViewForm,
    ) -> Result<ObjectView, ErrorInfo> {
        let name = channel_name::plain(name)?;
        identity.require(name, Operation::ObjectSubscribe)?;
        let channel = self.get(name);
        if channel.is_none() && self.has_engine() {
            // There is no room to load it.
            return Err(error::too_many_channels(self.len()));
        }
        let empty = ObjectsPool::new();
        let objects = channel.and_then(Channel::objects);
        let pool = objects.map_or(&empty, ChannelObjects::pool);
        ObjectView::of(pool, object_id, path, form)
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
        let is_collection = frame.items.is_empty();
        let entry = objects_entry(&channel.name, frame, position, time, at);
        if !is_replay {
            let objects = channel.objects.get_or_insert_default();
            objects.apply(entry.operations(), (position, time), millis(grace));
            channel.syncs.forget();
        }
        if !is_collection {
            channel.commit(&entry, turn);
            let persisted = channel.newly_persisted();
            self.persisted.add(persisted);
        }
        if !is_replay {
            self.objects_changed(name, commit.proposer, turn.now.steady);
            self.plan_collection(name, turn.now, grace);
        }
    }
}

impl Channel {
    /// The objects, once there was an operation.
    pub(crate) fn objects(&self) -> Option<&ChannelObjects> {
        self.objects.as_deref()
    }
}

/// The id of the first message of a frame with this id.
fn first_id(base: &str) -> String {
    format!("{base}:0")
}
