//! The credentials of a request: where it has them, and the identity that they prove.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, JsonObject, Str};
use hyper::{HeaderMap, header};

use super::{Shared, app::AppHandle, http::query::Query};
use crate::hub::{
    auth::{Credentials, Identity, PresentedKey},
    error,
    token::PresentedToken,
};

/// An app, and the identity that valid credentials prove in it.
pub(super) type Admitted = (Arc<AppHandle>, Identity);

/// Checks credentials, under the client id that the request names.
///
/// # Errors
/// Codes 40003, 40101, 40142, 40144, 40400 for the credentials; 40012, 40102 for the client id.
pub(super) fn admit(
    shared: &Shared,
    credentials: &Credentials,
    client_id: Option<Str>,
) -> Result<Admitted, ErrorInfo> {
    let app = shared.app(credentials.app_id()).ok_or_else(error::unknown_app)?;
    let now = shared.now();
    let identity = app.with(|hub, _| hub.authenticate(credentials, client_id, now))?;
    Ok((app, identity))
}

/// The credentials of a request: those in its `Authorization` header, or else those in its query.
///
/// # Errors
/// Code 40101 when they cannot be read.
pub(super) fn in_request(
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Credentials>, ErrorInfo> {
    match in_header(headers)? {
        Some(credentials) => Ok(Some(credentials)),
        None => in_query(query),
    }
}

/// The credentials in a query: `key`, `access_token` or `accessToken`.
///
/// # Errors
/// Code 40101 when they cannot be read.
pub(super) fn in_query(query: &Query) -> Result<Option<Credentials>, ErrorInfo> {
    if let Some(key) = query.get("key") {
        return Ok(Some(Credentials::Key(PresentedKey::parse(key)?)));
    }
    match query.get("access_token").or_else(|| query.get("accessToken")) {
        Some(token) => Ok(Some(Credentials::Token(PresentedToken::parse(token)?))),
        None => Ok(None),
    }
}

fn in_header(headers: &HeaderMap) -> Result<Option<Credentials>, ErrorInfo> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| error::unauthorized("malformed Authorization"))?;
    let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
    let text = text.trim();
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if scheme.eq_ignore_ascii_case("bearer") {
        // Some clients send a JWT without base64. Its dots are not base64 digits, so the two cannot be confused.
        let token = PresentedToken::parse(decoded.as_deref().unwrap_or(text))?;
        return Ok(Some(Credentials::Token(token)));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(error::unauthorized("the Authorization is neither Basic nor Bearer"));
    }
    let key = decoded
        .ok_or_else(|| error::unauthorized("the Basic credentials are not base64 of a key"))?;
    Ok(Some(Credentials::Key(PresentedKey::parse(&key)?)))
}

/// The client id in the header `X-Ably-ClientId`.
///
/// # Errors
/// Code 40012 when it is not base64 of text.
pub(super) fn client_id_in_header(headers: &HeaderMap) -> Result<Option<Str>, ErrorInfo> {
    let Some(value) = headers.get("x-ably-clientid") else { return Ok(None) };
    let text = STANDARD.decode(value).ok().and_then(|bytes| Str::try_from(bytes).ok());
    text.map(Some).ok_or_else(|| error::bad_client_id("X-Ably-ClientId is not base64 of text"))
}

/// The identity token of a device. SDKs send it plain, in base64, or as the whole token details.
///
/// # Errors
/// Code 40101 when it has not the form of a token.
pub(super) fn device_token(value: &str) -> Result<PresentedToken, ErrorInfo> {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.as_deref().unwrap_or(value);
    let details: Option<JsonObject> = serde_json::from_str(text).ok();
    let token = details.as_ref().and_then(|details| details.get("token")?.as_str());
    PresentedToken::parse(token.unwrap_or(text))
}

/// The error for a request without credentials.
pub(super) fn missing() -> ErrorInfo {
    error::unauthorized("the request has no credentials")
}
