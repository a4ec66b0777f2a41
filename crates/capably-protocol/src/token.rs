//! Tokens, and signed requests for them (TK, TE, TD).

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::Sha256;

use crate::{ApiKey, ErrorCode, ErrorInfo, Millis, Str, lenient, secret::with_secrets};

/// The properties of a token to request (TK1). The service decides those that are left out.
///
/// ```
/// use std::time::Duration;
/// use capably_protocol::{Capability, TokenParams};
///
/// let params = TokenParams::new()
///     .ttl(Duration::from_secs(600))
///     .client_id("ada")
///     .capability(Capability::new().allow("news", ["subscribe"]));
/// assert_eq!(params.ttl, Some(600_000));
/// assert_eq!(params.capability.as_deref(), Some(r#"{"news":["subscribe"]}"#));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenParams {
    /// The lifetime of the token, in ms; the service's default is 60 minutes (TK2a).
    pub ttl: Option<Millis>,
    /// Its capability, as JSON text; that of the key by default (TK2b).
    pub capability: Option<Str>,
    /// The client that may use it: `*` for any, `None` for an anonymous client (TK2c).
    pub client_id: Option<Str>,
    /// The time of the request, in ms since the epoch; the current time by default (TK2d).
    pub timestamp: Option<Millis>,
    /// A string that is unique to this request; random by default (TK2e).
    pub nonce: Option<Str>,
}

impl TokenParams {
    /// Leaves everything to the service.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lifetime of the token, to the millisecond (TK2a).
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Millis::try_from(ttl.as_millis()).unwrap_or(Millis::MAX));
        self
    }

    /// The capability of the token: a [`Capability`](crate::Capability), or JSON text (TK2b).
    #[must_use]
    pub fn capability(mut self, capability: impl Into<Str>) -> Self {
        self.capability = Some(capability.into());
        self
    }

    /// The client that the token is for; `*` for any (TK2c).
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// The time of the request, in ms since the epoch (TK2d). It is valid for one request.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Millis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// A string that is unique to this request: 16 characters or more (TK2e).
    #[must_use]
    pub fn nonce(mut self, nonce: impl Into<Str>) -> Self {
        self.nonce = Some(nonce.into());
        self
    }

    /// Names and values as a query string or a form has them (RSA8c1).
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<Str>| value.as_ref().map(ToString::to_string);
        let number = |value: Option<Millis>| value.map(|value| value.to_string());
        [
            ("ttl", number(self.ttl)),
            ("capability", text(&self.capability)),
            ("clientId", text(&self.client_id)),
            ("timestamp", number(self.timestamp)),
            ("nonce", text(&self.nonce)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

with_secrets! {
    /// A request for a token, signed with an API key. Any client may send it (TE1).
    ///
    /// `Debug` does not print the signature.
    #[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[non_exhaustive]
    pub struct TokenRequest {
        /// The name of the key that signed it (TE2).
        pub key_name: Str;
        /// The lifetime of the token, in ms (TE4).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
        pub ttl: Option<Millis>;
        /// The capability of the token, as JSON text (TE3).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "json_text")]
        pub capability: Option<Str>;
        /// The client that the token is for (TE2).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_id: Option<Str>;
        /// The time of the request, in ms since the epoch (TE5).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
        pub timestamp: Option<Millis>;
        /// A string that is unique to this request (TE2).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub nonce: Option<Str>;
        /// The signature, in base64 (TE2).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mac: Option<Str>, secret;
    }
}

impl TokenRequest {
    /// A request that is not signed.
    pub fn new(key_name: impl Into<Str>, params: TokenParams) -> Self {
        let TokenParams { ttl, capability, client_id, timestamp, nonce } = params;
        Self { key_name: key_name.into(), ttl, capability, client_id, timestamp, nonce, mac: None }
    }

    /// A request signed with a key (RSA9g). Timestamp and nonce should be in the parameters: the service
    /// wants both.
    pub fn signed(key: &ApiKey, params: TokenParams) -> Self {
        let mut request = Self::new(key.name(), params);
        let mac = request.mac_by(key.secret()).finalize().into_bytes();
        request.mac = Some(BASE64_STANDARD.encode(mac).into());
        request
    }

    /// Whether the signature was made with this secret. Takes the same time wherever it differs.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let mac = self.mac.as_deref().and_then(|mac| BASE64_STANDARD.decode(mac).ok());
        mac.is_some_and(|mac| self.mac_by(secret).verify_slice(&mac).is_ok())
    }

    /// Reads JSON text (TE6).
    ///
    /// # Errors
    /// Code 40000 when it is not a token request.
    pub fn from_json(text: &str) -> Result<Self, ErrorInfo> {
        from_json(text, "a token request")
    }

    /// Reads a JSON value (TE6).
    ///
    /// # Errors
    /// Code 40000 when it is not a token request.
    pub fn from_value(value: Value) -> Result<Self, ErrorInfo> {
        from_value(value, "a token request")
    }

    /// The JSON text, signature included.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    fn mac_by(&self, secret: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC takes keys of any length");
        let number = |value: Option<Millis>| value.map(|value| value.to_string());
        // A ttl of 0 is signed as an empty line, like an absent one.
        let ttl = number(self.ttl.filter(|ttl| *ttl != 0)).unwrap_or_default();
        let timestamp = number(self.timestamp).unwrap_or_default();
        for line in [
            &self.key_name[..],
            &ttl,
            self.capability.as_deref().unwrap_or_default(),
            self.client_id.as_deref().unwrap_or_default(),
            &timestamp,
            self.nonce.as_deref().unwrap_or_default(),
        ] {
            mac.update(line.as_bytes());
            mac.update(b"\n");
        }
        mac
    }
}

