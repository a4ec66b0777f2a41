//! The objects of a channel, with the checks that calls on them begin with (RTO25, RTO26).

use std::sync::{Arc, RwLockReadGuard};

use capably_core::{SharedObjects, check_objects_access, check_objects_write};
use capably_objects::{MapRef, Objects, ValueRef};
use capably_protocol::{ErrorInfo, Str, object::ObjectValue};

use crate::{
    Error, Result,
    realtime::{Channel, objects::ObjectsShared},
};

/// The objects of a channel, as the handles of one [`get`](super::RealtimeObjects::get) see them.
#[derive(Debug)]
pub(super) struct View {
    pub(super) channel: Channel,
    pub(super) objects: SharedObjects,
}

impl View {
    pub(super) fn new(channel: Channel, objects: SharedObjects) -> Self {
        Self { channel, objects }
    }

    pub(super) fn shared(&self) -> &ObjectsShared {
        self.channel.shared.objects()
    }

    /// The objects, to read (RTO25).
    ///
    /// # Errors
    /// Code 40024 without the mode `object_subscribe`; 90001 on a channel that is detached or failed.
    pub(super) fn access(&self) -> Result<RwLockReadGuard<'_, Objects>> {
        let requested = self.channel.shared.options();
        let (state, granted, reason) = self.channel.shared.objects_state();
        check_objects_access(state, &granted, &requested.modes, reason.as_ref())
            .map_err(refused)?;
        Ok(self.objects.read())
    }
}

/// Checks that objects may be changed (RTO26).
///
/// # Errors
/// Code 40024 without the mode `object_publish`; 90001 on a channel that is detached, failed or suspended; 40000 for a client
/// without echo.
pub(super) fn check_write(channel: &Channel) -> Result<()> {
    let requested = channel.shared.options();
    let (state, granted, reason) = channel.shared.objects_state();
    let echo = channel.rest().pipeline().config().options.echo_messages;
    check_objects_write(state, &granted, &requested.modes, reason.as_ref(), echo).map_err(refused)
}

fn refused(error: ErrorInfo) -> Error {
    let is_of_mode = error.code.0 == 40024;
    let error = Error::from(error);
    if is_of_mode {
        error.with_remedy(
            "request the mode in the channel's options, and use credentials that allow it",
        )
    } else {
        error
    }
}

/// A leaf as a value to read.
pub(super) fn leaf(value: &ObjectValue) -> ValueRef<'_> {
    match value {
        ObjectValue::Boolean(value) => ValueRef::Boolean(*value),
        ObjectValue::Number(number) => ValueRef::Number(*number),
        ObjectValue::String(text) => ValueRef::String(text),
        ObjectValue::Bytes(bytes) => ValueRef::Bytes(bytes),
        ObjectValue::Json(value) => ValueRef::Json(value),
    }
}

/// The keys of a value; none if it is no map.
pub(super) fn keys(value: Option<ValueRef<'_>>) -> Vec<Str> {
    map(value).map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// The number of keys of a value; `None` if it is no map.
pub(super) fn size(value: Option<ValueRef<'_>>) -> Option<usize> {
    map(value).map(MapRef::len)
}

fn map(value: Option<ValueRef<'_>>) -> Option<MapRef<'_>> {
    value.and_then(ValueRef::as_map)
}

/// A view that its handles share.
pub(super) type SharedView = Arc<View>;
