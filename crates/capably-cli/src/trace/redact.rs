//! Secrets out of a recording.
//!
//! A secret is found by the name of its field, and then replaced wherever it occurs. Equal secrets get the same
//! placeholder, so that a reader sees, for example, which connection a client resumed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{BINARY, Pairs};

/// Fields and parameters that are secrets, without case and punctuation.
const SECRET_FIELDS: [&str; 26] = [
    "accesstoken",
    "apikey",
    "authorization",
    "cipherkey",
    "clientsecret",
    "connectionkey",
    "cookie",
    "deviceidentitytoken",
    "devicesecret",
    "devicetoken",
    "jwt",
    "keysecret",
    "keystr",
    "mac",
    "nonce",
    "p256dh",
    "passphrase",
    "password",
    "privatekey",
    "recover",
    "registrationtoken",
    "resume",
    "secret",
    "secretkey",
    "sessionkey",
    "token",
];

/// Headers whose values are recorded. The values of all others are left out, whatever they are.
const SHOWN_HEADERS: [&str; 25] = [
    "accept",
    "ably-agent",
    "content-length",
    "content-type",
    "date",
    "host",
    "link",
    "location",
    "retry-after",
    "sec-websocket-version",
    "server",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-ably-clientid",
    "x-ably-cluster",
    "x-ably-errorcode",
    "x-ably-errormessage",
    "x-ably-lib",
    "x-ably-serverid",
    "x-ably-version",
    "x-request-id",
    "x-powered-by",
];

/// Most secrets that are remembered.
const MAX_SECRETS: usize = 10_000;

/// A shorter secret is replaced in its field alone: it could be an ordinary word.
const MIN_SECRET: usize = 12;

/// Replaces secrets, and payloads if that is asked for.
#[derive(Debug)]
pub(crate) struct Redactor {
    known: Mutex<Known>,
    without_data: bool,
}

#[derive(Default)]
struct Known {
    /// Secrets with their placeholders, the longest first.
    secrets: Vec<(String, String)>,
    count: usize,
}

