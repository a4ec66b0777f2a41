//! Revoking tokens before their time (RSA17).

use capably_protocol::{ErrorInfo, Millis, ServerFrame, Str};
use serde::{Deserialize, Serialize};

use super::identity::{Identity, PresentedKey};
use crate::hub::{App, Now, Output, error};

/// How long clients have to get another token when they are given a margin, in ms.
const REAUTH_MARGIN: Millis = 30_001;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct RevocationRequest {
    /// As `type:value`.
    pub(crate) targets: Vec<Str>,
    /// Tokens issued before this time are meant; by default all so far. In ms since the epoch.
    pub(crate) issued_before: Option<Millis>,
    pub(crate) allow_reauth_margin: bool,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// In ms since the epoch.
    pub(crate) issued_before: Millis,
    /// In ms since the epoch.
    pub(crate) applies_at: Millis,
    /// Each target, and whether it is one.
    pub(crate) targets: Vec<(Str, Result<(), ErrorInfo>)>,
}

/// The revocations of an app.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Revocations(Vec<Revocation>);

#[derive(Debug, Serialize, Deserialize)]
struct Revocation {
    key_id: Str,
    target: Target,
    issued_before: Millis,
    applies_at: Millis,
}

/// Which tokens are meant.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Target {
    ClientId(Str),
    RevocationKey(Str),
    /// A resource that the token's capability names just so.
    Channel(Str),
}

impl Target {
    fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let unknown =
            || error::bad_request("a target is `clientId:`, `revocationKey:` or `channel:`");
        match text.split_once(':').filter(|(_, value)| !value.is_empty()) {
            Some(("clientId", value)) => Ok(Self::ClientId(value.into())),
            Some(("revocationKey", value)) => Ok(Self::RevocationKey(value.into())),
            Some(("channel", value)) => Ok(Self::Channel(value.into())),
            Some(_) | None => Err(unknown()),
        }
    }
}

impl Revocation {
    fn concerns(&self, identity: &Identity) -> bool {
        let Some(token) = &identity.token else { return false };
        identity.key_id == self.key_id
            && token.issued < self.issued_before
            && match &self.target {
                Target::ClientId(id) => token.client_id.as_ref() == Some(id),
                Target::RevocationKey(key) => token.revocation_key.as_ref() == Some(key),
                Target::Channel(name) => {
                    identity.capability.resources().any(|(resource, _)| resource == &**name)
                }
            }
    }

    /// Whether it does all that `other` does, and no later.
    fn includes(&self, other: &Self) -> bool {
        self.key_id == other.key_id
            && self.target == other.target
            && self.issued_before >= other.issued_before
            && self.applies_at <= other.applies_at
    }
}

impl Revocations {
    /// From when on the identity's token is revoked, if it is.
    pub(crate) fn applies_at(&self, identity: &Identity) -> Option<Millis> {
        let concerned = self.0.iter().filter(|revocation| revocation.concerns(identity));
        concerned.map(|revocation| revocation.applies_at).min()
    }

    pub(crate) fn has_revoked(&self, identity: &Identity, now: Millis) -> bool {
        self.applies_at(identity).is_some_and(|applies_at| applies_at <= now)
    }

    fn add(&mut self, revocation: Revocation) {
        if !self.0.iter().any(|known| known.includes(&revocation)) {
            self.0.retain(|known| !revocation.includes(known));
            self.0.push(revocation);
        }
    }
}

/// The times at which an app issues tokens, in ms since the epoch. A revocation of all tokens issued so far has a time
/// that is after theirs and not after that of any later token, even if all of that happens in one millisecond.
#[derive(Debug, Default)]
pub(crate) struct IssueTimes {
    /// Of the newest token.
    last: Millis,
    /// Earlier than this, no token is issued any more.
    next: Millis,
}

impl IssueTimes {
    /// The time of a token that is issued now.
    pub(crate) fn issue_at(&mut self, now: Millis) -> Millis {
        self.last = now.max(self.next);
        self.last
    }

    /// A time that is after all tokens issued so far, and not after those to come.
    fn end_at(&mut self, now: Millis) -> Millis {
        self.next = now.max(self.last) + 1;
        self.next
    }
}

impl App {
    /// Revokes tokens that were issued with a key, and disconnects those who hold them.
    ///
    /// # Errors
    /// Codes 40101, 40400 for the key that was presented; 40133 when it is another one, 40163 when its
    /// tokens cannot be revoked, 42918 for too many requests.
    pub(crate) fn revoke_tokens(
        &mut self,
        key_id: &str,
        presented: &PresentedKey,
        request: RevocationRequest,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Revoked, ErrorInfo> {
        let key = presented.check(&self.keys)?;
        if key.id != key_id {
            return Err(error::wrong_revocation_key());
        }
        self.admit_request(now)?;
        if !key.revocable {
            return Err(error::not_revocable());
        }
        let issued_before =
            request.issued_before.unwrap_or_else(|| self.issue_times.end_at(now.wall));
        let margin = if request.allow_reauth_margin { REAUTH_MARGIN } else { 0 };
        let applies_at = now.wall + margin;
        let targets = request.targets.into_iter().map(|text| {
            let target = Target::parse(&text).map(|target| {
                let key_id = key.id.clone();
                self.revocations.add(Revocation { key_id, target, issued_before, applies_at });
            });
            (text, target)
        });
        let targets = targets.collect();
        self.keep_revocations(outputs);

        let concerned: Vec<_> = self
            .connections
            .values()
            .filter(|connection| self.revocations.applies_at(&connection.identity).is_some())
            .filter_map(|connection| Some((connection.id.clone(), connection.transport?)))
            .collect();
        for (id, transport) in concerned {
            if request.allow_reauth_margin {
                outputs.push(Output::Frame(transport, ServerFrame::Auth));
            }
            self.watch_token(&id, now);
        }
        self.handle_tokens(now, outputs);
        // Told as the time of the call, which is not after that from which it applies.
        let issued_before = request.issued_before.unwrap_or(now.wall);
        Ok(Revoked { issued_before, applies_at, targets })
    }
}
