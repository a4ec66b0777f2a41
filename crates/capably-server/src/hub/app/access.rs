//! Credentials and tokens.

use capably_protocol::{ErrorInfo, Str, TokenRequest};

use super::App;
use crate::hub::{
    IssuedToken, Now, Output, Turn,
    access::{
        identity::{Credentials, Identity, PresentedKey},
        revocation::{RevocationRequest, Revocations, Revoked},
        token_request::Nonce,
    },
};

impl App {
    /// The identity that the credentials prove, with the client id that the request names.
    ///
    /// # Errors
    /// As [`Access::authenticate`](crate::hub::access::Access::authenticate).
    pub(crate) fn authenticate(
        &self,
        credentials: &Credentials,
        client_id: Option<Str>,
        now: Now,
    ) -> Result<Identity, ErrorInfo> {
        self.access.authenticate(credentials, client_id, now)
    }

    /// Counts a REST request whose credentials are valid.
    ///
    /// # Errors
    /// Code 42918 when the app receives more requests than it may.
    pub(crate) fn admit_request(&mut self, now: Now) -> Result<(), ErrorInfo> {
        self.access.admit_request(&self.settings, now)
    }

    /// The revocations, to store them.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.access.revocations
    }

    /// Sets the revocations that were stored.
    pub(crate) fn set_revocations(&mut self, revocations: Revocations) {
        self.access.revocations = revocations;
    }

    /// Applies the revocations that another node has stored, besides the known ones.
    pub(crate) fn apply_revocations(
        &mut self,
        revocations: Revocations,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let before = self.access.revocations.clone();
        if !self.access.revocations.merge(revocations, now.wall) {
            return;
        }
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let (revocations, channels) = (&self.access.revocations, &mut self.channels);
        // Only a request that allows a margin revokes tokens later.
        let prompts = |identity: &Identity| {
            let applies_at = revocations.applies_at(identity);
            applies_at > Some(now.wall) && applies_at != before.applies_at(identity)
        };
        self.connections.apply_revocations(revocations, prompts, channels, turn);
        self.send_metadata(now, outputs);
    }

    /// Checks a token request, and returns its nonce (RSA8).
    ///
    /// # Errors
    /// As [`Access::check_request`](crate::hub::access::Access::check_request).
    pub(crate) fn check_token_request(
        &self,
        key_id: &str,
        request: &TokenRequest,
        presented: Option<&PresentedKey>,
        now: Now,
    ) -> Result<Option<Nonce>, ErrorInfo> {
        self.access.check_request(key_id, request, presented, now)
    }

    /// Uses the nonce of a token request, without an engine.
    ///
    /// # Errors
    /// As [`Access::use_nonce`](crate::hub::access::Access::use_nonce).
    pub(crate) fn use_nonce(&mut self, nonce: &Nonce, now: Now) -> Result<(), ErrorInfo> {
        self.access.use_nonce(nonce, now)
    }

    /// Issues a token for a checked request (RSA8).
    ///
    /// # Errors
    /// As [`Access::issue_token`](crate::hub::access::Access::issue_token).
    pub(crate) fn issue_token(
        &mut self,
        key_id: &str,
        request: &TokenRequest,
        now: Now,
    ) -> Result<IssuedToken, ErrorInfo> {
        self.access.issue_token(key_id, request, &self.settings, now)
    }

    /// Revokes tokens that were issued with a key, and disconnects the clients that use them (RSA17).
    ///
    /// # Errors
    /// As [`Access::revoke`](crate::hub::access::Access::revoke).
    pub(crate) fn revoke_tokens(
        &mut self,
        key_id: &str,
        presented: &PresentedKey,
        request: RevocationRequest,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Revoked, ErrorInfo> {
        let prompts = request.allow_reauth_margin;
        let revoked = self.access.revoke(key_id, presented, request, &self.settings, now)?;
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let (revocations, channels) = (&self.access.revocations, &mut self.channels);
        self.connections.apply_revocations(revocations, |_| prompts, channels, turn);
        Ok(revoked)
    }
}
