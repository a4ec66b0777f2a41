//! Who may use an app: credentials, tokens, and connections whose token ends.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ErrorInfo, Millis, ServerFrame, Str, TokenDetails, TokenRequest,
    frame::{AuthDetails, Connected, ErrorFrame},
};

use super::{
    capability,
    claims::Claims,
    identity::{Client, Credentials, Identity, PresentedKey},
    token::{self, PresentedToken, Token, TokenFacts},
    token_request,
};
use crate::hub::{
    App, Now, Output, TransportId, app::details, channel::attach, error, output::ConnectionId,
};

/// A token that has just been made.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) details: TokenDetails,
    /// The whole name of the key that it was issued with.
    pub(crate) key_name: String,
}

/// A client is asked for a new token this long before its token expires, in ms.
const PROMPT_BEFORE: Millis = 30_000;

impl App {
    /// Whoever presents these credentials, under the client id that the request names.
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
            Credentials::Token(token) => {
                let identity = Identity::of_token(token.check(&self.keys, now.wall)?, client_id)?;
                if self.revocations.has_revoked(&identity, now.wall) {
                    return Err(error::token_revoked());
                }
                Ok(identity)
            }
        }
    }

    /// Issues a token (RSA8). The request is signed, or comes with the key itself.
    ///
    /// # Errors
    /// Code 40400 with status 401 for an unknown key; 40101, 40104, 40105 for a request that does not
    /// hold; 40003 for the time to live; 40000 for the capability, and 40160 when none of it is the key's;
    /// 42918 for too many requests.
    pub(crate) fn request_token(
        &mut self,
        key_id: &str,
        request: &TokenRequest,
        presented: Option<&PresentedKey>,
        now: Now,
    ) -> Result<IssuedToken, ErrorInfo> {
        let key = self.keys.iter().find(|key| key.id == key_id);
        let key = Arc::clone(key.ok_or_else(error::unknown_key)?);
        if request.mac.is_some() {
            token_request::check(request, &key, &mut self.nonces, now.wall)?;
        } else {
            let presented = presented
                .ok_or_else(|| error::unauthorized("the token request has no mac"))?
                .check(&self.keys)?;
            if presented.id != key.id {
                return Err(error::unauthorized("the token request came with another key"));
            }
        }
        self.admit_request(now)?;
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
        let issued = self.issue_times.issue_at(now.wall);
        let facts = TokenFacts {
            client_id: client.name().cloned(),
            revocation_key: None,
            device_id: None,
            client_type: None,
            claims: Claims::default(),
            issued,
            expires: issued + ttl,
        };
        let token = Token { key, capability, client, facts };
        let mut issued = self.issue(&token);
        if wanted.is_none() {
            // The key's own text, as it was given.
            issued.details.capability = Some(token.key.capability_text.as_str().into());
        }
        Ok(issued)
    }

    /// Puts a token into the form in which it is given away.
    pub(crate) fn issue(&mut self, token: &Token) -> IssuedToken {
        self.tokens_issued += 1;
        let details = TokenDetails::new(token::seal(&self.id, token, self.tokens_issued))
            .issued(token.facts.issued)
            .expires(token.facts.expires)
            .capability(token.capability.to_string());
        let details = match token.client.told() {
            Some(client_id) => details.client_id(client_id),
            None => details,
        };
        IssuedToken { details, key_name: format!("{}.{}", self.id, token.key.id) }
    }

    /// Takes a new token into use on a connection (RTC8). Returns whether the connection goes on.
    pub(crate) fn receive_auth(
        &mut self,
        transport: TransportId,
        auth: &AuthDetails,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(id) = self.transports.get(&transport).cloned() else { return true };
        let Some(connection) = self.connections.get(&id) else { return true };
        let client_id = connection.identity.client.name().cloned();
        let identity = PresentedToken::parse(&auth.access_token).and_then(|token| {
            if *token.app_id() != *self.id {
                return Err(error::unauthorized("the token is of another app"));
            }
            self.authenticate(&Credentials::Token(token), client_id, now)
        });
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => {
                let frame = ErrorFrame { channel: None, error: Some(error) };
                outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
                return false;
            }
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.identity = identity;
            let connected = Connected {
                connection_id: Some(id.clone()),
                details: Some(details(&self.settings, connection, connection.key())),
                error: None,
            };
            outputs.push(Output::Frame(transport, ServerFrame::Connected(Box::new(connected))));
            attach::reconsider(
                connection,
                &mut self.channels,
                &mut self.presence,
                transport,
                now,
                outputs,
            );
        }
        self.watch_token(&id, now);
        true
    }

    /// Sees to it that [`handle_tokens`](Self::handle_tokens) looks at the connection's token in time.
    pub(crate) fn watch_token(&mut self, id: &ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(due) = connection.token_due.take() {
            self.token_watch.remove(&(due, id.clone()));
        }
        if connection.transport.is_none() {
            return;
        }
        if let Some(token) = &connection.identity.token {
            let left = token.expires.saturating_sub(now.wall).max(0);
            let wait = if left > PROMPT_BEFORE { left - PROMPT_BEFORE } else { left };
            let revoked = self.revocations.applies_at(&connection.identity);
            let wait = revoked.map_or(wait, |at| wait.min(at.saturating_sub(now.wall).max(0)));
            let due = now.steady + Duration::from_millis(wait.unsigned_abs());
            connection.token_due = Some(due);
            self.token_watch.insert((due, id.clone()));
        }
    }

    /// Asks clients whose token is about to expire for another, and disconnects those whose token has.
    pub(crate) fn handle_tokens(&mut self, now: Now, outputs: &mut Vec<Output>) {
        while let Some((due, id)) = self.token_watch.first().cloned()
            && due <= now.steady
        {
            self.token_watch.pop_first();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.token_due = None;
            let (Some(transport), Some(token)) = (connection.transport, &connection.identity.token)
            else {
                continue;
            };
            let ended = if token.has_expired(now.wall) {
                Some(error::token_expired())
            } else if self.revocations.has_revoked(&connection.identity, now.wall) {
                Some(error::token_revoked())
            } else {
                None
            };
            if let error @ Some(_) = ended {
                outputs.push(Output::Frame(transport, ServerFrame::Disconnected { error }));
                self.release_transport(&id, now.steady, outputs);
            } else {
                outputs.push(Output::Frame(transport, ServerFrame::Auth));
                self.watch_token(&id, now);
            }
        }
    }
}
