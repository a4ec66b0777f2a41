//! Messages that were published: reading one, its versions, changing it (RSL11, RSL14, RSL15).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! # use capably::http::{BoxFuture, HttpClient, HttpError, HttpRequest, HttpResponse};
//! # struct Fixed;
//! # impl HttpClient for Fixed {
//! #     fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
//! #         let body = HttpResponse::new(200, r#"{"versionSerial":"v2"}"#);
//! #         Box::pin(async { Ok(body.with_header("Content-Type", "application/json")) })
//! #     }
//! # }
//! # let options = capably::ClientOptions::new("app.key:secret").http_client(Arc::new(Fixed));
//! # let rest = capably::Rest::new(options)?;
//! use capably::{Message, MessageOperation};
//!
//! let channel = rest.channels().get("mutable:notes");
//! let message =
//!     Message { serial: Some("s1".into()), data: "corrected".into(), ..Message::default() };
//! let why = MessageOperation { description: Some("typo".into()), ..MessageOperation::default() };
//! let result = channel.update_message(message).operation(why).await?;
//! assert_eq!(result.version_serial.as_deref(), Some("v2"));
//! # Ok(())
//! # }
//! ```

use capably_protocol::{
    Message, MessageAction, MessageOperation, Str, UpdateDeleteResult, codec::encode_item,
};

use super::{
    channel::RestChannel,
    query::wrong,
    request::{Call, escape},
};
use crate::{
    Result,
    http::{BoxFuture, HttpMethod},
    payload,
};

/// Which message is meant: its serial, or the message itself (RSL11a1, RSL14a1, RSAN1a1).
#[derive(Clone, Debug)]
pub struct MessageSerial(Option<Str>);

impl MessageSerial {
    /// The serial.
    ///
    /// # Errors
    /// Code 40003 when it is empty or the message has none.
    pub(crate) fn get(&self) -> Result<&Str> {
        let serial = self.0.as_ref().filter(|serial| !serial.is_empty());
        serial.ok_or_else(|| {
            wrong("a message without a serial does not say which one is meant")
                .with_remedy("use the serial of a message that was published or received")
        })
    }

    /// The path of something that belongs to the message; the serial is one segment of it.
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

/// Changes a message when it is awaited.
///
/// # Errors
/// Awaiting it gives 40003 for a message without a serial (RSL15a), 40013 for a payload that cannot be
/// encoded (RSL4a), and what the service says.
#[derive(Clone, Debug)]
#[must_use = "nothing is changed until it is awaited"]
pub struct ChangeMessage {
    channel: RestChannel,
    message: Message,
    params: Vec<(String, String)>,
}

impl ChangeMessage {
    pub(crate) fn new(channel: RestChannel, message: Message, action: MessageAction) -> Self {
        let message = Message { action: Some(action), version: None, ..message };
        Self { channel, message, params: Vec::new() }
    }

    /// Who changes it, and why (RSL15b7).
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

impl IntoFuture for ChangeMessage {
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
