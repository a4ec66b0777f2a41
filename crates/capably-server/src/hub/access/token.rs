//! Tokens: those that this server issues, and JWTs that are signed with a key.
//!
//! An issued token contains its rights, with a MAC by the key. The server need not store it.

use std::sync::Arc;

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use capably_protocol::{ErrorInfo, JsonObject, Millis, Str};
use hmac::Mac;
use serde_json::{Value, json};

use super::{
    capability::{self, Capability},
    claims::Claims,
    identity::{Client, Key, is_app_id},
    token_request::{MAX_TTL, WINDOW},
};
use crate::hub::error;

/// A valid token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) key: Arc<Key>,
    pub(crate) capability: Arc<Capability>,
    pub(crate) client: Client,
    pub(crate) facts: TokenFacts,
}

/// The properties of a token that the server needs while the token is in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenFacts {
    /// The client id, if the token names one.
    pub(crate) client_id: Option<Str>,
    /// The key by which a group of tokens can be revoked.
    pub(crate) revocation_key: Option<Str>,
    /// The device to which the token was issued.
    pub(crate) device_id: Option<Str>,
    /// The type of the client: `server`, for one that runs on the app's own servers.
    pub(crate) client_type: Option<Str>,
    /// The claims for channels.
    pub(crate) claims: Claims,
    /// The time of issue, in ms since the epoch.
    pub(crate) issued: Millis,
    /// The time of expiry, in ms since the epoch.
    pub(crate) expires: Millis,
}

/// A token as a client presents it. It is a secret, so there is no `Debug`.
pub(crate) struct PresentedToken {
    app_id: Str,
    form: Form,
}

enum Form {
    /// Issued by this server: facts as JSON, then their MAC.
    Issued(Vec<u8>),
    Jwt(Jwt),
    /// A JWT of another issuer, signed or encrypted, that contains a token of this server. It is valid if that token is.
    Carrier {
        inner: Box<PresentedToken>,
        exp: Option<Value>,
    },
}

/// A JWT (RFC 7519) with the signature HS256.
struct Jwt {
    key_id: String,
    /// The signed text.
    signed: String,
    signature: Vec<u8>,
    claims: JsonObject,
}

/// Separates the MACs of issued tokens from other MACs with the same key, such as those of token requests and JWTs.
const PURPOSE: &[u8] = b"\0issued token\0";

const MAC_LEN: usize = 32;

/// The most that the `iat` of a JWT may be ahead of the clock, in ms. As for the timestamp of a token request, the clock
/// of the issuer is not the server's.
const MAX_AHEAD: Millis = WINDOW;

/// The most nested JWTs around a token.
const MAX_CARRIERS: usize = 2;

impl PresentedToken {
    /// # Errors
    /// Code 40101 for a text that is not a token, 40144 for an invalid JWT, 40400 for a JWT without an app.
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorInfo> {
        Self::parse_within(text, MAX_CARRIERS)
    }

