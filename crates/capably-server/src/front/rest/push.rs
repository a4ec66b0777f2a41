//! REST: push (RSH1), as far as administrators and devices ask for it.

use capably_protocol::{ErrorInfo, Str};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::front::{
    app::Apps,
    credentials, page,
    reply::Reply,
    router::Call,
    tokens::{details_json, read_object},
};
use crate::hub::{
    ActivityStep, Delivery, Page, PageQuery, PushFilter,
    auth::{Credentials, PresentedKey},
    error,
};

/// Answers what is asked under `/push`.
pub(crate) fn answer(call: &Call<'_>, segments: &[&str], body: &[u8]) -> Result<Reply, ErrorInfo> {
    match (&call.head.method, segments) {
        (&Method::POST, ["publish"]) => publish(call, body),
        (&Method::GET, ["channels"]) => channels(call),
        (_, ["channelSubscriptions"]) => subscriptions(call, body),
        (_, ["deviceRegistrations"]) => devices(call, body),
        (_, ["deviceRegistrations", id]) => device(call, id, body),
        (&Method::POST, ["apnsBroadcastChannels"]) => make_broadcast(call, body),
        (&Method::POST, ["apnsBroadcastChannels", id, step]) => {
            let step = match *step {
                "start" => ActivityStep::Start,
                "broadcast" => ActivityStep::Update,
                "end" => ActivityStep::End,
                _ => return Err(error::not_found()),
            };
            live_activity(call, id, step, body)
        }
        _ => Err(error::not_found()),
    }
}

/// `POST /push/apnsBroadcastChannels`.
fn make_broadcast(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let body = read_object(call, body)?;
    let now = call.shared.clock.now();
    let made = app.with(|hub, _| hub.make_broadcast(&caller, &body, now))?;
    Ok(Reply::value(StatusCode::CREATED, call.format, &made))
}

/// `POST /push/apnsBroadcastChannels/{id}/start`, `broadcast` and `end`.
fn live_activity(
    call: &Call<'_>,
    id: &str,
    step: ActivityStep,
    body: &[u8],
) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let body = read_object(call, body)?;
    app.with(|hub, _| hub.live_activity(&caller, id, step, &body))?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /push/publish` (RSH1a).
fn publish(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let body = read_object(call, body)?;
    let now = call.shared.clock.now();
    app.with(|hub, outputs| hub.push(&caller, body, now, outputs))?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `/push/deviceRegistrations` (RSH1b2, RSH1b5, RSH3b3b).
fn devices(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let now = call.shared.clock.now();
    match call.head.method {
        Method::GET => {
            let query = page::query_clamped(&call.query)?;
            let found = app.with(|hub, _| hub.devices(&caller, &filter(call), &query))?;
            Ok(list(call, "deviceRegistrations", &query, found))
        }
        Method::POST => {
            let body = read_object(call, body)?;
            let (mut device, token) = app.with(|hub, _| hub.register_device(&caller, body, now))?;
            let mut token = details_json(&token);
            token["deviceId"] = device["id"].clone();
            device["deviceIdentityToken"] = token;
            Ok(Reply::value(StatusCode::CREATED, call.format, &device))
        }
        Method::DELETE => {
            app.with(|hub, _| hub.remove_devices(&caller, &filter(call), now))?;
            Ok(Reply::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(error::not_found()),
    }
}

/// `/push/deviceRegistrations/{id}` (RSH1b1, RSH1b3, RSH1b4, RSH3d3b).
fn device(call: &Call<'_>, id: &str, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let now = call.shared.clock.now();
    let device = match call.head.method {
        Method::GET => app.with(|hub, _| hub.device(&caller, id, now))?,
        Method::PUT => {
            let body = read_object(call, body)?;
            app.with(|hub, _| hub.save_device(&caller, id, body, now))?
        }
        Method::PATCH => {
            let body = read_object(call, body)?;
            app.with(|hub, _| hub.change_device(&caller, id, body, now))?
        }
        Method::DELETE => {
            let filter = PushFilter { device_id: Some(id.into()), ..PushFilter::default() };
            app.with(|hub, _| hub.remove_devices(&caller, &filter, now))?;
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        _ => return Err(error::not_found()),
    };
    Ok(Reply::value(StatusCode::OK, call.format, &device))
}

/// `/push/channelSubscriptions` (RSH1c1, RSH1c3, RSH1c4, RSH1c5).
fn subscriptions(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let now = call.shared.clock.now();
    match call.head.method {
        Method::GET => {
            let query = page::query_clamped(&call.query)?;
            let found =
                app.with(|hub, _| hub.push_subscriptions(&caller, &filter(call), &query, now))?;
            let items = found.items.iter().map(|it| json!(it)).collect();
            let found = Page { items, next: found.next };
            Ok(list(call, "channelSubscriptions", &query, found))
        }
        Method::POST => {
            let body = read_object(call, body)?;
            let saved = app.with(|hub, _| hub.subscribe_to_push(&caller, &body, now))?;
            Ok(Reply::value(StatusCode::CREATED, call.format, &json!(saved)))
        }
        Method::DELETE => {
            app.with(|hub, _| hub.unsubscribe_from_push(&caller, &filter(call), now))?;
            Ok(Reply::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(error::not_found()),
    }
}

/// `GET /push/channels` (RSH1c2).
fn channels(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let (app, caller) = credentials::push(call.shared, &call.head.headers, &call.query)?;
    let query = page::query_clamped(&call.query)?;
    let found = app.with(|hub, _| hub.push_channels(&caller, &query))?;
    let items = found.items.iter().map(|name| json!(&**name)).collect();
    Ok(list(call, "channels", &query, Page { items, next: found.next }))
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

fn list(call: &Call<'_>, word: &str, query: &PageQuery, page: Page<Value>) -> Reply {
    let reply = Reply::value(StatusCode::OK, call.format, &Value::Array(page.items));
    page::linked(reply, word, &call.query, query, page.next.as_deref())
}

impl Apps {
    /// Publishes what was pushed, in the app of the key that its address has.
    ///
    /// # Errors
    /// Codes 40101, 40400 for the key, and those of a publish.
    pub(crate) fn deliver(&self, delivery: &Delivery) -> Result<(), ErrorInfo> {
        let key = PresentedKey::parse(&delivery.key)?;
        let app = self.get(key.app_id()).ok_or_else(error::unknown_app)?;
        let credentials = Credentials::Key(key);
        app.with(|hub, outputs| {
            let identity = hub.authenticate(&credentials, None, delivery.now)?;
            let messages = vec![delivery.message()];
            hub.publish(&identity, &delivery.channel, messages, delivery.now, outputs)
        })?;
        Ok(())
    }
}
