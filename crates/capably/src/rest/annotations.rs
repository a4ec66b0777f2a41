//! Annotations over REST (RSAN): reactions, votes and similar data on messages.
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
//! # let rest = Rest::new(options(key).client_id("ada"))?;
//! use capably::Annotation;
//!
//! // The namespace allows annotations.
//! let channel = rest.channels().get("mutable:notes");
//! let published = channel.publish("note", "Lunch at one?").await?;
//! let serial = published.serials[0].clone().ok_or("a serial")?;
//!
//! // `distinct.v1` is the way in which annotations of this type are summarised: a client counts once for a name.
//! let like = Annotation {
//!     annotation_type: Some("reaction:distinct.v1".into()),
//!     name: Some("like".into()),
//!     ..Annotation::default()
//! };
//! channel.annotations().publish(serial.clone(), like.clone()).await?;
//! let page = channel.annotations().get(serial.clone()).limit(10).await?;
//! assert_eq!(page.items()[0].client_id.as_deref(), Some("ada"));
//!
//! // The message contains the summary.
//! let note = channel.get_message(serial.clone()).await?;
//! assert_eq!(note.summary()["reaction:distinct.v1"]["like"]["total"], 1);
//!
//! channel.annotations().delete(serial, like).await?;
//! # Ok(())
//! # }
//! ```

use capably_protocol::{Annotation, AnnotationAction, ErrorCode, codec::encode_items};

use super::{
    call::Call, channel::RestChannel, mutation::MessageSerial, query::Query, query::wrong,
};
use crate::{Error, Result, http::BoxFuture, payload, random};

/// The annotations of a channel's messages (RSL10).
#[derive(Clone, Debug)]
pub struct RestAnnotations {
    channel: RestChannel,
}

impl RestAnnotations {
    pub(crate) fn new(channel: RestChannel) -> Self {
        Self { channel }
    }

    /// Annotates a message when awaited (RSAN1).
    ///
    /// # Errors
    /// Code 40003 for a message without a serial or an annotation without a type (RSAN1a3), 40009 for
    /// an annotation larger than [`max_message_size`](crate::ClientOptions::max_message_size) (RSAN1a4), 40013 for a
    /// payload that cannot be encoded, and the service's reason.
    pub fn publish(
        &self,
        message: impl Into<MessageSerial>,
        annotation: Annotation,
    ) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.clone().send(message.into(), annotation, AnnotationAction::Create))
    }

    /// Deletes an annotation of a message when awaited (RSAN2).
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn delete(
        &self,
        message: impl Into<MessageSerial>,
        annotation: Annotation,
    ) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.clone().send(message.into(), annotation, AnnotationAction::Delete))
    }

    /// Reads the annotations of a message when awaited, the oldest first (RSAN3).
    pub fn get(&self, message: impl Into<MessageSerial>) -> Query<Annotation> {
        let path = message.into().path(&self.channel, "/annotations");
        Query::at(self.channel.pipeline(), path).with_cipher(self.channel.cipher())
    }

    async fn send(
        self,
        message: MessageSerial,
        annotation: Annotation,
        action: AnnotationAction,
    ) -> Result<()> {
        let path = message.path(&self.channel, "/annotations")?;
        let pipeline = self.channel.pipeline();
        let options = &pipeline.config().options;
        let (size, limit) = (annotation.size(), options.max_message_size);
        let annotation = prepare(&self.channel, &message, annotation, action)?;
        if size > limit {
            let message = format!(
                "an annotation of {size} bytes is more than the limit of {limit} (`max_message_size`)"
            );
            return Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message));
        }
        let body = encode_items(pipeline.config().format(), &[annotation]);
        pipeline.send(&Call::post(path, body)).await.map(drop)
    }
}

/// Prepares an annotation for REST or for a connection (RSAN1, RTAN1a). Its payload is encoded like the payload of a
/// message, and encrypted on a channel with a cipher (RSAN1c3).
///
/// # Errors
/// Code 40003 for a message without a serial or an annotation without a type (RSAN1a3), 40013 for a payload
/// that cannot be encoded, 50000 when the system provides no random bytes.
pub(crate) fn prepare(
    channel: &RestChannel,
    message: &MessageSerial,
    annotation: Annotation,
    action: AnnotationAction,
) -> Result<Annotation> {
    let message_serial = Some(message.get()?.clone());
    if annotation.annotation_type.as_ref().is_none_or(|kind| kind.is_empty()) {
        return Err(wrong("an annotation needs a type"));
    }
    let mut annotation = Annotation { action: Some(action), message_serial, ..annotation };
    let has_id = annotation.id.as_ref().is_some_and(|id| !id.is_empty());
    if channel.pipeline().config().options.idempotent_rest_publishing && !has_id {
        annotation.id = Some(format!("{}:0", random::id()?).into());
    }
    let cipher = channel.cipher();
    payload::encode_data(&mut annotation.data, &mut annotation.encoding, cipher.as_ref())?;
    Ok(annotation)
}
