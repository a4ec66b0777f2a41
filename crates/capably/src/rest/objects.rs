//! Objects over REST: reading and changing the maps and counters of a channel without a connection.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = capably::ClientOptions::new(server.key())
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! # let rest = capably::Rest::new(options)?;
//! use capably::rest::objects::{LiveCounter, LiveMap};
//! use serde_json::json;
//!
//! let objects = rest.channels().get("poll").objects();
//!
//! // A map with two counters, at the key `votes` of the root.
//! let votes = LiveMap::new().with("tea", LiveCounter::default()).with("coffee", LiveCounter::default());
//! objects.at("").set("votes", votes).await?;
//! objects.at("votes.tea").increment(1).await?;
//!
//! // Everything, or the value at a path: as JSON, or as a type of the program.
//! assert_eq!(objects.get().await?, json!({ "votes": { "coffee": 0, "tea": 1 } }));
//! assert_eq!(objects.at("votes.tea").get().read_as::<u32>().await?, 1);
//!
//! // The full form has the ids of the objects.
//! let tea = objects.at("votes.tea").get().full().await?;
//! let id = tea.object_id().ok_or("an object")?.clone();
//! objects.object(id).increment(2).await?;
//!
//! // Several changes in one request: all are made, or none. An asterisk stands for every key.
//! let changes = [objects.at("votes.*").increment(10), objects.at("").set("closed", true)];
//! objects.batch(changes).await?;
//! assert_eq!(objects.get().await?, json!({ "closed": true, "votes": { "coffee": 10, "tea": 13 } }));
//! # Ok(())
//! # }
//! ```
//!
//! # Paths
//!
//! A path has a dot between keys, such as `votes.tea`. The empty path is the root. Within a key, a dot is written `\.`. The key
//! `*` stands for every key of its map, in paths of changes; the key that is an asterisk is written `\*`. A
//! [`Path`] as a path has no wildcards: its keys are written with these escapes.
//!
//! # Objects and capabilities
//!
//! Reading needs the capability `object-subscribe`, and changing `object-publish`. To follow changes, use a connection: see
//! [`realtime::objects`](crate::realtime::objects).

use std::fmt;

use capably_protocol::Str;

mod generate;
mod get;
mod operation;
mod place;
mod value;
mod write;

pub use capably_objects::{LiveCounter, LiveMap, LiveValue, Path};
pub use capably_protocol::object::{ObjectValue, ObjectsMapSemantics};
pub use generate::{GeneratedObject, NewObject};
pub use get::RestObjectsGet;
pub use operation::RestObjectValue;
pub use place::{ObjectsPath, RestInstance, RestPathObject};
pub use value::{RestCounter, RestMap, RestObject};
pub use write::{RestObjectBatch, RestObjectWrite, RestObjectsPublished};

use super::channel::RestChannel;
use crate::http::BoxFuture;
use operation::{Change, Target};

/// The objects of a channel over REST, from [`RestChannel::objects`].
///
/// See the [module](crate::rest::objects) for an example.
#[derive(Clone)]
pub struct RestObjects {
    channel: RestChannel,
}

impl RestObjects {
    pub(crate) fn new(channel: RestChannel) -> Self {
        Self { channel }
    }

    /// Reads all objects of the channel when awaited, from the root on.
    pub fn get(&self) -> RestObjectsGet {
        RestObjectsGet::new(self.channel.clone(), None)
    }

    /// The place at a path from the root, such as `votes.tea`, to read or change what stands there. Nothing needs to stand
    /// there.
    pub fn at(&self, path: impl Into<ObjectsPath>) -> RestPathObject {
        RestPathObject::new(self.channel.clone(), path.into())
    }

    /// The object with this id, to read or change it wherever it stands.
    pub fn object(&self, object_id: impl Into<Str>) -> RestInstance {
        RestInstance::new(self.channel.clone(), object_id.into())
    }

    /// Makes an object that stands nowhere yet when awaited. The result has its id; set a key of a map to it before the
    /// service collects it as unused.
    pub fn create(&self, object: impl Into<NewObject>) -> RestObjectWrite {
        RestObjectWrite::new(&self.channel, Target::Nothing, Change::Create(object.into()))
    }

    /// Makes an object whose id was [generated](Self::generate_id) when awaited.
    pub fn create_with_id(&self, object: GeneratedObject) -> RestObjectWrite {
        RestObjectWrite::new(&self.channel, Target::Nothing, Change::CreateWithId(object))
    }

    /// Generates the id of a new object when awaited, so that changes of the same [batch](Self::batch) can refer to it. Asks
    /// the service for its time once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = capably::ClientOptions::new(server.key())
    /// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
    /// # let rest = capably::Rest::new(options)?;
    /// use capably::rest::objects::LiveCounter;
    ///
    /// // A counter at two keys.
    /// let objects = rest.channels().get("poll").objects();
    /// let total = objects.generate_id(LiveCounter::default()).await?;
    /// let root = objects.at("");
    /// let (votes, all) = (root.set("votes", &total), root.set("all", &total));
    /// objects.batch([objects.create_with_id(total), votes, all]).await?;
    /// objects.at("votes").increment(1).await?;
    /// assert_eq!(objects.at("all").get().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Code 40013 for a value that cannot be stored; 40003 for a number that is not finite; the errors of
    /// [`Rest::time`](crate::Rest::time); 50000 when the system provides no random bytes.
    pub fn generate_id(
        &self,
        object: impl Into<NewObject>,
    ) -> BoxFuture<'static, crate::Result<GeneratedObject>> {
        let (channel, object) = (self.channel.clone(), object.into());
        Box::pin(async move { generate::generate(&channel, object).await })
    }

    /// Publishes several changes in one request when awaited: all of them or none, in this order. Each finds the objects that
    /// those before it have made.
    pub fn batch(&self, changes: impl IntoIterator<Item = RestObjectWrite>) -> RestObjectBatch {
        RestObjectBatch::new(self.channel.clone(), changes)
    }
}

impl fmt::Debug for RestObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestObjects").field("channel", &self.channel.name()).finish()
    }
}
