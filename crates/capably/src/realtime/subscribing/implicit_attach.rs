//! The attach that a subscription begins with (RTL7g, RTP6d, RTAN4d).

use capably_protocol::ErrorInfo;
use tokio::sync::oneshot;

use crate::Result;
use crate::realtime::driver::command::{Reply, answered};

/// The attach that a subscription began with.
#[derive(Debug)]
pub(crate) enum ImplicitAttach {
    UnderWay(oneshot::Receiver<Result<(), ErrorInfo>>),
    Over(Result<()>),
}

impl ImplicitAttach {
    /// One to be carried out, and where its outcome goes.
    pub(crate) fn new() -> (Reply<()>, Self) {
        let (reply, answer) = oneshot::channel();
        (reply, Self::UnderWay(answer))
    }

    /// Waits for what comes of it, however often it is asked.
    pub(crate) async fn outcome(&mut self) -> Result<()> {
        let result = match self {
            Self::UnderWay(answer) => answered(answer).await,
            Self::Over(result) => return result.clone(),
        };
        *self = Self::Over(result.clone());
        result
    }
}