    fn parse_within(text: &str, carriers: usize) -> Result<Self, ErrorInfo> {
        let header = text.split_once('.').and_then(|(header, _)| decode_object(header));
        if let Some(header) = header.filter(|header| header.contains_key("alg")) {
            return Self::parse_jwt(text, &header, carriers);
        }
        let not_a_token = || error::unauthorized("the token has not the form of one");
        let (app_id, sealed) = text.split_once('.').ok_or_else(not_a_token)?;
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| not_a_token())?;
        if !is_app_id(app_id) || sealed.len() <= MAC_LEN {
            return Err(not_a_token());
        }
        Ok(Self { app_id: app_id.into(), form: Form::Issued(sealed) })
    }

    /// Reads a JWT. Of an encrypted one, only the header can be read.
    fn parse_jwt(text: &str, header: &JsonObject, carriers: usize) -> Result<Self, ErrorInfo> {
        let parts: Vec<&str> = text.split('.').collect();
        let (claims, signature) = match parts[..] {
            [_, claims, signature] => {
                let signature =
                    decode(signature).ok_or_else(|| error::bad_jwt("its signature is no base64"));
                (decode_object(claims), signature)
            }
            [_, _, _, _, _] => (None, Err(error::bad_jwt("it is encrypted"))),
            _ => return Err(error::bad_jwt("it has neither three parts nor five")),
        };
        let of_claims = |name| claims.as_ref().and_then(|claims| claims.get(name));
        if let Some(inner) = header.get("x-ably-token").or_else(|| of_claims("x-ably-token")) {
            let inner = inner
                .as_str()
                .filter(|_| carriers > 0)
                .ok_or_else(|| error::bad_jwt("its x-ably-token is not a token"))?;
            let inner = Box::new(Self::parse_within(inner, carriers - 1)?);
            let (app_id, exp) = (inner.app_id.clone(), of_claims("exp").cloned());
            return Ok(Self { app_id, form: Form::Carrier { inner, exp } });
        }
        let signature = signature?;
        let claims = claims.ok_or_else(|| error::bad_jwt("its claims are not a JSON object"))?;
        if header.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err(error::bad_jwt("it is not signed with HS256"));
        }
        let key = header.get("kid").and_then(Value::as_str).and_then(|kid| kid.split_once('.'));
        let (app_id, key_id) =
            key.filter(|(app_id, _)| is_app_id(app_id)).ok_or_else(error::unknown_app)?;
        let signed = text.rsplit_once('.').map_or("", |(signed, _)| signed).to_owned();
        let jwt = Jwt { key_id: key_id.to_owned(), signed, signature, claims };
        Ok(Self { app_id: app_id.into(), form: Form::Jwt(jwt) })
    }

    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Checks the token against the keys of its app.
    ///
    /// # Errors
    /// Code 40400 with status 401 when the app has no such key, 40101 for a token that was not issued
    /// here, 40144 for an invalid JWT, 40003 for a JWT that is valid for too long, 40142 for an expired token.
    pub(crate) fn check(&self, keys: &[Arc<Key>], now: Millis) -> Result<Token, ErrorInfo> {
        let token = match &self.form {
            Form::Issued(sealed) => open(sealed, keys)?,
            Form::Jwt(jwt) => jwt.check(keys, now)?,
            Form::Carrier { inner, exp } => {
                let token = inner.check(keys, now)?;
                if let Some(exp) = exp {
                    let expires = time_of(Some(exp), "exp")?;
                    if expires > token.facts.expires {
                        return Err(error::bad_jwt("it outlives the token that it carries"));
                    }
                    if now >= expires {
                        return Err(error::token_expired());
                    }
                }
                token
            }
        };
        if token.facts.has_expired(now) {
            return Err(error::token_expired());
        }
        Ok(token)
    }
}

impl TokenFacts {
    pub(crate) fn has_expired(&self, now: Millis) -> bool {
        now >= self.expires
    }
}

/// The text of a token for the app. The `number` makes tokens of the same millisecond unique.
pub(crate) fn seal(app_id: &str, token: &Token, number: u64) -> String {
    let facts = json!({
        "key": &*token.key.id,
        "issued": token.facts.issued,
        "expires": token.facts.expires,
        "capability": token.capability.to_string(),
        "clientId": token.client.wire_id().as_deref(),
        "device": token.facts.device_id.as_deref(),
        "number": number,
    });
    let mut sealed = facts.to_string().into_bytes();
    let mac = token.key.mac(PURPOSE).chain_update(&sealed).finalize().into_bytes();
    sealed.extend_from_slice(&mac);
    format!("{app_id}.{}", URL_SAFE_NO_PAD.encode(sealed))
}

