//! The annotations of a message.

use capably_protocol::{Annotation, ErrorInfo, Format, Str};

use super::{call::Call, messages::reply_published, page};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{auth::Identity, error},
};

/// `POST /channels/{channel}/messages/{serial}/annotations` (RSAN1, RSAN2).
pub(super) async fn publish(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    serial: &str,
) -> Result<Reply, ErrorInfo> {
    if !is_array(call.body_format(), call.body()?) {
        return Err(error::bad_request("the body must be an array of annotations"));
    }
    let annotations: Vec<Annotation> = call.decode_items()?;
    call.count_messages(annotations.len());
    error::unless_forced(call.query.get("_forceNack"))?;
    let channel = Str::from(channel);
    let accepted = app
        .commit_about(&channel, serial, |hub, outputs| {
            hub.annotate(identity, &channel, serial, annotations, call.now, outputs)
        })
        .await?;
    Ok(reply_published(call, &channel, &accepted.into()))
}

/// `GET /channels/{channel}/messages/{serial}/annotations` (RSAN3).
pub(super) async fn list(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    serial: &str,
) -> Result<Reply, ErrorInfo> {
    let query = page::oldest_first(call.query)?;
    let found = app.annotations(identity, channel, serial, &query, call.now).await?;
    Ok(call.reply_page(&query, &found))
}

/// Whether the body begins as an array. The decoder would accept a single annotation, too; the service does not.
pub(super) fn is_array(format: Format, body: &[u8]) -> bool {
    match format {
        Format::Json => body.trim_ascii_start().first() == Some(&b'['),
        Format::MsgPack => matches!(body.first(), Some(0x90..=0x9f | 0xdc | 0xdd)),
    }
}
