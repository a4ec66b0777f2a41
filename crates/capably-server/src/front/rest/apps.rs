//! Creating and deleting apps, as in the public sandbox.

use std::sync::Arc;

use capably_protocol::{ErrorCode, ErrorInfo, JsonObject, PresenceMessage, Str};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{access, call::Call};
use crate::{
    front::{
        http::reply::Reply,
        random::{self, RandomError},
    },
    hub::{
        AppSpec, Limits, Namespace,
        auth::Key,
        capability::{self, Capability},
        error, presence,
    },
    webhooks::Rule,
};

/// `POST /apps`.
pub(super) async fn create(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let spec = call.decode_object()?;
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
    let rules = list(&spec, "rules")?.iter().map(|rule| Rule::from_value(rule.clone()));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let mut reply = spec.clone();
    let with_rules = !rules.is_empty();
    for (name, value) in [
        ("appId", json!(app_id)),
        ("accountId", json!("local")),
        ("keys", Value::Array(key_replies)),
        ("namespaces", json!(list(&spec, "namespaces")?)),
        ("channels", json!(list(&spec, "channels")?)),
        ("endpoint", json!(call.shared.endpoint)),
        ("port", json!(call.shared.port)),
        ("tls", json!(call.shared.has_tls())),
    ] {
        reply.insert(name.to_owned(), value);
    }
    let id = app_id.as_str().into();
    let spec = AppSpec { id, keys, namespaces, members, created: Some(call.now.wall), limits };
    call.shared.add_app(spec).await?;
    if with_rules {
        let created = create_rules(call, &app_id, rules).await?;
        reply.insert("rules".to_owned(), Value::Array(created));
    }
    Ok(call.reply(StatusCode::CREATED, &Value::Object(reply)))
}

/// `DELETE /apps/{id}`, with a key of the app that has every capability. An app that does not exist counts as deleted.
///
/// # Errors
/// Codes 40101, 40400 for the credentials, 40160 for a key without every capability.
pub(super) async fn delete(call: &Call<'_>, app_id: &str) -> Result<Reply, ErrorInfo> {
    let deleted = Reply::empty(StatusCode::NO_CONTENT);
    if call.shared.app(app_id).is_none() {
        return Ok(deleted);
    }
    access::administrator(call, app_id, "delete the app")?;
    // Another request may have deleted the app in the meantime.
    if let Some(app) = call.shared.remove_app(app_id) {
        call.shared.forget_app(&app).await?;
    }
    Ok(deleted)
}

/// Creates the rules of a new app. If one is refused, there is no app either.
async fn create_rules(
    call: &Call<'_>,
    app_id: &str,
    rules: Vec<Rule>,
) -> Result<Vec<Value>, ErrorInfo> {
    let app = call.shared.app(app_id).ok_or_else(error::unknown_app)?;
    let mut created = Vec::new();
    for rule in rules {
        match app.create_rule(rule).await {
            Ok(rule) => created.push(rule),
            Err(problem) => {
                if let Some(app) = call.shared.remove_app(app_id) {
                    call.shared.forget_app(&app).await?;
                }
                return Err(problem);
            }
        }
    }
    Ok(created)
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

pub(super) fn no_randomness(problem: RandomError) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(50000), 500, format!("no random bytes: {problem}"))
}

/// A new key with the properties that the request asks for, and its description for the reply.
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

/// A channel of the request, and the members that it is to have.
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

/// The app's own limits: `presence.maxMembers`, `messages.maxSize` in bytes, `messages.maxLogBytes`,
/// `connections.max`, `connections.maxInboundRate` in messages a second, `channels.max`, `objects.max` and `objects.maxBytes`,
/// and `requests.maxRate` a second. Other limits are accepted and ignored.
fn limits_of(spec: &JsonObject) -> Result<Limits, ErrorInfo> {
    let limit = |group: &str, name: &str| match spec.get("limits").map(|it| &it[group][name]) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let not_a_limit = || {
                error::bad_request(format!(
                    "`limits.{group}.{name}` must be a whole number from 0 to {}",
                    u32::MAX
                ))
            };
            number.ok_or_else(not_a_limit).map(Some)
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
        max_objects: limit("objects", "max")?.map(size),
        max_objects_bytes: limit("objects", "maxBytes")?.map(size),
    })
}

/// The array of this name; empty when the request has none.
fn list<'a>(spec: &'a JsonObject, name: &str) -> Result<&'a [Value], ErrorInfo> {
    match spec.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(error::bad_request(format!("`{name}` is not an array"))),
    }
}
