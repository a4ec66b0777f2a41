//! Changing objects (RTPO15 to RTPO18, RTINS12 to RTINS15, RTO15, RTO20).

use std::{fmt, sync::Arc};

use capably_objects::{LiveValue, NewIds, Objects, Path, clear, increment, remove, set};
use capably_protocol::{ErrorInfo, ObjectMessage, Str};

use super::{
    instance::InstanceItem,
    view::{SharedView, check_write, leaf},
};
use crate::{
    Result,
    auth::service_time,
    http::BoxFuture,
    random,
    realtime::{Channel, driver::Command},
};

/// A change of an object, before it is published.
///
/// Awaiting it publishes the change, and returns once the service has accepted it and it is applied here: reading then
/// shows it (RTO20). Several changes can be published in one frame by
/// [`batch`](super::RealtimeObjects::batch). Making the first new object asks the service for its time once (RTO16).
///
/// While the client is connecting or disconnected the change is queued, unless
/// [`queue_messages`](crate::ClientOptions::queue_messages) is off. Without an acknowledgement it is sent again after a
/// reconnect.
///
/// # Errors
/// Code 92005 if nothing is at the path, 92004 if the object does not exist, 92007 if the object is of the wrong type; 40003
/// for an amount or count that is not finite; 40013 for a value that cannot be stored; 40009 for a change that is too large;
/// 40024 without the mode `object_publish`; 90001 on a channel that is detached, suspended or failed; 40000 for a client
/// without [`echo_messages`](crate::ClientOptions::echo_messages); 92008 if the change was published, and the channel's objects
/// did not come in sync to apply it; the service's reason; and the errors of a
/// [`MessagePublish`](crate::realtime::MessagePublish) for the states of the connection and its time limits.
#[must_use = "nothing is changed until this is awaited"]
pub struct ObjectWrite {
    view: SharedView,
    target: Target,
    operation: Operation,
}

/// The map or counter to change.
#[derive(Debug)]
pub(super) enum Target {
    Path(Path),
    Instance(InstanceItem),
}

#[derive(Debug)]
pub(super) enum Operation {
    Set(Str, LiveValue),
    Remove(Str),
    Clear,
    Increment(f64),
}

impl ObjectWrite {
    pub(super) fn new(view: SharedView, target: Target, operation: Operation) -> Self {
        Self { view, target, operation }
    }

    /// Whether the change makes objects, whose ids contain the service's time.
    fn makes_objects(&self) -> bool {
        matches!(self.operation, Operation::Set(_, LiveValue::Map(_) | LiveValue::Counter(_)))
    }

    /// The messages of the change, with the object that stands at its path now.
    fn messages<R: FnMut() -> [u8; 16]>(
        &self,
        objects: &Objects,
        ids: &mut NewIds<R>,
    ) -> Result<Vec<ObjectMessage>, ErrorInfo> {
        let pool = objects.pool();
        let target = match &self.target {
            Target::Path(path) => pool.require(path)?,
            Target::Instance(InstanceItem::Object(id)) => pool.require_object(id)?,
            Target::Instance(InstanceItem::Leaf(value)) => leaf(value),
        };
        match &self.operation {
            Operation::Set(key, value) => {
                set(target.require_map()?.id(), key.clone(), value.clone(), ids)
            }
            Operation::Remove(key) => Ok(vec![remove(target.require_map()?.id(), key.clone())]),
            Operation::Clear => Ok(vec![clear(target.require_map()?.id())]),
            Operation::Increment(amount) => {
                Ok(vec![increment(target.require_counter()?.id(), *amount)?])
            }
        }
    }
}

impl IntoFuture for ObjectWrite {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let channel = self.view.channel.clone();
        Box::pin(async move { publish(&channel, &[self]).await })
    }
}

impl fmt::Debug for ObjectWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectWrite")
            .field("channel", self.view.channel.name())
            .field("target", &self.target)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// Several changes of objects for one frame, from [`RealtimeObjects::batch`](super::RealtimeObjects::batch).
///
/// Each change finds its object before any of them is applied: a change cannot use an object that an earlier one of the
/// batch makes. A batch without changes succeeds.
///
/// # Errors
/// As for an [`ObjectWrite`]; with an error nothing is published.
#[derive(Debug)]
#[must_use = "nothing is changed until this is awaited"]
pub struct ObjectBatch {
    channel: Channel,
    changes: Vec<ObjectWrite>,
}

impl ObjectBatch {
    pub(super) fn new(channel: Channel, changes: Vec<ObjectWrite>) -> Self {
        Self { channel, changes }
    }
}

impl IntoFuture for ObjectBatch {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { publish(&self.channel, &self.changes).await })
    }
}

/// Publishes changes in one frame (RTO15, RTO20).
async fn publish(channel: &Channel, changes: &[ObjectWrite]) -> Result<()> {
    check_write(channel)?;
    let messages = messages(channel, changes).await?;
    if messages.is_empty() {
        return Ok(());
    }
    channel.handle.check_may_wait()?;
    let size = messages.iter().map(ObjectMessage::size).sum();
    let permits = channel.handle.shared.window.reserve(size).await?;
    let (id, messages) = (channel.shared.id, Arc::from(messages));
    let publish = |reply| Command::PublishObjects { channel: id, messages, permits, reply };
    channel.handle.ask(publish).await.map(drop)
}

async fn messages(channel: &Channel, changes: &[ObjectWrite]) -> Result<Vec<ObjectMessage>> {
    let now = if changes.iter().any(ObjectWrite::makes_objects) {
        // A change that cannot be made asks the service for nothing.
        make(changes, &mut NewIds::new(0, || [0; 16]))?;
        service_time(channel.rest().pipeline(), true).await? // RTO16
    } else {
        0
    };
    let mut failure = None;
    let random = || {
        random::bytes().unwrap_or_else(|error| {
            failure = Some(error);
            [0; 16]
        })
    };
    let messages = make(changes, &mut NewIds::new(now, random))?;
    match failure {
        None => Ok(messages),
        Some(error) => Err(error),
    }
}

fn make<R: FnMut() -> [u8; 16]>(
    changes: &[ObjectWrite],
    ids: &mut NewIds<R>,
) -> Result<Vec<ObjectMessage>> {
    let mut messages = Vec::new();
    for change in changes {
        messages.append(&mut change.messages(&change.view.objects.read(), ids)?);
    }
    Ok(messages)
}