// The secrets are not shown.
impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    pub(crate) fn new(without_data: bool) -> Self {
        Self { known: Mutex::default(), without_data }
    }

    /// A query without secrets.
    pub(crate) fn query(&self, pairs: &Pairs) -> Pairs {
        let redacted = pairs.iter().map(|(name, value)| {
            let value = match is_secret(name) || name.eq_ignore_ascii_case("key") {
                true => self.secret(name, value),
                false => self.text(value),
            };
            (self.text(name), value)
        });
        redacted.collect()
    }

    /// Headers without secrets.
    pub(crate) fn headers<'a>(&self, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Pairs {
        let redacted = headers.map(|(name, value)| {
            let text = String::from_utf8_lossy(value);
            let value = if name == "authorization" {
                self.authorization(&text)
            } else if SHOWN_HEADERS.contains(&name) {
                self.text(&self.links(&text))
            } else {
                "[redacted]".to_owned()
            };
            (name.to_owned(), value)
        });
        redacted.collect()
    }

    /// A frame or a body without secrets.
    pub(crate) fn value(&self, mut value: Value) -> Value {
        // First all names, then all values: a secret may stand before its own field in another one.
        self.hide_fields(&mut value);
        self.hide_text(&mut value);
        if self.without_data {
            remove_data(&mut value);
        }
        value
    }

    /// Text without known secrets and JSON Web Tokens.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (secret, placeholder) in &self.lock().secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), placeholder);
            }
        }
        if text.contains("eyJ") { without_jwts(&text) } else { text }
    }

    /// The placeholder of a secret, which is replaced from now on.
    fn secret(&self, name: &str, secret: &str) -> String {
        if secret.is_empty() || is_placeholder(secret) {
            return secret.to_owned();
        }
        let mut known = self.lock();
        if let Some((_, placeholder)) = known.secrets.iter().find(|(known, _)| known == secret) {
            return placeholder.clone();
        }
        known.count += 1;
        let number = known.count;
        let placeholder = match key_name(secret) {
            Some(name) => format!("{name}:[secret {number}]"),
            None if plain(name) == "resume" => format!("[connectionKey {number}]"),
            None => format!("[{name} {number}]"),
        };
        if let Some((_, part)) = secret.split_once(':')
            && key_name(secret).is_some()
        {
            known.remember(part, &format!("[secret {number}]"));
            known.remember(&BASE64_STANDARD.encode(secret), &format!("[key {number}]"));
        }
        // A recovery key is JSON with the connection key in it.
        if let Ok(Value::Object(parts)) = serde_json::from_str(secret)
            && let Some(Value::String(key)) = parts.get("connectionKey")
        {
            known.remember(key, &format!("[connectionKey {number}]"));
        }
        known.remember(secret, &placeholder);
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        known.remember(&encoded, &placeholder);
        placeholder
    }

    /// The scheme of the credentials, and for a key its name.
    fn authorization(&self, value: &str) -> String {
        let Some((scheme, credentials)) = value.split_once(' ') else {
            return self.secret("authorization", value);
        };
        let credentials = credentials.trim();
        let decoded = BASE64_STANDARD.decode(credentials).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let shown = match decoded {
            // An encoded token is replaced in both forms.
            Some(decoded) => {
                let shown = self.secret("token", &decoded);
                self.secret("authorization", credentials);
                shown
            }
            None => self.secret("token", credentials),
        };
        format!("{scheme} {shown}")
    }

    /// A text with URLs, without the secrets of their queries.
    fn links(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['?', '&']) {
            let (before, after) = rest.split_at(at + 1);
            shown.push_str(before);
            let end = after.find(['&', '>', '#', ' ', '"', ';']).unwrap_or(after.len());
            match after[..end].split_once('=') {
                Some((name, value)) if is_secret(name) || name == "key" => {
                    shown.push_str(&format!("{name}={}", self.secret(name, value)));
                    rest = &after[end..];
                }
                _ => rest = after,
            }
        }
        shown.push_str(rest);
        shown
    }

    /// Replaces secrets that are found by the names of their fields.
    fn hide_fields(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_fields(item)),
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    if is_secret(name)
                        && let Some(secret) = secret_text(field)
                    {
                        *field = self.secret(name, &secret).into();
                    } else if let Value::String(key) = field
                        && name == "key"
                        && key_name(key).is_some()
                    {
                        *key = self.secret(name, key);
                    } else {
                        if is_cipher(name)
                            && let Some(key) = field.get_mut("key")
                            && let Some(secret) = secret_text(key)
                        {
                            *key = self.secret("cipherKey", &secret).into();
                        }
                        self.hide_fields(field);
                    }
                }
                self.within(fields, |value| self.hide_fields(value));
            }
            Value::String(text) => inside(text, |value| self.hide_fields(value)),
            _ => {}
        }
    }

    /// Replaces known secrets wherever they stand.
    fn hide_text(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_text(item)),
            Value::Object(fields) => {
                self.within(fields, |value| self.hide_text(value));
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(name, mut field)| {
                        self.hide_text(&mut field);
                        (self.text(&name), field)
                    })
                    .collect();
            }
            _ => {}
        }
    }

    /// Applies `hide` to the text in the bytes of an object: bytes of MessagePack, or a payload that is base64.
    fn within(&self, fields: &mut Map<String, Value>, hide: impl Fn(&mut Value)) {
        let is_base64 = fields
            .get("encoding")
            .and_then(Value::as_str)
            .is_some_and(|encoding| encoding.rsplit('/').next() == Some("base64"));
        let name = if is_base64 { "data" } else { BINARY };
        let Some(Value::String(base64)) = fields.get_mut(name) else { return };
        let Ok(bytes) = BASE64_STANDARD.decode(&*base64) else { return };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut value = Value::String(text.clone());
        hide(&mut value);
        if let Value::String(hidden) = value
            && hidden != text
        {
            *base64 = BASE64_STANDARD.encode(hidden);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, secret: &str, placeholder: &str) {
        let is_known = self.secrets.iter().any(|(known, _)| known == secret);
        if secret.len() < MIN_SECRET || is_known || self.secrets.len() >= MAX_SECRETS {
            return;
        }
        // A long secret may contain a shorter one.
        let at = self.secrets.partition_point(|(known, _)| known.len() >= secret.len());
        self.secrets.insert(at, (secret.to_owned(), placeholder.to_owned()));
    }
}

