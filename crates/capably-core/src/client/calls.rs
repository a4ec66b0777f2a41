//! Inputs of the application that are about channels, messages and pings.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    Annotation, ErrorInfo, Message, ObjectMessage, PresenceMessage, Str, frame::Params,
};

use super::Client;
use crate::{
    ChannelId, ChannelOptions, MembersQuery, Now, OpId, SharedObjects,
    channel::{Channel, Request, check_presence, stored_frame},
    context::Cx,
    errors,
};

impl Client {
    /// Opens a channel (RTS3a). Frames for this name go to the channel that was opened last. A channel that a
    /// recovery key names continues where the key says (RTN16j).
    pub fn open_channel(&mut self, id: ChannelId, name: Str, options: ChannelOptions) {
        let channel_serial = self.shared.connection.take_recovered_serial(&name);
        let is_recovered = self.shared.connection.is_recovering();
        self.channels.insert(Channel::new(id, name, options, channel_serial, is_recovered));
    }

    /// Releases a channel: its operations end with an error, and the service is asked to detach it (RTS4a).
    pub fn release_channel(&mut self, id: ChannelId, now: Now) {
        self.channels.release(id, &mut self.shared.cx(now));
    }

    /// Attaches a channel (RTL4). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn attach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.call(id, op, now, |channel, cx| channel.request(Request::Attach(op), cx));
    }

    /// Detaches a channel (RTL5). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn detach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.call(id, op, now, |channel, cx| channel.request(Request::Detach(op), cx));
    }

    /// Replaces the options of a channel (RTL16). An attached or attaching channel requests params and modes
    /// anew; any other channel does so when it is attached next (RTL16a). Ends with
    /// [`Outcome::Done`](crate::Outcome::Done).
    pub fn set_channel_options(
        &mut self,
        id: ChannelId,
        options: ChannelOptions,
        op: OpId,
        now: Now,
    ) {
        self.call(id, op, now, |channel, cx| channel.set_options(options, op, cx));
    }

    /// Whether an attached channel delivers messages to its subscribers (RTL7i). The modes of a channel that
    /// is not attached are not known yet, so it passes (RTL7i3).
    ///
    /// # Errors
    /// In strict mode 90009 without the mode `subscribe` (RTL7i1).
    pub fn check_subscribed(&mut self, id: ChannelId) -> Result<(), ErrorInfo> {
        let Self { channels, shared, .. } = self;
        let channel = channels.get_mut(id);
        channel.map_or(Ok(()), |channel| channel.check_subscribed(&shared.config))
    }

    /// Whether an attached channel delivers annotations to its subscribers (RTAN4e). Without strict mode a
    /// missing mode is only logged, as a warning (RTAN4e1).
    ///
    /// # Errors
    /// In strict mode 93001 without the mode `annotation_subscribe`.
    pub fn check_annotations_subscribed(&mut self, id: ChannelId) -> Result<(), ErrorInfo> {
        let Self { channels, shared, .. } = self;
        let channel = channels.get_mut(id);
        channel.map_or(Ok(()), |channel| channel.check_annotations_subscribed(&shared.config))
    }

    /// Publishes messages, ready for the wire, in one frame (RTL6). Ends with
    /// [`Outcome::Published`](crate::Outcome::Published).
    pub fn publish(
        &mut self,
        id: ChannelId,
        messages: Arc<[Message]>,
        params: Params,
        op: OpId,
        now: Now,
    ) {
        let cx = &mut self.shared.cx(now);
        let channel = self.channels.get(id).ok_or_else(errors::released);
        let frame = channel.and_then(|channel| channel.message_frame(messages, params, cx));
        self.outbox.submit(op, frame, cx);
    }

    /// The memory of acknowledged messages, one for each frame with a single message. A driver may take it, and use it for
    /// the messages that are published next: an allocation that lives from a publish to its acknowledgement is expensive.
    pub fn spent_messages(&mut self) -> &mut Vec<Arc<[Message]>> {
        self.outbox.spent()
    }

    /// Publishes messages with ids that a store keeps until they are acknowledged, in one frame to a channel that need
    /// not be open. Without a connection it fails at once, and the store tries again later. On a connection that is not
    /// resumed, the frame is sent again only within `resend_for` from now: the service recognises the ids for a limited
    /// time. Ends with [`Outcome::Published`](crate::Outcome::Published), or with 50003 once that time has passed.
    pub fn publish_stored(
        &mut self,
        channel: Str,
        messages: Arc<[Message]>,
        params: Params,
        resend_for: Duration,
        op: OpId,
        now: Now,
    ) {
        let cx = &mut self.shared.cx(now);
        let frame = stored_frame(channel, messages, params, cx);
        self.outbox.send_until(op, frame, now.instant + resend_for, cx);
    }

    /// Publishes an annotation, ready for the wire (RTAN1). Ends with
    /// [`Outcome::Published`](crate::Outcome::Published).
    pub fn annotate(&mut self, id: ChannelId, annotation: Annotation, op: OpId, now: Now) {
        let cx = &mut self.shared.cx(now);
        let channel = self.channels.get(id).ok_or_else(errors::released);
        let frame = channel.and_then(|channel| channel.annotation_frame(annotation, cx));
        self.outbox.submit(op, frame, cx);
    }

    /// Enters, updates or leaves presence, as the message's action says (RTP8, RTP9, RTP10). The payload is
    /// ready for the wire. A message without a client id is of this client (RTP8c); a message with one is of
    /// that client (RTP14, RTP15). Ends with [`Outcome::Published`](crate::Outcome::Published).
    pub fn presence(&mut self, id: ChannelId, message: PresenceMessage, op: OpId, now: Now) {
        let cx = &mut self.shared.cx(now);
        let sent = check_presence(&message, cx).and_then(|()| {
            let channel = self.channels.get_mut(id).ok_or_else(errors::released)?;
            channel.send_presence(message, op, &mut self.outbox, cx)
        });
        if let Err(error) = sent {
            cx.done(op, Err(error));
        }
    }

    /// Queries the members of a channel (RTP11). Attaches the channel if it is not attached. Ends with
    /// [`Outcome::Members`](crate::Outcome::Members).
    pub fn members(&mut self, id: ChannelId, query: MembersQuery, op: OpId, now: Now) {
        self.call(id, op, now, |channel, cx| channel.query_members(query, op, cx));
    }

    /// Waits until the channel's objects are in sync, so that they can be read (RTO23). Attaches the channel if it is
    /// neither attached nor suspended (RTL33). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn await_objects(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.call(id, op, now, |channel, cx| channel.await_objects(op, cx));
    }

    /// The objects of a channel, to read and to subscribe to; `None` before they are used, or once the channel was
    /// released.
    ///
    /// A channel has objects from the first [`await_objects`](Self::await_objects), or from the first ATTACHED that
    /// announces them.
    pub fn objects(&self, id: ChannelId) -> Option<&SharedObjects> {
        self.channels.get(id)?.objects()
    }

    /// Publishes operations on objects in one frame, and applies them once the service has accepted them (RTO15, RTO20).
    /// Ends with [`Outcome::Published`](crate::Outcome::Published).
    pub fn publish_objects(
        &mut self,
        id: ChannelId,
        messages: Arc<[ObjectMessage]>,
        op: OpId,
        now: Now,
    ) {
        let cx = &mut self.shared.cx(now);
        let channel = self.channels.get(id).ok_or_else(errors::released);
        let frame = channel.and_then(|channel| channel.object_frame(messages, cx));
        self.outbox.submit(op, frame, cx);
    }

    /// Starts a replay: the service sends again what follows this serial, on an attached channel. The batches are
    /// [`repeated`](crate::Place::repeated), and end at the channel's position; then
    /// [`Event::ReplayEnded`](crate::Event::ReplayEnded) carries the outcome. If the channel leaves ATTACHED
    /// meanwhile, there is no such event.
    ///
    /// Returns whether the replay has begun, and its end will be an event. It cannot begin if the channel is not
    /// attached, there is no connection, or another request is under way.
    pub fn replay(&mut self, id: ChannelId, after: Str, now: Now) -> bool {
        let cx = &mut self.shared.cx(now);
        self.channels.get_mut(id).is_some_and(|channel| channel.begin_replay(after, cx))
    }

    /// Ends a replay early, because no listener has room for more of it.
    pub fn stop_replay(&mut self, id: ChannelId, now: Now) {
        self.with_channel(id, now, Channel::stop_replay);
    }

    /// Measures the round trip to the service (RTN13). Ends with [`Outcome::Pong`](crate::Outcome::Pong).
    pub fn ping(&mut self, op: OpId, now: Now) {
        self.pings.ping(op, &mut self.shared.cx(now));
    }

    /// Routes an operation to its channel. The operation ends with 90001 if the channel was released.
    fn call(
        &mut self,
        id: ChannelId,
        op: OpId,
        now: Now,
        call: impl FnOnce(&mut Channel, &mut Cx<'_>),
    ) {
        let cx = &mut self.shared.cx(now);
        match self.channels.get_mut(id) {
            Some(channel) => call(channel, cx),
            None => cx.done(op, Err(errors::released())),
        }
    }

    /// Routes an input without an operation to its channel, unless the channel was released.
    pub(super) fn with_channel(
        &mut self,
        id: ChannelId,
        now: Now,
        act: impl FnOnce(&mut Channel, &mut Cx<'_>),
    ) {
        if let Some(channel) = self.channels.get_mut(id) {
            act(channel, &mut self.shared.cx(now));
        }
    }
}
