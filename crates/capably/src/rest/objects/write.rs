//! Publishing changes of objects.

use std::fmt;

use capably_protocol::{ErrorCode, Str, codec::encode_body};
use serde::Deserialize;

use super::{
    generate::NewObjects,
    operation::{Change, RestOperation, Target, explain, nothing_to_publish},
};
use crate::{
    Error, Result,
    auth::service_time,
    http::BoxFuture,
    random,
    rest::{call::Call, channel::RestChannel, query::wrong},
};

/// A change of objects, before it is sent. Awaiting it publishes the change.
///
/// Several changes can be published in one request by [`batch`](super::RestObjects::batch). A change that sets a key to a new
/// object asks the service for its time once, because the id of the object contains it.
///
/// # Errors
/// Code 92004 for an object that does not exist, 92005 for a path without a value, 92007 for an object of the wrong type; 40003
/// for an amount or count that is not finite, and for an empty id; 40009 for changes that together are larger than
/// [`max_message_size`](crate::ClientOptions::max_message_size); 40013 for a value that cannot be stored; 40160 without the
/// capability `object-publish`; the service's reason.
#[must_use = "nothing is changed until this is awaited"]
#[derive(Clone)]
pub struct RestObjectWrite {
    channel: RestChannel,
    target: Target,
    change: Change,
    id: Option<Str>,
}

impl RestObjectWrite {
    pub(super) fn new(channel: &RestChannel, target: Target, change: Change) -> Self {
        Self { channel: channel.clone(), target, change, id: None }
    }

    /// Sets the id: a second publish with the same id has no effect. A change that makes several objects gets `id:0`,
    /// `id:1` and so on.
    ///
    /// Without an id a random one is set, so that a request which is repeated after a failure is applied once, unless
    /// [`idempotent_rest_publishing`](crate::ClientOptions::idempotent_rest_publishing) is off.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// Several changes of objects for one request, before it is sent. Awaiting it publishes them: all or none.
///
/// # Errors
/// As for a [`RestObjectWrite`]; code 40030 without any change; 40003 for a change of another channel, and for a change with
/// an id of its own.
#[must_use = "nothing is changed until this is awaited"]
#[derive(Clone)]
pub struct RestObjectBatch {
    channel: RestChannel,
    changes: Vec<RestObjectWrite>,
    id: Option<Str>,
}

impl RestObjectBatch {
    pub(super) fn new(
        channel: RestChannel,
        changes: impl IntoIterator<Item = RestObjectWrite>,
    ) -> Self {
        Self { channel, changes: changes.into_iter().collect(), id: None }
    }

    /// Sets the id: a second publish with the same id has no effect. The operations get `id:0`, `id:1` and so on.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// The result of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct RestObjectsPublished {
    /// The id of the published message.
    pub message_id: Str,
    /// The channel's name.
    pub channel: Str,
    /// The ids of the objects that were made or changed, in the order of the operations. A path with a wildcard may have
    /// changed several; objects within a new object come before it.
    pub object_ids: Vec<Str>,
}

async fn publish(
    channel: RestChannel,
    changes: &[RestObjectWrite],
    id: Option<Str>,
) -> Result<RestObjectsPublished> {
    let pipeline = channel.pipeline();
    let options = &pipeline.config().options;
    let mut operations = operations(&channel, changes).await?;
    check_size(&operations, options.max_message_size)?;
    match id.filter(|id| !id.is_empty()) {
        Some(id) if operations.len() == 1 => operations[0].id = Some(id),
        Some(id) => number(&mut operations, &id),
        None if options.idempotent_rest_publishing => number(&mut operations, &random::id()?),
        None => {}
    }
    let body = encode_body(pipeline.config().format(), &operations).map_err(|error| {
        let message = format!("the changes cannot be encoded: {error}");
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message).with_source(error)
    })?;
    pipeline.send(&Call::post(channel.path("object"), body)).await?.decode()
}

/// The operations of all changes.
async fn operations(
    channel: &RestChannel,
    changes: &[RestObjectWrite],
) -> Result<Vec<RestOperation>> {
    let make = |new: &mut NewObjects| {
        let mut operations = Vec::new();
        for write in changes {
            write.change.operations(&write.target, new, &mut operations)?;
        }
        Ok::<_, Error>(operations)
    };
    // A change that cannot be made asks the service for nothing.
    let operations = make(&mut NewObjects::trial())?;
    if operations.is_empty() {
        return Err(nothing_to_publish());
    }
    if !changes.iter().any(|write| write.change.needs_time()) {
        return Ok(operations);
    }
    let mut new = NewObjects::at(service_time(channel.pipeline(), true).await?);
    let operations = make(&mut new)?;
    new.finish()?;
    Ok(operations)
}

/// Gives operations ids with a common base, by which the service recognises those of one request.
fn number(operations: &mut [RestOperation], base: &str) {
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.id = Some(format!("{base}:{index}").into());
    }
}

fn check_size(operations: &[RestOperation], limit: usize) -> Result<()> {
    let size: usize = operations.iter().map(|operation| operation.operation.size()).sum();
    if size <= limit {
        return Ok(());
    }
    let message =
        format!("changes of {size} bytes are more than the limit of {limit} (`max_message_size`)");
    Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message))
}

impl IntoFuture for RestObjectWrite {
    type Output = Result<RestObjectsPublished>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { channel, id, .. } = self.clone();
            let published = publish(channel, std::slice::from_ref(&self), id).await;
            published.map_err(|error| explain(error, Some(&self.change)))
        })
    }
}

impl IntoFuture for RestObjectBatch {
    type Output = Result<RestObjectsPublished>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { channel, changes, id } = self;
            for change in &changes {
                if change.channel.name() != channel.name() {
                    let (this, other) = (channel.name(), change.channel.name());
                    let message = format!("a batch of `{this}` has a change of `{other}`");
                    return Err(wrong(message).with_remedy("publish a batch for each channel"));
                }
                if change.id.is_some() {
                    let message = "a change of a batch has an id of its own";
                    return Err(wrong(message).with_remedy("set the id of the batch"));
                }
            }
            publish(channel, &changes, id).await.map_err(|error| explain(error, None))
        })
    }
}

impl fmt::Debug for RestObjectWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestObjectWrite")
            .field("channel", &self.channel.name())
            .field("target", &self.target)
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RestObjectBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestObjectBatch")
            .field("channel", &self.channel.name())
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
