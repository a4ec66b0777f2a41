//! REST: single messages, their versions, and their changes.

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Message, Str, codec};
use hyper::StatusCode;
use serde_json::json;

use crate::front::{channels, credentials, page, reply::Reply, router::Call};
use crate::hub::{
    Direction,
    ephemeral::{self, EPHEMERAL},
    error,
};

/// `GET /channels/{channel}/messages/{serial}` (RSL11).
pub(crate) fn get(call: &Call<'_>, channel: &str, serial: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let now = call.shared.clock.now();
    let message = app.with(|hub, _| hub.message(&identity, channel, serial, now))?;
    let body = codec::encode_item(call.format, &message);
    Ok(Reply::encoded(StatusCode::OK, call.format, body))
}

/// `GET /channels/{channel}/messages/{serial}/versions` (RSL14).
pub(crate) fn versions(call: &Call<'_>, channel: &str, serial: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let query = page::query_with(&call.query, Direction::Forwards)?;
    let now = call.shared.clock.now();
    let found = app.with(|hub, _| hub.versions(&identity, channel, serial, &query, now))?;
    Ok(channels::items(call, "versions", &query, &found))
}

/// `PATCH /channels/{channel}/messages/{serial}` (RSL15).
pub(crate) fn change(
    call: &Call<'_>,
    channel: &str,
    serial: &str,
    body: Bytes,
) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let (format, limits) = call.body_format();
    let messages: Vec<Message> = codec::decode_items(format, &body, &limits)
        .map_err(|problem| error::unreadable(&problem))?;
    let [mut message] = <[Message; 1]>::try_from(messages)
        .map_err(|_| error::bad_request("a change is of one message"))?;
    if message.serial.as_ref().is_some_and(|own| own != serial) {
        return Err(error::other_serial());
    }
    message.serial = Some(serial.into());
    ephemeral::mark(call.query.get(EPHEMERAL), std::slice::from_mut(&mut message))?;
    error::unless_forced(call.query.get("_forceNack"))?;
    let channel = Str::from(channel);
    let now = call.shared.clock.now();
    let version_serial =
        app.with(|hub, outputs| hub.change(&identity, &channel, message, now, outputs))?;
    let body = json!({ "versionSerial": &*version_serial });
    Ok(Reply::value(StatusCode::OK, call.format, &body))
}
