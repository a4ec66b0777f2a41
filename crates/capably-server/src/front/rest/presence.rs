//! The members of a channel, and their history.

use capably_protocol::{ErrorInfo, Str};

use super::{call::Call, page};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{MembersQuery, auth::Identity},
};

/// `GET /channels/{channel}/presence` (RSP3).
pub(super) async fn members(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let query = MembersQuery {
        page: page::newest_first(call.query)?,
        client_id: call.query.get("clientId").map(Str::from),
        connection_id: call.query.get("connectionId").map(Str::from),
    };
    let found = app.members(identity, channel, &query).await?;
    Ok(call.reply_page(&query.page, &found))
}

/// `GET /channels/{channel}/presence/history` (RSP4).
pub(super) async fn history(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
    channel: &str,
) -> Result<Reply, ErrorInfo> {
    let query = page::of_the_past(call.query, call.now.wall)?;
    let found = app.presence_history(identity, channel, &query).await?;
    Ok(call.reply_page(&query, &found))
}
