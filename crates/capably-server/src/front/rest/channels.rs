//! REST: what concerns one channel.

use std::collections::BTreeMap;

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Str, codec};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::front::{credentials, form, page, reply::Reply, router::Call};
use crate::hub::{
    Direction, HistoryQuery, MembersQuery, Occupancy, Page, PageQuery, Published,
    ephemeral::{self, EPHEMERAL},
    error,
};

/// `POST /channels/{channel}/messages` (RSL1).
pub(crate) fn publish(call: &Call<'_>, channel: &str, body: Bytes) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let mut messages = if form::is_form(&call.head.headers) {
        vec![form::message(&body)?]
    } else {
        let (format, limits) = call.body_format();
        codec::decode_messages(format, &body, &limits)
            .map_err(|problem| error::unreadable(&problem))?
    };
    error::unless_forced(call.query.get("_forceNack"))?;
    ephemeral::mark(call.query.get(EPHEMERAL), &mut messages)?;
    let channel = Str::from(channel);
    let now = call.shared.clock.now();
    let published =
        app.with(|hub, outputs| hub.publish(&identity, &channel, messages, now, outputs))?;
    Ok(self::published(call, &channel, &published))
}

/// What is answered to a publish (PBR).
pub(crate) fn published(call: &Call<'_>, channel: &str, published: &Published) -> Reply {
    let serials: Vec<&str> = published.serials.iter().map(|serial| &**serial).collect();
    let body = json!({
        "channel": channel,
        "messageId": &*published.message_id,
        "serials": serials,
    });
    Reply::value(StatusCode::CREATED, call.format, &body)
}

/// `GET /channels/{channel}/messages`, and `history`, its older name (RSL2).
pub(crate) fn history(call: &Call<'_>, channel: &str, word: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let from_serial = call.query.get("from_serial").or_else(|| call.query.get("fromSerial"));
    let now = call.shared.clock.now();
    let page = page::timed_query(&call.query, now.wall)?;
    let query = HistoryQuery { page, from_serial: from_serial.map(Str::from) };
    let found = app.with(|hub, _| hub.history(&identity, channel, &query, now))?;
    Ok(items(call, word, &query.page, &found))
}

/// `GET /channels/{channel}/presence` (RSP3).
pub(crate) fn members(call: &Call<'_>, channel: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let query = MembersQuery {
        page: page::query(&call.query)?,
        client_id: call.query.get("clientId").map(Str::from),
        connection_id: call.query.get("connectionId").map(Str::from),
    };
    let found = app.with(|hub, _| hub.members(&identity, channel, &query))?;
    Ok(items(call, "presence", &query.page, &found))
}

/// `GET /channels/{channel}/presence/history` (RSP4).
pub(crate) fn presence_history(call: &Call<'_>, channel: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let query = page::timed_query(&call.query, call.shared.clock.now().wall)?;
    let found = app.with(|hub, _| hub.presence_history(&identity, channel, &query))?;
    Ok(items(call, "history", &query, &found))
}

/// `GET /channels/{channel}` (RSL8).
pub(crate) fn status(call: &Call<'_>, channel: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let occupancy = app.with(|hub, _| hub.occupancy(&identity, channel))?;
    Ok(Reply::value(StatusCode::OK, call.format, &details(channel, &occupancy)))
}

/// `GET /channels`: those in use, by their names or with their status.
pub(crate) fn channels(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let names_only = match call.query.get("by") {
        None | Some("value") => false,
        Some("id") => true,
        Some(_) => return Err(error::bad_parameter("`by` is neither `id` nor `value`")),
    };
    let prefix = call.query.get("prefix").unwrap_or_default();
    let query = page::query_with(&call.query, Direction::Forwards)?;
    let found = app.with(|hub, _| hub.channels(&identity, prefix, &query))?;
    let items: Vec<_> = found
        .items
        .iter()
        .map(|(name, it)| if names_only { json!(&**name) } else { details(name, it) })
        .collect();
    let reply = Reply::value(StatusCode::OK, call.format, &items);
    Ok(page::linked(reply, "channels", &call.query, &query, found.next.as_deref()))
}

/// A channel's details (CHD).
fn details(channel: &str, occupancy: &Occupancy) -> Value {
    let metrics = BTreeMap::from(occupancy.metrics());
    json!({
        "channelId": channel,
        "name": channel,
        "status": { "isActive": true, "occupancy": { "metrics": metrics } },
    })
}

/// A page of items as a reply.
pub(crate) fn items<T: codec::Item>(
    call: &Call<'_>,
    word: &str,
    query: &PageQuery,
    page: &Page<T>,
) -> Reply {
    let body = codec::encode_items(call.format, &page.items);
    let reply = Reply::encoded(StatusCode::OK, call.format, body);
    page::linked(reply, word, &call.query, query, page.next.as_deref())
}
