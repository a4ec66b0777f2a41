//! The attach that a subscription begins with (RTL7g, RTP6d, RTAN4d).

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use capably_protocol::ErrorInfo;
use tokio::sync::oneshot;

use crate::{
    Error, Result,
    realtime::driver::{Reply, gone},
};

/// The attach that a subscription began with.
#[derive(Debug)]
pub(super) enum ImplicitAttach {
    Pending(oneshot::Receiver<Result<(), ErrorInfo>>),
    Done(Result<()>),
}

impl ImplicitAttach {
    /// A pending attach, and the sender for its outcome.
    pub(super) fn new() -> (Reply<()>, Self) {
        let (reply, outcome) = oneshot::channel();
        (reply, Self::Pending(outcome))
    }

    /// Waits for the outcome. Later calls return it again.
    pub(super) async fn outcome(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// As [`outcome`](Self::outcome).
    pub(super) fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let result = match self {
            Self::Pending(outcome) => match ready!(Pin::new(outcome).poll(cx)) {
                Ok(result) => result.map_err(Error::from),
                Err(_) => Err(gone()),
            },
            Self::Done(result) => return Poll::Ready(result.clone()),
        };
        *self = Self::Done(result.clone());
        Poll::Ready(result)
    }
}
