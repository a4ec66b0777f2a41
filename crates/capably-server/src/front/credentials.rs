//! What a request presents to say who it is from, and where it carries that.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, Str};
use hyper::{HeaderMap, header};

use super::{Shared, app::AppHandle, query::Query};
use crate::hub::{
    auth::{Credentials, Identity, PresentedKey},
    error,
    token::PresentedToken,
};

/// Whoever holds these credentials.
pub(super) type Admitted = (Arc<AppHandle>, Identity);

/// The client of a connection, from its query.
///
/// # Errors
/// Codes 40101, 40142, 40144, 40400 for credentials; 40012, 40102 for a client id.
pub(super) fn realtime(shared: &Shared, query: &Query) -> Result<Admitted, ErrorInfo> {
    let credentials = in_query(query)?.ok_or_else(missing)?;
    admit(shared, &credentials, query.get("clientId").map(Str::from))
}

/// The client of a REST request.
///
/// # Errors
/// Codes 40101, 40142, 40144, 40400 for credentials; 40012, 40102 for a client id.
pub(super) fn rest(
    shared: &Shared,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Admitted, ErrorInfo> {
    let credentials = of_request(headers, query)?.ok_or_else(missing)?;
    let client_id = match headers.get("x-ably-clientid") {
        Some(value) => Some(
            STANDARD
                .decode(value)
                .ok()
                .and_then(|bytes| Str::try_from(bytes).ok())
                .ok_or_else(|| error::bad_client_id("X-Ably-ClientId is not base64 of text"))?,
        ),
        None => query.get("clientId").map(Str::from),
    };
    admit(shared, &credentials, client_id)
}

/// The holder of an app's key, whatever it may do; `None` when the app is not here.
///
/// # Errors
/// Codes 40101, 40400 for credentials.
pub(super) fn key_of_app(
    shared: &Shared,
    app_id: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Admitted>, ErrorInfo> {
    if shared.app(app_id).is_none() {
        return Ok(None);
    }
    let credentials = of_request(headers, query)?.ok_or_else(missing)?;
    if matches!(credentials, Credentials::Token(_)) {
        return Err(error::unauthorized("this needs a key"));
    }
    if credentials.app_id() != app_id {
        return Err(error::unauthorized("the key is of another app"));
    }
    admit(shared, &credentials, None).map(Some)
}

/// The key that a request carries, if it carries one.
///
/// # Errors
/// Code 40101 for credentials that are none.
pub(super) fn key(headers: &HeaderMap, query: &Query) -> Result<Option<PresentedKey>, ErrorInfo> {
    Ok(match of_request(headers, query)? {
        Some(Credentials::Key(key)) => Some(key),
        Some(Credentials::Token(_)) | None => None,
    })
}

/// The key that a request must carry.
///
/// # Errors
/// Code 40101 for credentials that are none, 40162 for a token.
pub(super) fn only_key(headers: &HeaderMap, query: &Query) -> Result<PresentedKey, ErrorInfo> {
    match of_request(headers, query)?.ok_or_else(missing)? {
        Credentials::Key(key) => Ok(key),
        Credentials::Token(_) => Err(error::key_required()),
    }
}

fn admit(
    shared: &Shared,
    credentials: &Credentials,
    client_id: Option<Str>,
) -> Result<Admitted, ErrorInfo> {
    let app = shared.app(credentials.app_id()).ok_or_else(error::unknown_app)?;
    let now = shared.clock.now();
    let identity = app.with(|hub, _| hub.authenticate(credentials, client_id, now))?;
    Ok((app, identity))
}

fn of_request(headers: &HeaderMap, query: &Query) -> Result<Option<Credentials>, ErrorInfo> {
    match in_header(headers)? {
        Some(credentials) => Ok(Some(credentials)),
        None => in_query(query),
    }
}

fn in_header(headers: &HeaderMap) -> Result<Option<Credentials>, ErrorInfo> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| error::unauthorized("malformed Authorization"))?;
    let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
    let text = text.trim();
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if scheme.eq_ignore_ascii_case("bearer") {
        // A JWT may come as it is; its dots are not base64.
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

fn in_query(query: &Query) -> Result<Option<Credentials>, ErrorInfo> {
    if let Some(key) = query.get("key") {
        return Ok(Some(Credentials::Key(PresentedKey::parse(key)?)));
    }
    match query.get("access_token").or_else(|| query.get("accessToken")) {
        Some(token) => Ok(Some(Credentials::Token(PresentedToken::parse(token)?))),
        None => Ok(None),
    }
}

fn missing() -> ErrorInfo {
    error::unauthorized("the request has no credentials")
}
