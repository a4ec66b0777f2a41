//! Issuing tokens (RSA8).

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Millis, Str, TokenDetails, TokenRequest};

use super::{
    Access, capability,
    capability::Capability,
    claims::Claims,
    identity::{Client, Key, PresentedKey},
    token::{self, Token, TokenFacts},
    token_request::{self, Nonce},
};
use crate::hub::{Now, Settings, error};

/// A token that was just issued.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) details: TokenDetails,
    /// The whole name of the key that issued it.
    pub(crate) key_name: String,
}

/// The validity of a device's token, in ms: a year.
const DEVICE_TOKEN_TTL: Millis = 365 * 24 * 3_600_000;

impl Access {
    /// Checks that a request is signed with the key, or comes with the key itself. Returns the nonce of a signed request:
    /// a token may be issued only if it was not used before.
    ///
    /// # Errors
    /// Code 40400 with status 401 for an unknown key; 40000, 40101 and 40104 for an invalid request.
    pub(crate) fn check_request(
        &self,
        key_id: &str,
        request: &TokenRequest,
        presented: Option<&PresentedKey>,
        now: Now,
    ) -> Result<Option<Nonce>, ErrorInfo> {
        let key = self.key(key_id)?;
        if request.mac.is_some() {
            return token_request::check(request, &key, now.wall).map(Some);
        }
        let presented = presented
            .ok_or_else(|| error::unauthorized("the token request has no mac"))?
            .check(&self.keys)?;
        if presented.id != key.id {
            return Err(error::unauthorized("the token request came with another key"));
        }
        Ok(None)
    }

    /// Uses a nonce, without an engine.
    ///
    /// # Errors
    /// Code 40105 if it was used before, 42910 when there are too many.
    pub(crate) fn use_nonce(&mut self, nonce: &Nonce, now: Now) -> Result<(), ErrorInfo> {
        self.nonces.take(nonce, now.wall)
    }

    /// Issues a token for a [checked](Self::check_request) request.
    ///
    /// # Errors
    /// Code 40400 with status 401 for an unknown key; 40003 for the time to live; 40000 for the capability, and 40160 when
    /// the key has none of it; 42918 for too many requests.
    pub(crate) fn issue_token(
        &mut self,
        key_id: &str,
        request: &TokenRequest,
        settings: &Settings,
        now: Now,
    ) -> Result<IssuedToken, ErrorInfo> {
        let key = self.key(key_id)?;
        self.admit_request(settings, now)?;
        let ttl = token_request::ttl(request)?;
        let wanted = request.capability.as_deref().filter(|wanted| !wanted.is_empty());
        let capability = match wanted {
            None => Arc::clone(&key.capability),
            Some(wanted) => {
                Arc::new(capability::read(&wanted.into())?.0.intersection(&key.capability))
            }
        };
        if capability.is_empty() {
            return Err(error::nothing_granted());
        }
        let client = match &request.client_id {
            None => Client::Anonymous,
            Some(id) if *id == "*" => Client::Wildcard,
            Some(id) => Client::Named(id.clone()),
        };
        let facts = self.facts(&client, None, ttl, now);
        let token = Token { key, capability, client, facts };
        let mut issued = self.issue(&token);
        if wanted.is_none() {
            // The text of the key's capability as it was configured.
            issued.details.capability = Some(token.key.capability_text.as_str().into());
        }
        Ok(issued)
    }

    /// Issues the token of a device, which allows it to manage its push subscriptions.
    pub(crate) fn issue_for_device(
        &mut self,
        key: Arc<Key>,
        device_id: Str,
        client: Client,
        allowed: &Capability,
        now: Now,
    ) -> IssuedToken {
        let facts = self.facts(&client, Some(device_id), DEVICE_TOKEN_TTL, now);
        let capability = Capability::new()
            .allow("*", [capability::Operation::PushSubscribe])
            .intersection(allowed);
        self.issue(&Token { key, capability: capability.into(), client, facts })
    }

    fn facts(
        &mut self,
        client: &Client,
        device_id: Option<Str>,
        ttl: Millis,
        now: Now,
    ) -> TokenFacts {
        let issued = self.issue_times.issue_at(now.wall);
        TokenFacts {
            client_id: client.name().cloned(),
            revocation_key: None,
            device_id,
            client_type: None,
            claims: Claims::default(),
            issued,
            expires: issued + ttl,
        }
    }

    /// Signs a token.
    fn issue(&mut self, token: &Token) -> IssuedToken {
        self.tokens_issued += 1;
        let details = TokenDetails::new(token::seal(&self.app_id, token, self.tokens_issued))
            .issued(token.facts.issued)
            .expires(token.facts.expires)
            .capability(token.capability.to_string());
        let details = match token.client.wire_id() {
            Some(client_id) => details.client_id(client_id),
            None => details,
        };
        IssuedToken { details, key_name: format!("{}.{}", self.app_id, token.key.id) }
    }
}

/// The times at which an app issues tokens, in ms since the epoch.
///
/// A revocation of all tokens so far has a time after theirs, and not after that of a later token, even if all of these
/// are issued in one millisecond.
#[derive(Debug, Default)]
pub(crate) struct IssueTimes {
    /// The time of the newest token.
    last: Millis,
    /// The earliest time of the next token.
    next: Millis,
}

impl IssueTimes {
    /// The time for a token that is issued now.
    pub(crate) fn issue_at(&mut self, now: Millis) -> Millis {
        self.last = now.max(self.next);
        self.last
    }

    /// A time after all tokens so far, and not after later ones.
    pub(super) fn end_at(&mut self, now: Millis) -> Millis {
        self.next = now.max(self.last) + 1;
        self.next
    }
}
