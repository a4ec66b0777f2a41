//! What the driver has others do: get tokens, check the network. None of it holds up the connection.

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
    auth::{AuthOptions, Proof, Session, no_means},
    rest::Pipeline,
};

/// Tasks that end with the driver.
pub(crate) struct Errands {
    pub(crate) pipeline: Arc<Pipeline>,
    tasks: JoinSet<Finished>,
    tokens: BTreeMap<AuthId, AbortHandle>,
}

/// An errand that is done.
pub(crate) enum Finished {
    Token(AuthId, Result<Grant, AuthFailure>),
    /// The token that a user asked for; the core needs less of it.
    Authorized(AuthId, OpId, Result<TokenDetails>, Result<Grant, AuthFailure>),
    Checked(CheckId, bool),
}

impl Errands {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, tasks: JoinSet::new(), tokens: BTreeMap::new() }
    }

    /// Gets a token: at once, if there is one; else it is among what is finished later.
    pub(crate) fn get(&mut self, auth: AuthId, need: TokenNeed) -> Option<Grant> {
        if need == TokenNeed::Current
            && let Some(Proof::Token { token, generation }) = self.pipeline.session().present()
        {
            let renewable = self.pipeline.session().can_renew();
            return Some(Grant { token, generation, renewable });
        }
        let pipeline = Arc::clone(&self.pipeline);
        let task = self.tasks.spawn(async move {
            let proof = match need {
                TokenNeed::Current | TokenNeed::Authorized(_) => Session::proof(&pipeline).await,
                TokenNeed::Successor(generation) => Session::successor(&pipeline, generation).await,
                TokenNeed::Replacement(generation) => {
                    Session::proof_after(&pipeline, generation, no_means()).await
                }
            };
            let outcome = match proof {
                Ok(Proof::Token { token, generation }) => {
                    let renewable = pipeline.session().can_renew();
                    Ok(Grant { token, generation, renewable })
                }
                // Only before the user has authorized, and then no token is asked for.
                Ok(Proof::Basic(_)) => Err(AuthFailure::NoMeans(no_means().into_info())),
                Err(error) => Err(failure(&pipeline, error)),
            };
            Finished::Token(auth, outcome)
        });
        self.tokens.insert(auth, task);
        None
    }

    /// Gets a token as a user asks for it, and uses it from now on (RSA10).
    pub(crate) fn authorize(
        &mut self,
        auth: AuthId,
        op: OpId,
        params: Option<TokenParams>,
        options: Option<AuthOptions>,
    ) {
        let pipeline = Arc::clone(&self.pipeline);
        let task = self.tasks.spawn(async move {
            match Session::authorize(&pipeline, params, options.as_ref()).await {
                Ok((details, generation)) => {
                    let token = details.token.clone();
                    let renewable = pipeline.session().can_renew();
                    let grant = Grant { token, generation, renewable };
                    Finished::Authorized(auth, op, Ok(details), Ok(grant))
                }
                Err(error) => {
                    let failure = failure(&pipeline, error.clone());
                    Finished::Authorized(auth, op, Err(error), Err(failure))
                }
            }
        });
        self.tokens.insert(auth, task);
    }

    /// Gives up getting a token.
    pub(crate) fn abandon(&mut self, auth: AuthId) {
        if let Some(task) = self.tokens.remove(&auth) {
            task.abort();
        }
    }

    /// Finds out whether there is a network (RTN17j).
    pub(crate) fn check(&mut self, check: CheckId) {
        let pipeline = Arc::clone(&self.pipeline);
        self.tasks.spawn(async move { Finished::Checked(check, pipeline.is_online().await) });
    }

    /// The next errand that is done.
    pub(crate) fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Finished> {
        loop {
            match ready!(self.tasks.poll_join_next(cx)) {
                Some(Ok(finished)) => {
                    if let Finished::Token(auth, _) | Finished::Authorized(auth, ..) = &finished {
                        self.tokens.remove(auth);
                    }
                    return Poll::Ready(finished);
                }
                // What was given up, or panicked in code of the user: the core waits for neither, since
                // everything it waits for has a deadline.
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

/// What kind of failure it is that there is no token.
fn failure(pipeline: &Pipeline, error: Error) -> AuthFailure {
    let mut info = error.into_info();
    // What an auth server says with status 403 is final (RSA4d).
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
