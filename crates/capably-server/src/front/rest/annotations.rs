//! REST: annotations of messages.

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, Str, codec};

use crate::front::{channels, credentials, page, reply::Reply, router::Call};
use crate::hub::{Direction, error};

/// `POST /channels/{channel}/messages/{serial}/annotations` (RSAN1, RSAN2).
pub(crate) fn publish(
    call: &Call<'_>,
    channel: &str,
    serial: &str,
    body: Bytes,
) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let (format, limits) = call.body_format();
    if !is_array(format, &body) {
        return Err(error::bad_request("the body is not an array of annotations"));
    }
    let annotations = codec::decode_items(format, &body, &limits)
        .map_err(|problem| error::unreadable(&problem))?;
    error::unless_forced(call.query.get("_forceNack"))?;
    let channel = Str::from(channel);
    let now = call.shared.clock.now();
    let published = app.with(|hub, outputs| {
        hub.annotate(&identity, &channel, serial, annotations, now, outputs)
    })?;
    Ok(channels::published(call, &channel, &published))
}

/// `GET /channels/{channel}/messages/{serial}/annotations` (RSAN3).
pub(crate) fn list(call: &Call<'_>, channel: &str, serial: &str) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let query = page::query_with(&call.query, Direction::Forwards)?;
    let now = call.shared.clock.now();
    let found = app.with(|hub, _| hub.annotations(&identity, channel, serial, &query, now))?;
    Ok(channels::items(call, "annotations", &query, &found))
}

/// Whether the body has the form of an array, rather than of a single item.
fn is_array(format: Format, body: &[u8]) -> bool {
    match format {
        Format::Json => body.trim_ascii_start().first() == Some(&b'['),
        Format::MsgPack => matches!(body.first(), Some(0x90..=0x9f | 0xdc | 0xdd)),
    }
}
