//! The channels of an app, and the status of each.

use capably_protocol::ErrorInfo;
use hyper::StatusCode;
use serde_json::json;

use super::{call::Call, page};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{auth::Identity, error},
};

/// `GET /channels`: the channels in use. With `by=id` the items are names, otherwise details.
pub(super) async fn list(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
) -> Result<Reply, ErrorInfo> {
    let names_only = match call.query.get("by") {
        None | Some("value") => false,
        Some("id") => true,
        Some(_) => return Err(error::bad_parameter("`by` must be `id` or `value`")),
    };
    let prefix = call.query.get("prefix").unwrap_or_default();
    let query = page::oldest_first(call.query)?;
    let found = app.with(|hub, _| hub.channels(identity, prefix, &query))?;
    let items: Vec<_> = found
        .items
        .iter()
        .map(|(name, it)| if names_only { json!(&**name) } else { it.details(name, true) })
        .collect();
    Ok(call.link_pages(call.reply(StatusCode::OK, &items), &query, found.next.as_deref()))
}

/// `GET /channels/{channel}` (RSL8).
pub(super) async fn status(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let occupancy = app.with(|hub, _| hub.occupancy(identity, channel))?;
    Ok(call.reply(StatusCode::OK, &occupancy.details(channel, true)))
}
