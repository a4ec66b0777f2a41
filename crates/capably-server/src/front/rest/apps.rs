//! Apps made and deleted by request, as the public sandbox does.

use std::sync::Arc;

use bytes::Bytes;
use capably_protocol::{
    ErrorCode, ErrorInfo, JsonObject, PresenceMessage, ServerFrame, Str, codec, frame::ErrorFrame,
};
use hyper::{StatusCode, header};
use serde_json::{Value, json};

use crate::front::{
    Provisioning, credentials,
    random::{self, RandomError},
    reply::Reply,
    router::Call,
};
use crate::hub::{
    AppSpec, Limits, Namespace,
    auth::Key,
    capability::{self, Capability},
    error, presence,
};

/// `POST /apps`.
pub(crate) async fn create(call: &Call<'_>, body: Bytes) -> Result<Reply, ErrorInfo> {
    authorize(call)?;
    let (format, decoding) = call.body_format();
    let spec: JsonObject = codec::decode_body(format, &body, &decoding)
        .map_err(|problem| error::unreadable(&problem))?;
    let app_id = new_app_id().map_err(no_randomness)?;
    let mut keys = Vec::new();
    let mut key_replies = Vec::new();
    for wanted in list(&spec, "keys")? {
        let (key, reply) = key_of(&app_id, wanted)?;
        keys.push(key);
        key_replies.push(Value::Object(reply));
    }
    let namespaces = list(&spec, "namespaces")?
        .iter()
        .map(|namespace| {
            let id = namespace.get("id").and_then(Value::as_str);
            let has = |name| namespace.get(name).and_then(Value::as_bool).unwrap_or(false);
            let (persisted, mutable) = (has("persisted"), has("mutableMessages"));
            let push_enabled = has("pushEnabled");
            id.map(|id| Namespace { id: id.into(), persisted, mutable, push_enabled })
                .ok_or_else(|| error::bad_request("a namespace needs an `id`"))
        })
        .collect::<Result<_, _>>()?;
    let members = list(&spec, "channels")?.iter().map(members_of).collect::<Result<_, _>>()?;
    let limits = limits_of(&spec)?;
    let mut reply = spec.clone();
    for (name, value) in [
        ("appId", json!(app_id)),
        ("accountId", json!("local")),
        ("keys", Value::Array(key_replies)),
        ("namespaces", json!(list(&spec, "namespaces")?)),
        ("channels", json!(list(&spec, "channels")?)),
        ("endpoint", json!(call.shared.endpoint)),
        ("port", json!(call.shared.port)),
        ("tls", json!(false)),
    ] {
        reply.insert(name.to_owned(), value);
    }
    let id = app_id.into();
    let spec =
        AppSpec { id, keys, namespaces, members, created: Some(call.shared.now().wall), limits };
    let app = call.shared.add_app(spec)?;
    if let Err(error) = app.settled(0).await {
        call.shared.remove_app(app.id());
        return Err(error);
    }
    Ok(Reply::value(StatusCode::CREATED, call.format, &Value::Object(reply)))
}

/// Checks that whoever asks may make apps.
///
/// # Errors
/// Code 40300 when nobody may, 40101 without the secret that it takes.
fn authorize(call: &Call<'_>) -> Result<(), ErrorInfo> {
    match &call.shared.admission.provisioning {
        Provisioning::Open => Ok(()),
        Provisioning::Off => Err(error::provisioning_off()),
        Provisioning::Secret(secret) => {
            let value = call.head.headers.get(header::AUTHORIZATION);
            let (scheme, text) = value
                .and_then(|value| value.to_str().ok()?.split_once(' '))
                .ok_or_else(error::provisioning_secret)?;
            if scheme.eq_ignore_ascii_case("bearer") && secret.is(text.trim()) {
                Ok(())
            } else {
                Err(error::provisioning_secret())
            }
        }
    }
}

