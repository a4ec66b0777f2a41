//! The attach that a subscription begins with (RTL7g, RTP6d, RTAN4d).

use capably_protocol::ErrorInfo;
use tokio::sync::oneshot;

use crate::{
    Result,
    realtime::driver::{Reply, received},
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
        let result = match self {
            Self::Pending(outcome) => received(outcome).await,
            Self::Done(result) => return result.clone(),
        };
        *self = Self::Done(result.clone());
        result
    }
}