/// Applies `hide` to JSON within a text, such as the payload of a message.
fn inside(text: &mut String, hide: impl Fn(&mut Value)) {
    if !text.starts_with(['{', '[']) {
        return;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let mut hidden = value.clone();
    hide(&mut hidden);
    if hidden != value {
        *text = hidden.to_string();
    }
}

/// The text of a secret, which may be bytes of MessagePack.
fn secret_text(field: &Value) -> Option<String> {
    match field {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => fields.get(BINARY)?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether a field has the parameters of a cipher, of which the key is a secret.
fn is_cipher(name: &str) -> bool {
    matches!(plain(name).as_str(), "cipher" | "cipherparams" | "crypto")
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_secret(name: &str) -> bool {
    SECRET_FIELDS.contains(&plain(name).as_str())
}

fn is_placeholder(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']') && text.len() < 40 && !text.contains('"')
}

/// The name of an API key, `appId.keyId:secret`.
fn key_name(text: &str) -> Option<&str> {
    let (name, secret) = text.split_once(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (name.contains('.') && name.chars().all(is_name) && !secret.is_empty()).then_some(name)
}

/// The text without JSON Web Tokens: three parts of base64 with dots, of which the first is an object.
fn without_jwts(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let (before, candidate) = rest.split_at(at);
        shown.push_str(before);
        let end = candidate.find(|c| !is_part(c) && c != '.').unwrap_or(candidate.len());
        let (candidate, after) = candidate.split_at(end);
        let is_jwt = candidate.split('.').count() >= 3;
        shown.push_str(if is_jwt { "[jwt]" } else { candidate });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Removes the payloads of messages, members and objects.
fn remove_data(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_data),
        Value::Object(fields) => {
            if fields.contains_key("data") {
                fields.remove("encoding");
            }
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    "data" | "value" | "initialValue" => {
                        // A reference to an object is no payload.
                        *field = match field.get("objectId") {
                            Some(id) => json!({ "objectId": id }),
                            None => Value::Null,
                        };
                    }
                    "headers" | "push" => *field = json!({}),
                    _ => remove_data(field),
                }
            }
            fields.retain(|name, field| name != "data" || !field.is_null());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "app.key:0123456789abcdefgh";

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_are_found_by_name_and_then_everywhere() {
        let redactor = Redactor::new(false);
        let query =
            redactor.query(&pairs(&[("key", KEY), ("resume", "conn!0123456789"), ("v", "6")]));
        assert_eq!(
            query,
            pairs(&[("key", "app.key:[secret 1]"), ("resume", "[connectionKey 2]"), ("v", "6")])
        );
        let frame = json!({
            "action": 4,
            "connectionDetails": { "connectionKey": "conn!0123456789" },
            "error": { "message": format!("key {KEY} is bad; so is 0123456789abcdefgh") },
            "messages": [{ "data": "{\"a\":\"conn!0123456789\"}" }],
        });
        let shown = redactor.value(frame).to_string();
        assert!(!shown.contains("0123456789"), "{shown}");
        assert!(shown.contains(r#""connectionKey":"[connectionKey 2]""#), "{shown}");
        let basic = format!("Basic {}", BASE64_STANDARD.encode(KEY));
        let headers = redactor.headers(
            [("authorization", basic.as_bytes()), ("cookie", b"a=b"), ("accept", b"text/html")]
                .into_iter(),
        );
        assert_eq!(
            headers,
            pairs(&[
                ("authorization", "Basic app.key:[secret 1]"),
                ("cookie", "[redacted]"),
                ("accept", "text/html")
            ])
        );
    }

    #[test]
    fn tokens_are_replaced_in_headers_links_and_text() {
        let redactor = Redactor::new(false);
        let jwt = "eyJhbGciOi.eyJpYXQiOj.c2lnbmF0dXJl";
        let bearer = format!("Bearer {}", BASE64_STANDARD.encode("a.token-of-some-length"));
        let link =
            "<./messages?limit=1&access_token=a.token-of-some-length&key=x.y:z>; rel=\"next\"";
        let headers = redactor
            .headers([("authorization", bearer.as_bytes()), ("link", link.as_bytes())].into_iter());
        assert_eq!(headers[0].1, "Bearer [token 1]");
        assert_eq!(
            headers[1].1,
            "<./messages?limit=1&access_token=[token 1]&key=x.y:[secret 3]>; rel=\"next\""
        );
        assert_eq!(redactor.text(&format!("a {jwt}, b")), "a [jwt], b");
        assert_eq!(redactor.text("eyJ is no token"), "eyJ is no token");
        let details = redactor.value(json!({ "token": "short", "keyName": "a.b", "mac": "m" }));
        assert_eq!(details, json!({ "token": "[token 5]", "keyName": "a.b", "mac": "[mac 4]" }));
    }

    #[test]
    fn keys_of_maps_stay_and_payloads_go_when_asked() {
        let frame = json!({
            "messages": [{ "name": "n", "data": "secret plan", "encoding": "json",
                           "extras": { "headers": { "a": 1 } } }],
            "state": [{ "operation": { "mapSet": { "key": "k", "value": { "string": "plan" } } } },
                      { "object": { "map": { "entries": { "k": { "data": { "objectId": "o", "x": 1 } } } } } }],
        });
        let kept = Redactor::new(false).value(frame.clone());
        assert_eq!(kept, frame);
        let shown = Redactor::new(true).value(frame);
        assert!(!shown.to_string().contains("plan"), "{shown}");
        assert_eq!(shown["messages"][0], json!({ "name": "n", "extras": { "headers": {} } }));
        assert_eq!(shown["state"][0]["operation"]["mapSet"]["key"], "k");
        let entry = &shown["state"][1]["object"]["map"]["entries"]["k"]["data"];
        assert_eq!(entry, &json!({ "objectId": "o" }));
    }

    #[test]
    fn a_secret_is_in_no_place_of_a_recording() {
        const TOKEN: &str = "xVLyHw.DTSukx0LQeFz/abc+def==";
        const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
        const CIPHER: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        for (field, secret) in
            [("key", KEY), ("token", TOKEN), ("accessToken", JWT), ("cipherKey", CIPHER)]
        {
            let redactor = Redactor::new(false);
            let percent: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let inner = json!({ field: secret, "cipher": { "algorithm": "aes", "key": secret } });
            let frame = json!({
                "auth": { field: secret },
                "messages": [
                    { "data": inner.to_string(), "encoding": "json" },
                    { "data": encode(&inner.to_string()), "encoding": "json/utf-8/base64" },
                    { "data": { "$binary": encode(&inner.to_string()) }, "encoding": "json/utf-8" },
                    { "extras": { "headers": { field: secret } } },
                ],
                "cipherParams": { "key": { "$binary": secret } },
            });
            let mut shown = redactor.value(frame).to_string();
            // From now on it is known, whatever stands around it.
            let text = format!("see {secret}, or /path/{percent}?x");
            let frame = json!({
                "error": { "message": text },
                "messages": [
                    { "data": text },
                    { "data": encode(&text), "encoding": "base64" },
                    { "data": { "$binary": encode(&text) } },
                    { text.clone(): 1 },
                ],
            });
            shown += &redactor.value(frame).to_string();
            shown += &redactor.text(&format!("/keys/{secret}/{percent}"));
            let query = redactor.query(&pairs(&[(field, secret), ("x", secret), (secret, "y")]));
            shown += &format!("{query:?}");
            let (basic, link) = (
                format!("Basic {}", encode(secret)),
                format!("<./a?{field}={percent}>; rel=\"next\""),
            );
            let headers = redactor.headers(
                [
                    ("authorization", basic.as_bytes()),
                    ("authorization", secret.as_bytes()),
                    ("link", link.as_bytes()),
                    ("x-secret", secret.as_bytes()),
                    ("user-agent", secret.as_bytes()),
                ]
                .into_iter(),
            );
            shown += &format!("{headers:?}");
            let part = secret.rsplit(':').next().unwrap();
            assert!(!shown.contains(part) && !shown.contains(&percent), "{field}: {shown}");
            // The base64 of the payloads that contained it.
            let decoded = shown.split('"').filter_map(|text| BASE64_STANDARD.decode(text).ok());
            let decoded: Vec<_> =
                decoded.map(|it| String::from_utf8_lossy(&it).into_owned()).collect();
            assert!(decoded.iter().any(|text| text.starts_with("see ")), "{decoded:?}");
            assert!(!decoded.iter().any(|text| text.contains(part)), "{field}: {decoded:?}");
        }
    }
}