/// `DELETE /apps/{id}`: with a key that may do everything; without effect when there is no such app.
pub(crate) fn delete(call: &Call<'_>, app_id: &str) -> Result<Reply, ErrorInfo> {
    let admitted = credentials::key_of_app(call.shared, app_id, &call.head.headers, &call.query)?;
    if let Some((_, identity)) = admitted {
        if !identity.capability.is_full() {
            return Err(error::denied("delete the app"));
        }
        if let Some(app) = call.shared.remove_app(app_id) {
            let error = Some(error::unknown_app());
            let frame = ServerFrame::Error(ErrorFrame { channel: None, error });
            app.with(|hub, outputs| {
                hub.end(&frame, outputs);
                hub.forget(outputs);
            });
        }
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// A random key of a new app: `appId.keyId:secret`.
pub(crate) fn new_key() -> Result<String, RandomError> {
    Ok(format!("{}.{}:{}", new_app_id()?, random::text(KEY_ID_LEN)?, random::text(SECRET_LEN)?))
}

const KEY_ID_LEN: usize = 6;
const SECRET_LEN: usize = 43;

fn new_app_id() -> Result<String, RandomError> {
    random::text(6)
}

fn no_randomness(problem: RandomError) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(50000), 500, format!("no random bytes: {problem}"))
}

/// A key as the request wants it, and what is answered about it.
fn key_of(app_id: &str, wanted: &Value) -> Result<(Arc<Key>, JsonObject), ErrorInfo> {
    let wanted = wanted.as_object().ok_or_else(|| error::bad_request("a key must be an object"))?;
    let (capability, capability_text) = match wanted.get("capability") {
        None | Some(Value::Null) => (Capability::all(), Capability::all().to_string()),
        Some(value) => capability::read(value)?,
    };
    let id = random::text(KEY_ID_LEN).map_err(no_randomness)?;
    let secret = random::text(SECRET_LEN).map_err(no_randomness)?;
    let name = format!("{app_id}.{id}");
    let mut reply = wanted.clone();
    for (field, value) in [
        ("id", id.clone()),
        ("value", secret.clone()),
        ("keyStr", format!("{name}:{secret}")),
        ("keyName", name),
        ("keySecret", secret.clone()),
        ("capability", capability_text.clone()),
    ] {
        reply.insert(field.to_owned(), Value::String(value));
    }
    let mut key = Key::new(id, secret, capability);
    key.capability_text = capability_text;
    key.revocable = wanted.get("revocableTokens").and_then(Value::as_bool).unwrap_or(false);
    Ok((Arc::new(key), reply))
}

/// The members of a channel that the request names.
fn members_of(channel: &Value) -> Result<(Str, Vec<PresenceMessage>), ErrorInfo> {
    let name = channel.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| error::bad_request("a channel needs a `name`"))?;
    let members: Option<Vec<PresenceMessage>> = channel
        .get("presence")
        .map(|members| serde_json::from_value(members.clone()))
        .transpose()
        .map_err(|problem| error::bad_request(problem.to_string()))?;
    Ok((name.into(), presence::fixtures(members.unwrap_or_default())?))
}

/// What the request sets otherwise than the server: `presence.maxMembers`, `messages.maxSize` in bytes,
/// `messages.maxLogBytes`, `connections.max`, `connections.maxInboundRate` in messages a second, `channels.max`, and
/// `requests.maxRate` a second. Other limits are taken and mean nothing.
fn limits_of(spec: &JsonObject) -> Result<Limits, ErrorInfo> {
    let limit = |group: &str, name: &str| match spec.get("limits").map(|it| &it[group][name]) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let not_one = || error::bad_request(format!("`{group}.{name}` is not a limit"));
            number.ok_or_else(not_one).map(Some)
        }
    };
    let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Limits {
        max_presence_members: limit("presence", "maxMembers")?.map(size),
        max_message_size: limit("messages", "maxSize")?.map(size),
        max_inbound_rate: limit("connections", "maxInboundRate")?,
        max_channels: limit("channels", "max")?.map(size),
        max_connections: limit("connections", "max")?.map(size),
        max_request_rate: limit("requests", "maxRate")?,
        max_log_bytes: limit("messages", "maxLogBytes")?.map(size),
    })
}

/// The list of this name, empty when there is none.
fn list<'a>(spec: &'a JsonObject, name: &str) -> Result<&'a [Value], ErrorInfo> {
    match spec.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(error::bad_request(format!("`{name}` is not an array"))),
    }
}