with_secrets! {
    /// A token and its properties (TD1).
    ///
    /// `Debug` does not print the token.
    #[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[non_exhaustive]
    pub struct TokenDetails {
        /// The token string: a secret (TD2).
        pub token: Str, secret;
        /// The time when it expires, in ms since the epoch (TD3).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
        pub expires: Option<Millis>;
        /// When it was issued, in ms since the epoch (TD4).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
        pub issued: Option<Millis>;
        /// Its capability, as JSON text (TD5).
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "json_text")]
        pub capability: Option<Str>;
        /// The client it is for: `*` for any, nothing for none (TD6).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_id: Option<Str>;
    }
}

impl TokenDetails {
    /// A token without further properties.
    pub fn new(token: impl Into<Str>) -> Self {
        Self { token: token.into(), ..Self::default() }
    }

    /// The time when the token expires, in ms since the epoch (TD3).
    #[must_use]
    pub fn expires(mut self, expires: Millis) -> Self {
        self.expires = Some(expires);
        self
    }

    /// When the token was issued, in ms since the epoch (TD4).
    #[must_use]
    pub fn issued(mut self, issued: Millis) -> Self {
        self.issued = Some(issued);
        self
    }

    /// The capability of the token: a [`Capability`](crate::Capability), or JSON text (TD5).
    #[must_use]
    pub fn capability(mut self, capability: impl Into<Str>) -> Self {
        self.capability = Some(capability.into());
        self
    }

    /// The client that the token is for; `*` for any (TD6).
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Reads JSON text (TD7).
    ///
    /// # Errors
    /// Code 40000 when it is not a token's details.
    pub fn from_json(text: &str) -> Result<Self, ErrorInfo> {
        from_json(text, "a token's details")
    }

    /// Reads a JSON value (TD7).
    ///
    /// # Errors
    /// Code 40000 when it is not a token's details.
    pub fn from_value(value: Value) -> Result<Self, ErrorInfo> {
        from_value(value, "a token's details")
    }

    /// The JSON text, token included.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, ErrorInfo> {
    let value = serde_json::from_str(text).map_err(|_| not(what))?;
    from_value(value, what)
}

fn from_value<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, ErrorInfo> {
    if !value.is_object() {
        return Err(not(what));
    }
    serde_json::from_value(value).map_err(|_| not(what))
}

/// An error without the text, which may contain a secret.
fn not(what: &str) -> ErrorInfo {
    ErrorInfo::new(ErrorCode::BAD_REQUEST, 400, format!("the JSON is not {what}"))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("text and numbers have a JSON form")
}

/// A number, or the text of one: auth servers in scripting languages send either.
fn number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Millis>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Text(String),
        Number(#[serde(deserialize_with = "lenient::integer")] Option<Millis>),
    }
    match NumberOrText::deserialize(d)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) if text.is_empty() => Ok(None),
        NumberOrText::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// JSON text, or the JSON itself.
