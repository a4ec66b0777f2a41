//! Tasks that the driver starts: they get tokens and check connectivity, and do not block the connection.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, ready},
};

use capably_core::{AuthFailure, AuthId, CheckId, Grant, OpId, TokenNeed};
use capably_protocol::{ErrorCode, TokenDetails, TokenParams};
use tokio::task::{AbortHandle, JoinSet};

use crate::{
    Error, Result,
    auth::{AuthOptions, Proof, Session, cannot_renew},
    rest::Pipeline,
};

/// The running tasks. They end with the driver.
pub(super) struct Tasks {
    pub(super) pipeline: Arc<Pipeline>,
    running: JoinSet<TaskOutput>,
    tokens: BTreeMap<AuthId, AbortHandle>,
}

/// The output of a finished task.
pub(super) enum TaskOutput {
    Token(AuthId, Result<Grant, AuthFailure>),
    /// A token that the program has requested, and the part of it that the core needs.
    Authorized(AuthId, OpId, Result<TokenDetails>, Result<Grant, AuthFailure>),
    /// Whether the internet can be reached.
    Connectivity(CheckId, bool),
}

impl Tasks {
    pub(super) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, running: JoinSet::new(), tokens: BTreeMap::new() }
    }

    /// The current token, if it serves the need. Otherwise starts a task to get one.
    pub(super) fn get_token(&mut self, auth: AuthId, need: TokenNeed) -> Option<Grant> {
        // The usual case, without the detour through a task.
        if need == TokenNeed::Current
            && let Some(Proof::Token { token, generation }) = self.pipeline.session().present()
        {
            let renewable = self.pipeline.session().can_renew();
            return Some(Grant { token, generation, renewable });
        }
        let pipeline = Arc::clone(&self.pipeline);
        let task = self.running.spawn(async move {
            let proof = match need {
                TokenNeed::Current | TokenNeed::Authorized(_) => Session::proof(&pipeline).await,
                TokenNeed::Successor(generation) => Session::successor(&pipeline, generation).await,
                TokenNeed::Replacement(generation) => {
                    Session::proof_after(&pipeline, generation, cannot_renew()).await
                }
            };
            let outcome = match proof {
                Ok(Proof::Token { token, generation }) => {
                    let renewable = pipeline.session().can_renew();
                    Ok(Grant { token, generation, renewable })
                }
                // A client with basic authentication requests no token before it is authorized explicitly.
                Ok(Proof::Basic(_)) => Err(AuthFailure::NoMeans(cannot_renew().into_info())),
                Err(error) => Err(failure(&pipeline, error)),
            };
            TaskOutput::Token(auth, outcome)
        });
        self.tokens.insert(auth, task);
        None
    }

    /// Starts a task that gets a token for an explicit call of `authorize`, and makes it the current one (RSA10).
    pub(super) fn authorize(
        &mut self,
        auth: AuthId,
        op: OpId,
        params: Option<TokenParams>,
        options: Option<AuthOptions>,
    ) {
        let pipeline = Arc::clone(&self.pipeline);
        let task = self.running.spawn(async move {
            match Session::authorize(&pipeline, params, options.as_ref()).await {
                Ok((details, generation)) => {
                    let token = details.token.clone();
                    let renewable = pipeline.session().can_renew();
                    let grant = Grant { token, generation, renewable };
                    TaskOutput::Authorized(auth, op, Ok(details), Ok(grant))
                }
                Err(error) => {
                    let failure = failure(&pipeline, error.clone());
                    TaskOutput::Authorized(auth, op, Err(error), Err(failure))
                }
            }
        });
        self.tokens.insert(auth, task);
    }

    /// Aborts the task that gets a token.
    pub(super) fn abort_token(&mut self, auth: AuthId) {
        if let Some(task) = self.tokens.remove(&auth) {
            task.abort();
        }
    }

    /// Starts a task that checks whether the internet can be reached (RTN17j).
    pub(super) fn check_connectivity(&mut self, check: CheckId) {
        let pipeline = Arc::clone(&self.pipeline);
        self.running
            .spawn(async move { TaskOutput::Connectivity(check, pipeline.is_online().await) });
    }

    /// The output of the next task that finishes.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<TaskOutput> {
        loop {
            match ready!(self.running.poll_join_next(cx)) {
                Some(Ok(output)) => {
                    if let TaskOutput::Token(auth, _) | TaskOutput::Authorized(auth, ..) = &output {
                        self.tokens.remove(auth);
                    }
                    return Poll::Ready(output);
                }
                // An aborted task, or a panic in the program's callback. The core has a deadline for every request, so
                // it does not wait for this output for ever.
                Some(Err(error)) => {
                    if error.is_panic() {
                        tracing::error!("a task that gets tokens or checks the network panicked");
                    }
                }
                None => return Poll::Pending,
            }
        }
    }
}

/// Classifies the failure to get a token.
fn failure(pipeline: &Pipeline, error: Error) -> AuthFailure {
    let mut info = error.into_info();
    // Status 403 from an auth server is final (RSA4d).
    if info.code == ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK
        && let Some(cause) = info.cause.take_if(|cause| cause.status_code == 403)
    {
        info = *cause;
    }
    if info.code == ErrorCode::INCOMPATIBLE_CREDENTIALS {
        AuthFailure::WrongClient(info)
    } else if pipeline.session().can_renew() {
        AuthFailure::Refused(info)
    } else {
        AuthFailure::NoMeans(info)
    }
}
