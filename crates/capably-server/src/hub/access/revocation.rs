//! Revoking tokens before they expire (RSA17).

use capably_protocol::{ErrorInfo, Millis, Str};
use serde::{Deserialize, Serialize};

use super::{
    Access,
    identity::{Identity, PresentedKey},
    token_request::{MAX_TTL, WINDOW},
};
use crate::hub::{Now, Settings, error};

/// The time that a client has to obtain another token if the request allows a margin, in ms.
const REAUTH_MARGIN: Millis = 30_001;

/// A request to revoke tokens.
#[derive(Clone, Debug)]
pub(crate) struct RevocationRequest {
    /// As `type:value`.
    pub(crate) targets: Vec<Str>,
    /// Revokes tokens issued before this time, in ms since the epoch. By default, all tokens so far.
    pub(crate) issued_before: Option<Millis>,
    pub(crate) allow_reauth_margin: bool,
}

/// The response to a revocation request.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// In ms since the epoch.
    pub(crate) issued_before: Millis,
    /// In ms since the epoch.
    pub(crate) applies_at: Millis,
    /// Each target, and an error if it is invalid.
    pub(crate) targets: Vec<(Str, Result<(), ErrorInfo>)>,
}

/// The revocations of an app.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Revocations(Vec<Revocation>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Revocation {
    key_id: Str,
    target: Target,
    issued_before: Millis,
    applies_at: Millis,
}

/// The tokens to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Target {
    ClientId(Str),
    RevocationKey(Str),
    /// Tokens whose capability names exactly this resource.
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

    /// Whether all tokens that this revocation concerns have expired. Another node reads it, whose clock may be behind.
    fn has_ended(&self, now: Millis) -> bool {
        self.issued_before.saturating_add(MAX_TTL + WINDOW) <= now
    }

    /// Whether this revocation makes `other` redundant.
    fn includes(&self, other: &Self) -> bool {
        self.key_id == other.key_id
            && self.target == other.target
            && self.issued_before >= other.issued_before
            && self.applies_at <= other.applies_at
    }
}

impl Revocations {
    /// The time from which the identity's token is revoked, in ms since the epoch.
    pub(crate) fn applies_at(&self, identity: &Identity) -> Option<Millis> {
        let concerned = self.0.iter().filter(|revocation| revocation.concerns(identity));
        concerned.map(|revocation| revocation.applies_at).min()
    }

    pub(crate) fn has_revoked(&self, identity: &Identity, now: Millis) -> bool {
        self.applies_at(identity).is_some_and(|applies_at| applies_at <= now)
    }

    /// Adds the revocations of another node, or those that were stored. Returns whether that changes anything. `now` is in ms
    /// since the epoch.
    pub(crate) fn merge(&mut self, others: Self, now: Millis) -> bool {
        self.prune(now);
        let mut is_changed = false;
        for revocation in others.0.into_iter().filter(|it| !it.has_ended(now)) {
            is_changed |= !self.0.iter().any(|known| known.includes(&revocation));
            self.add(revocation);
        }
        is_changed
    }

    /// Removes the revocations that can concern no token any more. Each addition does this, so that there are no more than
    /// were made in the longest life of a token.
    fn prune(&mut self, now: Millis) {
        self.0.retain(|revocation| !revocation.has_ended(now));
    }

    fn add(&mut self, revocation: Revocation) {
        if !self.0.iter().any(|known| known.includes(&revocation)) {
            self.0.retain(|known| !revocation.includes(known));
            self.0.push(revocation);
        }
    }
}

