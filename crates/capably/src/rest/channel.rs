//! Channels over REST (RSN, RSL).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use capably_protocol::{
    ChannelDetails, CipherParams, Data, ErrorCode, Message, MessageAction, Str,
};

use super::{
    annotations::RestAnnotations,
    call::{Call, escape},
    mutation::{MessageSerial, RestMessageChange},
    objects::RestObjects,
    pipeline::Pipeline,
    presence::RestPresence,
    publish::RestPublish,
    query::{self, History, Query},
};
use crate::{
    Error, Result,
    crypto::{self, CipherKey, CipherParamOptions},
    http::BoxFuture,
    sync::lock,
};

/// The channels of a REST client (RSN1).
#[derive(Clone)]
pub struct RestChannels {
    pipeline: Arc<Pipeline>,
    channels: Arc<Mutex<BTreeMap<Str, RestChannel>>>,
}

impl RestChannels {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, channels: Arc::default() }
    }

    /// The same channels with another pipeline for their requests.
    pub(super) fn through(&self, pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, channels: Arc::clone(&self.channels) }
    }

    /// The channel with this name; it is created if it does not exist (RSN3a).
    pub fn get(&self, name: impl Into<Str>) -> RestChannel {
        let name = name.into();
        let mut channels = lock(&self.channels);
        let new = || RestChannel::new(Arc::clone(&self.pipeline), name.clone());
        channels.entry(name.clone()).or_insert_with(new).through(&self.pipeline)
    }

    /// The channel with this name. It uses these options from then on (RSN3b).
    pub fn get_with(&self, name: impl Into<Str>, options: ChannelOptions) -> RestChannel {
        let channel = self.get(name);
        channel.set_options(options);
        channel
    }

    /// A new channel with this name, outside of the collection.
    pub(crate) fn detached(&self, name: Str, options: ChannelOptions) -> RestChannel {
        let channel = RestChannel::new(Arc::clone(&self.pipeline), name);
        channel.set_options(options);
        channel
    }

    /// Whether a channel with this name exists (RSN2).
    pub fn exists(&self, name: &str) -> bool {
        lock(&self.channels).contains_key(name)
    }

    /// The names of all channels (RSN2).
    pub fn names(&self) -> Vec<Str> {
        lock(&self.channels).keys().cloned().collect()
    }

    /// Removes a channel from the collection (RSN4). A client that uses ever new names should release the channels
    /// that it does not need any more, to free their memory. Existing handles still work.
    pub fn release(&self, name: &str) {
        lock(&self.channels).remove(name);
    }
}

impl fmt::Debug for RestChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The options of a REST channel (TB).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Encrypts and decrypts payloads (TB2b).
    pub cipher: Option<CipherParams>,
}

impl ChannelOptions {
    /// Options to encrypt payloads with this key: 16 or 32 bytes, or base64 text of them (TB3).
    ///
    /// # Errors
    /// Code 40003 for an invalid key (RSE1e).
    pub fn with_cipher_key(key: impl Into<CipherKey>) -> Result<Self> {
        let params = crypto::default_params(&CipherParamOptions::new(key))?;
        Ok(Self::default().cipher(params))
    }

    /// Encrypts and decrypts payloads with these parameters (TB2b, TB3).
    #[must_use]
    pub fn cipher(mut self, cipher: CipherParams) -> Self {
        self.cipher = Some(cipher);
        self
    }
}

/// A channel over REST (RSL). A clone is another handle to the same channel.
#[derive(Clone)]
pub struct RestChannel {
    pipeline: Arc<Pipeline>,
    inner: Arc<RestChannelShared>,
}

/// The state that all handles of a channel share.
struct RestChannelShared {
    name: Str,
    options: Mutex<ChannelOptions>,
}

impl RestChannel {
    fn new(pipeline: Arc<Pipeline>, name: Str) -> Self {
        Self { pipeline, inner: Arc::new(RestChannelShared { name, options: Mutex::default() }) }
    }

    /// The same channel with another pipeline for its requests.
    fn through(&self, pipeline: &Arc<Pipeline>) -> Self {
        Self { pipeline: Arc::clone(pipeline), inner: Arc::clone(&self.inner) }
    }

