//! Annotations on a connection (RTAN): reactions, votes and similar data on messages.
//!
//! Most clients need only the summary of a message's annotations. Every subscriber receives it as a message with the
//! action [`Summary`](crate::MessageAction::Summary). To receive the annotations themselves, subscribe to them on a
//! channel whose options request the mode [`AnnotationSubscribe`](crate::ChannelMode::AnnotationSubscribe).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use capably::{ClientOptions, Realtime, Rest, http::HttpMethod};
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
//! # let client = Realtime::connect(options(key).client_id("ada")).await?;
//! use capably::{Annotation, ChannelMode, realtime::RealtimeChannelOptions};
//!
//! // The namespace allows annotations. The mode `AnnotationSubscribe` must be requested.
//! let modes = [
//!     ChannelMode::Publish,
//!     ChannelMode::Subscribe,
//!     ChannelMode::AnnotationPublish,
//!     ChannelMode::AnnotationSubscribe,
//! ];
//! let options = RealtimeChannelOptions::new().modes(modes);
//! let channel = client.channels().get_with("mutable:notes", options);
//! let mut messages = channel.subscribe().await?;
//! let mut annotations = channel.annotations().subscribe().await?;
//! channel.publish("note", "Lunch at one?").await?;
//! let note = messages.next().await.ok_or("the subscription ended")?;
//!
//! let like = Annotation {
//!     annotation_type: Some("reaction:distinct.v1".into()),
//!     name: Some("like".into()),
//!     ..Annotation::default()
//! };
//! channel.annotations().publish(&note, like).await?;
//! let annotation = annotations.next().await.ok_or("the subscription ended")?;
//! assert_eq!(annotation.client_id.as_deref(), Some("ada"));
//! assert_eq!(annotation.message_serial, note.serial);
//!
//! let summary = messages.next().await.ok_or("the subscription ended")?;
//! assert_eq!(summary.serial, note.serial);
//! assert_eq!(summary.summary()["reaction:distinct.v1"]["like"]["total"], 1);
//! # Ok(())
//! # }
//! ```

use capably_protocol::{Annotation, AnnotationAction};

use super::{Channel, driver::Command, queue::Weigh};
use crate::{
    Result,
    http::BoxFuture,
    rest::{MessageSerial, Query, annotations::prepare},
};

mod subscription;

pub use subscription::{AnnotationEvent, AnnotationSubscription, SubscribeAnnotations};

/// The annotations of a channel's messages (RTL26), from [`Channel::annotations`].
///
/// See the [module](crate::realtime::annotations) for an example.
#[derive(Clone, Debug)]
pub struct Annotations {
    channel: Channel,
}

impl Annotations {
    /// Annotates a message when awaited (RTAN1). Like a [`MessagePublish`](super::MessagePublish), it waits for the
    /// connection, and is sent again after a reconnect. On a channel with a cipher the payload is encrypted.
    ///
    /// # Errors
    /// Code 40003 for a message without a serial or an annotation without a type; 40009 for an annotation that is too
    /// large; 40013 for a payload that cannot be encoded; 93002 on a channel whose messages cannot be annotated; 40160
    /// without the right, 40165 without the mode; 90001 on a channel that is suspended or failed; 80000, 80002, 80003
    /// or 80017 in a connection state that cannot wait for a connection (RTAN1b); 50003 when the service acknowledges
    /// nothing for the connectionStateTtl (two minutes), or for the [time limit](crate::Realtime#time-limits) of a
    /// connection that is lost again and again.
    pub fn publish(
        &self,
        message: impl Into<MessageSerial>,
        annotation: Annotation,
    ) -> BoxFuture<'static, Result<()>> {
        send(&self.channel, message.into(), annotation, AnnotationAction::Create)
    }

    /// Deletes an annotation of a message when awaited (RTAN2).
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn delete(
        &self,
        message: impl Into<MessageSerial>,
        annotation: Annotation,
    ) -> BoxFuture<'static, Result<()>> {
        send(&self.channel, message.into(), annotation, AnnotationAction::Delete)
    }

    /// Reads the annotations of a message over REST when awaited, the oldest first (RTAN3).
    pub fn get(&self, message: impl Into<MessageSerial>) -> Query<Annotation> {
        self.channel.rest_channel().annotations().get(message)
    }

    /// Subscribes to annotations when awaited; the channel is then attached (RTAN4).
    pub fn subscribe(&self) -> SubscribeAnnotations {
        SubscribeAnnotations::new(&self.channel)
    }
}

impl Channel {
    /// The annotations of the channel's messages (RTL26).
    pub fn annotations(&self) -> Annotations {
        Annotations { channel: self.clone() }
    }
}

fn send(
    channel: &Channel,
    message: MessageSerial,
    annotation: Annotation,
    action: AnnotationAction,
) -> BoxFuture<'static, Result<()>> {
    let Channel { handle, shared, .. } = channel.clone();
    let rest = channel.rest_channel();
    Box::pin(async move {
        let annotation = Box::new(prepare(&rest, &message, annotation, action)?);
        handle.check_may_wait()?;
        let permits = handle.shared.window.reserve(annotation.weight()).await?;
        let channel = shared.id;
        let annotate = |reply| Command::Annotate { channel, annotation, permits, reply };
        handle.ask(annotate).await.map(drop)
    })
}
