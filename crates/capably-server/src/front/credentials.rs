//! What a request presents to say who it is from, and where it carries that.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, JsonObject, Str};
use hyper::{HeaderMap, header};

use super::{Shared, app::AppHandle, query::Query};
use crate::hub::{
    DeviceProof, PushCaller,
    auth::{Credentials, Identity, PresentedKey},
    error,
    token::PresentedToken,
};

/// Whoever holds these credentials.
pub(crate) type Admitted = (Arc<AppHandle>, Identity);

/// The client of a connection, from its query.
///
/// # Errors
/// Codes 40101, 40142, 40144, 40400 for credentials; 40012, 40102 for a client id.
pub(crate) fn realtime(shared: &Shared, query: &Query) -> Result<Admitted, ErrorInfo> {
    let credentials = in_query(query)?.ok_or_else(missing)?;
    admit(shared, &credentials, query.get("clientId").map(Str::from))
}

/// The client of a REST request.
///
/// # Errors
/// Codes 40003, 40101, 40142, 40144, 40400 for credentials; 40012, 40102 for a client id; 42918 for too many requests.
pub(crate) fn rest(
    shared: &Shared,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Admitted, ErrorInfo> {
    let credentials = of_request(headers, query)?.ok_or_else(missing)?;
    let client_id = client_in_header(headers)?;
    let client_id = client_id.or_else(|| query.get("clientId").map(Str::from));
    admit_request(shared, &credentials, client_id)
}

/// Who asks for something of push: the client of a request, a device that presents what is its own, or
/// both (RSH6). A `clientId` in the query is a filter here.
///
/// # Errors
/// As [`rest`].
pub(crate) fn push(
    shared: &Shared,
    headers: &HeaderMap,
    query: &Query,
) -> Result<(Arc<AppHandle>, PushCaller), ErrorInfo> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = text("x-ably-devicetoken").map(device_token);
    let (credentials, proof) = match (of_request(headers, query)?, token) {
        (Some(credentials), Some(Ok(token))) => (credentials, Some(DeviceProof::Token(token))),
        (Some(credentials), Some(Err(_))) => (credentials, Some(DeviceProof::Malformed)),
        (Some(credentials), None) => {
            let secret = text("x-ably-devicesecret");
            (credentials, secret.map(|secret| DeviceProof::Secret(secret.into())))
        }
        (None, Some(token)) => (Credentials::Token(token?), None),
        (None, None) => return Err(missing()),
    };
    let (app, identity) = admit_request(shared, &credentials, client_in_header(headers)?)?;
    Ok((app, PushCaller { identity, proof }))
}

/// The token of a device: as it is, in base64, or in the details that it came in.
fn device_token(value: &str) -> Result<PresentedToken, ErrorInfo> {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.as_deref().unwrap_or(value);
    let details: Option<JsonObject> = serde_json::from_str(text).ok();
    let token = details.as_ref().and_then(|details| details.get("token")?.as_str());
    PresentedToken::parse(token.unwrap_or(text))
}

fn client_in_header(headers: &HeaderMap) -> Result<Option<Str>, ErrorInfo> {
    let Some(value) = headers.get("x-ably-clientid") else { return Ok(None) };
    let text = STANDARD.decode(value).ok().and_then(|bytes| Str::try_from(bytes).ok());
    text.map(Some).ok_or_else(|| error::bad_client_id("X-Ably-ClientId is not base64 of text"))
}

/// The app that a request's credentials name, whether they hold or not.
pub(crate) fn app(shared: &Shared, headers: &HeaderMap, query: &Query) -> Option<Arc<AppHandle>> {
    of_request(headers, query).ok().flatten().and_then(|it| shared.app(it.app_id()))
}

/// The holder of an app's key, whatever it may do; `None` when the app is not here.
///
/// # Errors
/// Codes 40101, 40400 for credentials.
pub(crate) fn key_of_app(
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
pub(crate) fn key(headers: &HeaderMap, query: &Query) -> Result<Option<PresentedKey>, ErrorInfo> {
    Ok(match of_request(headers, query)? {
        Some(Credentials::Key(key)) => Some(key),
        Some(Credentials::Token(_)) | None => None,
    })
}

/// The key that a request must carry.
///
/// # Errors
/// Code 40101 for credentials that are none, 40162 for a token.
pub(crate) fn only_key(headers: &HeaderMap, query: &Query) -> Result<PresentedKey, ErrorInfo> {
    match of_request(headers, query)?.ok_or_else(missing)? {
        Credentials::Key(key) => Ok(key),
        Credentials::Token(_) => Err(error::key_required()),
    }
}

/// As [`admit`], for one of the requests of which an app may get only so many.
///
/// # Errors
/// As [`admit`], and 42918 when the app gets more of them.
fn admit_request(
    shared: &Shared,
    credentials: &Credentials,
    client_id: Option<Str>,
) -> Result<Admitted, ErrorInfo> {
    let (app, identity) = admit(shared, credentials, client_id)?;
    let now = shared.clock.now();
    app.with(|hub, _| hub.admit_request(now))?;
    Ok((app, identity))
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
