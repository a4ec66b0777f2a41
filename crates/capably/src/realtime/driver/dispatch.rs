//! Dispatches the commands of handles to the core.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{Channel, ChannelId, ChannelState, Now, OpId, Outcome};
use capably_protocol::{ErrorCode, ErrorInfo};

use super::{
    Driver,
    channel_entry::ChannelEntry,
    command::{Command, PublishCommand, Reply, StoredPublish},
    operation::{AuthorizeOperation, Operation, publish_result},
};
use crate::{
    Error,
    realtime::{
        ChannelProperties,
        publishing::ReceiptId,
        subscribing::{AnySubscriber, Feed, SubscriberId},
    },
};

/// The most commands in a row before the driver looks at its other sources.
const COMMAND_BATCH: usize = 256;

impl Driver {
    /// Dispatches waiting commands. Returns whether there was any.
    pub(super) fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        if self.abandoned {
            return false;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = match self.commands.poll_recv_many(cx, &mut inbox, COMMAND_BATCH) {
            Poll::Pending => false,
            // All senders are gone, and with them all handles.
            Poll::Ready(0) => {
                self.abandoned = true;
                self.core.close(self.now());
                true
            }
            Poll::Ready(_) => {
                let now = self.now();
                for command in inbox.drain(..) {
                    self.handle_command(command, now);
                }
                true
            }
        };
        self.inbox = inbox;
        received
    }

    fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Connect => self.core.connect(now),
            Command::Close(reply) => {
                self.core.close(now);
                self.closing.push(reply);
            }
            Command::Settle(reply) => self.settling.push(reply),
            Command::Ping(reply) => {
                let op = self.operation(Operation::Ping(reply));
                self.core.ping(op, now);
            }
            Command::Authorize(command) => {
                let operation = AuthorizeOperation { command: *command, token: None };
                let op = self.operation(Operation::Authorize(Box::new(operation)));
                self.core.authorize(op, now);
            }
            Command::Network(true) => self.core.network_available(now),
            Command::Network(false) => self.core.network_lost(now),
            Command::RecoveryKey(reply) => {
                let _ = reply.send(self.core.recovery_key());
            }
            Command::Open { channel, options } => {
                self.core.open_channel(channel.id, channel.name.clone(), *options);
                let entry = ChannelEntry::new(Arc::clone(&channel));
                self.channels.insert(channel.id, entry);
            }
            Command::Release(id) => {
                // The core detaches the channel; from here on its events have no receiver.
                self.core.release_channel(id, now);
                if let Some(mut entry) = self.channels.remove(&id) {
                    let clock = &self.tasks.pipeline.config().options.clock;
                    entry.end(&Error::from(released()), clock);
                    entry.shared.end();
                }
            }
            Command::Attach(id, reply) => self.attach(id, Operation::Unit(reply), now),
            Command::Detach(id, reply) => {
                let op = self.operation(Operation::Unit(reply));
                self.core.detach(id, op, now);
            }
            Command::SetOptions(id, options, reply) => {
                let op = self.operation(Operation::Unit(reply));
                self.core.set_channel_options(id, *options, op, now);
            }
            Command::Properties(id, reply) => {
                let channel = self.core.channel(id);
                let _ = reply.send(channel.map(ChannelProperties::new).unwrap_or_default());
            }
            Command::Publish(PublishCommand { channel, messages, params, receipt }) => {
                self.core.publish(channel, messages, params, publish_op(receipt), now);
            }
            Command::PublishStored(publish) => {
                let StoredPublish { channel, messages, params, session, resend_for, reply } =
                    *publish;
                if session != self.shared.session() {
                    let _ = reply.send(Err(other_session()));
                    return;
                }
                let op = self.operation(Operation::Publish(reply, 0));
                self.core.publish_stored(channel, messages, params, resend_for, op, now);
            }
            Command::Annotate { channel, annotation, permits, reply } => {
                let op = self.operation(Operation::Publish(reply, permits));
                self.core.annotate(channel, *annotation, op, now);
            }
            Command::AwaitObjects { channel, reply } => {
                let op = self.operation(Operation::Objects(channel, None, reply));
                self.core.await_objects(channel, op, now);
            }
            Command::PublishObjects { channel, messages, permits, reply } => {
                let op = self.operation(Operation::Publish(reply, permits));
                self.core.publish_objects(channel, messages, op, now);
            }
            Command::Presence { channel, message, reply } => {
                let op = self.operation(Operation::Unit(reply));
                self.core.presence(channel, *message, op, now);
            }
            Command::Members { channel, query, reply } => {
                let op = self.operation(Operation::Members(reply));
                self.core.members(channel, *query, op, now);
            }
            Command::Subscribe { channel, subscriber, attach, reply } => {
                self.subscribe(channel, *subscriber, attach, reply, now);
            }
            Command::Unsubscribe { channel, subscriber } => {
                if let Some(entry) = self.channels.get_mut(&channel) {
                    entry.remove(subscriber);
                }
            }
        }
    }

    fn attach(&mut self, id: ChannelId, operation: Operation, now: Now) {
        let op = self.operation(operation);
        self.core.attach(id, op, now);
    }

    fn subscribe(
        &mut self,
        id: ChannelId,
        subscriber: AnySubscriber,
        attach: bool,
        reply: Reply<()>,
        now: Now,
    ) {
        // A released channel has no entry.
        let Some(entry) = self.channels.get_mut(&id) else {
            subscriber.end(Error::from(released()));
            let _ = reply.send(Err(released()));
            return;
        };
        let operation = Operation::Subscribe(id, subscriber.id(), reply);
        let continuous = self.core.channel(id).is_some_and(Channel::is_continuous);
        entry.add(subscriber, continuous);
        if attach {
            self.attach_to_subscribe(id, operation, now);
        } else {
            self.complete(operation, Ok(Outcome::Done));
        }
    }

    /// Attaches a channel for a subscription (RTL7g). A suspended channel attaches without this; a failed one
    /// does not attach.
    fn attach_to_subscribe(&mut self, id: ChannelId, operation: Operation, now: Now) {
        let Some(channel) = self.core.channel(id) else { return };
        match channel.state() {
            ChannelState::Initialized
            | ChannelState::Attaching
            | ChannelState::Attached
            | ChannelState::Detaching
            | ChannelState::Detached => self.attach(id, operation, now),
            ChannelState::Suspended => self.complete(operation, Ok(Outcome::Done)),
            ChannelState::Failed => {
                let cause = channel.error_reason().cloned();
                self.complete(operation, Err(failed(cause)));
            }
        }
    }

    fn operation(&mut self, operation: Operation) -> OpId {
        OpId(self.operations.insert(operation) as u64)
    }

    pub(super) fn finish(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        if let Some(receipt) = receipt_of(op) {
            self.settled.push((receipt, outcome.map(publish_result)));
            return;
        }
        self.settle();
        if let Some(operation) = self.operations.try_remove(op.0 as usize) {
            self.complete(operation, outcome);
        }
    }

    /// Passes the results of publishes to their receipts. Results that arrive together are passed together. The driver
    /// calls this before it handles any other event, so that results and events keep their order.
    pub(super) fn settle(&mut self) {
        if !self.settled.is_empty() {
            // Before the results: a program that gets one publishes the next message at once.
            self.shared.spare.refill(self.core.spent_messages());
            self.permits += self.shared.receipts.settle(&mut self.settled, &mut self.wakers);
        }
    }

    fn complete(&mut self, mut operation: Operation, mut outcome: Result<Outcome, ErrorInfo>) {
        match &mut operation {
            Operation::Objects(channel, objects, _) => {
                *objects = self.core.objects(*channel).cloned();
            }
            Operation::Publish(_, permits) => self.permits += *permits as usize,
            Operation::Subscribe(channel, subscriber, _) => {
                if let Some(entry) = self.channels.get_mut(channel) {
                    entry.attach_done(*subscriber);
                }
                if outcome.is_ok() {
                    outcome = self.check_granted(*channel, *subscriber).map(|()| Outcome::Done);
                }
            }
            Operation::Unit(_)
            | Operation::Ping(_)
            | Operation::Members(_)
            | Operation::Authorize(_) => {}
        }
        operation.finish(outcome);
    }

    /// Checks that the channel's modes let the subscriber receive anything.
    fn check_granted(&mut self, id: ChannelId, subscriber: SubscriberId) -> Result<(), ErrorInfo> {
        match subscriber.feed {
            Feed::Messages => self.core.check_subscribed(id),
            Feed::Annotations => self.core.check_annotations_subscribed(id),
            Feed::Presence => Ok(()),
        }
    }
}

/// The bit of an operation's number that is set for publishes with a receipt. Their other bits are the number of the
/// receipt; the bits of any other operation are an index of the driver's table.
const WITH_RECEIPT: u64 = 1 << 63;

fn publish_op(receipt: ReceiptId) -> OpId {
    OpId(WITH_RECEIPT | u64::from(receipt.0))
}

fn receipt_of(op: OpId) -> Option<ReceiptId> {
    (op.0 & WITH_RECEIPT != 0).then_some(ReceiptId(op.0 as u32))
}

fn other_session() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::CONNECTION_DISCONNECTED,
        0,
        "the connection was established anew meanwhile",
    )
}

pub(super) fn released() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE,
        400,
        "the channel was released",
    )
}

pub(super) fn failed(cause: Option<ErrorInfo>) -> ErrorInfo {
    let error = ErrorInfo::new(
        ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE,
        400,
        "the channel has failed",
    );
    match cause {
        Some(cause) => error.with_cause(cause),
        None => error,
    }
}
