//! Who a request is from (SERVICE: carriers of credentials, and what is wrong with them).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, Str};
use hyper::{HeaderMap, header};

use super::{Shared, app::AppHandle, query::Query};
use crate::hub::{
    auth::{Identity, PresentedKey},
    error,
};

/// Whoever holds these credentials.
pub(super) type Admitted = (Arc<AppHandle>, Identity);

/// The client of a connection, from its query.
///
/// # Errors
/// Codes 40101, 40400 for credentials; 40012 for a client id.
pub(super) fn realtime(shared: &Shared, query: &Query) -> Result<Admitted, ErrorInfo> {
    let key = key_in_query(query)?.ok_or_else(missing)?;
    let client_id = query.get("clientId").map(Str::from);
    admit(shared, &key, client_id)
}

/// The client of a REST request.
///
/// # Errors
/// Codes 40101, 40400 for credentials; 40012 for a client id.
pub(super) fn rest(
    shared: &Shared,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Admitted, ErrorInfo> {
    let key = match key_in_header(headers)? {
        Some(key) => key,
        None => key_in_query(query)?.ok_or_else(missing)?,
    };
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
    admit(shared, &key, client_id)
}

/// The key of an app that the request carries, whatever it may do; `None` when the app is not here.
///
/// # Errors
/// Codes 40101, 40400 for credentials.
pub(super) fn rest_for_app(
    shared: &Shared,
    app_id: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Admitted>, ErrorInfo> {
    if shared.app(app_id).is_none() {
        return Ok(None);
    }
    let key = match key_in_header(headers)? {
        Some(key) => key,
        None => key_in_query(query)?.ok_or_else(missing)?,
    };
    if key.app_id() != app_id {
        return Err(error::unauthorized("the key is of another app"));
    }
    admit(shared, &key, None).map(Some)
}

fn admit(
    shared: &Shared,
    key: &PresentedKey,
    client_id: Option<Str>,
) -> Result<Admitted, ErrorInfo> {
    let app = shared.app(key.app_id()).ok_or_else(error::unknown_app)?;
    let key = app.with(|hub, _| key.check(hub.keys()))?;
    if client_id.as_ref().is_some_and(|id| id.is_empty() || *id == "*") {
        return Err(error::bad_client_id("a client cannot have this clientId"));
    }
    Ok((app, Identity { key, client_id }))
}

fn key_in_header(headers: &HeaderMap) -> Result<Option<PresentedKey>, ErrorInfo> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| error::unauthorized("malformed Authorization"))?;
    let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Err(error::tokens_not_supported());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(error::unauthorized("the Authorization is neither Basic nor Bearer"));
    }
    let key = STANDARD
        .decode(credentials.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| error::unauthorized("the Basic credentials are not base64 of a key"))?;
    PresentedKey::parse(&key).map(Some)
}

fn key_in_query(query: &Query) -> Result<Option<PresentedKey>, ErrorInfo> {
    if let Some(key) = query.get("key") {
        return PresentedKey::parse(key).map(Some);
    }
    match query.get("access_token").or_else(|| query.get("accessToken")) {
        Some(_) => Err(error::tokens_not_supported()),
        None => Ok(None),
    }
}

fn missing() -> ErrorInfo {
    error::unauthorized("the request has no credentials")
}
