//! The request that opens a WebSocket.

use std::{sync::Arc, time::Duration};

use capably_protocol::{ErrorInfo, Format, Str};
use hyper::{HeaderMap, StatusCode, header, http::request::Parts};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::front::{
    Shared,
    app::AppHandle,
    credentials,
    heartbeat::Heartbeat,
    query::Query,
    reply::{Reply, Response},
};
use crate::{
    hub::{auth::Identity, error},
    server::LONGEST,
};

/// A WebSocket to be opened once the response is on its way. It holds a secret, so it has no `Debug`.
pub(crate) struct Upgrade {
    pub(crate) format: Format,
    pub(crate) echo: bool,
    pub(crate) heartbeat: Heartbeat,
    /// How long members stay while the client is away, if it says so.
    pub(crate) remain: Option<Duration>,
    /// The longest silence towards the client.
    pub(crate) max_idle_interval: Duration,
    /// The key of a connection to go on with.
    pub(crate) resume: Option<Str>,
    /// Whose connection it is, or why not: the client is told over the WebSocket.
    pub(crate) admitted: Result<(Arc<AppHandle>, Identity), ErrorInfo>,
}

/// Answers the request of a WebSocket.
///
/// # Errors
/// Code 40000 when it is not one.
pub(crate) fn accept(
    shared: &Shared,
    request: &Parts,
    query: &Query,
) -> Result<(Response, Upgrade), ErrorInfo> {
    let has = |name, token: &str| header_has_token(&request.headers, name, token);
    let key = request.headers.get(header::SEC_WEBSOCKET_KEY);
    let (true, true, Some(key)) =
        (has(header::CONNECTION, "upgrade"), has(header::UPGRADE, "websocket"), key)
    else {
        return Err(error::bad_request("this path expects the upgrade to a WebSocket"));
    };
    if request.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(error::bad_request("the version of the WebSocket is not 13"));
    }
    let response = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .into_response();
    let (format, valid) = parameters(query);
    let idle = idle_interval(query, shared.settings.max_idle_interval);
    let max_idle_interval = idle.clone().unwrap_or(shared.settings.max_idle_interval);
    let admitted = valid.and(idle).and_then(|_| credentials::realtime(shared, query));
    let upgrade = Upgrade {
        format,
        echo: query.get("echo") != Some("false"),
        heartbeat: Heartbeat::of(query.get("heartbeats")),
        remain: query
            .get("remainPresentFor")
            .and_then(|millis| millis.parse().ok())
            .map(|millis| Duration::from_millis(millis).min(LONGEST)),
        max_idle_interval,
        resume: query.get("resume").or_else(|| query.get("recover")).map(Str::from),
        admitted,
    };
    Ok((response, upgrade))
}

/// The shortest and the longest silence that a client can ask for.
const IDLE_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1800));

/// The longest silence towards the client: the server's own, or `heartbeatInterval` in ms as far as it is within
/// bounds (RTC1f).
///
/// # Errors
/// Code 40003 when `heartbeatInterval` is not a number.
fn idle_interval(query: &Query, usual: Duration) -> Result<Duration, ErrorInfo> {
    let (shortest, longest) = IDLE_INTERVALS;
    let wanted = query.number("heartbeatInterval")?.map(Duration::from_millis);
    // A server whose own interval is shorter sends at that pace anyway.
    Ok(wanted.map_or(usual, |wanted| wanted.clamp(shortest.min(usual), longest)))
}

/// The format, and whether what was asked for is possible.
fn parameters(query: &Query) -> (Format, Result<(), ErrorInfo>) {
    let format = match query.get("format") {
        None | Some("json") => Format::Json,
        Some("msgpack") => Format::MsgPack,
        Some(_) => {
            let error = error::bad_parameter("the `format` is neither `json` nor `msgpack`");
            return (Format::Json, Err(error));
        }
    };
    let version = query.get("v").map(str::parse::<f64>);
    let valid = match version {
        None => Ok(()),
        Some(Ok(version)) if version >= 1.0 => Ok(()),
        Some(_) => Err(error::bad_version()),
    };
    (format, valid)
}

fn header_has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}
