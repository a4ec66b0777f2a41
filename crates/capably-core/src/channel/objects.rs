//! Objects: calls of the application and frames of the service, as the channel's state allows (RTO).

use std::sync::Arc;

use capably_protocol::{
    ChannelMode, ClientFrame, ErrorInfo, ObjectMessage, PublishResult,
    frame::{Delivery, Params, Publish},
};

use super::{Channel, Request, State, publish::check_size};
use crate::{
    ChannelState, OpId, Outcome, SharedObjects, check_objects_access, check_objects_write,
    context::Cx,
    errors,
    objects::{ChannelObjects, check_mode},
};

impl Channel {
    /// The channel's objects, if they are used.
    pub(crate) fn objects(&self) -> Option<&SharedObjects> {
        self.objects.as_ref().map(|objects| objects.shared())
    }

    /// Waits for the objects to be in sync (RTO23). Attaches the channel if it is neither attached nor suspended.
    pub(crate) fn await_objects(&mut self, op: OpId, cx: &mut Cx<'_>) {
        // The state is left out: a detached channel is attached (RTO23e).
        let mode = ChannelMode::ObjectSubscribe;
        if let Err(error) = check_mode(mode, self.state(), &self.modes, &self.options.modes) {
            return cx.done(op, Err(error)); // RTO23a
        }
        match self.state {
            State::Failed => {
                let reason = self.error_reason.as_ref();
                cx.done(op, Err(errors::channel_state(ChannelState::Failed, reason))); // RTL33c
            }
            State::Suspended => self.used_objects(cx).await_sync(op, cx), // RTL33a
            State::Initialized
            | State::Attaching { .. }
            | State::Attached
            | State::Detaching { .. }
            | State::Detached => {
                self.used_objects(cx).await_attach(op);
                self.request(Request::Attach(op), cx);
            }
        }
    }

    /// A request to attach has ended that was made for objects: the call waits for the sync, or fails (RTL33b1). Returns
    /// the outcome if the request was made for something else.
    pub(super) fn objects_request_done(
        &mut self,
        op: OpId,
        outcome: Result<(), ErrorInfo>,
        cx: &mut Cx<'_>,
    ) -> Option<Result<(), ErrorInfo>> {
        let Some(objects) = self.objects.as_mut().filter(|objects| objects.is_attaching(op)) else {
            return Some(outcome);
        };
        objects.attach_done(op);
        let (granted, requested) = (&self.modes, &self.options.modes);
        let granted = || check_objects_access(ChannelState::Attached, granted, requested, None);
        match outcome.and_then(|()| granted()) {
            Ok(()) => objects.await_sync(op, cx),
            Err(error) => cx.done(op, Err(error)),
        }
        None
    }

    /// The channel is attached, perhaps once more (RTO4).
    pub(super) fn objects_attached(&mut self, has_objects: bool, cx: &mut Cx<'_>) {
        let wanted = has_objects || self.modes.contains(&ChannelMode::ObjectSubscribe);
        if wanted || self.objects.is_some() {
            self.objects_or_new().channel_attached(has_objects, cx);
        }
    }

    /// The channel entered a state.
    pub(super) fn objects_left(
        &mut self,
        state: ChannelState,
        reason: Option<&ErrorInfo>,
        cx: &mut Cx<'_>,
    ) {
        let Some(objects) = &mut self.objects else { return };
        match state {
            ChannelState::Attaching | ChannelState::Attached | ChannelState::Detaching => {}
            ChannelState::Initialized
            | ChannelState::Detached
            | ChannelState::Suspended
            | ChannelState::Failed => objects.channel_left(state, reason, cx),
        }
    }

    /// OBJECT arrived (RTL15b, RTO8).
    pub(crate) fn deliver_objects(&mut self, delivery: Delivery<ObjectMessage>, cx: &mut Cx<'_>) {
        let serial = delivery.channel_serial.clone();
        let Some(place) = self.admit(serial.as_ref(), cx) else { return };
        if place.repeated {
            // The objects have these operations: a replay is for the listeners of messages.
            return self.repeated(&place, cx);
        }
        self.moved(serial);
        if self.has_attachment()
            && let Some(objects) = &mut self.objects
        {
            objects.receive(delivery, cx);
        }
    }

    /// OBJECT_SYNC arrived (RTO5). Its serial is a cursor of the sync, and does not move the channel.
    pub(crate) fn deliver_object_sync(
        &mut self,
        delivery: Delivery<ObjectMessage>,
        cx: &mut Cx<'_>,
    ) {
        if self.has_attachment() {
            self.objects_or_new().receive_sync(delivery, cx);
        }
    }

    /// The frame of operations, if they may be published or queued in this state (RTO15, RTO26).
    pub(crate) fn object_frame(
        &self,
        messages: Arc<[ObjectMessage]>,
        cx: &Cx<'_>,
    ) -> Result<ClientFrame, ErrorInfo> {
        let reason = self.error_reason.as_ref();
        let echo = cx.config.echo_messages;
        check_objects_write(self.state(), &self.modes, &self.options.modes, reason, echo)?;
        self.check_publish(cx)?; // RTO15b
        check_size(messages.iter().map(ObjectMessage::size).sum(), cx)?; // RTO15d
        let (channel, params) = (self.name.clone(), Params::new());
        Ok(ClientFrame::Object(Publish { channel, msg_serial: 0, items: messages, params }))
    }

    /// The service acknowledged operations (RTO20).
    pub(crate) fn objects_acknowledged(
        &mut self,
        op: OpId,
        publish: &Publish<ObjectMessage>,
        result: PublishResult,
        cx: &mut Cx<'_>,
    ) {
        let state = self.state();
        let Some(objects) = &mut self.objects else {
            // Without the mode `object_subscribe` there is nothing to apply the operations to.
            return cx.done(op, Ok(Outcome::Published(result)));
        };
        objects.acknowledged(op, publish, result, cx);
        // The ACK came after the channel's end: no sync follows that the operations could wait for.
        let reason = self.error_reason.clone();
        self.objects_left(state, reason.as_ref(), cx);
    }

    /// No page of a sync has arrived in time.
    pub(crate) fn objects_sync_timed_out(&mut self, cx: &mut Cx<'_>) {
        if let Some(objects) = &mut self.objects {
            objects.sync_timed_out(cx);
        }
    }

    /// It is time to forget deleted objects (RTO10).
    pub(crate) fn collect_objects(&mut self, cx: &mut Cx<'_>) {
        if let Some(objects) = &mut self.objects {
            objects.collect(cx);
        }
    }

    /// The channel's objects for a call of the application; from the first call on they are used.
    fn used_objects(&mut self, cx: &mut Cx<'_>) -> &mut ChannelObjects {
        let is_late = self.objects.is_none() && self.state == State::Attached;
        let objects = self.objects_or_new();
        if is_late {
            // The last ATTACHED announced no objects, or they would be used already.
            objects.channel_attached(false, cx);
        }
        objects
    }

    fn objects_or_new(&mut self) -> &mut ChannelObjects {
        self.objects.get_or_insert_with(|| Box::new(ChannelObjects::new(self.id, &self.name)))
    }

    /// Whether frames of objects can be of the channel's attachment.
    fn has_attachment(&self) -> bool {
        match self.state {
            State::Attaching { .. } | State::Attached | State::Detaching { .. } => true,
            State::Initialized | State::Detached | State::Suspended | State::Failed => false,
        }
    }
}
