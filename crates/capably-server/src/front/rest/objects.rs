//! The objects of a channel.

use capably_protocol::{ErrorInfo, Str};
use hyper::StatusCode;
use serde_json::json;

use super::{annotations::is_array, call::Call};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{RestOperation, ViewForm, auth::Identity, error},
};

/// `POST /channels/{channel}/object`, and its older name `objects`.
pub(super) async fn publish(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let operations: Vec<RestOperation> = if is_array(call.body_format(), call.body()?) {
        call.decode()?
    } else {
        vec![call.decode()?]
    };
    call.count_messages(operations.len());
    error::unless_forced(call.query.get("_forceNack"))?;
    let channel = Str::from(channel);
    let (accepted, object_ids) =
        app.request_objects(identity, &channel, operations, call.now).await?;
    let message_id = accepted.chosen_id.unwrap_or_else(|| accepted.position.channel_serial());
    let body = json!({ "messageId": message_id, "channel": channel, "objectIds": object_ids });
    Ok(call.reply(StatusCode::CREATED, &body))
}

/// `GET /channels/{channel}/object`.
pub(super) async fn root(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    view(call, app, identity, channel, None).await
}

/// `GET /channels/{channel}/object/{objectId}`.
pub(super) async fn get(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    object_id: &str,
) -> Result<Reply, ErrorInfo> {
    view(call, app, identity, channel, Some(object_id)).await
}

async fn view(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
    object_id: Option<&str>,
) -> Result<Reply, ErrorInfo> {
    let form = match call.query.get("compact") {
        None | Some("true") => ViewForm::Compact,
        Some("false") => ViewForm::Full,
        Some(_) => return Err(error::bad_parameter("`compact` is neither `true` nor `false`")),
    };
    let path = call.query.get("path").unwrap_or_default();
    let found = app.object_view(identity, channel, object_id, path, form).await?;
    Ok(call.reply(StatusCode::OK, &found))
}