fn json_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Str>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        other => Some(other.to_string().into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Capability, Format, Limits, codec};

    const TIMESTAMP: Millis = 1_234_567_890_000;

    fn key() -> ApiKey {
        "appId.keyId:keySecret".parse().unwrap()
    }

    fn params() -> TokenParams {
        TokenParams::new()
            .ttl(Duration::from_secs(3600))
            .capability(r#"{"*":["*"]}"#)
            .client_id("ada")
            .timestamp(TIMESTAMP)
            .nonce("0123456789abcdef")
    }

    // UTS: rest/unit/TK1/token-params-attributes-0
    // Spec: TK2, TK2a, TK2b, TK2c
    #[test]
    fn params_hold_what_they_are_given_and_nothing_else() {
        let none = TokenParams::new();
        assert_eq!((none.ttl, none.capability, none.client_id), (None, None, None));
        assert_eq!((none.timestamp, none.nonce), (None, None));
        let all = params();
        assert_eq!((all.ttl, all.timestamp), (Some(3_600_000), Some(TIMESTAMP)));
        assert_eq!(all.capability.as_deref(), Some(r#"{"*":["*"]}"#));
        assert_eq!(all.client_id.as_deref(), Some("ada"));
        assert_eq!(all.nonce.as_deref(), Some("0123456789abcdef"));
        assert_eq!(TokenParams::new().ttl(Duration::MAX).ttl, Some(Millis::MAX));
    }

    // UTS: rest/unit/TK/token-params-to-query-string-0
    #[test]
    fn params_become_a_query() {
        let params = TokenParams::new()
            .ttl(Duration::from_secs(3600))
            .client_id("query-client")
            .capability(r#"{"ch":["pub"]}"#);
        let expected = [
            ("ttl", "3600000".to_owned()),
            ("capability", r#"{"ch":["pub"]}"#.to_owned()),
            ("clientId", "query-client".to_owned()),
        ];
        assert_eq!(params.to_query(), expected);
        assert_eq!(self::params().to_query().len(), 5);
    }

    // UTS: rest/unit/TD1/token-details-attributes-0
    // Spec: TD2, TD3, TD4, TD5, TD6
    #[test]
    fn details_hold_what_they_are_given() {
        let bare = TokenDetails::new("test-token");
        assert_eq!(bare.token, "test-token");
        assert_eq!((bare.expires, bare.issued), (None, None));
        assert_eq!((bare.capability, bare.client_id), (None, None));
        let full = TokenDetails::new("test-token")
            .expires(TIMESTAMP)
            .issued(1_234_567_800_000)
            .capability(Capability::all())
            .client_id("my-client");
        assert_eq!((full.expires, full.issued), (Some(TIMESTAMP), Some(1_234_567_800_000)));
        assert_eq!(full.capability.as_deref(), Some(r#"{"*":["*"]}"#));
        assert_eq!(full.client_id.as_deref(), Some("my-client"));
    }

    // UTS: rest/unit/TD/token-details-from-json-0
    // Spec: TD7
    #[test]
    fn details_are_read_from_json() {
        let value = json!({
            "token": "deserialized-token",
            "expires": TIMESTAMP,
            "issued": 1_234_567_800_000_i64,
            "capability": "{\"channel-1\":[\"publish\"]}",
            "clientId": "json-client",
            "keyName": "appId.keyId"
        });
        let expected = TokenDetails::new("deserialized-token")
            .expires(TIMESTAMP)
            .issued(1_234_567_800_000)
            .capability("{\"channel-1\":[\"publish\"]}")
            .client_id("json-client");
        assert_eq!(TokenDetails::from_json(&value.to_string()), Ok(expected.clone()));
        assert_eq!(TokenDetails::from_value(value), Ok(expected.clone()));
        assert_eq!(TokenDetails::from_json(&expected.to_json()), Ok(expected));
    }

    // UTS: rest/unit/TE1/token-request-attributes-0
    // UTS: rest/unit/TE/token-request-mac-signature-0
    // Spec: TE3, TE4, TE5
    #[test]
    fn a_request_holds_what_it_is_given() {
        let params = TokenParams::new().timestamp(TIMESTAMP).nonce("nonce-1");
        let mut request = TokenRequest::new("appId.keyId", params);
        assert_eq!(request.key_name, "appId.keyId");
        assert_eq!((request.ttl, request.timestamp), (None, Some(TIMESTAMP)));
        assert_eq!((request.capability.as_ref(), request.client_id.as_ref()), (None, None));
        assert_eq!(request.nonce.as_deref(), Some("nonce-1"));
        assert_eq!(request.mac, None);
        request.mac = Some("signature-base64".into());
        assert_eq!(request.mac.as_deref(), Some("signature-base64"));
        let request = TokenRequest::new("appId.keyId", self::params());
        assert_eq!(request.ttl, Some(3_600_000));
        assert_eq!(request.capability.as_deref(), Some(r#"{"*":["*"]}"#));
        assert_eq!(request.client_id.as_deref(), Some("ada"));
    }

    // UTS: rest/unit/TE/token-request-to-json-1
    // UTS: rest/unit/TE/token-request-from-json-2
    // Spec: TE6
    #[test]
    fn a_request_goes_to_json_and_comes_from_it() {
        let mut request = TokenRequest::new("appId.keyId", params());
        request.mac = Some("json-mac".into());
        let value = json!({
            "keyName": "appId.keyId",
            "ttl": 3_600_000,
            "capability": "{\"*\":[\"*\"]}",
            "clientId": "ada",
            "timestamp": TIMESTAMP,
            "nonce": "0123456789abcdef",
            "mac": "json-mac"
        });
        assert_eq!(serde_json::from_str::<Value>(&request.to_json()).unwrap(), value);
        assert_eq!(TokenRequest::from_json(&value.to_string()), Ok(request.clone()));
        assert_eq!(TokenRequest::from_value(value), Ok(request));
        let least = TokenRequest::new("a.b", TokenParams::new());
        assert_eq!(least.to_json(), r#"{"keyName":"a.b"}"#, "what is absent is left out");
    }

    #[test]
    fn a_request_survives_messagepack() {
        let request = TokenRequest::signed(&key(), params());
        let bytes = codec::encode_body(Format::MsgPack, &request).unwrap();
        let read = codec::decode_body(Format::MsgPack, &bytes, &Limits::default());
        assert_eq!(read, Ok(request));
        let details = TokenDetails::new("t").expires(1).capability(Capability::all());
        let bytes = codec::encode_body(Format::MsgPack, &details).unwrap();
        let read = codec::decode_body(Format::MsgPack, &bytes, &Limits::default());
        assert_eq!(read, Ok(details));
    }

    #[test]
    fn numbers_as_text_and_capabilities_as_objects_are_understood() {
        let value = json!({
            "keyName": "a.b", "ttl": "60000", "timestamp": 1e3, "clientId": null,
            "capability": {"x": ["publish"]}, "nonce": "n"
        });
        let request = TokenRequest::from_value(value).unwrap();
        assert_eq!((request.ttl, request.timestamp), (Some(60_000), Some(1000)));
        assert_eq!(request.capability.as_deref(), Some(r#"{"x":["publish"]}"#));
        assert_eq!(request.client_id, None);
        let value = json!({"token": "t", "expires": null, "issued": ""});
        assert_eq!(TokenDetails::from_value(value), Ok(TokenDetails::new("t")));
    }

    #[test]
    fn other_json_is_refused_without_being_quoted() {
        for text in [
            "hush",
            "[]",
            "null",
            r#"["hush"]"#,
            r#"{"token":1}"#,
            r#"{"token":"hush","expires":"hush"}"#,
        ] {
            for error in [
                TokenDetails::from_json(text).unwrap_err(),
                TokenRequest::from_json(text).unwrap_err(),
            ] {
                assert_eq!((error.code, error.status_code), (ErrorCode::BAD_REQUEST, 400));
                assert!(!error.message.contains("hush"), "{error}");
            }
        }
    }

    #[test]
    fn a_request_is_signed_with_hmac_sha256_over_its_lines() {
        // printf 'appId.keyId\n3600000\n{"*":["*"]}\nada\n1234567890000\n0123456789abcdef\n' |
        //     openssl dgst -sha256 -hmac keySecret -binary | base64
        let request = TokenRequest::signed(&key(), params());
        assert_eq!(request.mac.as_deref(), Some("nj6d0KsN7gO4Mu9c5t406liH+zPwNXUmrYzkmkDWQyw="));
        let least = TokenParams::new().timestamp(TIMESTAMP).nonce("0123456789abcdef");
        let request = TokenRequest::signed(&key(), least.clone());
        assert_eq!(
            request.mac.as_deref(),
            Some("MqCw6taO8INB8fd5/NFTso+eikoxLzuU2TEU3CESc64="),
            "absent is an empty line"
        );
        let zero = TokenRequest::signed(&key(), least.ttl(Duration::ZERO));
        assert_eq!(zero.mac, request.mac, "a ttl of 0 is an empty line");
    }

    #[test]
    fn a_signature_is_good_for_what_was_signed_alone() {
        let request = TokenRequest::signed(&key(), params());
        assert!(request.is_signed_with("keySecret"));
        assert!(!request.is_signed_with("keySecreT"));
        let mut other = request.clone();
        other.client_id = Some("eve".into());
        assert!(!other.is_signed_with("keySecret"));
        for mac in [None, Some(""), Some("no base64!"), Some("AAAA")] {
            let request = TokenRequest { mac: mac.map(Into::into), ..request.clone() };
            assert!(!request.is_signed_with("keySecret"), "{mac:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let details = TokenDetails::new("hush").client_id("ada");
        let mut request = TokenRequest::new("appId.keyId", params());
        request.mac = Some("hush".into());
        let text = format!("{details:?} {request:?}");
        assert!(!text.contains("hush") && text.contains("ada"), "{text}");
    }
}
