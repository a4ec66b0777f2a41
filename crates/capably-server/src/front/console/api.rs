//! The API of the console: its sessions, and the table of its requests.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, JsonObject};
use hyper::{HeaderMap, Method, StatusCode, body::Incoming, header, http::request::Parts};
use serde_json::{Value, json};

use super::{
    Console, channels, connections, faults, frames, overview,
    sessions::{LIFETIME, Session},
};
use crate::{
    front::{
        Shared,
        app::AppHandle,
        http::{
            query::{self, Query},
            reply::Reply,
        },
        random,
        rest::{body, tokens},
    },
    hub::{
        Now,
        auth::{Credentials, Key, PresentedKey},
        error, token_request,
    },
};

/// Largest body of a request, in bytes: rules for faults may have frames in them.
const MAX_BODY: usize = 1024 * 1024;

/// A request with a session.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) console: &'a Console,
    pub(super) app: Arc<AppHandle>,
    pub(super) key: Arc<Key>,
    pub(super) session: Arc<Session>,
    pub(super) query: Query,
    pub(super) body: Bytes,
    pub(super) now: Now,
}

impl Call<'_> {
    /// The body as JSON.
    ///
    /// # Errors
    /// Code 40000.
    pub(super) fn json(&self) -> Result<Value, ErrorInfo> {
        parse(&self.body)
    }

    /// How many items to return.
    ///
    /// # Errors
    /// Code 40003 for a limit that is no number from 1 to `most`.
    pub(super) fn limit(&self, usual: usize, most: usize) -> Result<usize, ErrorInfo> {
        match self.query.number("limit")? {
            None => Ok(usual),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(error::bad_parameter(format!("`limit` must be between 1 and {most}"))),
        }
    }
}

/// Answers a request. `path` is the path below `/console/api/`.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    console: &Console,
    head: &Parts,
    path: &str,
    incoming: Incoming,
    peer: Option<IpAddr>,
) -> Reply {
    let answered = async {
        let body = body(incoming, MAX_BODY).await?;
        let now = shared.now();
        if (&head.method, path) == (&Method::POST, "session") {
            // A peer that has closed its connection already has no address.
            let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            console.sessions.check_attempts(peer, now.steady)?;
            return open(shared, console, &body, now).inspect_err(|error| {
                if error.status_code != 400 {
                    console.sessions.failed(peer, now.steady);
                }
            });
        }
        let session = session_of(console, &head.headers, now)?;
        let app = shared.app(&session.app).ok_or_else(over)?;
        let key = app.with(|hub, _| hub.key(&session.key_id)).map_err(|_| over())?;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let call = Call { shared, console, app, key, session, query, body, now };
        dispatch(&call, &head.method, path)
    };
    let reply = answered.await.unwrap_or_else(|error| refuse(&error));
    reply.header(header::CACHE_CONTROL, "no-store")
}

fn dispatch(call: &Call<'_>, method: &Method, path: &str) -> Result<Reply, ErrorInfo> {
    let segments = query::path_segments(path)?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match (method, &segments[..]) {
        (&Method::POST, ["token"]) => token(call),
        (&Method::GET, ["overview"]) => overview::get(call),
        (&Method::GET, ["channels"]) => channels::list(call),
        (&Method::GET, ["connections"]) => connections::list(call),
        (&Method::DELETE, ["connections", id]) => connections::cut(call, id),
        (&Method::GET, ["frames"]) => frames::get(call),
        (&Method::PUT, ["frames"]) => frames::put(call),
        (method, ["faults", rest @ ..]) => faults::answer(call, method, rest),
        _ => Err(error::not_found()),
    }
}

/// The error as a reply, in the form of Ably's.
pub(super) fn refuse(error: &ErrorInfo) -> Reply {
    let body = json!({ "error": {
        "code": error.code.0,
        "statusCode": error.status_code,
        "message": &*error.message,
        "href": format!("https://help.ably.io/error/{}", error.code.0),
    }});
    Reply::error_with(Format::Json, error, &body)
}

