//! What handles wait for.

use std::time::Duration;

use capably_core::{ChannelId, Outcome};
use capably_protocol::{ErrorInfo, PresenceMessage, PublishResult, TokenDetails};

use crate::realtime::driver::command::{Authorize, Reply, gone};
use crate::{Error, Result};

/// An operation under way, and where its result goes.
pub(crate) enum Operation {
    Unit(Reply<()>),
    /// Somebody who begins to listen on a channel.
    Subscribe(ChannelId, Listener, Reply<()>),
    /// With what it takes of the window of unacknowledged publishes.
    Publish(Reply<PublishResult>, u32),
    Ping(Reply<Duration>),
    Members(Reply<Vec<PresenceMessage>>),
    Authorize(Box<Authorizing>),
}

/// Who listens to what, by the id of the subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listener {
    Messages(u64),
    Presence(u64),
    Annotations(u64),
}

/// A token that a user asked for.
pub(crate) struct Authorizing {
    pub(crate) request: Authorize,
    /// What came of asking for it.
    pub(crate) token: Option<Result<TokenDetails>>,
}

impl Operation {
    /// Hands the outcome over. The other end may have lost interest in it.
    pub(crate) fn finish(self, outcome: Result<Outcome, ErrorInfo>) {
        match self {
            Self::Unit(reply) | Self::Subscribe(_, _, reply) => {
                let _ = reply.send(outcome.map(|_| ()));
            }
            Self::Publish(reply, _) => {
                let _ = reply.send(outcome.map(|outcome| match outcome {
                    Outcome::Published(result) => result,
                    Outcome::Done | Outcome::Pong(_) | Outcome::Members(_) => {
                        PublishResult::default()
                    }
                }));
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
            Self::Authorize(authorizing) => {
                let Authorizing { request, token } = *authorizing;
                // An error on the way to the token says more than what came of it.
                let _ = request.reply.send(match (token, outcome) {
                    (Some(Ok(details)), Ok(_)) => Ok(details),
                    (Some(Err(error)), _) => Err(error),
                    (Some(Ok(_)) | None, Err(error)) => Err(Error::from(error)),
                    (None, Ok(_)) => Err(gone()),
                });
            }
        }
    }
}
