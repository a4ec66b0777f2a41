//! JSON Web Tokens that an API key signs (HS256).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably::{ApiKey, JsonObject};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Signs a JWT with these claims.
pub(crate) fn sign(key: &ApiKey, claims: &JsonObject) -> String {
    let header = json!({ "typ": "JWT", "alg": "HS256", "kid": key.name() });
    let encode = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(header.to_string()), encode(json!(claims).to_string()));
    let signature = mac(key, &signed).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A JWT that was read. Its signature is not checked.
#[derive(Debug)]
pub(crate) struct Jwt<'a> {
    pub(crate) header: JsonObject,
    pub(crate) claims: JsonObject,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Reads a JWT; `None` for another text.
    pub(crate) fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let (header, claims) = (object(header)?, object(claims)?);
        Some(Self { header, claims, signed, signature: bytes(signature)? })
    }

    /// Whether this key has signed it.
    pub(crate) fn is_signed_by(&self, key: &ApiKey) -> bool {
        self.header.get("alg").is_some_and(|alg| alg == "HS256")
            && mac(key, self.signed).verify_slice(&self.signature).is_ok()
    }

    /// The name of the key that is said to have signed it.
    pub(crate) fn key_name(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }
}

fn mac(key: &ApiKey, signed: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.secret().as_bytes());
    mac.expect("HMAC takes keys of any length").chain_update(signed)
}

fn object(part: &str) -> Option<JsonObject> {
    serde_json::from_slice(&bytes(part)?).ok()
}

/// The bytes of base64 in either alphabet, padded or not.
fn bytes(part: &str) -> Option<Vec<u8>> {
    let part = part.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_jwt_is_read_and_checked() {
        let key: ApiKey = "app.key:secret".parse().unwrap();
        let claims = json!({ "iat": 1, "exp": 2, "x-ably-clientId": "größe?>" });
        let token = sign(&key, claims.as_object().unwrap());
        let jwt = Jwt::read(&token).unwrap();
        assert_eq!(json!(jwt.claims), claims);
        assert_eq!(jwt.key_name(), Some("app.key"));
        assert!(jwt.is_signed_by(&key));
        assert!(!jwt.is_signed_by(&"app.key:other".parse().unwrap()));
        for text in ["", "a.b", "a.b.c", "e30.e30", "app.opaque-token", "é.é.é"] {
            assert!(Jwt::read(text).is_none(), "{text}");
        }
    }
}
