//! The bodies of requests.

use capably_protocol::{
    Annotation, AnnotationAction, Data, ErrorInfo, JsonObject, Message, MessageVersion,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::message::NAME;
use crate::hub::error;

/// The content of a chat message. What is left out is empty.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Content {
    text: Option<String>,
    metadata: Option<JsonObject>,
    headers: Option<JsonObject>,
}

impl Content {
    /// Reads the content of a message that has a text.
    ///
    /// # Errors
    /// Code 40000 when it has none, or when a field has another type.
    pub(super) fn read(body: JsonObject) -> Result<Self, ErrorInfo> {
        let content: Self = read(body)?;
        if content.text.is_none() {
            return Err(error::bad_request("a chat message needs a `text`"));
        }
        let is_simple = |value: &Value| !value.is_array() && !value.is_object();
        if !content.headers.iter().flatten().all(|(_, value)| is_simple(value)) {
            return Err(error::bad_request(
                "the `headers` of a chat message have texts, numbers, booleans and nulls",
            ));
        }
        Ok(content)
    }

    /// The message of the channel.
    pub(super) fn into_message(self) -> Message {
        let Self { text, metadata, headers } = self;
        let mut data = JsonObject::new();
        if let Some(text) = text {
            data.insert("text".to_owned(), text.into());
            data.insert("metadata".to_owned(), metadata.unwrap_or_default().into());
        }
        let extras = json!({ "headers": headers.unwrap_or_default() });
        Message {
            name: Some(NAME.into()),
            data: Data::from(Value::Object(data).to_string()),
            encoding: Some("json".into()),
            extras: extras.as_object().cloned(),
            ..Message::default()
        }
    }
}

/// A change of a chat message.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) content: Content,
    /// Its description and its metadata.
    pub(super) version: MessageVersion,
}

#[derive(Deserialize)]
struct Details {
    message: Option<JsonObject>,
    description: Option<String>,
    metadata: Option<JsonObject>,
}

impl Change {
    /// Reads an update: a `message`, and perhaps a `description` and `metadata`.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub(super) fn read_update(body: JsonObject) -> Result<Self, ErrorInfo> {
        let details: Details = read(body)?;
        let message = details.message.clone();
        let message = message.ok_or_else(|| error::bad_request("an update needs a `message`"))?;
        Ok(Self { content: Content::read(message)?, version: details.version()? })
    }

    /// Reads a deletion: perhaps a `description` and `metadata`.
    ///
    /// # Errors
    /// Code 40000 when a field has another type.
    pub(super) fn read_delete(body: JsonObject) -> Result<Self, ErrorInfo> {
        let details: Details = read(body)?;
        Ok(Self { content: Content::default(), version: details.version()? })
    }
}

impl Details {
    fn version(self) -> Result<MessageVersion, ErrorInfo> {
        let Self { description, metadata, .. } = self;
        let version = json!({ "description": description, "metadata": metadata });
        serde_json::from_value(version)
            .map_err(|problem| error::bad_request(format!("the details are not valid: {problem}")))
    }
}

/// A reaction to a chat message.
#[derive(Debug, Deserialize)]
pub(super) struct Reaction {
    r#type: Option<String>,
    name: Option<String>,
    count: Option<u64>,
}

impl Reaction {
    /// Reads a reaction.
    ///
    /// # Errors
    /// As [`new`](Self::new), and code 40000 when a field has another type.
    pub(super) fn read(body: JsonObject) -> Result<Self, ErrorInfo> {
        let Self { r#type, name, count } = read(body)?;
        let reaction = Self::new(r#type, name, count)?;
        if reaction.name.is_none() {
            return Err(error::bad_request("a reaction needs a `name`"));
        }
        Ok(reaction)
    }

    /// A reaction with these fields.
    ///
    /// # Errors
    /// Code 40000 for another type than `unique`, `distinct` and `multiple`, without a name that the type needs, or with a
    /// count that it does not have.
    pub(super) fn new(
        r#type: Option<String>,
        name: Option<String>,
        count: Option<u64>,
    ) -> Result<Self, ErrorInfo> {
        let name = name.filter(|name| !name.is_empty());
        match (r#type.as_deref(), &name, count) {
            (Some("distinct" | "multiple"), None, _) => {
                Err(error::bad_request("a reaction of this type needs a `name`"))
            }
            (Some("multiple"), Some(_), None | Some(1..))
            | (Some("distinct" | "unique"), _, None) => Ok(Self { r#type, name, count }),
            (Some("unique" | "distinct"), _, Some(1)) => Ok(Self { r#type, name, count: None }),
            (Some("unique" | "distinct" | "multiple"), ..) => Err(error::bad_request(
                "only a reaction of the type `multiple` has a `count`, which is 1 or more",
            )),
            _ => Err(error::bad_request(
                "the `type` of a reaction is `unique`, `distinct` or `multiple`",
            )),
        }
    }

    /// The annotation of the message.
    ///
    /// # Errors
    /// Code 40000 for a count that is too large.
    pub(super) fn annotation(self, action: AnnotationAction) -> Result<Annotation, ErrorInfo> {
        let Self { r#type, name, count } = self;
        let count = count.map(|count| {
            u32::try_from(count)
                .map_err(|_| error::bad_request("the `count` of a reaction is too large"))
        });
        let annotation = json!({
            "type": format!("reaction:{}.v1", r#type.unwrap_or_default()),
            "name": name,
            "count": count.transpose()?,
        });
        let annotation: Annotation = serde_json::from_value(annotation)
            .map_err(|problem| error::bad_request(problem.to_string()))?;
        Ok(Annotation { action: Some(action), ..annotation })
    }
}

fn read<T: serde::de::DeserializeOwned>(body: JsonObject) -> Result<T, ErrorInfo> {
    serde_json::from_value(Value::Object(body))
        .map_err(|problem| error::bad_request(format!("the body is not valid: {problem}")))
}
