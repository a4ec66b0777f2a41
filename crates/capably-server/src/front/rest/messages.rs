//! The messages of a channel, their versions, and their changes.

use capably_protocol::{ErrorInfo, Message, Str, codec};
use hyper::StatusCode;
use serde_json::json;

use super::{call::Call, form, page};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{
        HistoryQuery, Published,
        auth::Identity,
        ephemeral::{self, EPHEMERAL},
        error,
    },
};

/// `POST /channels/{channel}/messages` (RSL1).
pub(super) async fn publish(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let mut messages = if form::is_form(call.headers) {
        vec![form::message(call.body()?)?]
    } else {
        call.decode_items()?
    };
    call.count_messages(messages.len());
    error::unless_forced(call.query.get("_forceNack"))?;
    ephemeral::mark(call.query.get(EPHEMERAL), &mut messages)?;
    let channel = Str::from(channel);
    let accepted = app
        .commit(|hub, outputs| hub.publish(identity, &channel, messages, call.now, outputs))
        .await?;
    Ok(reply_published(call, &channel, &accepted.into()))
}

/// The reply to a publish (PBR).
pub(super) fn reply_published(call: &Call<'_>, channel: &str, published: &Published) -> Reply {
    let serials: Vec<&str> = published.serials.iter().map(|serial| &**serial).collect();
    let body = json!({
        "channel": channel,
        "messageId": &*published.message_id,
        "serials": serials,
    });
    call.reply(StatusCode::CREATED, &body)
}

/// `GET /channels/{channel}/messages`, and its older name `history` (RSL2).
pub(super) async fn history(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let from_serial = call.query.get("from_serial").or_else(|| call.query.get("fromSerial"));
    let page = page::of_the_past(call.query, call.now.wall)?;
    let query = HistoryQuery { page, from_serial: from_serial.map(Str::from) };
    let found = app.history(identity, channel, &query, call.now).await?;
    Ok(call.reply_page(&query.page, &found))
}

/// `GET /channels/{channel}/messages/{serial}` (RSL11).
pub(super) async fn get(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    serial: &str,
) -> Result<Reply, ErrorInfo> {
    let message = app.message(identity, channel, serial, call.now).await?;
    let body = codec::encode_item(call.format, &message);
    Ok(Reply::encoded(StatusCode::OK, call.format, body))
}

/// `GET /channels/{channel}/messages/{serial}/versions` (RSL14).
pub(super) async fn versions(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    serial: &str,
) -> Result<Reply, ErrorInfo> {
    let query = page::oldest_first(call.query)?;
    let found = app.versions(identity, channel, serial, &query, call.now).await?;
    Ok(call.reply_page(&query, &found))
}

/// `PATCH /channels/{channel}/messages/{serial}` (RSL15).
pub(super) async fn change(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    serial: &str,
) -> Result<Reply, ErrorInfo> {
    let [mut message] = <[Message; 1]>::try_from(call.decode_items()?)
        .map_err(|_: Vec<Message>| error::bad_request("a change must have exactly one message"))?;
    call.count_messages(1);
    if message.serial.as_ref().is_some_and(|own| own != serial) {
        return Err(error::other_serial());
    }
    message.serial = Some(serial.into());
    ephemeral::mark(call.query.get(EPHEMERAL), std::slice::from_mut(&mut message))?;
    error::unless_forced(call.query.get("_forceNack"))?;
    let channel = Str::from(channel);
    let accepted = app
        .commit_about(&channel, serial, |hub, outputs| {
            hub.change(identity, &channel, message, call.now, outputs)
        })
        .await?;
    let version_serial = accepted.position.message_serial(0);
    Ok(call.reply(StatusCode::OK, &json!({ "versionSerial": &*version_serial })))
}