impl Access {
    /// Revokes tokens that were issued with a key.
    ///
    /// # Errors
    /// Codes 40101, 40400 for the key that was presented; 40133 when it is another key, 40163 when its tokens cannot be
    /// revoked, 42918 for too many requests.
    pub(crate) fn revoke(
        &mut self,
        key_id: &str,
        presented: &PresentedKey,
        request: RevocationRequest,
        settings: &Settings,
        now: Now,
    ) -> Result<Revoked, ErrorInfo> {
        let key = presented.check(&self.keys)?;
        if key.id != key_id {
            return Err(error::wrong_revocation_key());
        }
        self.admit_request(settings, now)?;
        if !key.revocable {
            return Err(error::not_revocable());
        }
        let issued_before =
            request.issued_before.unwrap_or_else(|| self.issue_times.end_at(now.wall));
        let margin = if request.allow_reauth_margin { REAUTH_MARGIN } else { 0 };
        let applies_at = now.wall + margin;
        self.revocations.prune(now.wall);
        let targets = request.targets.into_iter().map(|text| {
            let target = Target::parse(&text).map(|target| {
                let key_id = key.id.clone();
                self.revocations.add(Revocation { key_id, target, issued_before, applies_at });
            });
            (text, target)
        });
        let targets = targets.collect();
        // The response has the time of the call. The exact time may be a millisecond ahead of the clock.
        let issued_before = request.issued_before.unwrap_or(now.wall);
        Ok(Revoked { issued_before, applies_at, targets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(client: &str, issued_before: Millis) -> Revocation {
        let (key_id, target) = ("key".into(), Target::ClientId(client.into()));
        Revocation { key_id, target, issued_before, applies_at: issued_before }
    }

    fn clients(revocations: &Revocations) -> Vec<&str> {
        let targets = revocations.0.iter().map(|it| match &it.target {
            Target::ClientId(id) => &**id,
            other => panic!("{other:?}"),
        });
        targets.collect()
    }

    #[test]
    fn revocations_end_with_the_last_token_that_they_concern() {
        let now = 1_700_000_000_000;
        let ended = now - MAX_TTL - WINDOW;
        let mut ours = Revocations(vec![revocation("ada", ended), revocation("bo", ended + 1)]);
        let theirs = vec![revocation("cy", ended), revocation("di", ended + 1)];
        assert!(!ours.merge(Revocations(theirs[..1].to_vec()), now));
        assert_eq!(clients(&ours), ["bo"]);
        assert!(ours.merge(Revocations(theirs), now));
        assert_eq!(clients(&ours), ["bo", "di"]);
        ours.prune(now + 1);
        assert_eq!(clients(&ours), [""; 0]);
        let forever = Revocations(vec![revocation("ed", Millis::MAX)]);
        assert!(ours.merge(forever, Millis::MAX - 1));
    }

    #[test]
    fn a_revocation_that_another_includes_is_not_kept() {
        let now = 1_700_000_000_000;
        let mut ours = Revocations::default();
        let mut merge = |others: Vec<Revocation>| {
            let is_changed = ours.merge(Revocations(others), now);
            let kept: Vec<_> = ours.0.iter().map(|it| (&*it.key_id, it.issued_before)).collect();
            (is_changed, format!("{} {kept:?}", clients(&ours).join(" ")))
        };
        let of_ada = |issued_before, applies_at| Revocation {
            applies_at,
            ..revocation("ada", issued_before)
        };
        let first = (true, format!("ada {:?}", [("key", now)]));
        assert_eq!(merge(vec![of_ada(now, now)]), first);
        // The first revocation includes the same one again, one that concerns fewer tokens, and one that applies later.
        let others = vec![of_ada(now, now), of_ada(now - 1, now), of_ada(now, now + 1)];
        assert_eq!(merge(others), (false, first.1));
        // A revocation stays beside the first if it applies sooner, or concerns another client or the tokens of another key.
        let of_another_key = Revocation { key_id: "other".into(), ..of_ada(now, now) };
        let others = vec![of_ada(now - 1, now - 1), revocation("bo", now), of_another_key];
        let kept = [("key", now), ("key", now - 1), ("key", now), ("other", now)];
        assert_eq!(merge(others), (true, format!("ada ada bo ada {kept:?}")));
        // A revocation that concerns more tokens, and applies as soon, replaces both of that client and key.
        let kept = [("key", now), ("other", now), ("key", now + 1)];
        let more = vec![of_ada(now + 1, now - 1)];
        assert_eq!(merge(more), (true, format!("bo ada ada {kept:?}")));
    }
}