    /// The channel's name (RSL9).
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Replaces the channel's options (RSL7).
    pub fn set_options(&self, options: ChannelOptions) {
        *lock(&self.inner.options) = options;
    }

    /// Publishes a message with a name and a payload when awaited (RSL1b).
    pub fn publish(&self, name: impl Into<Str>, data: impl Into<Data>) -> RestPublish {
        self.publish_message(Message::new(name, data))
    }

    /// Publishes a payload without a name when awaited (RSL1b).
    pub fn publish_data(&self, data: impl Into<Data>) -> RestPublish {
        self.publish_message(Message::unnamed(data))
    }

    /// Publishes a message when awaited (RSL1a).
    pub fn publish_message(&self, message: Message) -> RestPublish {
        RestPublish::new(self.clone(), vec![message])
    }

    /// Publishes several messages in one request when awaited: all of them or none (RSL1c).
    pub fn publish_messages(&self, messages: impl Into<Vec<Message>>) -> RestPublish {
        RestPublish::new(self.clone(), messages.into())
    }

    /// Reads published messages when awaited, by default the newest first (RSL2).
    pub fn history(&self) -> History {
        Query::new(self.pipeline(), self.path("messages")).with_cipher(self.cipher())
    }

    /// Reads the latest version of a message when awaited (RSL11).
    ///
    /// # Errors
    /// Code 40003 for an empty serial, 40400 when there is no such message, and the service's reason.
    pub fn get_message(
        &self,
        message: impl Into<MessageSerial>,
    ) -> BoxFuture<'static, Result<Message>> {
        let channel = self.clone();
        let path = message.into().path(self, "");
        Box::pin(async move {
            let reply = channel.pipeline().send(&Call::get(path?)).await?;
            let messages: Vec<Message> = reply.items()?;
            let mut message = messages.into_iter().next().ok_or_else(|| {
                let message = "the reply to a request for a message contains no message";
                Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
            })?;
            let Message { data, encoding, id, .. } = &mut message;
            query::decode(data, encoding, id.as_ref(), channel.cipher().as_ref());
            Ok(message)
        })
    }

    /// Reads the versions of a message when awaited (RSL14).
    pub fn message_versions(&self, message: impl Into<MessageSerial>) -> Query<Message> {
        let path = message.into().path(self, "/versions");
        Query::at(self.pipeline(), path).with_cipher(self.cipher())
    }

    /// Replaces the content of a message when awaited. The serial identifies the message (RSL15).
    pub fn update_message(&self, message: Message) -> RestMessageChange {
        RestMessageChange::new(self.clone(), message, MessageAction::Update)
    }

    /// Deletes a message when awaited. The serial identifies the message (RSL15).
    pub fn delete_message(&self, message: Message) -> RestMessageChange {
        RestMessageChange::new(self.clone(), message, MessageAction::Delete)
    }

    /// Appends to a message when awaited. The serial identifies the message (RSL15).
    pub fn append_message(&self, message: Message) -> RestMessageChange {
        RestMessageChange::new(self.clone(), message, MessageAction::Append)
    }

    /// Reads the channel's status and occupancy when awaited (RSL8).
    ///
    /// # Errors
    /// The service's reason.
    pub fn status(&self) -> BoxFuture<'static, Result<ChannelDetails>> {
        let call = Call::get(format!("/channels/{}", escape(&self.inner.name)));
        let pipeline = Arc::clone(self.pipeline());
        Box::pin(async move { pipeline.send(&call).await?.decode() })
    }

    /// The channel's presence (RSL3).
    pub fn presence(&self) -> RestPresence {
        RestPresence::new(self.clone())
    }

    /// The annotations of the channel's messages (RSL10).
    pub fn annotations(&self) -> RestAnnotations {
        RestAnnotations::new(self.clone())
    }

    /// The channel's objects.
    pub fn objects(&self) -> RestObjects {
        RestObjects::new(self.clone())
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    pub(crate) fn cipher(&self) -> Option<CipherParams> {
        lock(&self.inner.options).cipher.clone()
    }

    /// The path of a resource of the channel. The channel's name is one path segment.
    pub(crate) fn path(&self, part: &str) -> String {
        format!("/channels/{}/{part}", escape(&self.inner.name))
    }
}

impl fmt::Debug for RestChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestChannel").field("name", &self.inner.name).finish_non_exhaustive()
    }
}