/// Reads a token that [`seal`] wrote, and checks its MAC.
fn open(sealed: &[u8], keys: &[Arc<Key>]) -> Result<Token, ErrorInfo> {
    let not_ours = || error::unauthorized("the token was not issued by this server");
    let (text, mac) = sealed.split_at_checked(sealed.len() - MAC_LEN).ok_or_else(not_ours)?;
    let facts: JsonObject = serde_json::from_slice(text).map_err(|_| not_ours())?;
    let number = |name| facts.get(name).and_then(Value::as_i64).ok_or_else(not_ours);
    let key_id = facts.get("key").and_then(Value::as_str).ok_or_else(not_ours)?;
    let key = keys.iter().find(|key| key.id == key_id).ok_or_else(not_ours)?;
    key.mac(PURPOSE).chain_update(text).verify_slice(mac).map_err(|_| not_ours())?;
    let client = client_of(facts.get("clientId")).ok_or_else(not_ours)?;
    let (capability, _) = capability::read(facts.get("capability").unwrap_or(&Value::Null))?;
    let facts = TokenFacts {
        client_id: client.name().cloned(),
        revocation_key: None,
        device_id: facts.get("device").and_then(Value::as_str).map(Str::from),
        client_type: None,
        claims: Claims::default(),
        issued: number("issued")?,
        expires: number("expires")?,
    };
    Ok(Token { key: Arc::clone(key), capability: Arc::new(capability), client, facts })
}

impl Jwt {
    fn check(&self, keys: &[Arc<Key>], now: Millis) -> Result<Token, ErrorInfo> {
        let key = keys.iter().find(|key| key.id == self.key_id).ok_or_else(error::unknown_key)?;
        key.mac(self.signed.as_bytes())
            .verify_slice(&self.signature)
            .map_err(|_| error::bad_jwt("its signature is wrong"))?;
        let capability = match self.claims.get("x-ably-capability") {
            None | Some(Value::Null) => Arc::clone(&key.capability),
            Some(wanted) => {
                let (wanted, _) = capability::read(wanted)
                    .map_err(|_| error::bad_jwt("its x-ably-capability is not a capability"))?;
                Arc::new(wanted.intersection(&key.capability))
            }
        };
        let client = client_of(self.claims.get("x-ably-clientId"))
            .ok_or_else(|| error::bad_jwt("its x-ably-clientId is not a client id"))?;
        let issued = time_of(self.claims.get("iat"), "iat")?;
        let expires = time_of(self.claims.get("exp"), "exp")?;
        if issued > now + MAX_AHEAD {
            return Err(error::bad_jwt("its `iat` lies ahead of the server's clock"));
        }
        if expires - issued > MAX_TTL {
            return Err(error::bad_parameter(
                "the JWT holds for more than 24 hours after its `iat`",
            ));
        }
        let revocation_key = self.claims.get("x-ably-revocation-key").and_then(Value::as_str);
        let client_type = self.claims.get("x-ably-clientType").and_then(Value::as_str);
        let facts = TokenFacts {
            client_id: client.name().cloned(),
            revocation_key: revocation_key.map(Str::from),
            device_id: None,
            client_type: client_type.map(Str::from),
            claims: Claims::read(&self.claims)?,
            issued,
            expires,
        };
        Ok(Token { key: Arc::clone(key), capability, client, facts })
    }
}

/// The time of a claim in seconds, converted to ms.
fn time_of(claim: Option<&Value>, name: &str) -> Result<Millis, ErrorInfo> {
    let seconds = claim.and_then(Value::as_f64).filter(|seconds| seconds.abs() < 1e12);
    seconds
        .map(|seconds| (seconds * 1000.0) as Millis)
        .ok_or_else(|| error::bad_jwt(format!("its `{name}` is not a time in seconds")))
}

/// The client of a token, from its `clientId`.
fn client_of(value: Option<&Value>) -> Option<Client> {
    match value {
        None | Some(Value::Null) => Some(Client::Anonymous),
        Some(Value::String(id)) if id == "*" => Some(Client::Wildcard),
        Some(Value::String(id)) if !id.is_empty() => Some(Client::Named(id.as_str().into())),
        Some(_) => None,
    }
}

fn decode_object(part: &str) -> Option<JsonObject> {
    serde_json::from_slice(&decode(part)?).ok()
}

/// Decodes a part of a JWT: base64url without padding, as the standard demands, or base64 with or without padding, as
/// some libraries write it.
fn decode(part: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    ENGINE.decode(part.replace('+', "-").replace('/', "_")).ok()
}
