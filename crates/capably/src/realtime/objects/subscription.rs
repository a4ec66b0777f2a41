//! Subscriptions to changes of objects (RTPO19, RTINS16).

use std::{
    fmt,
    future::{IntoFuture, Ready, poll_fn, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use capably_objects::{OperationMessage, Path, SubscriptionId, Update};
use capably_protocol::ErrorCode;
use futures_core::Stream;

use super::{Instance, PathObject, instance::InstanceItem, shared::QueuedChange, view::SharedView};
use crate::{
    Error, Result,
    realtime::queue::{Break, Intake},
};

/// The default capacity of a subscription, in changes.
const DEFAULT_CAPACITY: usize = 8192;

/// A change at a subscribed path or below it (RTPO19e).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathChange {
    /// The place of the change (RTPO19e1).
    pub object: PathObject,
    /// What changed: keys of the map at the path, or of the map that contains it; or the amount by which the counter
    /// changed.
    pub update: Arc<Update>,
    /// The operation, and who published it; `None` if a sync brought the change (RTPO19e2).
    pub message: Option<Arc<OperationMessage>>,
}

/// A change of a subscribed object (RTINS16e).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstanceChange {
    /// The object (RTINS16e1).
    pub object: Instance,
    /// What changed: keys of the map, or the amount by which the counter changed.
    pub update: Arc<Update>,
    /// The operation, and who published it; `None` if a sync brought the change (RTINS16e2).
    pub message: Option<Arc<OperationMessage>>,
}

/// A subscription to a path before it is made.
///
/// Awaiting it subscribes at once, without a request to the service (RTPO19g); so does [`listen`](Self::listen).
///
/// # Errors
/// Code 40003 for a depth of 0 (RTPO19c1a); 40024 without the mode `object_subscribe`; 90001 on a channel that is detached or
/// failed (RTPO19b).
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribePath {
    view: SharedView,
    path: Path,
    depth: Option<usize>,
    capacity: usize,
}

impl SubscribePath {
    pub(super) fn new(view: SharedView, path: Path) -> Self {
        Self { view, path, depth: None, capacity: DEFAULT_CAPACITY }
    }

    /// How many levels to cover: 1 for the path alone, 2 for the keys of its map too, and so on. By default all
    /// (RTPO19c1).
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = Some(levels);
        self
    }

    /// How many changes may wait to be read; 8,192 by default. If more wait, the oldest are dropped and a warning is
    /// logged; the objects themselves are up to date.
    pub fn capacity(mut self, changes: usize) -> Self {
        self.capacity = changes;
        self
    }

    /// Subscribes.
    ///
    /// # Errors
    /// As described above.
    pub fn listen(self) -> Result<PathSubscription> {
        let Self { view, path, depth, capacity } = self;
        drop(view.access()?);
        let listener = Listener::new(&view, capacity);
        view.objects.subscribe_path(listener.id, path, depth)?;
        Ok(PathSubscription { listener })
    }
}

/// A subscription to an object before it is made; it refers to the object and not to its place (RTINS16g).
///
/// Awaiting it subscribes at once, without a request to the service (RTINS16h); so does [`listen`](Self::listen).
///
/// # Errors
/// Code 92007 for a leaf (RTINS16c); 92004 for an object that does not exist any more; 40024 without the mode
/// `object_subscribe`; 90001 on a channel that is detached or failed (RTINS16b).
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribeInstance {
    view: SharedView,
    item: InstanceItem,
    capacity: usize,
}

impl SubscribeInstance {
    pub(super) fn new(view: SharedView, item: InstanceItem) -> Self {
        Self { view, item, capacity: DEFAULT_CAPACITY }
    }

    /// How many changes may wait to be read; see [`SubscribePath::capacity`].
    pub fn capacity(mut self, changes: usize) -> Self {
        self.capacity = changes;
        self
    }

    /// Subscribes.
    ///
    /// # Errors
    /// As described above.
    pub fn listen(self) -> Result<InstanceSubscription> {
        let Self { view, item, capacity } = self;
        drop(view.access()?);
        let InstanceItem::Object(id) = item else { return Err(leaf()) };
        let listener = Listener::new(&view, capacity);
        view.objects.subscribe_object(listener.id, &id)?;
        Ok(InstanceSubscription { listener, object: Instance::of_object(view, id) })
    }
}

