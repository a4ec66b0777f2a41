//! Operations that wait for an outcome of the core.

use std::time::Duration;

use capably_core::{ChannelId, Outcome, SharedObjects};
use capably_protocol::{ErrorInfo, PresenceMessage, PublishResult, TokenDetails};

use super::{
    command::{AuthorizeCommand, Reply},
    dispatch::released,
    handle::gone,
};
use crate::{Error, Result, realtime::subscribing::SubscriberId};

/// A pending operation, with the sender for its result.
pub(super) enum Operation {
    Unit(Reply<()>),
    /// The implicit attach of a subscription.
    Subscribe(ChannelId, SubscriberId, Reply<()>),
    /// A publish, and the units that it reserves in the window of unacknowledged publishes.
    Publish(Reply<PublishResult>, u32),
    Ping(Reply<Duration>),
    Members(Reply<Vec<PresenceMessage>>),
    /// The wait for a channel's objects; with the objects, once they are in sync.
    Objects(ChannelId, Option<SharedObjects>, Reply<SharedObjects>),
    Authorize(Box<AuthorizeOperation>),
}

/// A token that a program has requested.
pub(super) struct AuthorizeOperation {
    pub(super) command: AuthorizeCommand,
    /// The outcome of the request, once there is one.
    pub(super) token: Option<Result<TokenDetails>>,
}

impl Operation {
    /// Sends the outcome to the caller. A caller that has dropped its future ignores it.
    pub(super) fn finish(self, outcome: Result<Outcome, ErrorInfo>) {
        match self {
            Self::Unit(reply) | Self::Subscribe(_, _, reply) => {
                let _ = reply.send(outcome.map(|_| ()));
            }
            Self::Publish(reply, _) => {
                let _ = reply.send(outcome.map(publish_result));
            }
            Self::Ping(reply) => {
                let _ = reply.send(outcome.map(|outcome| match outcome {
                    Outcome::Pong(round_trip) => round_trip,
                    Outcome::Done | Outcome::Published(_) | Outcome::Members(_) => Duration::ZERO,
                }));
            }
            Self::Members(reply) => {
                let _ = reply.send(outcome.map(|outcome| match outcome {
                    Outcome::Members(members) => members,
                    Outcome::Done | Outcome::Published(_) | Outcome::Pong(_) => Vec::new(),
                }));
            }
            Self::Objects(_, objects, reply) => {
                let _ = reply.send(outcome.and_then(|_| objects.ok_or_else(released)));
            }
            Self::Authorize(operation) => {
                let AuthorizeOperation { command, token } = *operation;
                // The error of the token request is more precise than the error of the reauthorization that
                // failed for want of a token.
                let _ = command.reply.send(match (token, outcome) {
                    (Some(Ok(details)), Ok(_)) => Ok(details),
                    (Some(Err(error)), _) => Err(error),
                    (Some(Ok(_)) | None, Err(error)) => Err(Error::from(error)),
                    (None, Ok(_)) => Err(gone()),
                });
            }
        }
    }
}

/// The result of a publish that was accepted.
pub(super) fn publish_result(outcome: Outcome) -> PublishResult {
    match outcome {
        Outcome::Published(result) => result,
        Outcome::Done | Outcome::Pong(_) | Outcome::Members(_) => PublishResult::default(),
    }
}
