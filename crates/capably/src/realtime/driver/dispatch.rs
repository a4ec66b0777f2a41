//! What handles ask for, and how it ends.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::{Channel, ChannelId, ChannelState, Now, OpId, Outcome};
use capably_protocol::{ErrorCode, ErrorInfo};

use super::{Driver, entry::Entry};
use crate::{
    Error,
    realtime::{
        ChannelProperties,
        driver::command::{Command, Publish},
        driver::operation::{Authorizing, Listener, Operation},
    },
};

/// Commands taken before anything else is looked at.
const COMMAND_BATCH: usize = 256;

impl Driver {
    /// Takes what handles ask for. Returns whether there was anything.
    pub(super) fn take_commands(&mut self, cx: &mut Context<'_>) -> bool {
        if self.abandoned {
            return false;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let taken = match self.commands.poll_recv_many(cx, &mut inbox, COMMAND_BATCH) {
            Poll::Pending => false,
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
        taken
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
            Command::Authorize(request) => {
                let authorizing = Authorizing { request: *request, token: None };
                let op = self.operation(Operation::Authorize(Box::new(authorizing)));
                self.core.authorize(op, now);
            }
            Command::Network(true) => self.core.network_available(now),
            Command::Network(false) => self.core.network_lost(now),
            Command::RecoveryKey(reply) => {
                let _ = reply.send(self.core.recovery_key());
            }
            Command::Open { channel, options } => {
                self.core.open_channel(channel.id, channel.name.clone(), options);
                let entry = Entry::new(Arc::clone(&channel));
                self.channels.insert(channel.id, entry);
            }
            Command::Release(id) => {
                self.core.release_channel(id);
                if let Some(mut entry) = self.channels.remove(&id) {
                    let clock = &self.errands.pipeline.config().options.clock;
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
                self.core.set_channel_options(id, options, op, now);
            }
            Command::Properties(id, reply) => {
                let channel = self.core.channel(id);
                let _ = reply.send(channel.map(ChannelProperties::new).unwrap_or_default());
            }
            Command::Publish(Publish { channel, messages, params, permits, reply }) => {
                let op = self.operation(Operation::Publish(reply, permits));
                self.core.publish(channel, messages, params, op, now);
            }
            Command::Subscribe { channel, mut subscriber, attach, reply } => {
                let Some(entry) = self.channels.get_mut(&channel) else {
                    subscriber.queue.end(Error::from(released()));
                    let _ = reply.send(Err(released()));
                    return;
                };
                subscriber.continuous =
                    self.core.channel(channel).is_some_and(Channel::is_continuous);
                let subscribe =
                    Operation::Subscribe(channel, Listener::Messages(subscriber.id), reply);
                entry.messages.add(subscriber);
                if attach {
                    self.attach_to_subscribe(channel, subscribe, now);
                } else {
                    self.complete(subscribe, Ok(Outcome::Done));
                }
            }
            Command::Presence(id, command) => self.handle_presence(id, command, now),
            Command::Annotations(id, command) => self.handle_annotations(id, command, now),
            Command::Unsubscribe { channel, subscriber } => {
                if let Some(entry) = self.channels.get_mut(&channel) {
                    entry.messages.remove(subscriber);
                }
            }
        }
    }

    fn attach(&mut self, id: ChannelId, operation: Operation, now: Now) {
        let op = self.operation(operation);
        self.core.attach(id, op, now);
    }

    /// A subscriber attaches its channel, unless that is suspended, and attaches by itself, or failed
    /// (RTL7g).
    pub(super) fn attach_to_subscribe(&mut self, id: ChannelId, subscribe: Operation, now: Now) {
        let Some(channel) = self.core.channel(id) else { return };
        match channel.state() {
            ChannelState::Initialized
            | ChannelState::Attaching
            | ChannelState::Attached
            | ChannelState::Detaching
            | ChannelState::Detached => self.attach(id, subscribe, now),
            ChannelState::Suspended => self.complete(subscribe, Ok(Outcome::Done)),
            ChannelState::Failed => {
                let cause = channel.error_reason().cloned();
                self.complete(subscribe, Err(failed(cause)));
            }
        }
    }

    pub(super) fn operation(&mut self, operation: Operation) -> OpId {
        OpId(self.operations.insert(operation) as u64)
    }

    pub(super) fn finish(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        if let Some(operation) = self.operations.try_remove(op.0 as usize) {
            self.complete(operation, outcome);
        }
    }

    pub(super) fn complete(
        &mut self,
        operation: Operation,
        mut outcome: Result<Outcome, ErrorInfo>,
    ) {
        match &operation {
            Operation::Publish(_, permits) => self.permits += *permits as usize,
            Operation::Subscribe(channel, listener, _) => {
                if let Some(entry) = self.channels.get_mut(channel) {
                    entry.attach_over(*listener);
                }
                if outcome.is_ok() {
                    let granted = match listener {
                        Listener::Messages(_) => self.core.check_subscribed(*channel),
                        Listener::Annotations(_) => {
                            self.core.check_annotations_subscribed(*channel)
                        }
                        Listener::Presence(_) => Ok(()),
                    };
                    outcome = granted.map(|()| Outcome::Done);
                }
            }
            Operation::Unit(_)
            | Operation::Ping(_)
            | Operation::Members(_)
            | Operation::Authorize(_) => {}
        }
        operation.finish(outcome);
    }
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
