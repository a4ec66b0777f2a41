//! Requests for tokens: what they may ask for, and that nobody sends one twice.

use std::collections::{BTreeSet, HashSet};

use capably_protocol::{ErrorInfo, JsonObject, Millis, TokenRequest};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{auth::Key, error};

/// How long a token holds when the request does not say, in ms.
const DEFAULT_TTL: Millis = 3_600_000;

/// The longest that a token may hold, in ms.
const MAX_TTL: Millis = 86_400_000;

/// How far a request's timestamp may be from now, in ms.
const WINDOW: Millis = 120_000;

/// Reads a request that came to the path of this key.
///
/// # Errors
/// Code 40000 for a part of the wrong type, 40101 when it is for another key, 40012 for a client id that
/// no token can have.
pub(crate) fn read(mut body: JsonObject, key_name: &str) -> Result<TokenRequest, ErrorInfo> {
    // The path says it already, so it may be left out.
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

/// How long the token is to hold, in ms.
///
/// # Errors
/// Code 40003 when that is less than 1 ms or more than a day.
pub(super) fn ttl(request: &TokenRequest) -> Result<Millis, ErrorInfo> {
    match request.ttl {
        None | Some(0) => Ok(DEFAULT_TTL),
        Some(ttl @ 1..=MAX_TTL) => Ok(ttl),
        Some(_) => Err(error::bad_parameter("the ttl is not between 1 ms and 24 hours")),
    }
}

/// Checks that the holder of the key made a request, lately, and that it has not been used.
///
/// # Errors
/// Code 40101 for the MAC, 40104 for the timestamp, 40105 for the nonce, 40000 when one is missing.
pub(super) fn check(
    request: &TokenRequest,
    key: &Key,
    nonces: &mut Nonces,
    now: Millis,
) -> Result<(), ErrorInfo> {
    let missing = |what| error::bad_request(format!("the token request has no {what}"));
    let timestamp = request.timestamp.ok_or_else(|| missing("timestamp"))?;
    let nonce = request.nonce.as_ref().ok_or_else(|| missing("nonce"))?;
    if !key.has_signed(request) {
        return Err(error::unauthorized("the mac of the token request is wrong"));
    }
    if timestamp.abs_diff(now) > WINDOW.unsigned_abs() {
        return Err(error::bad_timestamp());
    }
    nonces.take(&key.id, nonce, timestamp + WINDOW, now)
}

/// The nonces that have been used, for as long as their requests could be sent again.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    used: HashSet<[u8; 32]>,
    expiries: BTreeSet<(Millis, [u8; 32])>,
}

impl Nonces {
    fn take(
        &mut self,
        key_id: &str,
        nonce: &str,
        until: Millis,
        now: Millis,
    ) -> Result<(), ErrorInfo> {
        while let Some((expiry, digest)) = self.expiries.first().copied()
            && expiry < now
        {
            self.expiries.pop_first();
            self.used.remove(&digest);
        }
        // Of a fixed size, however long the nonce is.
        let digest = Sha256::new().chain_update(key_id).chain_update("\n").chain_update(nonce);
        let digest = digest.finalize().into();
        if !self.used.insert(digest) {
            return Err(error::nonce_replayed());
        }
        self.expiries.insert((until, digest));
        Ok(())
    }
}
