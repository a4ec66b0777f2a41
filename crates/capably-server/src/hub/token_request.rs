//! Requests for tokens: what they say, and that nobody sends one twice.

use std::collections::{BTreeSet, HashSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, JsonObject, Millis, Str};
use hmac::Mac;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{auth::Key, error};

/// How long a token holds when the request does not say, in ms.
const DEFAULT_TTL: Millis = 3_600_000;

/// The longest that a token may hold, in ms.
const MAX_TTL: Millis = 86_400_000;

/// How far a request's timestamp may be from now, in ms.
const WINDOW: Millis = 120_000;

/// A request for a token (TE). Its parts are kept as their texts, which are what is signed.
pub(crate) struct TokenRequest {
    ttl: Option<Number>,
    pub(super) capability: Option<Value>,
    pub(super) client_id: Option<Str>,
    timestamp: Option<Number>,
    nonce: Option<String>,
    mac: Option<String>,
}

/// A number that came as one or as text.
struct Number {
    text: String,
    value: Millis,
}

impl TokenRequest {
    /// # Errors
    /// Code 40000 for a part of the wrong type, 40101 when it is for another key than `key_name`, 40012
    /// for a client id that no token can have.
    pub(crate) fn read(body: &JsonObject, key_name: &str) -> Result<Self, ErrorInfo> {
        if text(body, "keyName")?.is_some_and(|name| name != key_name) {
            return Err(error::unauthorized("the keyName of the request is not that of its path"));
        }
        let client_id = text(body, "clientId")?;
        if client_id.as_deref() == Some("") {
            return Err(error::bad_client_id("a token cannot have an empty clientId"));
        }
        Ok(Self {
            ttl: number(body, "ttl")?,
            capability: body
                .get("capability")
                .filter(|value| !value.is_null() && value.as_str() != Some(""))
                .cloned(),
            client_id: client_id.map(Str::from),
            timestamp: number(body, "timestamp")?,
            nonce: text(body, "nonce")?,
            mac: text(body, "mac")?,
        })
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.mac.is_some()
    }

    /// How long the token is to hold, in ms.
    ///
    /// # Errors
    /// Code 40003 when that is less than 1 ms or more than a day.
    pub(super) fn ttl(&self) -> Result<Millis, ErrorInfo> {
        match self.ttl.as_ref().map(|ttl| ttl.value) {
            None | Some(0) => Ok(DEFAULT_TTL),
            Some(ttl @ 1..=MAX_TTL) => Ok(ttl),
            Some(_) => Err(error::bad_parameter("the ttl is not between 1 ms and 24 hours")),
        }
    }

    /// Checks that the holder of the key made this request, lately, and that it has not been used.
    ///
    /// # Errors
    /// Code 40101 for the MAC, 40104 for the timestamp, 40105 for the nonce, 40000 when one is missing.
    pub(super) fn check(
        &self,
        key: &Key,
        key_name: &str,
        nonces: &mut Nonces,
        now: Millis,
    ) -> Result<(), ErrorInfo> {
        let missing = |what| error::bad_request(format!("the token request has no {what}"));
        let mac = self.mac.as_ref().ok_or_else(|| missing("mac"))?;
        let timestamp = self.timestamp.as_ref().ok_or_else(|| missing("timestamp"))?;
        let nonce = self.nonce.as_ref().ok_or_else(|| missing("nonce"))?;
        let ttl = self.ttl.as_ref().filter(|ttl| ttl.value != 0);
        let capability = match &self.capability {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let signed = format!(
            "{key_name}\n{}\n{capability}\n{}\n{}\n{nonce}\n",
            ttl.map_or("", |ttl| &ttl.text),
            self.client_id.as_deref().unwrap_or_default(),
            timestamp.text,
        );
        STANDARD
            .decode(mac)
            .ok()
            .and_then(|mac| key.mac(signed.as_bytes()).verify_slice(&mac).ok())
            .ok_or_else(|| error::unauthorized("the mac of the token request is wrong"))?;
        if timestamp.value.abs_diff(now) > WINDOW.unsigned_abs() {
            return Err(error::bad_timestamp());
        }
        nonces.take(&key.id, nonce, timestamp.value + WINDOW, now)
    }
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

fn text(body: &JsonObject, name: &str) -> Result<Option<String>, ErrorInfo> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(error::bad_request(format!("`{name}` is not a string"))),
    }
}

fn number(body: &JsonObject, name: &str) -> Result<Option<Number>, ErrorInfo> {
    let invalid = || error::bad_request(format!("`{name}` is not a whole number"));
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let value = text.parse().map_err(|_| invalid())?;
            Ok(Some(Number { text: text.clone(), value }))
        }
        Some(Value::Number(number)) => {
            let whole = |float: &f64| float.fract() == 0.0 && float.abs() < 9e15;
            let value = number
                .as_i64()
                .or_else(|| number.as_f64().filter(whole).map(|float| float as Millis))
                .ok_or_else(invalid)?;
            Ok(Some(Number { text: value.to_string(), value }))
        }
        Some(_) => Err(invalid()),
    }
}
