//! Published messages: reading a message and its versions, and changing it (RSL11, RSL14, RSL15).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use capably::{ClientOptions, Rest, http::HttpMethod};
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = |key: &str| {
//! #     ClientOptions::new(key).endpoint(server.endpoint()).port(server.port()).tls(false)
//! # };
//! # let app = serde_json::json!({
//! #     "keys": [{}], "namespaces": [{ "id": "mutable", "mutableMessages": true }],
//! # });
//! # let owner = Rest::new(options(server.key()))?;
//! # let app = owner.request(HttpMethod::Post, "/apps").body(app).await?;
//! # let key = app.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?;
//! # let rest = Rest::new(options(key))?;
//! use capably::{Message, MessageAction, MessageOperation};
//!
//! // The namespace allows changes of messages.
//! let channel = rest.channels().get("mutable:notes");
//! let published = channel.publish("note", "corected").await?;
//! let serial = published.serials[0].clone().ok_or("a serial")?;
//!
//! let correction =
//!     Message { serial: Some(serial.clone()), data: "corrected".into(), ..Message::default() };
//! let why = MessageOperation { description: Some("typo".into()), ..MessageOperation::default() };
//! channel.update_message(correction).operation(why).await?;
//!
//! // The latest version, and all versions.
//! let note = channel.get_message(serial.clone()).await?;
//! assert_eq!((note.name.as_deref(), note.data.as_str()), (Some("note"), Some("corrected")));
//! assert_eq!(note.version().description.as_deref(), Some("typo"));
//! assert_eq!(channel.message_versions(serial).await?.items().len(), 2);
//!
//! // A received message, or one from history, contains its serial.
//! channel.delete_message(note).await?;
//! let history = channel.history().await?;
//! assert_eq!(history.items()[0].action, Some(MessageAction::Delete));
//! # Ok(())
//! # }
//! ```

use capably_protocol::{
    Message, MessageAction, MessageOperation, Str, UpdateDeleteResult, codec::encode_item,
};

use super::{
    call::{Call, escape},
    channel::RestChannel,
    query::wrong,
};
use crate::{
    Result,
    http::{BoxFuture, HttpMethod},
    payload,
};

/// Identifies a message: by its serial, or by the message itself (RSL11a1, RSL14a1, RSAN1a1).
#[derive(Clone, Debug)]
pub struct MessageSerial(Option<Str>);

impl MessageSerial {
    /// The serial.
    ///
    /// # Errors
    /// Code 40003 for an empty serial, or a message without a serial.
    pub(crate) fn get(&self) -> Result<&Str> {
        let serial = self.0.as_ref().filter(|serial| !serial.is_empty());
        serial.ok_or_else(|| {
            wrong("the message has no serial, so it does not identify a published message")
                .with_remedy(
                    "use the serial from the result of a publish, or from a received message",
                )
        })
    }

    /// The path of a resource of the message. The serial is one path segment.
    pub(crate) fn path(&self, channel: &RestChannel, part: &str) -> Result<String> {
        let serial = self.get()?;
        Ok(channel.path(&format!("messages/{}{part}", escape(serial))))
    }
}

impl From<&str> for MessageSerial {
    fn from(serial: &str) -> Self {
        Self(Some(serial.into()))
    }
}

impl From<&String> for MessageSerial {
    fn from(serial: &String) -> Self {
        Self(Some(serial.into()))
    }
}

impl From<&Str> for MessageSerial {
    fn from(serial: &Str) -> Self {
        Self(Some(serial.clone()))
    }
}

impl From<String> for MessageSerial {
    fn from(serial: String) -> Self {
        Self(Some(serial.into()))
    }
}

impl From<Str> for MessageSerial {
    fn from(serial: Str) -> Self {
        Self(Some(serial))
    }
}

impl From<&Message> for MessageSerial {
    fn from(message: &Message) -> Self {
        Self(message.serial.clone())
    }
}

/// A change of a published message, before it is sent. Awaiting it sends the change.
///
/// # Errors
/// 40003 for a message without a serial (RSL15a); 40013 for a payload that cannot be encoded (RSL4a); the service's
/// reason.
#[derive(Clone, Debug)]
#[must_use = "nothing is changed until this is awaited"]
pub struct RestMessageChange {
    channel: RestChannel,
    message: Message,
    params: Vec<(String, String)>,
}

impl RestMessageChange {
    pub(crate) fn new(channel: RestChannel, message: Message, action: MessageAction) -> Self {
        let message = Message { action: Some(action), version: None, ..message };
        Self { channel, message, params: Vec::new() }
    }

    /// Describes the change: its client id, a description, metadata (RSL15b7).
    pub fn operation(mut self, operation: MessageOperation) -> Self {
        self.message.version = Some(Box::new(operation.into()));
        self
    }

    /// Adds a parameter to the request's query (RSL15f).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }
}

impl IntoFuture for RestMessageChange {
    type Output = Result<UpdateDeleteResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let path = MessageSerial::from(&self.message).path(&self.channel, "")?;
            payload::encode(&mut self.message, self.channel.cipher().as_ref())?;
            let pipeline = self.channel.pipeline();
            let body = encode_item(pipeline.config().format(), &self.message);
            let mut call = Call::new(HttpMethod::Patch, path).body(body);
            for (name, value) in &self.params {
                call = call.param(name, value);
            }
            pipeline.send(&call).await?.decode()
        })
    }
}
