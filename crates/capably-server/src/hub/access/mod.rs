//! Access: the keys of an app, its tokens, and the identity of a client.

pub(crate) mod capability;
pub(super) mod claims;
pub(crate) mod identity;
pub(super) mod issuing;
pub(crate) mod revocation;
pub(crate) mod secret;
pub(crate) mod token;
pub(crate) mod token_request;

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Str};

use self::{
    identity::{Credentials, Identity, Key},
    issuing::IssueTimes,
    revocation::Revocations,
    token::PresentedToken,
    token_request::Nonces,
};
use super::{Now, Settings, error, pace::Pace};

/// The keys of an app, and the state of the tokens issued with them.
#[derive(Debug)]
pub(crate) struct Access {
    app_id: Str,
    pub(crate) keys: Vec<Arc<Key>>,
    /// Numbers the tokens, so that no two are equal.
    tokens_issued: u64,
    issue_times: IssueTimes,
    nonces: Nonces,
    pub(crate) revocations: Revocations,
    request_pace: Pace,
}

impl Access {
    pub(crate) fn new(app_id: Str, keys: Vec<Arc<Key>>) -> Self {
        Self {
            app_id,
            keys,
            tokens_issued: 0,
            issue_times: IssueTimes::default(),
            nonces: Nonces::default(),
            revocations: Revocations::default(),
            request_pace: Pace::default(),
        }
    }

    /// The identity that the credentials prove, with the client id that the request names.
    ///
    /// # Errors
    /// Codes 40003, 40101, 40400, 40141, 40142 and 40144 for the credentials; 40012 and 40102 for the client id.
    pub(crate) fn authenticate(
        &self,
        credentials: &Credentials,
        client_id: Option<Str>,
        now: Now,
    ) -> Result<Identity, ErrorInfo> {
        match credentials {
            Credentials::Key(key) => Identity::of_key(&*key.check(&self.keys)?, client_id),
            Credentials::Token(token) => self.authenticate_token(token, client_id, now),
        }
    }

    /// As [`authenticate`](Self::authenticate), with the text of a token that may be of any app.
    pub(crate) fn authenticate_text(
        &self,
        token: &str,
        client_id: Option<Str>,
        now: Now,
    ) -> Result<Identity, ErrorInfo> {
        let token = PresentedToken::parse(token)?;
        if *token.app_id() != *self.app_id {
            return Err(error::unauthorized("the token is of another app"));
        }
        self.authenticate_token(&token, client_id, now)
    }

    fn authenticate_token(
        &self,
        token: &PresentedToken,
        client_id: Option<Str>,
        now: Now,
    ) -> Result<Identity, ErrorInfo> {
        let identity = Identity::of_token(token.check(&self.keys, now.wall)?, client_id)?;
        if self.revocations.has_revoked(&identity, now.wall) {
            return Err(error::token_revoked());
        }
        Ok(identity)
    }

    /// Counts a REST request whose credentials are valid.
    ///
    /// # Errors
    /// Code 42918 when the app receives more requests than it may.
    pub(crate) fn admit_request(&mut self, settings: &Settings, now: Now) -> Result<(), ErrorInfo> {
        match settings.max_request_rate {
            Some(rate) if !self.request_pace.admit(1, rate, now.steady) => {
                Err(error::too_many_requests(rate))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The key with this id, the part of its name after the app's id.
    pub(crate) fn key(&self, id: &str) -> Result<Arc<Key>, ErrorInfo> {
        self.keys.iter().find(|key| key.id == id).cloned().ok_or_else(error::unknown_key)
    }
}
