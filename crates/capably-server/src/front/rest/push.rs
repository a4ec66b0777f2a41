//! Push (RSH1): devices, subscriptions, and live activities.

use capably_protocol::{ErrorInfo, Str};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{apps::no_randomness, call::Call, page, tokens};
use crate::{
    front::{app::AppHandle, http::reply::Reply, random},
    hub::{ActivityStep, Page, PageQuery, PushCaller, PushFilter},
};

/// `POST /push/publish` (RSH1a).
pub(super) async fn publish(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    app.with(|hub, outputs| hub.push(caller, body, call.now, outputs))?;
    Ok(no_content())
}

/// `GET /push/channels` (RSH1c2).
pub(super) async fn channels(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let query = page::oldest_first_clamped(call.query)?;
    let found = app.with(|hub, _| hub.push_channels(caller, &query))?;
    let items = found.items.iter().map(|name| json!(&**name)).collect();
    Ok(reply_list(call, &query, Page { items, next: found.next }))
}

/// `GET /push/deviceRegistrations` (RSH1b2).
pub(super) async fn devices(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let query = page::oldest_first_clamped(call.query)?;
    let found = app.with(|hub, _| hub.devices(caller, &filter(call), &query))?;
    Ok(reply_list(call, &query, found))
}

/// `POST /push/deviceRegistrations` (RSH3b3b).
pub(super) async fn register_device(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    let (mut device, token) =
        app.change_push(|hub| hub.register_device(caller, body, call.now)).await?;
    let mut token = tokens::details(&token);
    token["deviceId"] = device["id"].clone();
    device["deviceIdentityToken"] = token;
    Ok(call.reply(StatusCode::CREATED, &device))
}

/// `DELETE /push/deviceRegistrations` (RSH1b5).
pub(super) async fn remove_devices(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    app.change_push(|hub| hub.remove_devices(caller, &filter(call), call.now)).await?;
    Ok(no_content())
}

/// `GET /push/deviceRegistrations/{id}` (RSH1b1).
pub(super) async fn device(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let device = app.with(|hub, _| hub.device(caller, id, call.now))?;
    Ok(call.reply(StatusCode::OK, &device))
}

/// `PUT /push/deviceRegistrations/{id}` (RSH1b3).
pub(super) async fn save_device(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    let device = app.change_push(|hub| hub.save_device(caller, id, body, call.now)).await?;
    Ok(call.reply(StatusCode::OK, &device))
}

/// `PATCH /push/deviceRegistrations/{id}` (RSH3d3b).
pub(super) async fn change_device(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    let device = app.change_push(|hub| hub.change_device(caller, id, body, call.now)).await?;
    Ok(call.reply(StatusCode::OK, &device))
}

/// `DELETE /push/deviceRegistrations/{id}` (RSH1b4).
pub(super) async fn remove_device(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let filter = PushFilter { device_id: Some(id.into()), ..PushFilter::default() };
    app.change_push(|hub| hub.remove_devices(caller, &filter, call.now)).await?;
    Ok(no_content())
}

/// `GET /push/channelSubscriptions` (RSH1c1).
pub(super) async fn subscriptions(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let query = page::oldest_first_clamped(call.query)?;
    let found =
        app.with(|hub, _| hub.push_subscriptions(caller, &filter(call), &query, call.now))?;
    let items = found.items.iter().map(|it| json!(it)).collect();
    Ok(reply_list(call, &query, Page { items, next: found.next }))
}

/// `POST /push/channelSubscriptions` (RSH1c3).
pub(super) async fn subscribe(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    let saved = app.change_push(|hub| hub.subscribe_to_push(caller, &body, call.now)).await?;
    Ok(call.reply(StatusCode::CREATED, &json!(saved)))
}

/// `DELETE /push/channelSubscriptions` (RSH1c4, RSH1c5).
pub(super) async fn unsubscribe(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    app.change_push(|hub| hub.unsubscribe_from_push(caller, &filter(call), call.now)).await?;
    Ok(no_content())
}

const BROADCAST_ID_LEN: usize = 20;

/// `POST /push/apnsBroadcastChannels`.
pub(super) async fn create_broadcast(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    let id = random::text(BROADCAST_ID_LEN).map_err(no_randomness)?;
    let created = app.change_push(|hub| hub.make_broadcast(caller, &body, id.into())).await?;
    Ok(call.reply(StatusCode::CREATED, &created))
}

/// `POST /push/apnsBroadcastChannels/{id}/start`.
pub(super) async fn start_activity(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    live_activity(call, app, caller, id, ActivityStep::Start).await
}

/// `POST /push/apnsBroadcastChannels/{id}/broadcast`.
pub(super) async fn update_activity(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    live_activity(call, app, caller, id, ActivityStep::Update).await
}

/// `POST /push/apnsBroadcastChannels/{id}/end`.
pub(super) async fn end_activity(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    live_activity(call, app, caller, id, ActivityStep::End).await
}

async fn live_activity(
    call: &Call<'_>,
    app: &AppHandle,
    caller: &PushCaller,
    id: &str,
    step: ActivityStep,
) -> Result<Reply, ErrorInfo> {
    let body = call.decode_object()?;
    app.change_push(|hub| hub.live_activity(caller, id, step, &body)).await?;
    Ok(no_content())
}

fn filter(call: &Call<'_>) -> PushFilter {
    let text = |name| call.query.get(name).map(Str::from);
    PushFilter {
        channel: text("channel"),
        device_id: text("deviceId"),
        client_id: text("clientId"),
        either: call.query.get("concatFilters") == Some("true"),
    }
}

fn reply_list(call: &Call<'_>, query: &PageQuery, page: Page<Value>) -> Reply {
    let reply = call.reply(StatusCode::OK, &Value::Array(page.items));
    call.link_pages(reply, query, page.next.as_deref())
}

fn no_content() -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
}
