//! Presence calls of the application and presence frames of the service, as the channel's state allows (RTP).

use capably_protocol::{
    ChannelMode, ErrorInfo, PresenceAction, PresenceMessage, encoding,
    frame::{Delivery, Publish},
};

use super::{Channel, Gap, Place, Request, State};
use crate::{
    Batch, ChannelState, ConnectionState, Event, MembersQuery, OpId, Outcome,
    context::Cx,
    errors, frame_size,
    outbox::Outbox,
    presence::{AttachmentId, presence_frame},
};

impl Channel {
    /// Whether the sync that followed the last attach is complete, so that the members are known (RTP13).
    pub fn presence_synced(&self) -> bool {
        self.presence.is_synced()
    }

    /// The present attachment.
    pub(crate) fn attachment(&self) -> AttachmentId {
        self.presence.attachment()
    }

    /// Sends an ENTER, UPDATE or LEAVE, or queues it, as the states of channel and connection allow (RTP16).
    pub(crate) fn send_presence(
        &mut self,
        mut message: PresenceMessage,
        op: OpId,
        outbox: &mut Outbox,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorInfo> {
        let connection = cx.connection.state();
        if message.action == Some(PresenceAction::Leave) {
            let own = cx.connection.identity(cx.config);
            let client_id = message.client_id.as_ref().or(own);
            let member = client_id.and_then(|id| self.presence.own_member(id));
            add_last_data(&mut message, member);
        }
        let frame = presence_frame(&self.name, message.clone());
        frame_size::check(&frame, cx)?;
        match (self.state(), connection) {
            (ChannelState::Attached, ConnectionState::Connected) => {
                self.presence.send(op, frame, outbox, cx);
            }
            // With the next connection the channel is attached anew, and the message is sent after that
            // (RTL3d2).
            (
                ChannelState::Attached,
                ConnectionState::Connecting | ConnectionState::Disconnected,
            )
            | (ChannelState::Attaching, _)
                if cx.config.queue_messages =>
            {
                self.presence.queue(op, message);
            }
            (ChannelState::Attached, _) => {
                let reason = cx.connection.error_reason.as_ref();
                return Err(errors::connection_state(connection, reason));
            }
            (ChannelState::Initialized, _) if cx.config.queue_messages => {
                self.attach_implicitly(cx)?;
                self.presence.queue(op, message);
            }
            (
                state @ (ChannelState::Initialized
                | ChannelState::Attaching
                | ChannelState::Detaching
                | ChannelState::Detached
                | ChannelState::Suspended
                | ChannelState::Failed),
                _,
            ) => return Err(errors::presence_state(state, self.error_reason.as_ref())),
        }
        Ok(())
    }

    /// Queries the members (RTP11). Attaches the channel if it is not attached.
    pub(crate) fn query_members(&mut self, query: MembersQuery, op: OpId, cx: &mut Cx<'_>) {
        match self.state {
            State::Suspended if query.wait_for_sync => {
                cx.done(op, Err(errors::out_of_sync(self.error_reason.as_ref())));
            }
            State::Suspended => cx.done(op, Ok(Outcome::Members(self.presence.select(&query)))),
            State::Failed => {
                let reason = self.error_reason.as_ref();
                cx.done(op, Err(errors::channel_state(ChannelState::Failed, reason)));
            }
            State::Initialized
            | State::Attaching { .. }
            | State::Attached
            | State::Detaching { .. }
            | State::Detached => {
                self.presence.await_attach(op, query);
                self.request(Request::Attach(op), cx);
            }
        }
    }

    /// A request to attach or detach has ended, and its operation with it; unless it was made for a query or for
    /// objects, which now continue.
    pub(super) fn request_done(
        &mut self,
        op: OpId,
        outcome: Result<(), ErrorInfo>,
        cx: &mut Cx<'_>,
    ) {
        let Some(outcome) = self.objects_request_done(op, outcome, cx) else { return };
        let query = self.presence.take_attached(op);
        let outcome = outcome.and_then(|()| match query.is_some() {
            true => {
                let mode = ChannelMode::PresenceSubscribe;
                self.require_mode(mode, errors::presence_not_subscribed, cx.config)
            }
            false => Ok(()),
        });
        match (query, outcome) {
            (Some(query), Ok(())) => self.presence.answer(query, op, cx),
            (_, outcome) => cx.done(op, outcome.map(|()| Outcome::Done)),
        }
    }

    /// PRESENCE arrived, with the gaps that its unreadable items leave.
    pub(crate) fn deliver_presence(
        &mut self,
        mut delivery: Delivery<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        cx: &mut Cx<'_>,
    ) {
        let serial = delivery.channel_serial.take();
        let Some(place) = self.admit(serial.as_ref(), cx) else { return };
        if place.repeated {
            let again = self.repeat(delivery);
            self.emit_presence(again, missing, place.clone(), cx);
            return self.repeated(&place, cx);
        }
        self.moved(serial);
        if self.receives_presence() {
            let changes = self.receive_presence(delivery, cx);
            self.emit_presence(changes, missing, place, cx);
        }
    }

    /// SYNC arrived: a page of the members, or all of them (RTP18).
    pub(crate) fn deliver_sync(
        &mut self,
        delivery: Delivery<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        cx: &mut Cx<'_>,
    ) {
        if !self.receives_presence() {
            return;
        }
        let is_last = self.presence.begin_page(delivery.channel_serial.as_ref());
        let place = Place { after: self.channel_serial.clone(), ..Place::default() };
        let changes = self.receive_presence(delivery, cx);
        self.emit_presence(Vec::new(), missing, place, cx);
        if is_last {
            self.presence.finish_sync(changes, cx);
        } else {
            self.presence.emit(changes, Place::default(), cx);
            self.presence.sync_continues(cx);
        }
    }

    /// The deadline of a presence sync has passed.
    pub(crate) fn sync_timed_out(&mut self, cx: &mut Cx<'_>) {
        self.presence.sync_timed_out(cx);
    }

    /// The service has acknowledged presence messages. Those of an earlier attachment are of members that have left with it.
    pub(crate) fn presence_acknowledged(
        &mut self,
        publish: &Publish<PresenceMessage>,
        attachment: Option<AttachmentId>,
        cx: &Cx<'_>,
    ) {
        if attachment == Some(self.presence.attachment()) {
            self.presence.acknowledged(publish, cx);
        }
    }

    /// A member could not be entered again (RTP17e). If the channel was detached meanwhile, it need not be.
    pub(crate) fn reentry_failed(
        &mut self,
        client_id: &str,
        attachment: Option<AttachmentId>,
        cause: ErrorInfo,
        cx: &mut Cx<'_>,
    ) {
        if attachment == Some(self.presence.attachment()) {
            self.updated(errors::reentry_failed(client_id, cause), true, cx);
        }
    }

    /// Whether presence messages count. They do while detaching, too: if the service does not confirm the
    /// detach, the channel is attached as before, and must not have missed any (RTL5f).
    fn receives_presence(&self) -> bool {
        matches!(self.state, State::Attached | State::Detaching { .. })
    }

    /// Applies a frame to the members, and returns the changes to emit.
    fn receive_presence(
        &mut self,
        delivery: Delivery<PresenceMessage>,
        cx: &Cx<'_>,
    ) -> Vec<PresenceMessage> {
        let mut changes = Vec::new();
        for (index, mut message) in delivery.items.into_iter().enumerate() {
            message.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            self.presence.receive_own(&message, cx.connection.id.as_ref());
            self.decode_presence(&mut message);
            changes.extend(self.presence.receive(message));
        }
        changes
    }

    /// The presence messages of a replayed frame. They do not change the members, which are newer than the frame.
    fn repeat(&self, delivery: Delivery<PresenceMessage>) -> Vec<PresenceMessage> {
        let (id, connection, time) = (delivery.id, delivery.connection_id, delivery.timestamp);
        let mut items = delivery.items;
        for (index, message) in items.iter_mut().enumerate() {
            message.inherit(id.as_ref(), index, connection.as_ref(), time);
            self.decode_presence(message);
        }
        // Other messages are of no member, or their action is unknown (RTF1).
        items.retain(|message| {
            matches!(
                message.action,
                Some(
                    PresenceAction::Enter
                        | PresenceAction::Update
                        | PresenceAction::Present
                        | PresenceAction::Leave
                )
            )
        });
        items
    }

    fn decode_presence(&self, message: &mut PresenceMessage) {
        let cipher = self.options.cipher.as_ref();
        if let Err(error) = encoding::decode(&mut message.data, &mut message.encoding, cipher) {
            // It is delivered as far as it was decoded (RSL6b).
            tracing::error!(channel = &*self.name, %error, "a payload could not be decoded");
        }
    }

    /// Emits the readable part of a frame, and then the gap that the rest leaves.
    fn emit_presence(
        &mut self,
        changes: Vec<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        place: Place,
        cx: &mut Cx<'_>,
    ) {
        if !place.repeated {
            self.note_unreadable(&missing, cx);
        }
        // Every missing item leaves the same gap.
        let Some((_, gap)) = missing.into_iter().next() else {
            return self.presence.emit(changes, place, cx);
        };
        let missing = vec![(changes.len(), gap)];
        cx.emit(Event::Presence(self.id, Batch { items: changes, missing, place }));
    }
}

/// Whether this client may send a presence message of that member (RTP8j, RTP15f), of that size.
pub(crate) fn check_presence(message: &PresenceMessage, cx: &Cx<'_>) -> Result<(), ErrorInfo> {
    let own = cx.connection.identity(cx.config);
    match (&message.client_id, own) {
        (None, None) if cx.is_connected() => return Err(errors::no_identity()),
        (Some(other), _) if other.is_empty() || *other == "*" => {
            return Err(errors::no_client_id());
        }
        (Some(other), Some(own)) if other != own => return Err(errors::wrong_client_id()),
        // Before the first connection the identity may not be known yet.
        (None | Some(_), _) => {}
    }
    super::publish::check_size(message.size(), cx)
}

/// A LEAVE without data has the data of the member's last message (RTP10a).
fn add_last_data(leave: &mut PresenceMessage, member: Option<&PresenceMessage>) {
    if let Some(member) = member
        && leave.data.is_none()
        && leave.extras.is_none()
    {
        leave.data.clone_from(&member.data);
        leave.encoding.clone_from(&member.encoding);
    }
}