/// A reply with this value as its body.
pub(super) fn reply(status: StatusCode, value: &Value) -> Reply {
    Reply::value(status, Format::Json, value)
}

/// `POST session`: begins a session.
fn open(
    shared: &Arc<Shared>,
    console: &Console,
    body: &[u8],
    now: Now,
) -> Result<Reply, ErrorInfo> {
    let body: JsonObject = object(parse(body)?)?;
    let text = |name| body.get(name).and_then(Value::as_str);
    let secret = random::text(43).map_err(no_randomness)?;
    let (app, key_id) = match (text("token"), text("key")) {
        (Some(token), None) => {
            console.sessions.use_token(token)?;
            (console.first_app.clone(), console.first_key_id.as_str().into())
        }
        (None, Some(key)) => {
            let key = PresentedKey::parse(key)?;
            let app_id = key.app_id().to_owned();
            let wrong = || error::unauthorized("the key is wrong: the server has none like it");
            let app = shared.app(&app_id).ok_or_else(wrong)?;
            let credentials = Credentials::Key(key);
            // Whether the app, the key or its secret is wrong is nobody's business.
            let identity = app.with(|hub, _| hub.authenticate(&credentials, None, now));
            (app_id, identity.map_err(|_| wrong())?.key_id)
        }
        _ => return Err(error::bad_request("a session needs either a `token` or a `key`")),
    };
    let handle = shared.app(&app).ok_or_else(over)?;
    let key = handle.with(|hub, _| hub.key(&key_id)).map_err(|_| over())?;
    let is_operator = key.capability.is_full();
    let session = Session {
        has_server: is_operator && app == console.first_app,
        is_operator,
        capability: Arc::clone(&key.capability),
        key_id: key.id.clone(),
        app: app.clone(),
        expires: now.steady + LIFETIME,
    };
    console.sessions.add(&secret, session, now.steady);
    let capability: Value = serde_json::from_str(&key.capability.to_string()).unwrap_or_default();
    let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
    Ok(reply(
        StatusCode::CREATED,
        &json!({
            "session": secret,
            "operator": is_operator,
            "appId": app,
            "keyName": format!("{app}.{}", key.id),
            "capability": capability,
            "expires": now.wall + lifetime,
        }),
    ))
}

/// The session of a request.
///
/// # Errors
/// Code 40101.
fn session_of(console: &Console, headers: &HeaderMap, now: Now) -> Result<Arc<Session>, ErrorInfo> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, secret) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(error::unauthorized("the request has no session: sign in first"));
    }
    console.sessions.get(secret.trim(), now.steady).ok_or_else(over)
}

fn over() -> ErrorInfo {
    error::unauthorized("the session is over: sign in again, with a key")
}

/// `POST token`: issues a token with the key of the session.
fn token(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let mut asked = if call.body.is_empty() { JsonObject::new() } else { object(call.json()?)? };
    let mut request = JsonObject::new();
    for name in ["capability", "ttl", "clientId"] {
        if let Some(value) = asked.remove(name).filter(|value| !value.is_null()) {
            let value = match value {
                capability @ Value::Object(_) => Value::String(capability.to_string()),
                other => other,
            };
            request.insert(name.to_owned(), value);
        }
    }
    let key_name = format!("{}.{}", call.session.app, call.key.id);
    let request = token_request::read(request, &key_name)?;
    let issued = call.app.with(|hub, _| hub.issue_token(&call.key.id, &request, call.now))?;
    Ok(reply(StatusCode::CREATED, &tokens::details(&issued)))
}

fn parse(body: &[u8]) -> Result<Value, ErrorInfo> {
    serde_json::from_slice(body).map_err(|problem| error::bad_request(problem.to_string()))
}

fn object(value: Value) -> Result<JsonObject, ErrorInfo> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(error::bad_request("the body must be an object")),
    }
}

fn no_randomness(problem: random::RandomError) -> ErrorInfo {
    ErrorInfo::new(50000.into(), 500, format!("no random bytes: {problem}"))
}
