//! LiveObjects: maps and counters that the clients of a channel share (RTO).
//!
//! The objects of a channel form a tree below a root map. [`RealtimeObjects::get`] attaches the channel, waits until the
//! tree is the service's, and returns its root as a [`PathObject`]. Reading is a local call. A change returns once the
//! service has accepted it, and can then be read.
//!
//! The channel's options must request the modes [`ObjectSubscribe`](crate::ChannelMode::ObjectSubscribe) to read, and
//! [`ObjectPublish`](crate::ChannelMode::ObjectPublish) to change objects.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = capably::ClientOptions::new(server.key())
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! # let client = capably::Realtime::new(options)?;
//! use capably::{
//!     ChannelMode,
//!     realtime::{RealtimeChannelOptions, objects::{LiveCounter, LiveMap}},
//! };
//!
//! let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
//! let options = RealtimeChannelOptions::new().modes(modes);
//! let channel = client.channels().get_with("poll", options);
//! let root = channel.objects().get().await?;
//!
//! // One operation makes the map and its counters.
//! let votes = LiveMap::new().with("tea", LiveCounter::default()).with("coffee", LiveCounter::default());
//! root.set("votes", votes).await?;
//!
//! let mut changes = root.get("votes").subscribe().await?;
//! root.at("votes.tea").increment(1).await?;
//! let change = changes.next().await.ok_or("the subscription ended")?;
//! assert_eq!(change.object.path().to_string(), "votes.tea");
//! assert_eq!(root.at("votes.tea").read_as::<u32>()?, Some(1));
//! let whole = serde_json::json!({ "votes": { "tea": 1, "coffee": 0 } });
//! assert_eq!(root.compact_json()?, Some(whole));
//! # client.close().await;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use capably_core::SharedObjects;

use super::{Changes, Channel, driver::Command};
use crate::{Result, http::BoxFuture};

mod instance;
mod path_object;
mod shared;
mod subscription;
mod view;
mod write;

pub use capably_objects::{
    Change, Compact, KeyChange, LiveCounter, LiveMap, LiveValue, OperationMessage, Path, SyncState,
    Update,
};
pub use capably_protocol::object::ObjectValue;
pub use instance::Instance;
pub use path_object::PathObject;
pub(crate) use shared::ObjectsShared;
pub use subscription::{
    InstanceChange, InstanceSubscription, PathChange, PathSubscription, SubscribeInstance,
    SubscribePath,
};
pub use write::{ObjectBatch, ObjectWrite};

use view::View;

/// The objects of a channel (RTL27), from [`Channel::objects`].
///
/// See the [module](crate::realtime::objects) for an example.
#[derive(Clone, Debug)]
pub struct RealtimeObjects {
    channel: Channel,
}

impl RealtimeObjects {
    /// Returns the root of the tree when awaited, once the objects are in sync (RTO23). Attaches the channel if it is
    /// neither attached nor suspended (RTL33).
    ///
    /// # Errors
    /// Code 40024 without the mode `object_subscribe` (RTO23a); 90001 on a channel that has failed or was released, or
    /// that leaves ATTACHED before the sync is complete; 50003 when the service does not complete the sync: no page of it
    /// within the realtime request timeout, or no end after twelve times that; the reason why the channel is not attached,
    /// as [`Channel::attach`] describes.
    pub fn get(&self) -> BoxFuture<'static, Result<PathObject>> {
        let channel = self.channel.clone();
        Box::pin(async move {
            channel.handle.check_may_wait()?;
            let id = channel.shared.id;
            let await_objects = |reply| Command::AwaitObjects { channel: id, reply };
            let objects: SharedObjects = channel.handle.ask(await_objects).await?;
            Ok(PathObject::root(Arc::new(View::new(channel, objects))))
        })
    }

    /// Publishes several changes in one frame when awaited. They are applied together, in order. A change may use an object
    /// that an earlier one of the batch makes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = capably::ClientOptions::new(server.key())
    /// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
    /// # let client = capably::Realtime::new(options)?;
    /// # let modes = [capably::ChannelMode::ObjectSubscribe, capably::ChannelMode::ObjectPublish];
    /// # let options = capably::realtime::RealtimeChannelOptions::new().modes(modes);
    /// # let channel = client.channels().get_with("poll", options);
    /// use capably::realtime::objects::{LiveCounter, LiveMap};
    ///
    /// let root = channel.objects().get().await?;
    /// let changes = [
    ///     root.set("votes", LiveMap::new().with("tea", LiveCounter::default())),
    ///     root.at("votes.tea").increment(3),
    ///     root.set("question", "Tea or coffee?"),
    /// ];
    /// channel.objects().batch(changes).await?;
    /// let whole = serde_json::json!({ "question": "Tea or coffee?", "votes": { "tea": 3 } });
    /// assert_eq!(root.compact_json()?, Some(whole));
    /// # client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self, changes: impl IntoIterator<Item = ObjectWrite>) -> ObjectBatch {
        ObjectBatch::new(self.channel.clone(), changes.into_iter().collect())
    }

    /// A stream of the changes of the sync state from this moment: to `Syncing` and to `Synced` (RTO18). Dropping it
    /// unsubscribes (RTO19).
    pub fn sync_changes(&self) -> Changes<SyncState> {
        self.channel.shared.objects().sync_changes(&self.channel.handle.runtime)
    }
}

impl Channel {
    /// The channel's objects (RTL27).
    pub fn objects(&self) -> RealtimeObjects {
        RealtimeObjects { channel: self.clone() }
    }
}
