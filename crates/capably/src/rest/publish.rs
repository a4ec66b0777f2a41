//! Publishing over REST (RSL1).

use capably_protocol::{
    ErrorCode, JsonObject, Message, PublishResult, Str, codec::encode_messages,
};
use serde::Deserialize;

use super::{channel::RestChannel, request::Call};
use crate::{Error, Result, http::BoxFuture, payload, random};

/// Publishes one message when it is awaited.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = capably::ClientOptions::new(server.key())
/// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
/// # let rest = capably::Rest::new(options)?;
/// let channel = rest.channels().get("greetings");
/// let result = channel.publish("greeting", "hello").client_id("ada").await?;
/// println!("published as {:?}", result.serials);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Awaiting it gives 40009 for a message above
/// [`max_message_size`](crate::ClientOptions::max_message_size) (RSL1i), 40013 for a payload that cannot
/// be encoded (RSL4a), and what the service says.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct Publish {
    message: Message,
    request: Request,
}

impl Publish {
    pub(crate) fn new(channel: RestChannel, message: Message) -> Self {
        Self { message, request: Request::new(channel) }
    }

    /// The message's id: publishing the same id again has no effect (RSL1k2).
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.message.id = Some(id.into());
        self
    }

    /// The client to publish as, for credentials that may choose (RSL1m).
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.message.client_id = Some(client_id.into());
        self
    }

    /// Metadata to go with the payload (TM2i).
    pub fn extras(mut self, extras: JsonObject) -> Self {
        self.message.extras = Some(extras);
        self
    }

    /// Adds a parameter to the request's query (RSL1l).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.request = self.request.param(name, value);
        self
    }
}

impl IntoFuture for Publish {
    type Output = Result<PublishResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.send(vec![self.message]))
    }
}

/// Publishes several messages in one request when it is awaited.
///
/// # Errors
/// As [`Publish`]; the size limit holds for all of them together.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct PublishBatch {
    messages: Vec<Message>,
    request: Request,
}

impl PublishBatch {
    pub(crate) fn new(channel: RestChannel, messages: Vec<Message>) -> Self {
        Self { messages, request: Request::new(channel) }
    }

    /// Adds a parameter to the request's query (RSL1l).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.request = self.request.param(name, value);
        self
    }
}

impl IntoFuture for PublishBatch {
    type Output = Result<PublishResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.send(self.messages))
    }
}

#[derive(Clone, Debug)]
struct Request {
    channel: RestChannel,
    params: Vec<(String, String)>,
}

impl Request {
    fn new(channel: RestChannel) -> Self {
        Self { channel, params: Vec::new() }
    }

    fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }

    async fn send(self, mut messages: Vec<Message>) -> Result<PublishResult> {
        let pipeline = self.channel.pipeline();
        let options = &pipeline.config().options;
        check_size(&messages, options.max_message_size)?;
        if options.idempotent_rest_publishing {
            add_ids(&mut messages)?;
        }
        let cipher = self.channel.cipher();
        for message in &mut messages {
            payload::encode(message, cipher.as_ref())?;
        }
        let body = encode_messages(pipeline.config().format(), &messages);
        let mut call = Call::post(self.channel.path("messages"), body);
        for (name, value) in &self.params {
            call = call.param(name, value);
        }
        let published: Published = pipeline.send(&call).await?.decode()?;
        let serials = published.serials.into_iter().map(|serial| serial.map(Str::from)).collect();
        Ok(PublishResult::new(serials))
    }
}

/// The part of the reply that is ours to return (RSL1n).
#[derive(Deserialize)]
struct Published {
    #[serde(default)]
    serials: Vec<Option<String>>,
}

/// The size is that of the payloads before they are encoded (TM6).
fn check_size(messages: &[Message], limit: usize) -> Result<()> {
    let size: usize = messages.iter().map(Message::size).sum();
    if size <= limit {
        return Ok(());
    }
    let message = format!("{size} bytes to publish are more than the {limit} allowed");
    Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message))
}

/// Gives all messages ids of one base, unless any of them has its own (RSL1k1, RSL1k3).
pub(crate) fn add_ids(messages: &mut [Message]) -> Result<()> {
    let has_id = |message: &Message| message.id.as_ref().is_some_and(|id| !id.is_empty());
    if messages.iter().any(has_id) {
        return Ok(());
    }
    let base = random::id()?;
    for (index, message) in messages.iter_mut().enumerate() {
        message.id = Some(format!("{base}:{index}").into());
    }
    Ok(())
}
