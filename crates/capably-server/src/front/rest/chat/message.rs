//! A chat message as REST shows it.

use capably_protocol::{Message, MessageAction, MessageVersion, Str};
use serde_json::{Map, Value, json};

/// The name of chat messages on their channel.
pub(super) const NAME: &str = "chat.message";

/// The types of reactions, and their annotations.
const REACTIONS: [(&str, &str); 3] = [
    ("unique", "reaction:unique.v1"),
    ("distinct", "reaction:distinct.v1"),
    ("multiple", "reaction:multiple.v1"),
];

/// A message of the channel as a chat message. `None` if it has no serial.
pub(super) fn chat_message(message: &Message) -> Option<Value> {
    let serial = message.serial.as_deref()?;
    let data = message.data.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let data = data.unwrap_or_default();
    let action = match message.action {
        Some(MessageAction::Update) => "message.update",
        Some(MessageAction::Delete) => "message.delete",
        _ => "message.create",
    };
    let object = |value: Option<&Value>| match value {
        Some(Value::Object(object)) => object.clone(),
        _ => Map::new(),
    };
    let extras = message.extras.as_ref();
    let mut chat = json!({
        "serial": serial,
        "version": version_of(message, serial),
        "text": data["text"].as_str().unwrap_or_default(),
        "clientId": message.client_id.as_deref().unwrap_or_default(),
        "action": action,
        "metadata": object(data.get("metadata")),
        "headers": object(extras.and_then(|extras| extras.get("headers"))),
        "timestamp": message.timestamp.unwrap_or_default(),
        "reactions": reactions_of(message, None),
    });
    if let Some(claim) = extras.and_then(|extras| extras.get("userClaim")) {
        chat["userClaim"] = claim.clone();
    }
    Some(chat)
}

fn version_of(message: &Message, serial: &str) -> Value {
    let default = MessageVersion::default();
    let version = message.version.as_deref().unwrap_or(&default);
    let timestamp = version.timestamp.or(message.timestamp).unwrap_or_default();
    let mut value = json!({
        "serial": version.serial.as_deref().unwrap_or(serial),
        "timestamp": timestamp,
    });
    if let Some(client_id) = &version.client_id {
        value["clientId"] = json!(client_id);
    }
    if let Some(description) = &version.description {
        value["description"] = json!(description);
    }
    if let Some(metadata) = &version.metadata {
        value["metadata"] = json!(metadata);
    }
    value
}

/// The summaries of the reactions to a message, or of those of one client.
pub(super) fn reactions_of(message: &Message, client: Option<&Str>) -> Value {
    let summary = message.annotations.as_deref().map(|annotations| &annotations.summary);
    let mut reactions = Map::new();
    for (name, annotation) in REACTIONS {
        let found = summary.and_then(|summary| summary.get(annotation)).and_then(Value::as_object);
        let Some(found) = found else { continue };
        let kept: Map<String, Value> = match client {
            None => found.clone(),
            Some(client) => found
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), of_client(value, client)?)))
                .collect(),
        };
        if !kept.is_empty() {
            reactions.insert(name.to_owned(), Value::Object(kept));
        }
    }
    Value::Object(reactions)
}

/// The part of a summary that one client has contributed.
fn of_client(summary: &Value, client: &Str) -> Option<Value> {
    match &summary["clientIds"] {
        Value::Array(ids) => ids
            .iter()
            .any(|id| id == &**client)
            .then(|| json!({ "total": 1, "clientIds": [client], "clipped": false })),
        Value::Object(counts) => {
            let count = counts.get(&**client)?;
            Some(json!({
                "total": count,
                "clientIds": { client.as_str(): count },
                "totalUnidentified": 0,
                "clipped": false,
                "totalClientIds": 1,
            }))
        }
        _ => None,
    }
}