/// The changes at a path and below it, as a stream.
///
/// Dropping it unsubscribes. It outlasts detaching and reconnecting. It ends when the connection was closed or failed, or the
/// channel failed or was released; [`end_reason`](Self::end_reason) then gives the reason.
pub struct PathSubscription {
    listener: Listener,
}

impl PathSubscription {
    /// The next change; `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<PathChange> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    /// Why the subscription ended; `None` before the end.
    pub fn end_reason(&self) -> Option<&Error> {
        self.listener.intake.end_reason()
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<PathChange>> {
        let view = &self.listener.view;
        let public = |QueuedChange { path, update, message }| {
            let object = PathObject::with_path(Arc::clone(view), path.unwrap_or_default());
            PathChange { object, update, message }
        };
        self.listener.intake.poll_item(cx, |lag| warn(view, lag)).map(|change| change.map(public))
    }
}

/// The changes of an object, as a stream.
///
/// Dropping it unsubscribes. It ends when the object is deleted, and otherwise like a [`PathSubscription`].
pub struct InstanceSubscription {
    listener: Listener,
    object: Instance,
}

impl InstanceSubscription {
    /// The next change; `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<InstanceChange> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    /// Why the subscription ended; `None` before the end.
    pub fn end_reason(&self) -> Option<&Error> {
        self.listener.intake.end_reason()
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<InstanceChange>> {
        let Self { listener: Listener { view, intake, .. }, object } = self;
        let public = |QueuedChange { update, message, .. }| InstanceChange {
            object: object.clone(),
            update,
            message,
        };
        intake.poll_item(cx, |lag| warn(view, lag)).map(|change| change.map(public))
    }
}

/// A registered subscription. Dropping it unsubscribes.
struct Listener {
    view: SharedView,
    id: SubscriptionId,
    intake: Intake<QueuedChange>,
}

impl Listener {
    fn new(view: &SharedView, capacity: usize) -> Self {
        let (id, intake) = view.shared().add(capacity);
        Self { view: Arc::clone(view), id, intake }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.view.objects.unsubscribe(self.id);
        self.view.shared().remove(self.id);
    }
}

fn warn(view: &SharedView, Break::Lagged(missed): Break<std::convert::Infallible>) {
    let channel = &**view.channel.name();
    tracing::warn!(channel, missed, "a subscription to objects did not keep up");
}

fn leaf() -> Error {
    let code = ErrorCode::OBJECT_OPERATION_PATH_NOT_PROCESSABLE;
    Error::new(code, 400, "a leaf never changes, so it cannot be subscribed to")
        .with_remedy("subscribe to the path or to the map that contains the leaf")
}

/// Implements what both subscriptions and both builders have in common.
macro_rules! public_types {
    ($builder:ident => $subscription:ident of $change:ty) => {
        impl IntoFuture for $builder {
            type Output = Result<$subscription>;
            type IntoFuture = Ready<Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                ready(self.listen())
            }
        }

        impl Stream for $subscription {
            type Item = $change;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$change>> {
                self.poll_change(cx)
            }
        }

        impl $builder {
            /// Subscribes, and calls a function for each change, on a thread of its own. See
            /// [`CallbackHandle`](crate::realtime::CallbackHandle) for what the function may do, and how it ends.
            ///
            /// # Errors
            /// As described above; 50000 when the system cannot start a thread.
            pub fn each<R: $crate::realtime::CallbackFlow>(
                self,
                callback: impl FnMut($change) -> R + Send + 'static,
            ) -> Result<$crate::realtime::CallbackHandle> {
                self.listen()?.each(callback)
            }
        }

        impl $crate::realtime::callback::CallbackSource for $subscription {
            fn runtime(&self) -> &tokio::runtime::Handle {
                &self.listener.view.channel.handle.runtime
            }

            fn ended_by(&self) -> Option<Error> {
                self.end_reason().cloned()
            }
        }

        $crate::realtime::callback::on_threads!([] $subscription: $change);

        impl fmt::Debug for $builder {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($builder))
                    .field("channel", self.view.channel.name())
                    .field("capacity", &self.capacity)
                    .finish_non_exhaustive()
            }
        }

        impl fmt::Debug for $subscription {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($subscription))
                    .field("channel", self.listener.view.channel.name())
                    .field("buffered", &self.listener.intake.buffered())
                    .field("end", &self.listener.intake.end_reason())
                    .finish_non_exhaustive()
            }
        }
    };
}

public_types!(SubscribePath => PathSubscription of PathChange);
public_types!(SubscribeInstance => InstanceSubscription of InstanceChange);
