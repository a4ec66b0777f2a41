//! Token requests: their form, their signature, and the check that each is used once.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{ErrorInfo, JsonObject, Millis, TokenRequest};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::identity::Key;
use crate::hub::error;

/// The validity of a token if the request has none, in ms.
const DEFAULT_TTL: Millis = 3_600_000;

/// The longest validity of a token, in ms.
pub(crate) const MAX_TTL: Millis = 86_400_000;

/// The most that a request's timestamp may differ from the clock, in ms.
pub(crate) const WINDOW: Millis = 120_000;

/// Reads a request to the path of this key.
///
/// # Errors
/// Code 40000 for a field of the wrong type, 40101 for another key, 40012 for an invalid client id.
pub(crate) fn read(mut body: JsonObject, key_name: &str) -> Result<TokenRequest, ErrorInfo> {
    // The path has the name already, so that the body may omit it.
    if body.get("keyName").is_none_or(Value::is_null) {
        body.insert("keyName".to_owned(), key_name.into());
    }
    let request = TokenRequest::from_value(Value::Object(body))?;
    if request.key_name != *key_name {
        return Err(error::unauthorized("the keyName of the request is not that of its path"));
    }
    if request.client_id.as_deref() == Some("") {
        return Err(error::bad_client_id("a token cannot have an empty clientId"));
    }
    Ok(request)
}

/// The requested validity of the token, in ms.
///
/// # Errors
/// Code 40003 for less than 1 ms or more than a day.
pub(crate) fn ttl(request: &TokenRequest) -> Result<Millis, ErrorInfo> {
    match request.ttl {
        None | Some(0) => Ok(DEFAULT_TTL),
        Some(ttl @ 1..=MAX_TTL) => Ok(ttl),
        Some(_) => Err(error::bad_parameter("the ttl is not between 1 ms and 24 hours")),
    }
}

/// The nonce of a token request with its timestamp and its key. A nonce may be used once with each timestamp (TE5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonce {
    /// In ms since the epoch.
    timestamp: Millis,
    /// Of the key and the nonce: it has a fixed size, however long the nonce is.
    digest: [u8; 32],
}

impl Nonce {
    fn new(key_id: &str, nonce: &str, timestamp: Millis) -> Self {
        let digest = Sha256::new().chain_update(key_id).chain_update("\n").chain_update(nonce);
        Self { timestamp, digest: digest.finalize().into() }
    }

    /// A text that no other nonce of the app has.
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", self.timestamp, URL_SAFE_NO_PAD.encode(self.digest))
    }
}

/// Checks that the request is signed with the key and recent. Returns its nonce, which must not have been used before.
///
/// # Errors
/// Code 40101 for the MAC, 40104 for the timestamp, 40000 for a missing field.
pub(crate) fn check(request: &TokenRequest, key: &Key, now: Millis) -> Result<Nonce, ErrorInfo> {
    let missing = |what| error::bad_request(format!("the token request has no {what}"));
    let timestamp = request.timestamp.ok_or_else(|| missing("timestamp"))?;
    let nonce = request.nonce.as_ref().ok_or_else(|| missing("nonce"))?;
    if !key.has_signed(request) {
        return Err(error::unauthorized("the mac of the token request is wrong"));
    }
    if timestamp.abs_diff(now) > WINDOW.unsigned_abs() {
        return Err(error::bad_timestamp());
    }
    Ok(Nonce::new(&key.id, nonce, timestamp))
}

/// The most requests to remember. Without a limit, a client with the key could take all memory.
const MAX_NONCES: usize = 500_000;

/// The used nonces of an app without an engine, for as long as their timestamp is recent.
#[derive(Debug, Default)]
pub(crate) struct Nonces(BTreeSet<(Millis, [u8; 32])>);

impl Nonces {
    /// Uses a nonce.
    ///
    /// # Errors
    /// Code 40105 if it was used before, 42910 when there are too many.
    pub(super) fn take(&mut self, nonce: &Nonce, now: Millis) -> Result<(), ErrorInfo> {
        while self.0.first().is_some_and(|(oldest, _)| *oldest + WINDOW < now) {
            self.0.pop_first();
        }
        let used = (nonce.timestamp, nonce.digest);
        if self.0.contains(&used) {
            return Err(error::nonce_replayed());
        }
        if self.0.len() >= MAX_NONCES {
            return Err(error::too_many_token_requests(MAX_NONCES));
        }
        self.0.insert(used);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_stored_while_their_requests_are_valid() {
        let mut nonces = Nonces::default();
        let now = 1_726_585_978_590;
        for (key, nonce, timestamp) in
            [("a", "x", now), ("b", "x", now), ("a", "y", now), ("a", "x", now + 1)]
        {
            let nonce = Nonce::new(key, nonce, timestamp);
            assert_eq!(nonces.take(&nonce, now), Ok(()));
            let again = nonces.take(&nonce, now).unwrap_err();
            assert_eq!((again.code.0, again.status_code), (40105, 401));
        }
        // The last millisecond in which the timestamp is valid.
        let last = now + WINDOW;
        let first = Nonce::new("a", "x", now);
        assert_eq!(nonces.take(&first, last).unwrap_err().code.0, 40105);
        assert_eq!(nonces.take(&Nonce::new("a", "z", last + 2), last + 2), Ok(()));
        assert_eq!(nonces.0.len(), 1, "what nobody can send again is forgotten");
    }

    #[test]
    fn nonces_have_texts_of_their_own() {
        let others = [("a", "y", 1), ("b", "x", 1), ("a", "x", 2), ("a", "x", -1), ("a", "", 1)];
        let first = Nonce::new("a", "x", 1);
        assert_eq!(first.text(), Nonce::new("a", "x", 1).text());
        for (key, nonce, timestamp) in others {
            assert_ne!(first.text(), Nonce::new(key, nonce, timestamp).text());
        }
        assert!(Nonce::new("a", &"x".repeat(100_000), 1).text().len() < 100);
    }

    #[test]
    fn a_full_store_of_nonces_refuses_requests() {
        let mut nonces = Nonces::default();
        let now = 1_726_585_978_590;
        let first = Nonce::new("a", "0", now);
        assert_eq!(nonces.take(&first, now), Ok(()));
        let others = (1..MAX_NONCES).map(|number| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            (now, digest)
        });
        nonces.0.extend(others);
        let refused = nonces.take(&Nonce::new("a", "one more", now), now).unwrap_err();
        assert_eq!((refused.code.0, refused.status_code), (42910, 429));
        assert_eq!(nonces.take(&first, now).unwrap_err().code.0, 40105);
        assert_eq!(nonces.take(&Nonce::new("a", "later", now), now + WINDOW + 1), Ok(()));
    }
}
