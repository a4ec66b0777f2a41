//! REST: publishing, history, and the probe of `/stats`.

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Str, codec};
use hyper::{StatusCode, header};
use serde_json::{Value, json};

use super::{credentials, http::Call, query::Query, reply::Reply};
use crate::hub::{Direction, HistoryQuery, error};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// `POST /channels/{channel}/messages` (RSL1).
pub(super) fn publish(call: &Call<'_>, channel: &str, body: Bytes) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let (format, limits) = call.body_format();
    let messages = codec::decode_messages(format, &body, &limits)
        .map_err(|problem| error::bad_request(problem.to_string()))?;
    if call.query.get("_forceNack") == Some("true") {
        return Err(error::forced());
    }
    let channel = Str::from(channel);
    let now = call.shared.clock.now();
    let published =
        app.with(|hub, outputs| hub.publish(&identity, &channel, messages, now, outputs))?;
    let serials: Vec<&str> = published.serials.iter().map(|serial| &**serial).collect();
    let body = json!({
        "channel": &*channel,
        "messageId": &*published.message_id,
        "serials": serials,
    });
    Ok(Reply::value(StatusCode::CREATED, call.format, &body))
}

/// `GET /channels/{channel}/messages`, and `history`, its older name (RSL2).
pub(super) fn history(call: &Call<'_>, channel: &str, word: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let query = history_query(&call.query)?;
    let now = call.shared.clock.now();
    let page = app.with(|hub, _| hub.history(&identity, channel, &query, now))?;
    let body = codec::encode_messages(call.format, &page.messages);
    let mut reply = Reply::encoded(StatusCode::OK, call.format, body);
    for (relation, cursor) in [
        ("first", Some(None)),
        ("current", Some(query.cursor.as_deref())),
        ("next", page.next.as_deref().map(Some)),
    ] {
        if let Some(cursor) = cursor {
            reply = reply.header(header::LINK, link(word, relation, &call.query, &query, cursor));
        }
    }
    Ok(reply)
}

/// `POST /stats`: an empty list is a probe of whether the server is there; fixtures are not taken yet.
pub(super) fn post_stats(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (format, limits) = call.body_format();
    let fixtures: Value = codec::decode_body(format, body, &limits)
        .map_err(|problem| error::bad_request(problem.to_string()))?;
    if fixtures == json!([]) {
        return Ok(Reply::value(StatusCode::CREATED, call.format, &json!([])));
    }
    credentials::rest(call.shared, &call.head.headers, &call.query)?;
    Err(error::not_supported("statistics are"))
}

fn history_query(query: &Query) -> Result<HistoryQuery, ErrorInfo> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(error::bad_parameter(format!("`limit` is not between 1 and {MAX_LIMIT}")));
    }
    let direction = match query.get("direction") {
        None | Some("backwards") => Direction::Backwards,
        Some("forwards") => Direction::Forwards,
        Some(_) => {
            return Err(error::bad_parameter("`direction` is neither `backwards` nor `forwards`"));
        }
    };
    let (start, end) = (query.number("start")?, query.number("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(error::bad_parameter("`start` is after `end`"));
    }
    let from_serial = query.get("from_serial").or_else(|| query.get("fromSerial"));
    Ok(HistoryQuery {
        direction,
        limit,
        start,
        end,
        from_serial: from_serial.map(Str::from),
        cursor: query.get("cursor").map(Str::from),
    })
}

/// A relative link to a page, as pagination gives them: `<./messages?limit=10>; rel="first"`.
fn link(
    word: &str,
    relation: &str,
    query: &Query,
    parsed: &HistoryQuery,
    cursor: Option<&str>,
) -> String {
    // Credentials do not belong into links.
    let mut query = query
        .without(&["cursor", "limit", "key", "access_token", "accessToken"])
        .with("limit", &parsed.limit.to_string());
    if let Some(cursor) = cursor {
        query = query.with("cursor", cursor);
    }
    format!("<./{word}?{}>; rel=\"{relation}\"", query.encode())
}
