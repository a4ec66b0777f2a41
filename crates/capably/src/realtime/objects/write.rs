//! Changing objects (RTPO15 to RTPO18, RTINS12 to RTINS15, RTO15, RTO20).

use std::{fmt, sync::Arc};

use capably_objects::{Draft, LiveValue, NewIds, ObjectsPool, Path, clear, increment, remove, set};
use capably_protocol::{ErrorCode, ErrorInfo, ObjectMessage, Str};

use super::{
    instance::InstanceItem,
    view::{SharedView, check_write},
};
use crate::{
    Error, Result,
    auth::service_time,
    http::BoxFuture,
    random,
    realtime::{Channel, driver::Command, queue::Weigh},
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

    /// Adds the messages of the change to a draft, with the object that stands at its path then.
    fn draft<R: FnMut() -> [u8; 16]>(
        &self,
        draft: &mut Draft<'_>,
        pool: &ObjectsPool,
        ids: &mut NewIds<R>,
    ) -> Result<(), ErrorInfo> {
        let map = |draft: &Draft<'_>| match &self.target {
            Target::Path(path) => draft.map(path),
            Target::Instance(item) => Ok(item.require(pool)?.require_map()?.id().clone()),
        };
        match &self.operation {
            Operation::Set(key, value) => {
                let map = map(draft)?;
                draft.add(set(map, key.clone(), value.clone(), ids)?);
            }
            Operation::Remove(key) => draft.add([remove(map(draft)?, key.clone())]),
            Operation::Clear => draft.add([clear(map(draft)?)]),
            Operation::Increment(amount) => {
                let counter = match &self.target {
                    Target::Path(path) => draft.counter(path)?,
                    Target::Instance(item) => item.require(pool)?.require_counter()?.id().clone(),
                };
                draft.add([increment(counter, *amount)?]);
            }
        }
        Ok(())
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
/// The changes are made in their order: a path of a later change may lead to an object that an earlier one makes. An
/// [`Instance`](super::Instance) exists before the batch. A batch without changes succeeds.
///
/// # Errors
/// As for an [`ObjectWrite`]; 40000 for a change of an object of another channel. With an error nothing is published.
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
    if changes.iter().any(|change| change.view.channel.shared.id != channel.shared.id) {
        let message = "a batch of changes has a change of another channel's objects";
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
            .with_remedy("make a batch for each channel"));
    }
    let messages = messages(channel, changes).await?;
    if messages.is_empty() {
        return Ok(());
    }
    channel.handle.check_may_wait()?;
    let size = messages.iter().map(Weigh::weight).sum();
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
    let Some(first) = changes.first() else { return Ok(Vec::new()) };
    let objects = first.view.objects.read();
    let mut draft = Draft::new(objects.pool());
    for change in changes {
        change.draft(&mut draft, objects.pool(), ids)?;
    }
    Ok(draft.into_messages())
}
