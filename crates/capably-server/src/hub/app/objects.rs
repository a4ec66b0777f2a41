//! REST requests about objects.

use capably_protocol::{ErrorInfo, Str};

use super::App;
use crate::hub::{
    NewObjects, Now, ObjectView, Output, Position, Proposed, RestOperation, Turn, ViewForm,
    access::identity::Identity,
    channel::{need::Need, order::Origin},
    stats::tally::Way,
};

impl App {
    /// Publishes operations on objects. Returns the objects that the answer names, too.
    ///
    /// # Errors
    /// As [`Channels::request_objects`](crate::hub::channel::Channels::request_objects).
    pub(crate) fn request_objects(
        &mut self,
        identity: &Identity,
        channel: &Str,
        operations: Vec<RestOperation>,
        new: &mut NewObjects<'_>,
        (now, outputs): (Now, &mut Vec<Output>),
    ) -> Result<(Proposed, Vec<Str>), ErrorInfo> {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let result = self.channels.request_objects(channel, operations, identity, new, turn)?;
        let (proposed, object_ids) = result;
        if let Proposed::Waiting(ticket) = proposed {
            self.channels.set_origin(ticket, Origin::Request);
        }
        self.stats.current(now).operations(Way::Rest, proposed.volume());
        self.count(&outputs[sent..], now);
        self.channels.make_room();
        Ok((proposed, object_ids))
    }

    /// The objects that the answer to a request names, which was committed at this position. If an earlier copy of it was, these are
    /// the objects of that one.
    pub(crate) fn requested_objects(
        &self,
        channel: &str,
        position: Position,
        own: Vec<Str>,
    ) -> Vec<Str> {
        self.channels.requested_objects(channel, position, own)
    }

    /// The value of objects at a path.
    ///
    /// # Errors
    /// As [`Channels::object_view`](crate::hub::channel::Channels::object_view).
    pub(crate) fn object_view(
        &self,
        identity: &Identity,
        channel: &str,
        object_id: Option<&str>,
        path: &str,
        form: ViewForm,
    ) -> Result<ObjectView, ErrorInfo> {
        self.channels.object_view(identity, channel, object_id, path, form)
    }

    /// The data that a request about the objects of a channel needs from the engine, if any.
    pub(crate) fn need_of_objects(&self, channel: &str) -> Option<Need> {
        self.channels.need_of_objects(channel)
    }
}
