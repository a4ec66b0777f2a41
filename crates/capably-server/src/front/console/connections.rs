//! The connections of the app at this node: listing them, and cutting them.

use capably_protocol::ErrorInfo;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::api::{Call, reply};
use crate::{
    front::{http::reply::Reply, operating::TransportEntry},
    hub::{
        error,
        inspect::{AttachedBrief, ConnectionBrief, Cut},
    },
};

/// The most connections that are looked at under one lock of the app.
const STEP: usize = 500;

/// The most connections whose attachments are read under one lock.
const ATTACHMENTS_STEP: usize = 20;

/// The most channels of a connection that are listed. It is at least the first number, and with few connections in the
/// answer up to the second, as long as all of them together list no more than [`CHANNELS`].
const CHANNELS_OF_ONE: (usize, usize) = (5, 100);

/// About the most channels of all connections in an answer.
const CHANNELS: usize = 1000;

const USUAL_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

/// A connection, and its transport if its client is connected.
struct Row {
    brief: ConnectionBrief,
    transport: Option<TransportEntry>,
    /// Since when it is in its state, in ms since the epoch.
    since: i64,
}

pub(super) fn list(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    call.session.require_operator()?;
    let limit = call.limit(USUAL_LIMIT, MAX_LIMIT)?;
    let search = call.query.get("search").unwrap_or_default().to_lowercase();
    let mut rows = Vec::new();
    let mut last = None;
    loop {
        let step = call.app.with(|hub, _| hub.connection_briefs(last.as_ref(), STEP, call.now));
        let Some(end) = step.last() else { break };
        last = Some(end.id.clone());
        rows.extend(
            step.into_iter().map(|brief| row(call, brief)).filter(|it| matches(it, &search)),
        );
    }
    let total = rows.len();
    // The newest first.
    rows.sort_unstable_by(|a, b| (b.since, &b.brief.id).cmp(&(a.since, &a.brief.id)));
    rows.truncate(limit);
    let mut connections = Vec::with_capacity(rows.len());
    let most = (CHANNELS / rows.len().max(1)).clamp(CHANNELS_OF_ONE.0, CHANNELS_OF_ONE.1);
    for rows in rows.chunks(ATTACHMENTS_STEP) {
        let attached: Vec<_> = call.app.with(|hub, _| {
            rows.iter().map(|row| hub.attachments_of(&row.brief.id, most)).collect()
        });
        connections.extend(rows.iter().zip(attached).map(|(row, it)| details(row, &it)));
    }
    Ok(reply(StatusCode::OK, &json!({ "connections": connections, "total": total })))
}

/// `DELETE connections/{connectionId}`.
pub(super) fn cut(call: &Call<'_>, id: &str) -> Result<Reply, ErrorInfo> {
    call.session.require_operator()?;
    let forget = match call.query.get("forget") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(error::bad_parameter("`forget` is neither `true` nor `false`")),
    };
    let cut = call.app.with(|hub, outputs| hub.cut(&id.into(), forget, call.now, outputs));
    let missing = |message: &'static str| Err(ErrorInfo::new(40400.into(), 404, message));
    match cut {
        Cut::Done => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        Cut::Away => missing(
            "the client is not connected: use `forget=true` to drop the state of its connection",
        ),
        Cut::Unknown => missing("the app has no connection with this id at this server"),
    }
}

fn row(call: &Call<'_>, brief: ConnectionBrief) -> Row {
    let transports = &call.shared.operating.transports;
    let transport = brief.transport.and_then(|transport| transports.get(transport));
    let client = transport.as_ref().and_then(|transport| transport.client.as_ref());
    let away = i64::try_from(brief.away_for.as_millis()).unwrap_or(i64::MAX);
    let since = client.map_or(call.now.wall.saturating_sub(away), |client| client.since);
    Row { brief, transport, since }
}

/// Whether the connection has the text, which is in lower case, in its ids, its address or its agent.
fn matches(row: &Row, search: &str) -> bool {
    if search.is_empty() {
        return true;
    }
    let has = |text: &str| text.to_lowercase().contains(search);
    let client = row.transport.as_ref().and_then(|transport| transport.client.as_ref());
    has(&row.brief.id)
        || row.brief.client_id.as_deref().is_some_and(has)
        || client.is_some_and(|client| {
            client.address.is_some_and(|address| has(&address.to_string()))
                || client.agent.as_deref().is_some_and(has)
        })
}

fn details(row: &Row, attached: &AttachedBrief) -> Value {
    let channels = attached.first.iter().map(|(name, modes)| {
        let modes: Vec<_> = modes.iter().map(|mode| mode.name()).collect();
        json!({ "name": &**name, "modes": modes })
    });
    let client = row.transport.as_ref().and_then(|transport| transport.client.as_ref());
    let address = client.and_then(|client| client.address);
    json!({
        "connectionId": &*row.brief.id,
        "clientId": row.brief.client_id.as_deref(),
        "since": row.since,
        "format": client.map(|client| client.format.name()),
        "address": address.map(|address| address.to_string()),
        "agent": client.and_then(|client| client.agent.as_deref()),
        "state": if row.brief.transport.is_some() { "connected" } else { "away" },
        "queueBytes": row.transport.as_ref().map_or(0, |transport| transport.outbox.bytes()),
        "channels": channels.collect::<Vec<_>>(),
        "channelCount": attached.count,
    })
}
